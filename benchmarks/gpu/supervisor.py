"""Gives every stage its time, keeps what it reports, and ends everything on time.

The stages run in one process of their own, which keeps the images and the GPU's start
from stage to stage. A stage that raises is written down and the next one begins. A
stage that takes much longer than its time, or takes the process with it, costs itself
alone: the process is killed, and the next stage begins in a new one.

This file imports the standard library alone, so that the worker starts at once.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import multiprocessing
import os
import pathlib
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

PATIENCE = 120.0  # seconds that a new process may take to import what it needs
GRACE = 0.25  # share of its time that a stage may take too long
LEAST_GRACE = 20.0  # seconds of it at least
SHORTEST = 1.0  # seconds below which a stage is not begun
LAST = 25.0  # seconds after the end at which even this process is ended by force
IDENTITY = ("method", "protocol", "data", "pretraining_epochs", "batch_size")
LOG_TAIL = 3_000  # characters of the worker's output that explain its end


class Board:
    """What has been reported so far, printed and written at once.

    Args:
        output: folder for ``results.json`` and ``summary.md``.
        about: of the whole run.
        render: makes Markdown of the results.
    """

    def __init__(
        self,
        output: pathlib.Path,
        about: Mapping[str, Any],
        render: Callable[[Mapping[str, Any]], str],
    ) -> None:
        """See the class."""
        self.output, self.render = output, render
        self.started = time.time()
        self.end = self.started + 60 * about["minutes"]
        self.results: dict[str, Any] = {
            "about": dict(about),
            "stages": [],
            "tables": {},
            "records": [],
        }

    def say(self, text: str) -> None:
        """Print one line of progress, with the time left."""
        done, left = time.time() - self.started, max(0.0, self.end - time.time())
        print(f"[{done:4.0f} s, {left:4.0f} s left] {text}", flush=True)

    def add(self, table: str, row: Mapping[str, Any]) -> None:
        """Add a row to a table, or a record to the records, and write all."""
        if table == "records":
            records = self.results["records"]
            same = [one for one in records if all(one[k] == row[k] for k in IDENTITY)]
            for one in same:  # it had fewer seeds
                records.remove(one)
            records.append(dict(row))
        else:
            self.results["tables"].setdefault(table, []).append(dict(row))
        self.write()

    def stage(self, name: str, **values: Any) -> None:
        """Note something about a stage; the first note begins its entry."""
        stages = self.results["stages"]
        if not stages or stages[-1]["name"] != name:
            stages.append({"name": name})
        stages[-1].update(values)
        self.write()

    def write(self) -> None:
        """Write both files; a table that cannot be made must not stop anything."""
        self.output.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.results, indent=1, default=str) + "\n"
        _replace(self.output / "results.json", text)
        try:
            summary = self.render(self.results)
        except Exception as error:
            summary = f"results.json has everything; no tables were made: {error!r}\n"
        _replace(self.output / "summary.md", summary)


class Worker:
    """The process that stages run in, and the pipe to it.

    Args:
        target: what it runs: ``target(connection, *arguments)``.
        arguments: of the target.
        log: the file that its output goes to.
    """

    def __init__(
        self,
        target: Callable[..., None],
        arguments: tuple[Any, ...],
        log: pathlib.Path,
    ) -> None:
        """Start it; it imports while the caller goes on."""
        self.log, self.ready = log, False
        context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_run, args=(target, theirs, arguments, str(log))
        )
        self.process.start()
        theirs.close()

    def end(self) -> None:
        """Let it end by itself, if it does so at once."""
        self.connection.close()
        self.process.join(timeout=3)
        self.kill()

    def kill(self) -> None:
        """End it and whatever it has started."""
        if self.process.pid is not None:
            with contextlib.suppress(OSError):  # its group has its number, see `_run`
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join(timeout=5)
        self.connection.close()

    def last_words(self) -> str:
        """The end of its output."""
        with contextlib.suppress(OSError):
            return self.log.read_text("utf-8", "replace")[-LOG_TAIL:]
        return ""


def supervise(
    shares: Mapping[str, float],
    board: Board,
    target: Callable[..., None],
    arguments: tuple[Any, ...],
    log: pathlib.Path,
) -> None:
    """Run the stages one after another, and end on time.

    Args:
        shares: of the time, by the stages' names, in their order.
        board: where their reports go; its ``end`` is the end.
        target: see ``Worker``; it sends ("ready",) once, is sent ("stage", name,
            deadline, results), and sends ("say", text), ("row", table, row), and at the
            end of a stage ("done", "", usable) or ("failed", traceback, usable), where
            a process that is not usable is replaced.
        arguments: of the target.
        log: see ``Worker``.
    """
    force = board.end - time.time() + LAST
    faulthandler.dump_traceback_later(force, exit=True, file=sys.__stderr__)
    names, worker = list(shares), None
    try:
        for number, name in enumerate(names):
            worker = worker or Worker(target, arguments, log)
            alive = _is_ready(worker, name, board)
            left = board.end - time.time()
            budget = left * shares[name] / sum(shares[n] for n in names[number:])
            if alive and left < SHORTEST:
                board.stage(name, status="no time left", seconds=0.0)
            elif alive:
                alive = _follow(worker, name, budget, board)
            if not alive:
                worker.kill()
                worker = None
    finally:
        if worker:
            worker.end()
        board.results["about"]["seconds"] = time.time() - board.started
        board.write()
        faulthandler.cancel_dump_traceback_later()


def _is_ready(worker: Worker, name: str, board: Board) -> bool:
    """Wait until the process has imported what it needs; it does so once."""
    if worker.ready:
        return True
    board.write()  # the tables' writer is imported meanwhile
    wait = max(0.0, min(PATIENCE, board.end - time.time()))
    with contextlib.suppress(EOFError, OSError):
        worker.ready = worker.connection.poll(wait) and bool(worker.connection.recv())
    if not worker.ready:
        board.stage(name, status="its process did not start", why=worker.last_words())
        board.say(f"{name}: its process did not start")
    return worker.ready


def _follow(worker: Worker, name: str, budget: float, board: Board) -> bool:
    """Let a stage run; whether its process can go on with the next one."""
    started = time.time()
    deadline = started + budget
    latest = min(deadline + max(LEAST_GRACE, GRACE * budget), board.end)
    board.say(f"{name}: {budget:.0f} s")
    board.stage(name, status="running", budget=budget)
    status, why, alive = "took too long and was ended", "", False
    with contextlib.suppress(OSError):  # a pipe whose other end is gone
        worker.connection.send(("stage", name, deadline, board.results))
    try:
        while (wait := latest - time.time()) > 0:
            if not worker.connection.poll(min(wait, 1.0)):
                continue
            kind, *content = worker.connection.recv()
            if kind == "say":
                board.say(f"{name}: {content[0]}")
            elif kind == "row":
                board.add(*content)
            else:
                status, (why, alive) = kind, content
                break
        else:
            why = worker.last_words()
    except (EOFError, OSError):  # it is gone
        status, why = "ended with its process", worker.last_words()
    seconds = time.time() - started
    board.stage(name, status=status, seconds=seconds, **({"why": why} if why else {}))
    board.say(f"{name}: {status} after {seconds:.0f} s")
    return alive


def _run(
    target: Callable[..., None], connection: Any, arguments: tuple[Any, ...], log: str
) -> None:
    """What the new process runs first: a group of its own, its output to a file."""
    os.setpgid(0, 0)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(file, stream.fileno())
    target(connection, *arguments)


def _replace(file: pathlib.Path, text: str) -> None:
    """Write a file that is whole or not there."""
    beside = file.with_name(f".{file.name}")
    beside.write_text(text, "utf-8")
    beside.replace(file)
