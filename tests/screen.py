"""A terminal of a given size, in which a program runs, and what somebody sees on it."""

import fcntl
import os
import pty
import re
import struct
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO
from unittest.mock import patch

import pyte

END_OF_TEST = b"\0"  # what no program here writes


class SeenTerminal:
    """What stands on the terminal, scrolled lines included; read while the program writes."""

    def __init__(self, columns: int, rows: int = 40) -> None:
        self.columns = columns
        self.screen = pyte.HistoryScreen(columns, rows, history=10_000, ratio=1)
        self._stream = pyte.ByteStream(self.screen)
        self.main, self.side = pty.openpty()
        fcntl.ioctl(self.side, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.frames: list[list[str]] = []
        """What stood there whenever the cursor went to the beginning of a row."""
        self._over = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while not self._over.is_set():
            try:
                piece = os.read(self.main, 65536)
            except OSError:  # nobody has the other side open any more
                break
            for part in re.split(rb"(?=\r)|(?<=\n)", piece.replace(END_OF_TEST, b"")):  # several may come as one piece
                self._stream.feed(part)
                self.frames.append(self.lines())
            if END_OF_TEST in piece:
                self._over.set()

    def finish(self) -> None:
        """Wait until all that was written has been seen."""
        os.write(self.side, END_OF_TEST)
        self._reader.join(20)
        assert not self._reader.is_alive()
        os.close(self.side)
        os.close(self.main)

    def lines(self) -> list[str]:
        """Whole lines: rows that are full go on in the next one."""
        above = ["".join(row[place].data for place in range(self.columns)) for row in self.screen.history.top]
        joined = ""
        for row in [*above, *self.screen.display]:
            joined += row if not row.endswith(" ") else f"{row.rstrip()}\n"
        return joined.rstrip().splitlines()

    def text(self) -> str:
        """All of it."""
        return "\n".join(self.lines())


@contextmanager
def on_terminal(columns: int) -> Iterator[SeenTerminal]:
    """Let this process's standard output and error be one terminal for a while."""
    seen = SeenTerminal(columns)
    before = sys.stdout, sys.stderr
    streams: list[TextIO] = [os.fdopen(os.dup(seen.side), "w", buffering=1, encoding="utf-8") for _ in range(2)]
    sys.stdout, sys.stderr = streams
    # Rich asks the process's own streams for the width, which are another terminal or none.
    told = patch.dict(os.environ, {"COLUMNS": str(columns), "TERM": "xterm-256color"})
    try:
        with told:
            yield seen
    finally:
        for stream in streams:
            stream.flush()
        sys.stdout, sys.stderr = before
        for stream in streams:
            stream.close()
        seen.finish()
