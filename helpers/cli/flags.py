"""What each command of the command line lets its user choose: its flags.

A command is a dataclass: ``--help`` shows what its fields mean and their defaults.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Literal

import tyro

from helpers import data, files
from helpers.data import folder
from helpers.data.dataset import Dataset
from helpers.evaluation import protocols
from helpers.models import backbones, export
from helpers.training import settings, supervised

Unprefixed = tyro.conf.OmitArgPrefixes  # --epochs instead of --settings.epochs
PROTOCOLS = ("k-nn", "linear-probe", "mlp-head", "fine-tuning")
Backbone = Literal[backbones.BACKBONES]
Stem = Literal[tuple(backbones.STEMS)]
SUPERVISED, HEAD = protocols.supervised_settings(), protocols.head_settings()


@dataclasses.dataclass(frozen=True)
class Images:
    """Which images to use.

    Attributes:
        data: demo, demo-tiny, stl10, cifar10, cifar100, or folder:PATH with train/ and
            test/ folders.
        labels: to keep: so many of every class (20) or a share of every class (10%);
            the other labelled images count as unlabeled. None keeps all.
        labels_seed: decides which labels are kept.
        folder_image_size: side in pixels that the images of folder:PATH are resized to.
        data_root: folder for downloads.
        storage: where the images of folder:PATH are while they are used: in memory, on
            the disk, or in memory where they fit.
        workers: processes that decode images from the disk; None is a core each, but
            one.
    """

    data: str = "demo"
    labels: str | None = None
    labels_seed: int = 0
    folder_image_size: int = folder.USUAL_SIZE
    data_root: pathlib.Path = dataclasses.field(
        default_factory=lambda: (
            files.data_folder()
        )  # below "data", the name is the field
    )
    storage: Literal["auto", "resident", "stream"] = "auto"
    workers: int | None = None

    def load(self) -> Dataset:
        """Read the images and say what they are."""
        dataset = data.load(
            self.data,
            root=self.data_root,
            image_size=self.folder_image_size,
            labels=self.labels,
            seed=self.labels_seed,
            storage=self.storage,
            workers=self.workers,
        )
        print(dataset.describe(), flush=True)
        return dataset


@dataclasses.dataclass(frozen=True)
class Where:
    """Where files go, and how many processes share the work.

    Attributes:
        resume: go on where an earlier run with the same settings and images stopped;
            --no-resume forgets what that run saved and starts over.
        checkpoints: folder of runs.
        mirror: a second folder for states and backbone, which outlives the machine.
        devices: processes on this machine, as given to torchrun.
        nodes: machines, as given to torchrun.
        stop_after: stop early, after so many epochs; the schedule stays that of all.
    """

    resume: bool = True
    checkpoints: pathlib.Path = dataclasses.field(
        default_factory=files.checkpoints_folder
    )
    mirror: pathlib.Path | None = None
    devices: int = 1
    nodes: int = 1
    stop_after: int | None = None


@dataclasses.dataclass(frozen=True)
class Pretrain:
    """Learn from images without labels; run it again to go on where it stopped.

    Flags that --method, --recipe, --backbone and --init decide about show the defaults
    for what is given beside --help.
    """

    settings: Unprefixed[settings.PretrainingSettings]
    images: Unprefixed[Images] = dataclasses.field(default_factory=Images)
    where: Unprefixed[Where] = dataclasses.field(default_factory=Where)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Repeated:
    """What commands with repetitions share.

    Attributes:
        seeds: how often heads and networks are trained, with the seeds --seed, the next
            one and so on; tables show mean and standard deviation.
        folds: also train once on each official fold of the labels (STL-10 has ten of
            1,000), where there are some.
        results_folder: for the records that tables are made from.
    """

    seeds: int = 3
    folds: bool = True
    results_folder: pathlib.Path = dataclasses.field(
        default_factory=files.results_folder
    )
    images: Unprefixed[Images] = dataclasses.field(default_factory=Images)

    def __post_init__(self) -> None:
        """Check what can be checked before anything is read."""
        if self.seeds < 1:
            raise ValueError(f"seeds must be at least 1, not {self.seeds}.")

    def repetitions(self, first: int) -> range:
        """Seeds of the repetitions."""
        return range(first, first + self.seeds)

    def divisions(self, dataset: Dataset) -> tuple[bool, ...]:
        """What to repeat over: False is all labels, True the official folds."""
        return (False, True) if self.folds and dataset.folds else (False,)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(Repeated):
    """Score a backbone: on frozen features, and fine-tuned.

    Flags that begin with --head are for training the MLP head; --epochs and its
    neighbours are for fine-tuning.

    Attributes:
        weights: path of a backbone.safetensors, or imagenet, or random.
        backbone: network for random or imagenet weights, resnet18 if None; a file knows
            its own.
        stem: likewise, imagenet if None.
        protocols: what to do, in this order.
        figures: folder for a t-SNE map of the test features and a confusion matrix of
            every protocol; None draws nothing.
    """

    weights: str
    backbone: Backbone | None = None
    stem: Stem | None = None
    protocols: tuple[Literal[PROTOCOLS], ...] = PROTOCOLS
    figures: pathlib.Path | None = None
    training: Unprefixed[supervised.FineTuningSettings] = SUPERVISED
    head: supervised.HeadSettings = HEAD


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baseline(Repeated):
    """Train from random weights on the labels alone.

    Attributes:
        backbone: network to train.
        stem: how the image enters a ResNet.
    """

    backbone: Backbone = "resnet18"
    stem: Stem = "imagenet"
    training: Unprefixed[supervised.FineTuningSettings] = SUPERVISED


@dataclasses.dataclass(frozen=True)
class Convert:
    """Make a backbone file of another project's checkpoint, such as VISSL's PIRL.

    Attributes:
        path: of the checkpoint.
        folder: of runs, where the file gets a folder of its own.
        allow_unsafe_pickle: read also what needs more than tensors and plain types;
            such a file can run any code of its maker on this machine.
    """

    path: pathlib.Path
    folder: pathlib.Path = dataclasses.field(default_factory=files.checkpoints_folder)
    allow_unsafe_pickle: bool = False


@dataclasses.dataclass(frozen=True)
class Export:
    """Write a backbone for use elsewhere; the ending of --output is the format.

    Attributes:
        weights: path of a backbone.safetensors, or imagenet.
        output: file to write: .pth is a state dict with torchvision's names,
            .safetensors the same with how it was made, .pt2 the network itself, which
            torch.export.load runs without this project on any number of images.
        size: side in pixels of the images a .pt2 takes; None is the side at which the
            backbone is evaluated.
        backbone: network for imagenet weights, resnet18 if None; a file knows its own.
    """

    weights: str
    output: pathlib.Path
    size: int | None = None
    backbone: Backbone | None = None

    def __post_init__(self) -> None:
        """Check what can be checked before anything is read."""
        export.check(self.output)


@dataclasses.dataclass(frozen=True)
class List:
    """Show the backbones that are here, newest first.

    Attributes:
        folder: of runs.
    """

    folder: pathlib.Path = dataclasses.field(default_factory=files.checkpoints_folder)


@dataclasses.dataclass(frozen=True)
class Results:
    """Print the table of results, or write the tables of README and docs.

    Attributes:
        folder: of the records.
        readme: write README.md's short table and docs/results.md's full one instead.
    """

    folder: pathlib.Path = dataclasses.field(default_factory=files.results_folder)
    readme: bool = False
