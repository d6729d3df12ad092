"""The command line as a user has it."""

import sys

import pytest

from helpers import __main__


@pytest.fixture
def run(run_words):
    """Run a command line and return its exit status, output and errors."""
    return lambda line: run_words(line.split())


@pytest.fixture
def run_words(monkeypatch, capsys):
    """Likewise, of the words of a command line, which may have spaces."""

    def start(words):
        monkeypatch.setattr(sys, "argv", ["helpers", *words])
        try:
            status = __main__.main()
        except SystemExit as stopped:
            status = stopped.code
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return start
