"""What the same time of pre-training buys: PIRL's choices, resolutions and stems.

    python -m benchmarks.equal_time pirl --data folder:imagenette96 --labels 100
    python -m benchmarks.equal_time resolution --minutes 15

Every variant changes one thing of the first, or takes a preset in its place. A few
steps of each are timed, and as many epochs are run as fit into the time, each variant
with a schedule of its own; then k-NN and linear probe score the frozen backbone on the
test images.
"""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
from typing import Any, Literal

import tyro

from benchmarks import measuring, tables
from helpers import data
from helpers.data.dataset import Dataset
from helpers.evaluation import protocols
from helpers.methods import pirl_variants
from helpers.training import pretraining, sessions, settings

STEPS = 20  # that are timed


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A method, and the changes in its recipe by the variants' names."""

    method: str
    variants: dict[str, dict[str, Any]]


COMPARISONS = {
    "pirl": Comparison(
        "pirl",
        {
            "InfoNCE, MLP heads, jigsaw, the whole bank": {},
            # The preset, with all there are in place of the 32,000 drawn of a million.
            "the paper's NCE, linear heads": {
                **pirl_variants.PRESETS["paper"],
                "negatives": 0,
            },
            "rotation": {"pretext": "rotation"},
            "jigsaw and rotation": {"pretext": "both"},
            "4,096 negatives": {"negatives": 4_096},
        },
    ),
    "resolution": Comparison(
        "simclr",
        {
            "64 px": {"image_size": 64},
            "64 px, stem pool": {"image_size": 64, "stem": "pool"},
            "64 px, 96 px in the last quarter": {
                "image_size": 64,
                "image_size_schedule": ((0.75, 96),),
            },
            "48 px": {"image_size": 48},
            "96 px": {"image_size": 96},
        },
    ),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is compared, on which images, for how long."""

    comparison: tyro.conf.Positional[Literal[tuple(COMPARISONS)]]
    """Whose variants."""
    data: str = "demo"
    """Images, as in the notebooks' question."""
    labels: str | None = None
    """Labels to keep a class."""
    minutes: float = 60.0
    """Minutes of pre-training a variant."""
    recipe: str = "hour"
    """Recipe that the variants change."""
    seed: int = 0
    """Of everything random."""
    folder: pathlib.Path = pathlib.Path("runs/equal_time")
    """For checkpoints: what was stopped goes on there, what is finished is kept."""
    output: pathlib.Path = pathlib.Path("benchmarks")
    """Folder of the file that holds the figures, named like the comparison."""


def main(asked: Settings) -> None:
    """Train and score every variant; the table grows with each."""
    dataset = data.load(asked.data, labels=asked.labels)
    print(dataset.describe())
    about = measuring.about("benchmarks.equal_time", asked)
    found = {"about": about, "data": dataset.describe(), "rows": []}
    compared = COMPARISONS[asked.comparison]
    for name, changes in compared.variants.items():
        changes = {"seed": asked.seed, **changes}
        row = one_variant(compared.method, changes, dataset, asked)
        found["rows"].append({"variant": name, **row})
        print(tables.equal_time(found), flush=True)
        measuring.write(asked.output / f"{asked.comparison}.json", found)


def one_variant(
    method: str, changes: dict[str, Any], dataset: Dataset, asked: Settings
) -> dict[str, Any]:
    """Train for the asked time; what it took and how the frozen backbone scores."""
    epochs = fitting_epochs(method, changes, dataset, asked)
    chosen = settings.configure(
        method, asked.recipe, epochs=epochs, monitor_every=epochs, **changes
    )
    run = pretraining.pretrain(chosen, dataset, folder=asked.folder / "checkpoints")
    features = protocols.encode(
        run.backbone, dataset, image_size=chosen.evaluation_size
    )
    about = chosen.about(dataset, run.history)
    experiment = protocols.Experiment(dataset, method, about)
    scores = {
        "knn": protocols.knn(features, experiment),
        "linear": protocols.linear_probe(features, experiment),
    }
    return {
        "epochs": epochs,
        "images": run.history[-1]["images"],
        "minutes": run.minutes,
        **{name: outcome.record["top1_mean"] for name, outcome in scores.items()},
    }


def fitting_epochs(
    method: str, changes: dict[str, Any], dataset: Dataset, asked: Settings
) -> int:
    """How many epochs of a variant fit into the time; measured once and kept."""
    chosen = settings.configure(method, asked.recipe, epochs=1, **changes)
    kept = asked.folder / "timing" / chosen.run_name(dataset)
    if not kept.exists():
        taken = epoch_seconds(chosen, dataset)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(str(taken))
    return max(1, round(60 * asked.minutes / float(kept.read_text())))


def epoch_seconds(chosen: settings.PretrainingSettings, dataset: Dataset) -> float:
    """Seconds an epoch takes, in the mean over the sizes that views grow through."""
    view, growing = chosen.options.view, chosen.image_size_schedule
    sizes = [view.size, *(size for _, size in growing)]
    starts = [0.0, *(share for share, _ in growing), 1.0]
    taken = 0.0
    for size, (start, end) in zip(sizes, itertools.pairwise(starts), strict=True):
        options = dataclasses.replace(
            chosen.options, view=dataclasses.replace(view, size=size)
        )
        alone = dataclasses.replace(chosen, options=options, image_size_schedule=())
        session = sessions.start(alone, dataset, devices=1, nodes=1)
        measuring.train(session, 2)  # in the first steps kernels are chosen
        rate = measuring.train(session, STEPS)
        taken += (end - start) * len(dataset.pretraining) / rate
    return taken


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
