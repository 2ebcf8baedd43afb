"""Stop at the end of a step when the system or the user asks for it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Whether somebody asked."""

    def __init__(self) -> None:
        self.asked = False

    def ask(self) -> None:
        """From now on."""
        self.asked = True


@contextmanager
def on_signals() -> Iterator[StopRequest]:
    """The first SIGTERM or SIGINT asks; a second one ends the program as usual."""
    request = StopRequest()
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def handle(number: int, _frame: FrameType | None) -> None:
        request.ask()
        signal.signal(number, before[signal.Signals(number)])

    for number in SIGNALS:
        signal.signal(number, handle)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
