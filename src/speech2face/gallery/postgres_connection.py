"""A connection to PostgreSQL that is made again, a bounded number of times, when the server goes away."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from speech2face.errors import DatasetError, MissingExtra, RunLocked

try:
    import psycopg
    from pgvector.psycopg import register_vector
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
except ImportError as missing:
    raise MissingExtra(
        "a gallery in PostgreSQL needs the extra 'retrieval': pip install 'speech2face[retrieval]'"
    ) from missing

logger = logging.getLogger(__name__)

ATTEMPTS = 12
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.25, 10.0  # doubling: about a minute in all
CONNECT_SECONDS = 10
LOST = (psycopg.OperationalError, psycopg.InterfaceError)
Result = TypeVar("Result")


class Database:
    """Runs actions, each in a transaction of its own; an action that lost its connection is run again.

    Actions must therefore do the same when they are done twice: what was committed a moment before a connection broke
    is committed again.
    """

    def __init__(self, address: str, *, lock: int | None = None) -> None:
        """`lock`: a number that one connection of the whole database holds at a time.

        Raises:
            DatasetError: the address is none, or nobody answers there: the first time, nothing is waited for.
            RunLocked: somebody else holds the lock.
        """
        self._address, self._lock = address, lock
        self._connection: psycopg.Connection[Any] | None = None
        try:
            self._connected()
        except LOST as error:
            raise DatasetError(f"no database at {shown(address)}: {_line(error)}; name it with --database") from error
        except psycopg.ProgrammingError as error:
            raise DatasetError(f"{shown(address)} is no address of a database: {_line(error)}") from error

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is not None and not self._connection.closed:
            return self._connection
        connection = psycopg.connect(self._address, connect_timeout=CONNECT_SECONDS, autocommit=True)
        try:
            _prepare(connection)
            if self._lock is not None:
                row = connection.execute("SELECT pg_try_advisory_lock(%s)", [self._lock]).fetchone()
                if row is None or not row[0]:
                    raise RunLocked("another process builds this gallery in the database; wait for it")
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def run(self, action: Callable[[psycopg.Connection[Any]], Result]) -> Result:
        """The result of an action in a transaction.

        Raises:
            DatasetError: the database refuses it, or went away and did not come back.
        """
        wait = FIRST_WAIT_SECONDS
        for attempt in range(1, ATTEMPTS + 1):
            try:
                connection = self._connected()
                with connection.transaction():
                    return action(connection)
            except (*LOST, RunLocked) as error:
                if isinstance(error, RunLocked) and attempt == 1:
                    raise
                if attempt == ATTEMPTS:
                    raise DatasetError(
                        f"the database {shown(self._address)} went away and did not come back: {_line(error)}; start"
                        " again when it is there: a build goes on where it stopped"
                    ) from error
                logger.warning("the database went away (%s); trying again in %.1f s", _line(error), wait)
                self.close()
                time.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT_SECONDS)
            except psycopg.Error as error:
                raise DatasetError(f"the database {shown(self._address)} refuses: {_line(error)}") from error
        raise AssertionError("the last attempt raises")

    def outside(self, command: Any) -> None:
        """A command that cannot stand in a transaction; one that fails is noted, it is no part of the work."""
        try:
            self._connected().execute(command)
        except psycopg.Error as error:
            logger.warning("%s", _line(error))

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
        self._connection = None


def _prepare(connection: psycopg.Connection[Any]) -> None:
    """pgvector's type.

    Raises:
        MissingExtra: the database does not have it.
    """
    try:
        there = connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchone()
        if there is None:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except LOST:
        raise
    except psycopg.Error as error:
        raise MissingExtra(
            f"the database has no pgvector and it cannot be made ready ({_line(error)}); install it there and run:"
            " CREATE EXTENSION vector"
        ) from error
    register_vector(connection)


def without_password(address: str) -> str:
    """An address as it may be written into a file.

    Raises:
        DatasetError: it is none.
    """
    try:
        parts = conninfo_to_dict(address)
    except psycopg.ProgrammingError as error:
        raise DatasetError(f"{shown(address)} is no address of a database: {_line(error)}") from error
    parts.pop("password", None)
    return make_conninfo(**{name: str(value) for name, value in parts.items() if value is not None})


def shown(address: str) -> str:
    """An address as it may be printed."""
    with contextlib.suppress(psycopg.Error):
        parts = conninfo_to_dict(address)
        named = [f"{name}={parts[name]}" for name in ("host", "port", "dbname") if parts.get(name)]
        return " ".join(named) or "the default address"
    return "(an address that cannot be read)"


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
