"""Plants faults in a copy of the source, one by one; each must fail its test.

    python -m tests.mutants [--only TEXT ...] [--list]

A fault is a piece of a file in ``helpers/``, what stands in its place, and the test
that must see it. A fault that no test sees shows that something may change unnoticed.
All tests run in forks of one process, so that none has to import torch again: POSIX
systems only.
"""

from __future__ import annotations

import argparse
import collections
import compileall
import contextlib
import gc
import importlib
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest
import torch

from . import (
    data,
    evaluation,
    house,
    losses,
    methods,
    models,
    rates,
    recipes,
    training,
    views,
)

PROJECT = pathlib.Path(__file__).resolve().parents[2]
COPIED = ("helpers", "tests", "docs", "README.md", "pyproject.toml")
PATIENCE = 300  # seconds that a test may take
# Only failed or not is asked for: nothing that costs a test seconds.
QUICKLY = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:unraisableexception"]
QUICKLY += ["--assert=plain", "--tb=short"]
# What pytest returns when all tests passed, and when one of them failed.
PASSED, FAILED = int(pytest.ExitCode.OK), int(pytest.ExitCode.TESTS_FAILED)


class Fault(NamedTuple):
    """A piece of a file's text, what it becomes, and the test that must see it."""

    file: str  # in helpers/
    test: str  # file or node in tests/
    find: str
    replace: str

    def __str__(self) -> str:
        """The fault in a line."""
        change = f"{' '.join(self.find.split())} → {' '.join(self.replace.split())}"
        return f"{self.file}: {change} ({self.test})"


def faults(only: Sequence[str]) -> list[Fault]:
    """All faults, or those with one of these texts in file, test or change."""
    lists = recipes, losses, methods, rates, training, views, models, evaluation, data
    found = [
        Fault(file, test, *change)
        for one in (*lists, house)
        for file, tests in one.FAULTS.items()
        for test, changes in tests.items()
        for change in changes
    ]
    return [one for one in found if not only or any(text in str(one) for text in only)]


def complaint(fault: Fault) -> str:
    """Why a fault cannot be planted; nothing if it can."""
    count = (PROJECT / "helpers" / fault.file).read_text("utf-8").count(fault.find)
    if count != 1:
        return f"its text is there {count} times"
    file, _, name = fault.test.partition("::")
    test, name = PROJECT / "tests" / file, name.partition("[")[0]
    known = test.is_file() and f"def {name}" in test.read_text("utf-8")
    return "" if known else "its test is not there"


@contextlib.contextmanager
def planted(copy: pathlib.Path, fault: Fault) -> Iterator[None]:
    """Change a file of the copy within a ``with``."""
    whole, file = PROJECT / "helpers" / fault.file, copy / "helpers" / fault.file
    changed = whole.read_text("utf-8").replace(fault.find, fault.replace)
    file.write_text(changed, "utf-8")
    try:
        yield
    finally:
        shutil.copy2(whole, file)  # as old as the bytecode knows it


def run(copy: pathlib.Path, tests: Sequence[str]) -> tuple[int, str]:
    """Run tests of the copy in a fork: what pytest returned and printed.

    A test that hangs has failed.
    """
    log = copy.parent / "output"
    process = os.fork()
    if process == 0:
        _be_the_copy(copy, log)
        names = [str(copy / "tests" / test) for test in tests]
        folders = [f"--rootdir={copy}", f"--basetemp={copy.parent / 'tmp'}"]
        os._exit(pytest.main([*QUICKLY, *folders, *names]))
    end = time.monotonic() + PATIENCE
    try:
        done, status = os.waitpid(process, os.WNOHANG)
        while not done and time.monotonic() < end:
            time.sleep(0.05)
            done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), log.read_text(errors="replace")
        return FAILED, "It took too long."
    finally:  # the workers that a test has left are stopped too
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)


def _be_the_copy(copy: pathlib.Path, log: pathlib.Path) -> None:
    """Let this process import, find and print everything in the copy."""
    os.setsid()
    with open(log, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(copy)
    os.environ["PYTHONPATH"] = str(copy)
    places = {str(PROJECT), os.getcwd(), ""}
    sys.path[:] = [str(copy), *(path for path in sys.path if path not in places)]
    for name in [n for n in sys.modules if n.partition(".")[0] in ("helpers", "tests")]:
        del sys.modules[name]


def _prepare(copy: pathlib.Path) -> None:
    """Copy the project, and import what its tests need from other projects."""
    # Bytecode of a fault could be taken for that of the next one.
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)  # a fork of a process with more may hang
    for name in ("helpers.cli.commands", "sklearn.manifold", "nbformat"):
        importlib.import_module(name)
    ignored = shutil.ignore_patterns("__pycache__")
    for name in COPIED:
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, copy / name, ignore=ignored)
        else:
            shutil.copyfile(PROJECT / name, copy / name)
    for name in ("helpers", "tests"):
        compileall.compile_dir(copy / name, quiet=1)
    gc.freeze()  # no fork has to look through what is imported now


def hunt(chosen: Sequence[Fault], copy: pathlib.Path) -> dict[Fault, str]:
    """Plant every fault; why those that were not killed were not."""
    _prepare(copy)
    by_test = collections.defaultdict(list)
    for fault in chosen:
        by_test[fault.test].append(fault)
    by_file = collections.defaultdict(list)
    for test in by_test:
        by_file[test.split("::")[0]].append(test)
    left = {}
    for file, tests in by_file.items():
        code, said = run(copy, tests)
        if code != PASSED:
            print(said)
            why = f"without a fault the test returns {code}"
            left |= dict.fromkeys((f for t in tests for f in by_test[t]), why)
            continue
        for fault in (fault for test in tests for fault in by_test[test]):
            with planted(copy, fault):
                code, said = run(copy, [fault.test])
            if code != FAILED:
                left[fault] = "it survives" if code == PASSED else f"pytest says {code}"
                print(f"{left[fault]}: {fault}", flush=True)
        count = sum(len(by_test[test]) for test in tests)
        print(f"{file}: {count} faults", flush=True)
    return left


def table(chosen: Sequence[Fault], left: dict[Fault, str], seconds: float) -> str:
    """Faults tried and killed by subpackage, in Markdown."""
    tried = collections.Counter(fault.file.split("/")[0] for fault in chosen)
    survived = collections.Counter(fault.file.split("/")[0] for fault in left)
    lines = ["| subpackage | tried | killed | survived |", "|---|---|---|---|"]
    for room in sorted(tried):
        killed = tried[room] - survived[room]
        lines.append(f"| {room} | {tried[room]} | {killed} | {survived[room]} |")
    killed = len(chosen) - len(left)
    lines.append(f"| all | {len(chosen)} | {killed} | {len(left)} |")
    lines += ["", f"It took {seconds / 60:.1f} minutes."]
    return "\n".join([*lines, *(f"{why}: {fault}" for fault, why in left.items())])


def main() -> int:
    """Run from a shell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    chosen = faults(args.only)
    wrong = {fault: why for fault in chosen if (why := complaint(fault))}
    if args.list:
        for fault in chosen:
            print(fault)
    for fault, why in wrong.items():
        print(f"This fault cannot be planted, {why}: {fault}")
    if args.list or wrong or not chosen:
        return int(bool(wrong) or not chosen)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(os.path.realpath(folder)) / "copy"
        copy.mkdir()
        left = hunt(chosen, copy)
    print(table(chosen, left, time.monotonic() - begun))
    return int(bool(left))


if __name__ == "__main__":
    sys.exit(main())
