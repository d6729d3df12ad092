"""Signals become one exception, unless whoever started the process ignores them."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from helpers.training import signals


def test_a_signal_reaches_the_function_within_and_not_after():
    heard, before = [], signal.getsignal(signal.SIGTERM)
    there = [name for name in signals.NAMES if hasattr(signal, name)]
    with signals.handled(lambda number, frame: heard.append(number)):
        for name in there:
            os.kill(os.getpid(), getattr(signal, name))
    assert heard == [getattr(signal, name) for name in there]
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_nohup_switched_off_stays_off():
    heard, before = [], signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.handled(lambda number, frame: heard.append(number)):
            os.kill(os.getpid(), signal.SIGHUP)
            assert heard == []
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads_change_nothing():
    seen = []

    def work():
        with signals.handled(signals.stop_at_once):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]
    assert seen != [signals.stop_at_once]


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_the_exception_is_that_of_ctrl_c_and_knows_the_exit_status(name, status):
    with (
        pytest.raises(KeyboardInterrupt, match="Stopped; what was saved") as stopped,
        signals.handled(signals.stop_at_once),
    ):
        os.kill(os.getpid(), getattr(signal, name))
    assert stopped.value.status == status


SLOW_IMPORT = """
import os, signal, sys, threading, time
class Slow:
    def find_spec(self, name, *rest):
        if name == "torch":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
sys.meta_path.insert(0, Slow())
sys.argv = ["helpers", "list"]
from helpers import __main__
sys.exit(__main__.main())
"""


def test_ctrl_c_while_modules_are_imported_is_a_sentence():
    done = subprocess.run(
        [sys.executable, "-c", SLOW_IMPORT], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (130, "Stopped; what was saved is kept.\n")
