"""The process that the stages run in: does what it is sent, reports, survives errors.

What is heavy is imported by the process itself, so that the supervisor need not.
"""

from __future__ import annotations

import dataclasses
import pathlib
import time
import traceback
from collections.abc import Mapping
from typing import Any

from benchmarks.gpu import plan


@dataclasses.dataclass(frozen=True)
class Bench:
    """What a stage is given.

    Attributes:
        asked: the settings of the whole run.
        work: folder for checkpoints.
        results: what earlier stages have reported, see ``supervisor.Board``.
        deadline: when the stage should be over, in seconds since the epoch.
        connection: to the supervisor.
    """

    asked: plan.Settings
    work: pathlib.Path
    results: Mapping[str, Any]
    deadline: float
    connection: Any

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.time()

    def say(self, text: str) -> None:
        """Print a line of progress."""
        self.connection.send(("say", text))

    def report(self, table: str, **row: Any) -> None:
        """Add a row to a table of the results; it is written at once."""
        self.connection.send(("row", table, row))

    def record(self, record: Mapping[str, Any]) -> None:
        """Add a record as ``results/`` has them; it is written at once."""
        commit = {"commit": self.asked.commit} if self.asked.commit else {}
        self.connection.send(("row", "records", {**record, **commit}))
        name = f"{record['method']}, {record['protocol']}, {record['data']}"
        self.say(f"{name}: {record['top1_mean']:.1f} %")

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Rows that earlier stages have reported."""
        return self.results["tables"].get(table, [])


def work(connection: Any, asked: plan.Settings, folder: pathlib.Path) -> None:
    """Run stages as the supervisor sends them, until it is gone.

    Args:
        connection: to the supervisor; see ``supervisor.supervise``.
        asked: the settings of the whole run.
        folder: for checkpoints.
    """
    from benchmarks.gpu import project, stages

    if asked.toy:
        project.use_toy_network()
    connection.send(("ready",))
    usable = True
    while usable:
        try:
            _, name, deadline, results = connection.recv()
        except (EOFError, OSError):
            return
        bench = Bench(asked, folder, results, deadline, connection)
        try:
            if name in asked.broken:
                raise RuntimeError(f"{name} was asked to fail")
            stages.STAGES[name](bench)
            answer = ("done", "")
        except Exception:
            answer = ("failed", traceback.format_exc(limit=-8))
        usable = project.tidy()
        connection.send((*answer, usable))
