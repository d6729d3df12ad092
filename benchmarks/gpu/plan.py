"""What is asked for, the stages in order of worth, and their shares of the time.

Only the standard library is imported: the supervisor has to start at once.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

# A stage's share of the time that is left, beside the shares of those after it: what a
# stage does not use flows on to the next ones.
SHARES = {
    "data": 0.05,
    "pirl": 0.15,
    "byol": 0.15,
    "simclr": 0.15,
    "speed": 0.12,
    "compiled": 0.12,
    "longer": 0.15,
    "labels": 0.11,
}
METHODS = ("pirl", "byol", "simclr")


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How large everything is; a rehearsal has the same stages with tiny ones.

    Attributes:
        views: side in pixels and stem of each measurement of speed.
        speed_batches: images per step, likewise.
        seconds: about how long a turn of a contender lasts.
        rounds: turns of each.
        watched: steps of the check for waiting.
        profiled: steps of a profile; a step has thousands of events.
        workers: of lightly's pipeline; None takes every core.
        compiler: how to compile; None takes ``compiled``'s two ways.
        train_batches: images per step in pre-training: the larger one is taken where
            it sees at least 1.3 times as many images per second.
        changes: of every pre-training recipe.
        max_epochs: of a pre-training.
        max_seeds: of fine-tuning and the baseline.
        fine_tuning: epochs with few labels and with all labels.
        all_labels: batch size and learning rate of fine-tuning with all labels.
    """

    views: tuple[tuple[int, str], ...] = ((64, "pool"), (96, "imagenet"))
    speed_batches: tuple[int, ...] = (256, 1_024)
    seconds: float = 0.5
    rounds: int = 2
    watched: int = 12
    profiled: int = 4
    workers: int | None = None
    compiler: str | None = None
    train_batches: tuple[int, ...] = (256, 512)
    changes: tuple[tuple[str, Any], ...] = ()
    max_epochs: int = 1_000
    max_seeds: int = 3
    fine_tuning: tuple[int, int] = (30, 30)
    all_labels: tuple[int, float] = (128, 2e-3)


REHEARSAL = Sizes(
    views=((24, "pool"), (32, "imagenet")),
    speed_batches=(4, 6),
    seconds=0.0,
    rounds=1,
    watched=4,
    profiled=1,
    workers=0,
    compiler="eager",
    train_batches=(4, 6),
    changes=(
        ("image_size", 24),
        ("image_size_schedule", ((0.5, 32),)),
        ("hidden_dim", 16),
        ("output_dim", 8),
    ),
    max_epochs=2,
    max_seeds=1,
    fine_tuning=(1, 1),
    all_labels=(8, 2e-3),
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is measured and trained, on which images, for how long."""

    data: str
    """Images, as in the notebooks' question, such as folder:imagenette96."""
    minutes: float = 8.0
    """For everything. It ends 30 seconds later at the latest, whatever happens."""
    output: pathlib.Path = pathlib.Path("runs/gpu")
    """Folder for what is kept: summary.md, results.json, the backbones in parts."""
    work: pathlib.Path | None = None
    """Folder for checkpoints; by default a temporary one, in memory if possible."""
    stages: tuple[str, ...] = tuple(SHARES)
    """Stages to run, in this order."""
    labels: int = 100
    """Labels per class of the protocols with few labels."""
    changes: str = "{}"
    """Changes of the recipe gpu_hour, as JSON by stage: {"pirl": {"epochs": 90}}."""
    commit: str = ""
    """Commit to write into the records where git cannot be asked."""
    rehearse: bool = False
    """Tiny sizes, to see on a CPU that every stage works."""
    toy: bool = False
    """A network of a few thousand weights, to see that in seconds."""
    broken: tuple[str, ...] = ()
    """Stages that fail on purpose, to rehearse that too."""

    def __post_init__(self) -> None:
        """Check what can be checked before the time is spent.

        Raises:
            ValueError: for a stage that is unknown, or changes that are not JSON.
        """
        for name in (*self.stages, *self.broken, *self.changes_by_stage):
            if name not in SHARES:
                raise ValueError(
                    f"Unknown stage {name!r}: choose among {', '.join(SHARES)}."
                )

    @property
    def sizes(self) -> Sizes:
        """How large everything is."""
        return REHEARSAL if self.rehearse else Sizes()

    @property
    def changes_by_stage(self) -> dict[str, dict[str, Any]]:
        """Changes of the recipe, by the stage that trains with it."""
        try:
            return {name: dict(some) for name, some in json.loads(self.changes).items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(
                f'changes must be JSON such as {{"pirl": {{}}}}, not {self.changes!r}.'
            ) from error
