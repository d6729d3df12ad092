"""Signals that ask a program to stop, and the exception that they become.

Ctrl-C and a notebook's stop button send SIGINT, a job scheduler SIGTERM, and a terminal
that is closed SIGHUP, or on Windows SIGBREAK.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # where the system has them
Handler = Callable[[int, Any], None]


class StoppedError(KeyboardInterrupt):
    """What Ctrl-C raises, with the signal that asked for it.

    Attributes:
        status: the exit status that is usual after that signal, such as 130.
    """

    def __init__(self, sentence: str, number: int = signal.SIGINT) -> None:
        """Take a sentence for people and the number of the signal."""
        super().__init__(sentence)
        self.status = 128 + number


@contextlib.contextmanager
def handled(handler: Handler) -> Iterator[None]:
    """Let a function handle these signals within a ``with``.

    Those that whoever started the process has switched off, as ``nohup`` does, stay so.
    Outside the main thread, where Python handles no signals, nothing changes.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, n) for n in NAMES if hasattr(signal, n)):
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def stop_at_once(number: int, frame: Any) -> None:
    """Stop as Ctrl-C does: for whatever does not watch for signals itself."""
    raise StoppedError("Stopped; what was saved is kept.", number)
