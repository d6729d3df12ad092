"""A study, not a benchmark of speed: what pre-training is worth, once per seed.

    python -m benchmarks.quality --data demo --seeds 3

It takes hours on a CPU. Every seed draws its own weights, batches and views in
pre-training and in the training of the classifiers, so that mean and standard deviation
are over the whole pipeline. A classifier trained on few labels depends much on its own
seed: several are trained for every seed of the pipeline, of the baseline too, and their
mean is that seed's value. All protocols of a method and the baseline are recorded, with
"seeds of everything" as what differed. Nothing is chosen on the test images, and no
seed is left out.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import torch
import tyro

from helpers import data, methods
from helpers.data.dataset import Dataset
from helpers.evaluation import protocols, records, results
from helpers.models import backbones, weight_files
from helpers.training import pretraining, settings


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is compared."""

    data: str = "demo"
    """Images, as in the notebooks' question."""
    labels: str | None = None
    """Labels to keep: so many a class, such as 20, or a share, such as 10%."""
    methods: tuple[str, ...] = ("pirl", "byol")
    """Methods to pre-train with."""
    recipe: str = "minutes"
    """Recipe of every method."""
    epochs: int | None = None
    """Pre-training epochs; the recipe's own by default."""
    seeds: int = 3
    """Runs of the whole pipeline."""
    classifiers: int = 3
    """Classifiers trained for every run, each on its own seed; their mean counts."""
    supervised_epochs: int | None = None
    """Epochs of baseline and fine-tuning; given, only these two are measured."""
    output: pathlib.Path = pathlib.Path("runs/quality")
    """Folder for checkpoints and records; what is there is not computed again."""


def main(asked: Settings) -> None:
    """Run all seeds, write the records, print the table."""
    dataset = data.load(asked.data, labels=asked.labels)
    print(dataset.describe())
    first = settings.configure(asked.methods[0], asked.recipe)
    size, stem = first.image_size, first.stem
    found: list[dict] = []
    for seed in range(asked.seeds):
        found += one_seed("random", None, dataset, asked, size, seed, stem)
        for name in asked.methods:
            changes = {"epochs": asked.epochs} if asked.epochs else {}
            chosen = settings.configure(name, asked.recipe, seed=seed, **changes)
            kind = methods.get(name)
            run = pretraining.pretrain(
                chosen, dataset, folder=asked.output / "checkpoints"
            )
            found += one_seed(
                kind.__name__, run.backbone_file, dataset, asked, size, seed
            )
        print(results.markdown(merge(found)))
    for record in merge(found):  # of fewer seeds they would have other names
        results.save(record, asked.output / "results")


def one_seed(
    method: str,
    file: pathlib.Path | None,
    dataset: Dataset,
    asked: Settings,
    size: int,
    seed: int,
    stem: str = "imagenet",
) -> list[dict]:
    """All protocols for one backbone and one seed."""

    def create():
        if file is None:
            return backbones.build(stem=stem)
        return weight_files.load_backbone(file)[0]

    about = weight_files.read_about(file) if file else {"stem": stem}
    seeds = range(seed * asked.classifiers, (seed + 1) * asked.classifiers)
    experiment = protocols.Experiment(
        dataset, method, about, seeds, folder=asked.output / "checkpoints"
    )
    torch.manual_seed(seed)
    changes = {"epochs": asked.supervised_epochs} if asked.supervised_epochs else {}
    training = protocols.supervised_settings(size, **changes)
    outcomes = []
    if asked.supervised_epochs is None:
        side = training.view.whole_size
        features = protocols.encode(create(), dataset, image_size=side)
        outcomes += [
            protocols.knn(features, experiment),
            protocols.linear_probe(features, experiment),
            protocols.mlp_head(features, experiment),
        ]
    protocol = "fine-tuning" if file else "baseline"
    outcomes.append(
        protocols.fine_tune(create, experiment, training, protocol=protocol)
    )
    return [outcome.record for outcome in outcomes]


def merge(found: Sequence[dict]) -> list[dict]:
    """One record a method and protocol, over all seeds."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for one in found:
        groups.setdefault((one["method"], one["protocol"]), []).append(one)
    return [
        records.merge(
            same,
            top1=[one["top1_mean"] for one in same],
            top5=[one["top5_mean"] for one in same],
            minutes=[one["minutes"] for one in same],
            over=results.WHOLE_PIPELINES,
        )
        for same in groups.values()
    ]


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
