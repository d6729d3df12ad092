"""The command line as a user has it."""

import sys

import pytest

from helpers import __main__


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command line and return its exit status, output and errors."""

    def start(line):
        monkeypatch.setattr(sys, "argv", ["helpers", *line.split()])
        try:
            status = __main__.main()
        except SystemExit as stopped:
            status = stopped.code
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return start
