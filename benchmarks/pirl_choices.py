"""PIRL's choices at equal time: losses and heads, pretexts, negatives.

    python -m benchmarks.pirl_choices --data folder:imagenette96 --minutes 60

Every variant changes one thing of the first, or takes the paper's preset in its place,
and trains for the same wall-clock time: one epoch is timed, and as many epochs are run
as fit, each variant with a schedule of its own. Then k-NN and linear probe score the
frozen backbone on the test images.
"""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile

import tyro

from helpers import data, pretraining, protocols, results, settings
from helpers.methods import pirl_options
from helpers.splits import Dataset

VARIANTS = {
    "InfoNCE, MLP heads": {},
    # The preset, with all there are in place of the 32,000 drawn from a million.
    "NCE, linear heads": {**pirl_options.PRESETS["paper"], "negatives": 0},
    "rotation": {"pretext": "rotation"},
    "jigsaw and rotation": {"pretext": "both"},
    "4,096 negatives": {"negatives": 4_096},
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is compared."""

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
    output: pathlib.Path = pathlib.Path("runs/pirl_choices")
    """Folder for checkpoints and records; a finished variant is not trained again."""


def main(asked: Settings) -> None:
    """Train and score every variant, write the records, print the table."""
    dataset = data.load(asked.data, labels=asked.labels)
    print(dataset.describe())
    records = []
    for name, changes in VARIANTS.items():
        records += one_variant(name, changes, dataset, asked)
        print(results.markdown(records), flush=True)


def one_variant(name: str, changes: dict, dataset: Dataset, asked: Settings) -> list:
    """Train a variant for the asked time; a record of k-NN and one of linear probe."""
    changes = {"seed": asked.seed, **changes}
    epochs = fitting_epochs(changes, dataset, asked)
    chosen = settings.configure(
        "pirl", asked.recipe, epochs=epochs, monitor_every=epochs, **changes
    )
    run = pretraining.pretrain(chosen, dataset, folder=asked.output / "checkpoints")
    features = protocols.encode(
        run.backbone, dataset, image_size=chosen.evaluation_size
    )
    about = chosen.about(dataset, run.history)
    found = []
    for protocol in (protocols.knn, protocols.linear_probe):
        outcome = protocol(features, dataset, method=f"PIRL, {name}", about=about)
        found.append(outcome.record)
        results.save(outcome.record, asked.output / "results")
    return found


def fitting_epochs(changes: dict, dataset: Dataset, asked: Settings) -> int:
    """How many epochs of a variant fit into the time; asked once, then remembered."""
    chosen = settings.configure("pirl", asked.recipe, epochs=1, **changes)
    kept = asked.output / "timing" / chosen.run_name(dataset)
    if not kept.exists():
        with tempfile.TemporaryDirectory() as folder:
            run = pretraining.pretrain(chosen, dataset, folder=folder)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(str(run.history[0]["seconds"]))
    return max(1, round(60 * asked.minutes / float(kept.read_text())))


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
