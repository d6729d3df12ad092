"""A finished run goes on for more epochs than it was planned for."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Iterator

from helpers.data.dataset import Dataset
from helpers.training import checkpoints
from helpers.training.settings import PretrainingSettings


def find(
    settings: PretrainingSettings,
    dataset: Dataset,
    folder: pathlib.Path,
    mirror: pathlib.Path | None,
) -> tuple[int, checkpoints.Store] | None:
    """The longest finished run with fewer epochs and otherwise the same settings.

    Args:
        settings: of the longer run.
        dataset: of both.
        folder: of all runs.
        mirror: of all runs, or None.

    Returns:
        Its number of epochs and its files; None if there is no such run.
    """
    found = {}
    for name in _names([folder, *([mirror] if mirror else [])]):
        epochs = int(re.search(r"-(\d+)ep-seed\d+-[0-9a-f]{6}$", name)[1])
        if not 1 <= epochs < settings.epochs:
            continue
        # A recipe may have chosen a warm-up of the same length, or of the same share.
        same = settings.warmup_epochs
        for warmup in (same, round(same * epochs / settings.epochs, 4)):
            shorter = dataclasses.replace(settings, epochs=epochs, warmup_epochs=warmup)
            if shorter.run_name(dataset) == name:
                copy = mirror / name if mirror else None
                store = checkpoints.Store(folder / name, copy)
                if store.position() == (epochs, 0):
                    found[epochs] = store
    return max(found.items(), key=lambda pair: pair[0], default=None)


def _names(folders: list[pathlib.Path]) -> Iterator[str]:
    """The names of runs, with their number of epochs in them."""
    for folder in folders:
        for run in folder.glob("*-*ep-seed*-??????") if folder.is_dir() else ():
            if re.search(r"-\d+ep-seed\d+-[0-9a-f]{6}$", run.name):
                yield run.name


def begin(store: checkpoints.Store, epochs: int, shorter: checkpoints.Store) -> None:
    """Give a new run the last state of a finished one.

    Args:
        store: of the new run.
        epochs: of the finished run.
        shorter: the finished run's files.

    Raises:
        ValueError: when its last state is damaged.
    """
    state = shorter.load_state()
    if state is None or len(state.get("history", ())) != epochs:
        raise ValueError(
            f"The last state of {shorter.folder} is damaged, so it cannot be extended: "
            "leave out --extend."
        )
    store.save_state({**state, "extended_from": epochs}, epochs)
