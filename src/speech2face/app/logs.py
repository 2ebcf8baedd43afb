"""One JSON object a line: when, how bad, what; never an address, a file's name or anything of a voice or a face."""

import datetime
import json
import logging


class JsonLines(logging.Formatter):
    """A record as one line; `extra={"data": {...}}` adds fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        when = datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds")
        line = {"time": when, "level": record.levelname.lower(), "from": record.name, "event": record.getMessage()}
        line |= getattr(record, "data", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(level: str) -> None:
    """Everything of this program and of the server to standard error, from `level` on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    for name in ("speech2face", "uvicorn", "asyncio"):  # the last: what a library's own task died of
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level.upper())
    logging.getLogger("uvicorn.access").disabled = True  # it writes addresses and query strings
    # What the server says of each socket at INFO holds an address too.
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, logging.getLogger("uvicorn").level))
