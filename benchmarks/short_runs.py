"""A study of the recipe *hour*: what some minutes of one core are worth, per seed.

    OMP_NUM_THREADS=1 python -m benchmarks.short_runs --methods simclr --seeds 3

A few steps at every size of the views tell how many epochs the minutes have time for:
every way of training gets the same time, and its learning rate ends at zero in it. Only
these steps need a quiet machine. Every run is one file as soon as it is finished, and
one that was stopped goes on. The accuracy is that of k-NN with all labels on the test
images, read once after each run; the curve is leave-one-out k-NN on the training
labels, and values are chosen by that alone.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import tyro

from benchmarks import measuring, tables
from helpers import data
from helpers.data.dataset import Dataset
from helpers.evaluation import protocols
from helpers.models import weight_files
from helpers.notebook import pace
from helpers.training import pretraining, settings

GROWING = {"size": 32, "image_size_schedule": ((0.67, 64),)}
ROTATION = {"pretext": "rotation", "negatives": 4_096}
# Beside each method's recipe: its changes, by a name for them.
WAYS: dict[str, dict[str, dict[str, Any]]] = {
    "simclr": {"hour": {}, "growing": GROWING | {"batch_size": 128}},
    "pirl": {"hour": {}, "rotation": ROTATION, "growing": ROTATION | GROWING},
    "byol": {"hour": {}, "growing": GROWING},
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is compared, for how long."""

    data: str = "imagenette"
    """Images, as in the notebooks' question."""
    methods: tuple[str, ...] = tuple(WAYS)
    """Methods to pre-train with."""
    minutes: float = 40.0
    """Of training, for each run."""
    seeds: int = 3
    """Runs of each: initial weights, batches and views all differ."""
    work: pathlib.Path = pathlib.Path("runs/short")
    """Folder for checkpoints and finished runs."""
    output: pathlib.Path = pathlib.Path("benchmarks/short_runs.json")
    """File for the figures of all finished runs."""


def main(asked: Settings) -> None:
    """Train what is not there yet, one seed of everything after the other."""
    dataset = data.load(asked.data)
    print(dataset.describe())
    asked.work.mkdir(parents=True, exist_ok=True)
    for seed in range(asked.seeds):
        for method in asked.methods:
            for way in WAYS[method]:
                one_run(method, way, seed, dataset, asked)
    found = finished(asked.work)
    print(tables.short_runs(found))
    measuring.write(
        asked.output, {"about": measuring.about("benchmarks.short_runs", asked)} | found
    )


def one_run(
    method: str, way: str, seed: int, dataset: Dataset, asked: Settings
) -> None:
    """Pre-train once, measure k-NN, and keep both as one file."""
    file = asked.work / f"{method}-{way}-{seed}.json"
    if file.exists():
        return
    epochs, minutes = fitted_epochs(method, way, dataset, asked)
    changes = WAYS[method][way]
    own = {"seed": seed, "epochs": epochs}
    chosen = settings.configure(method, "hour", **changes | own)
    print(f"{method}, {way}, seed {seed}: {epochs} epochs", flush=True)
    run = pretraining.pretrain(chosen, dataset, folder=asked.work / "checkpoints")
    about = weight_files.read_about(run.backbone_file)
    features = protocols.encode(
        run.backbone, dataset, image_size=chosen.evaluation_size
    )
    experiment = protocols.Experiment(dataset, method, about, range(1))
    record = protocols.knn(features, experiment).record
    found = {
        "method": method,
        "way": way,
        "changes": changes,
        "seed": seed,
        "epochs": epochs,
        "images": run.history[-1]["images"],
        "minutes_alone": minutes,
        "minutes_passed": run.minutes,
        "knn": record["top1_mean"],
        "curve": [entry.get("knn") for entry in run.history],
        "hardware": record["hardware"],
        "commit": record["commit"],
    }
    measuring.write(file, found)


def fitted_epochs(
    method: str, way: str, dataset: Dataset, asked: Settings
) -> tuple[int, float]:
    """Epochs that fit into the time, and their minutes: measured once for all seeds."""
    file = asked.work / f"{method}-{way}-pace.json"
    if not file.exists():
        chosen = settings.configure(method, "hour", **WAYS[method][way])
        seconds = pace.seconds_per_epoch(chosen, len(dataset.pretraining))
        measuring.write(file, {"seconds_per_epoch": seconds})
    seconds = json.loads(file.read_text())["seconds_per_epoch"]
    epochs = max(1, round(60 * asked.minutes / seconds))
    return epochs, epochs * seconds / 60


def finished(work: pathlib.Path) -> dict[str, Any]:
    """All finished runs in a folder, and one row for each method and way."""
    files = sorted(work.glob("*-[0-9]*.json"))
    runs = [json.loads(file.read_text()) for file in files]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = collections.defaultdict(list)
    for run in runs:
        groups[run["method"], run["way"]].append(run)
    return {"rows": [row(same) for same in groups.values()], "runs": runs}


def row(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One method trained in one way: the accuracy of every seed, and their mean."""
    accuracies = [run["knn"] for run in runs]
    return {
        **{name: runs[0][name] for name in ("method", "way", "epochs", "images")},
        "minutes": runs[0]["minutes_alone"],
        "mean": statistics.mean(accuracies),
        "each": accuracies,
    }


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
