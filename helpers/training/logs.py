"""Logs of a run for spreadsheets and TensorBoard, written by Fabric's loggers.

``logs/metrics.csv``     one row per epoch; written again when a run is resumed
``logs/events.out.*``    the same for TensorBoard, with losses of single steps; every
                       sitting writes a file, which continues the curves

    tensorboard --logdir checkpoints
"""

from __future__ import annotations

import contextlib
import math
import os
import pathlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lightning_fabric import loggers
from torch import Tensor

STEPS_PER_EPOCH = 20  # whose losses are logged, at most


class Log:
    """The logs of a run; nothing is written before the first epoch is added.

    What cannot be written, as while another program has the table open, is said once
    and written with the next epoch: no training ends for its logs.

    Args:
        folder: of the files.
        history: entries of the epochs before the run was resumed.
        steps: per epoch.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        history: Sequence[Mapping[str, Any]],
        steps: int,
    ) -> None:
        """See the class."""
        self.folder, self.rows = pathlib.Path(folder), list(history)
        self.steps, self.warned = steps, False
        self.table = loggers.CSVLogger(self.folder, name="", version="")
        # What an earlier sitting logged after the state that was resumed is done again.
        again = len(history) * steps + 1
        self.board = loggers.TensorBoardLogger(
            self.folder, name="", version="", purge_step=again
        )

    def catch_up(self) -> None:
        """Add the epochs of a finished run that a kill has kept from the logs."""
        there = 0
        with contextlib.suppress(OSError):
            rows = (self.folder / "metrics.csv").read_text().splitlines()
            there = max(0, len(rows) - 1)  # the first has the names
        self.rows, missing = self.rows[:there], self.rows[there:]
        for entry in missing:
            self.add(entry)

    def add(self, entry: Mapping[str, Any], losses: Tensor | None = None) -> None:
        """Add an epoch.

        Args:
            entry: its numbers, with ``epoch`` counted from 1.
            losses: of its steps, (steps,); None if they are not known any more.
        """
        self.rows.append(entry)
        with self._going_on(), warnings.catch_warnings():
            # It warns that the old table is deleted; the history has all of it.
            warnings.filterwarnings("ignore", message="Experiment logs directory")
            for row in self.rows:
                self.table.log_metrics(dict(row), step=row["epoch"])
            self.rows = []  # the table keeps them until they are written
            self.table.save()
        with self._going_on():
            self._draw(entry, losses)

    def _draw(self, entry: Mapping[str, Any], losses: Tensor | None) -> None:
        epoch, steps = entry["epoch"], self.steps
        for name in entry.keys() - {"epoch"}:
            self.board.log_metrics({f"epoch/{name}": entry[name]}, step=epoch * steps)
        # All at once: the GPU is waited for only here.
        values = [] if losses is None else losses.tolist()
        for step in range(0, len(values), math.ceil(steps / STEPS_PER_EPOCH)):
            number = (epoch - 1) * steps + step + 1
            self.board.log_metrics({"step/loss": values[step]}, step=number)
        self.board.save()

    def close(self) -> None:
        """Close the files."""
        with self._going_on():
            self.board.finalize("success")

    @contextlib.contextmanager
    def _going_on(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            reason = error.__cause__ or error  # Fabric makes a ValueError of it
            if not isinstance(reason, OSError):
                raise
            if not self.warned:
                warnings.warn(
                    f"The logs in {str(self.folder)!r} cannot be written just now "
                    f"({reason.strerror or reason}): close what has them open. The "
                    "training goes on; the next epoch tries again.",
                    stacklevel=3,
                )
            self.warned = True
