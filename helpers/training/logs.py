"""Logs of a run for spreadsheets and TensorBoard, written by Fabric's loggers.

``logs/metrics.csv``     a row an epoch; made anew from the history when a run goes on
``logs/events.out.*``    the same for TensorBoard, and losses of single steps

    tensorboard --logdir checkpoints
"""

from __future__ import annotations

import os
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_fabric import loggers
from torch import Tensor

STEPS_AN_EPOCH = 20  # losses of single steps kept of an epoch


class Log:
    """The logs of one run; nothing is written before the first epoch is added.

    Args:
        folder: for the files.
        history: entries of earlier sittings, one an epoch.
    """

    def __init__(
        self, folder: str | os.PathLike[str], history: Sequence[Mapping[str, Any]]
    ) -> None:
        """See the class."""
        self.folder, self.earlier = pathlib.Path(folder), list(history)
        self.table = loggers.CSVLogger(self.folder, name="", version="")
        self.board = loggers.TensorBoardLogger(self.folder, name="", version="")

    def add(self, entry: Mapping[str, Any], losses: Tensor) -> None:
        """Add an epoch.

        Args:
            entry: its numbers, with ``epoch`` counted from 1.
            losses: of its steps, (steps,); read in one go.
        """
        with warnings.catch_warnings():
            # The old table goes, as it says: all of it is in the history.
            warnings.filterwarnings("ignore", message="Experiment logs directory")
            for row in [*self.earlier, entry]:
                self.table.log_metrics(dict(row), step=row["epoch"])
            self.earlier = []
            self.table.save()
        epoch, steps = entry["epoch"], len(losses)
        for name in entry.keys() - {"epoch"}:
            self.board.log_metrics({f"epoch/{name}": entry[name]}, step=epoch)
        values = losses.tolist()
        for place in range(0, steps, -(-steps // STEPS_AN_EPOCH)):
            number = (epoch - 1) * steps + place
            self.board.log_metrics({"step/loss": values[place]}, step=number)
        self.board.save()

    def close(self) -> None:
        """Close the files."""
        self.board.finalize("success")
