"""What is said on standard error: whole lines, a bar that none of them overwrites, and the log.

Everything that writes there while a bar is shown goes through `note`, so that the bar moves down and the line stays.
"""

from __future__ import annotations

import datetime
import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, Task

T = TypeVar("T")
Tell = Callable[[str, int, int | None], None]
"""Told what is counted, how many are done, and of how many, None where that is not known; `Bar.stage` is one."""


def unheard(what: str, done: int, of: int | None) -> None:
    """Tell nobody how far it is: the default of whoever takes a `Tell`."""


LOG_SECONDS: Final = 10.0  # between lines of the log about one bar, where there is no terminal
BAR_COLUMNS: Final = 20  # narrower than Rich's 40: the words beside it say more
LEVELS: Final = ("debug", "info", "warning", "error")
log = logging.getLogger(__name__)


# --- Lines, and bars below them.


class _Terminal:
    """The bars of this process, which share one display: two of them would write over each other."""

    lock = threading.RLock()
    display: Progress | None = None


def note(text: str) -> None:
    """Write a line on standard error, above the bar where one is shown."""
    if not print_above(f"{text}\n"):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def print_above(text: str) -> bool:
    """Write text above the bar, as it is and not wrapped; False, and nothing written, where no bar is shown.

    Standard output may be written so too where both streams are the same terminal.
    """
    with _Terminal.lock:
        display = _Terminal.display
        if display is None:
            return False
        display.console.print(text, end="", markup=False, highlight=False, emoji=False, soft_wrap=True)
        return True


class Bar:
    """How far a piece of work is: a bar with rate and time left on a terminal, and nothing of it stays there.

    Where standard error is no terminal, it is an event of the log every ten seconds and where a stage has ended, which
    --verbose shows. `with` shows and removes it; a bar within another's `with` is shown below that one.
    """

    def __init__(
        self, what: str, total: float | None = None, *, done: float = 0, quiet: bool = False, timed: bool = True
    ) -> None:
        """Say what is counted and how many there are, None where that is not known.

        Args:
            what: the words beside the bar.
            total: how many there are.
            done: how many of them an earlier run did, which are not part of the rate.
            quiet: whether nothing at all is said.
            timed: whether the rate and the time left are shown; not where the words say them.
        """
        self._what, self._total, self._quiet, self._timed = what, total, quiet, timed
        self._before = self._done = done
        self._began = self._logged = time.monotonic()
        self._task: Any = None
        self._owner = False

    def __enter__(self) -> Bar:
        self._began = self._logged = time.monotonic()
        if not self._quiet and sys.stderr.isatty():
            with _Terminal.lock:
                self._owner = _Terminal.display is None
                if self._owner:
                    _Terminal.display = _display()
                    _Terminal.display.start()
                assert _Terminal.display is not None
                self._task = _Terminal.display.add_task(
                    self._what, total=self._total, completed=int(self._done), bar=self
                )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._log_end()
        with _Terminal.lock:
            if self._task is not None and _Terminal.display is not None:
                _Terminal.display.remove_task(self._task)
                if self._owner:
                    _Terminal.display.stop()
                    _Terminal.display = None
            self._task = None

    def update(self, done: float | None = None, *, total: float | None = None, what: str | None = None) -> None:
        """Say how many are done, or what has changed of the rest."""
        self._done = self._done if done is None else done
        self._total = self._total if total is None else total
        self._what = self._what if what is None else what
        with _Terminal.lock:
            if self._task is not None and _Terminal.display is not None:
                _Terminal.display.update(self._task, completed=done, total=total, description=what)
                return
        if not self._quiet and time.monotonic() - self._logged >= LOG_SECONDS:
            self._logged = time.monotonic()
            log.info("%s", self.line())

    def stage(self, what: str, done: int, of: int | None) -> None:
        """Say how far one stage of several is; the first word of a new one begins its rate anew."""
        if done < self._done or of != self._total or what.partition(",")[0] != self._what.partition(",")[0]:
            self._log_end()
            self._before = self._done = done
            self._began = time.monotonic()
            self._total = of
            with _Terminal.lock:
                if self._task is not None and _Terminal.display is not None:
                    _Terminal.display.reset(self._task, completed=done)
                    own = next(task for task in _Terminal.display.tasks if task.id == self._task)
                    own.total = of  # `reset` takes None for "as it was"
        self.update(done, what=what)

    def _log_end(self) -> None:
        if self._task is None and not self._quiet and self._done:
            log.info("%s", self.line())

    def advance(self, count: float = 1) -> None:
        """Say that so many more are done."""
        self.update(self._done + count)

    def each(self, things: Iterable[T]) -> Iterator[T]:
        """Give the things on, and count each when the next one is asked for."""
        for thing in things:
            yield thing
            self.advance()

    def line(self) -> str:
        """Say all of it in one line without a bar."""
        pace = self.pace()
        return f"{self._what}: {pace}" if pace else self._what

    def pace(self) -> str:
        """Say how many are done of how many, how fast on the whole, and how long the rest will take.

        Nothing where nothing is counted: then the bar only moves.
        """
        if not self._timed or (self._total is None and not self._done):
            return ""
        said = f"{self._done:,.0f}" + ("" if self._total is None else f" of {self._total:,.0f}")
        seconds = time.monotonic() - self._began
        if self._done <= self._before or seconds <= 0:
            return said
        rate = (self._done - self._before) / seconds
        said += f", {rate:.1f}/s" if rate >= 1 else f", {1 / rate:.1f} s each"
        if self._total is None:
            return said
        left = datetime.timedelta(seconds=round(max(0.0, (self._total - self._done) / rate)))
        return f"{said}, {left} left"


def _display() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Pace(ProgressColumn):
        """How many are done of how many, how fast, and how long the rest takes."""

        def render(self, task: Task) -> Text:
            return Text(task.fields["bar"].pace())

    words = Column(no_wrap=True, overflow="ellipsis")
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=words),
        BarColumn(bar_width=BAR_COLUMNS),
        Pace(table_column=Column(no_wrap=True)),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # results are written above the bar by whoever prints them, whole and not wrapped
    )


# --- The log: events of this package, read by people at a terminal, as JSON by what collects them.


class JsonLines(logging.Formatter):
    """A record as one line of JSON; `extra={"data": {...}}` adds fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        when = datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds")
        line = {"time": when, "level": record.levelname.lower(), "from": record.name, "event": record.getMessage()}
        line |= getattr(record, "data", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class ReadableLines(logging.Formatter):
    """A record as a line for people: time of day, level, event, and the added fields as name=value."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(lower)-7s  %(message)s%(fields)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line without a traceback."""
        record.lower = record.levelname.lower()
        record.fields = "".join(f"  {name}={value}" for name, value in getattr(record, "data", {}).items())
        return super().formatMessage(record)


class _NoteHandler(logging.Handler):
    """Writes events where everything else is said, so that a bar and an event leave each other whole."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            note(self.format(record))
        except Exception:  # logging's own rule: an event that cannot be written does not end the work
            self.handleError(record)


@contextmanager
def logged(level: str, *, as_json: bool = False) -> Iterator[None]:
    """Write the events of this package and of its servers on standard error for a while, from `level` on.

    As lines for people, or as JSON. An event with `extra={"noted": True}` was said to people already.
    """
    handler = _NoteHandler()
    handler.setFormatter(JsonLines() if as_json else ReadableLines())
    if not as_json:
        handler.addFilter(lambda record: not getattr(record, "noted", False))
    names = ("speech2face", "uvicorn", "asyncio")  # the last: what a library's own task died of
    loggers = [logging.getLogger(name) for name in names]
    before = [(each.handlers, each.propagate, each.level) for each in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level.upper())
    logging.getLogger("uvicorn.access").disabled = True  # it writes addresses and query strings
    # What the server says of each socket at INFO holds an address too.
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, logging.getLogger("uvicorn").level))
    try:
        yield
    finally:
        for logger, (handlers, propagate, number) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(number)
