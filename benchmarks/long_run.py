"""The learning curve of one long run, from the folder that it left.

    python -m benchmarks.long_run checkpoints/simclr-...

Every look at k-NN becomes a row: leave-one-out, on the training labels.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import pathlib
from typing import Annotated, Any

import tyro

from benchmarks import measuring, tables
from helpers.models import weight_files


@dataclasses.dataclass(frozen=True)
class Settings:
    """Which run."""

    run: Annotated[pathlib.Path, tyro.conf.Positional]
    """Folder of the finished run."""
    output: pathlib.Path = pathlib.Path("benchmarks/long_run.json")
    """File for the curve."""


def main(asked: Settings) -> None:
    """Keep the curve as one file."""
    known = weight_files.read_about(asked.run / weight_files.BACKBONE_FILE)
    about = measuring.about("benchmarks.long_run", asked)
    about["hardware"] = known["hardware"]
    if known["precision"] != "auto":
        about["precision"] = known["precision"]
    found = {"about": about, "curve": curve(asked.run)}
    print(tables.long_run(found))
    measuring.write(asked.output, found)


def curve(run: pathlib.Path) -> list[dict[str, Any]]:
    """The epochs that k-NN was measured after, with the minutes of steps up to them."""
    history = json.loads((run / "history.json").read_text())
    seconds = itertools.accumulate(entry["seconds"] for entry in history)
    return [
        {name: entry[name] for name in ("epoch", "images", "loss", "knn")}
        | {"minutes": passed / 60}
        for entry, passed in zip(history, seconds, strict=True)
        if "knn" in entry
    ]


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
