"""What each command of the command line does; see ``helpers/__main__.py``."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Literal

import tyro

from helpers import backbones, checkpoints, choices, data, protocols, results
from helpers import pretraining as pretraining_loop
from helpers import settings as settings_of
from helpers.splits import Dataset

README = pathlib.Path("README.md")


@dataclasses.dataclass(frozen=True)
class Images:
    """Which images to use."""

    data: str = "demo"
    """demo, stl10, cifar10, cifar100, or folder:PATH with train/ and test/ folders."""
    labels_per_class: int | None = None
    """Labels to keep a class; the other labelled images count as unlabeled."""
    folder_image_size: int = 96
    """Side in pixels that the images of folder:PATH are resized to."""
    data_root: pathlib.Path = pathlib.Path("data")
    """Folder for downloads."""
    storage: Literal["auto", "resident", "stream"] = "auto"
    """Where the images of folder:PATH are while they are used: in memory, on the disk,
    or in memory where they fit."""
    workers: int | None = None
    """Processes that decode images from the disk; by default a core each, but one."""

    def load(self) -> Dataset:
        """Read the images and say what they are."""
        dataset = data.load(
            self.data,
            root=self.data_root,
            image_size=self.folder_image_size,
            labels_per_class=self.labels_per_class,
            storage=self.storage,
            workers=self.workers,
        )
        print(dataset.describe(), flush=True)
        return dataset


@dataclasses.dataclass(frozen=True)
class Where:
    """Where files go, and how many processes share the work."""

    checkpoints: pathlib.Path = pathlib.Path("checkpoints")
    """Folder of runs; a run that is there is gone on with."""
    mirror: pathlib.Path | None = None
    """A second folder for every file, which outlives the machine."""
    devices: int = 1
    """Processes on this machine, as given to torchrun."""
    nodes: int = 1
    """Machines, as given to torchrun."""
    stop_after: int | None = None
    """Stop early, after this many epochs; the schedule stays that of all epochs."""


def pretrain(arguments: Sequence[str]) -> None:
    """Learn from images without labels; run it again to go on."""
    method, recipe = (
        _value(arguments, "method", "byol"),
        _value(arguments, "recipe", "minutes"),
    )
    default = settings_of.configure(method, recipe)

    def run(
        settings: settings_of.Settings = default,
        images: Images = Images(),
        where: Where = Where(),
    ) -> None:
        run = pretraining_loop.pretrain(
            settings,
            images.load(),
            folder=where.checkpoints,
            mirror=where.mirror,
            devices=where.devices,
            nodes=where.nodes,
            stop_after=where.stop_after,
        )
        print(f"The backbone is in {run.backbone_file}")

    _command(run, "pretrain", pretrain.__doc__, arguments)


def evaluate(arguments: Sequence[str]) -> None:
    """Score a backbone file: frozen protocols, then fine-tuning."""

    def run(
        backbone: str,
        seeds: int = 3,
        epochs: int = 30,
        fine_tune: bool = True,
        images: Images = Images(),
        results_folder: pathlib.Path = pathlib.Path("results"),
    ) -> None:
        """Score a backbone file.

        Args:
            backbone: path of a backbone.safetensors, or "random", or "imagenet".
            seeds: repetitions of the MLP head and of fine-tuning.
            epochs: of fine-tuning.
            fine_tune: also train the backbone, not just heads on its features.
            images: which images.
            results_folder: where the records go.
        """
        dataset = images.load()

        chosen = choices.from_source(backbone)
        about, image_size = chosen.about, chosen.about.get("image_size", 48)
        features = protocols.encode(
            chosen.create(), dataset, image_size=about.get("evaluation_size", 64)
        )
        shared = {"method": chosen.name, "about": about}
        outcomes = [
            protocols.knn(features, dataset, **shared),
            protocols.linear_probe(features, dataset, **shared),
            protocols.mlp_head(features, dataset, seeds=range(seeds), **shared),
        ]
        if fine_tune:
            outcomes.append(
                protocols.fine_tune(
                    chosen.create,
                    dataset,
                    settings=protocols.fine_tuning_settings(image_size, epochs),
                    seeds=range(seeds),
                    **shared,
                )
            )
        _finish(outcomes, results_folder)

    _command(run, "evaluate", evaluate.__doc__, arguments)


def baseline(arguments: Sequence[str]) -> None:
    """Train from random weights on the labels alone."""

    def run(
        epochs: int = 30,
        seeds: int = 3,
        image_size: int = 48,
        images: Images = Images(),
        results_folder: pathlib.Path = pathlib.Path("results"),
    ) -> None:
        """Train a ResNet-18 from random weights.

        Args:
            epochs: passes over the labelled images.
            seeds: repetitions.
            image_size: side of the views in pixels.
            images: which images.
            results_folder: where the record goes.
        """
        outcome = protocols.fine_tune(
            backbones.build,
            images.load(),
            method="random",
            about={},
            protocol="baseline",
            settings=protocols.baseline_settings(image_size, epochs),
            seeds=range(seeds),
        )
        _finish([outcome], results_folder)

    _command(run, "baseline", baseline.__doc__, arguments)


def list_backbones(arguments: Sequence[str]) -> None:
    """Show the backbones that are here, newest first."""

    def run(folder: pathlib.Path = pathlib.Path("checkpoints")) -> None:
        """Show the backbones in a folder of runs.

        Args:
            folder: the folder.
        """
        found = checkpoints.find_backbones([folder])
        for file, about in found:
            print(f"{file}: {checkpoints.describe(about)}")
        if not found:
            print(f"No backbones in {folder}: make one with `pretrain`.")

    _command(run, "list", list_backbones.__doc__, arguments)


def show_results(arguments: Sequence[str]) -> None:
    """Print the table of results, or write it into the README."""

    def run(
        folder: pathlib.Path = pathlib.Path("results"), readme: bool = False
    ) -> None:
        """Print the table of results.

        Args:
            folder: holds the records.
            readme: write the table into README.md instead of printing it.
        """
        table = results.markdown(results.collect(folder))
        if not readme:
            print(table)
            return
        results.write_table(README, "results", table)

    _command(run, "results", show_results.__doc__, arguments)


def _command(
    run: Callable, name: str, description: str | None, arguments: Sequence[str]
) -> None:
    tyro.cli(
        run,
        prog=f"python -m helpers {name}",
        description=description,
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes,),
    )


def _finish(outcomes: list[protocols.Outcome], folder: pathlib.Path) -> None:
    for outcome in outcomes:
        results.save(outcome.record, folder)
    print(results.markdown([outcome.record for outcome in outcomes]))


def _value(arguments: Sequence[str], name: str, default: str) -> str:
    """The value of a flag that decides what the other flags are."""
    for place, argument in enumerate(arguments):
        if argument == f"--{name}" and place + 1 < len(arguments):
            return arguments[place + 1]
        if argument.startswith(f"--{name}="):
            return argument.partition("=")[2]
    return default
