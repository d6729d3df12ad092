"""The flags of each command of the command line, as dataclasses.

``--help`` shows every field with its description and its default.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Literal

import tyro

from helpers import data, files, hardware
from helpers.data import decoding, folder
from helpers.data.dataset import Dataset
from helpers.evaluation import embedding, prediction
from helpers.models import backbones, export
from helpers.training import settings
from helpers.training.supervised import FineTuningSettings, HeadSettings

Unprefixed = tyro.conf.OmitArgPrefixes  # --epochs instead of --settings.epochs
PROTOCOLS = ("k-nn", "linear-probe", "mlp-head", "fine-tuning")
Backbone = Literal[backbones.BACKBONES]
Stem = Literal[tuple(backbones.STEMS)]
SUPERVISED, HEAD = FineTuningSettings(), HeadSettings()


@dataclasses.dataclass(frozen=True)
class Images:
    """Which images to use.

    Attributes:
        data: demo, demo-tiny, stl10, imagenette, cifar10, cifar100, or folder:PATH: a
            folder or zip with class folders, in train/ and test/ or not, with a table
            labels.csv (file,class,split), or with images alone.
        labels: labels to keep, as a number per class (20) or a share of every class
            (10%); the remaining images count as unlabelled. None keeps all.
        labels_seed: random seed that selects the labels to keep.
        folder_image_size: side in pixels to which the images of folder:PATH are
            resized; None takes 96, or the side at which they are shown if that is
            larger.
        folder_fit: how long images of folder:PATH become squares: keep the middle
            (crop), distort (squash), or fill up with black (pad).
        data_root: folder for downloaded data sets.
        storage: where the images of folder:PATH are kept during training: resident in
            memory, streamed from disk, or auto, which takes memory if they fit.
        workers: processes that decode streamed images; None takes one less than there
            are CPU cores.
    """

    data: str = "demo"
    labels: str | None = None
    labels_seed: int = 0
    folder_image_size: int | None = None
    folder_fit: Literal[tuple(decoding.FITS)] = "crop"
    data_root: pathlib.Path = dataclasses.field(default_factory=files.data_folder)
    storage: Literal["auto", "resident", "stream"] = "auto"
    workers: int | None = None

    def __post_init__(self) -> None:
        """Reject what can be rejected before images are read."""
        settings.check_range("labels_seed", self.labels_seed, 0, 2**32 - 1)
        settings.check_range("workers", self.workers or 0, 0, 1_000)

    def load(self, side: int) -> Dataset:
        """Read the images, shown at ``side`` px at most, and print a summary."""
        kept = self.folder_image_size
        dataset = data.load(
            self.data,
            root=self.data_root,
            image_size=max(folder.USUAL_SIZE, side) if kept is None else kept,
            fit=self.folder_fit,
            labels=self.labels,
            seed=self.labels_seed,
            storage=self.storage,
            workers=self.workers,
        )
        if hardware.is_first_process():
            print(dataset.describe(), flush=True)
        return dataset


@dataclasses.dataclass(frozen=True)
class RunLocation:
    """Where a run is saved, and on how many processes it trains.

    Attributes:
        resume: continue an earlier run with the same settings and images; --no-resume
            deletes its saved states and starts again.
        extend: begin with the last state of the finished run that has fewer --epochs
            and otherwise the same settings.
        checkpoints: folder for runs.
        mirror: second folder for states and backbone, such as a network drive.
        devices: processes on each machine, as given to torchrun.
        nodes: number of machines, as given to torchrun.
        stop_after: stop after this many epochs; the learning-rate schedule is still
            that of all --epochs.
        save_minutes: minutes after which the state is saved within an epoch, too.
    """

    resume: bool = True
    extend: bool = False
    checkpoints: pathlib.Path = dataclasses.field(
        default_factory=files.checkpoints_folder
    )
    mirror: pathlib.Path | None = None
    devices: int = 1
    nodes: int = 1
    stop_after: int | None = None
    save_minutes: float = 5.0


@dataclasses.dataclass(frozen=True)
class Pretrain:
    """Pre-train a backbone without labels: python -m helpers pretrain pirl --epochs 5.

    The method comes first, or as --method. Run the same command again to continue where
    it stopped. Defaults depend on the method, --recipe, --backbone and --init: give
    them beside --help to see theirs.
    """

    settings: Unprefixed[settings.PretrainingSettings]
    images: Unprefixed[Images] = dataclasses.field(default_factory=Images)
    location: Unprefixed[RunLocation] = dataclasses.field(default_factory=RunLocation)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationFlags:
    """Flags of the commands that train and score classifiers.

    Attributes:
        seeds: how many times each classifier is trained, with the seeds --seed, --seed
            + 1 and so on; tables show mean and standard deviation.
        folds: also train once on each official fold of the labels, where the data set
            has them (STL-10: ten of 1,000).
        resume: go on with trainings that were stopped, and show the results of those
            that were finished; --no-resume deletes what is kept and begins again.
        mirror: second folder for copies of states, classifiers and records, such as a
            network drive.
        results_folder: folder for the records from which tables are made.
        classifier: file for the classifier of the last repetition on all labels; None
            takes a folder of its own among the runs.
    """

    seeds: int = 3
    folds: bool = True
    resume: bool = True
    mirror: pathlib.Path | None = None
    classifier: pathlib.Path | None = None
    results_folder: pathlib.Path = dataclasses.field(
        default_factory=files.results_folder
    )
    images: Unprefixed[Images] = dataclasses.field(default_factory=Images)

    def __post_init__(self) -> None:
        """Reject what can be rejected before images are read."""
        settings.check_range("seeds", self.seeds, 1, 10_000)
        if self.classifier and self.classifier.suffix != ".safetensors":
            raise ValueError(
                f"{self.classifier.name} has no known ending: choose a file that ends "
                "in .safetensors."
            )

    def seeds_from(self, first: int) -> range:
        """The seeds of the repetitions."""
        return range(first, first + self.seeds)

    def label_sets(self, dataset: Dataset) -> tuple[Literal["all", "folds"], ...]:
        """The sets of labels to train on: all, and the official folds if wanted."""
        return ("all", "folds") if self.folds and dataset.folds else ("all",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(EvaluationFlags):
    """Evaluate a backbone, frozen and fine-tuned.

    The images are by default those that the backbone has learned from.
    Flags that begin with --head are for training the MLP head; --epochs, --seed and
    the other training flags are for fine-tuning.

    Attributes:
        weights: path of a backbone.safetensors, or imagenet, or random.
        backbone: network for random or ImageNet weights, resnet18 if None; a file names
            its own.
        stem: stem of that network, imagenet if None; a file names its own.
        protocols: protocols to run, in this order.
        figures: folder for a t-SNE plot of the test features and one confusion matrix
            per protocol; None draws nothing.
    """

    weights: str
    backbone: Backbone | None = None
    stem: Stem | None = None
    protocols: tuple[Literal[PROTOCOLS], ...] = PROTOCOLS
    figures: pathlib.Path | None = None
    training: Unprefixed[FineTuningSettings] = SUPERVISED
    head: HeadSettings = HEAD

    def __post_init__(self) -> None:
        """Reject what can be rejected before images are read."""
        super().__post_init__()
        if self.classifier and len(set(self.protocols) - {"k-nn"}) != 1:
            raise ValueError(
                "--classifier is a single file: choose one protocol that trains a "
                "classifier, such as --protocols fine-tuning."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baseline(EvaluationFlags):
    """Train from random weights on the labels alone.

    Attributes:
        backbone: network to train.
        stem: first layers of a ResNet: 7x7 convolution and max-pool (imagenet), 3x3 and
            max-pool (pool), 3x3 alone (small).
    """

    backbone: Backbone = "resnet18"
    stem: Stem = "imagenet"
    training: Unprefixed[FineTuningSettings] = SUPERVISED


@dataclasses.dataclass(frozen=True)
class Convert:
    """Convert a checkpoint of another project, such as VISSL's PIRL.

    Attributes:
        path: the checkpoint.
        folder: folder for runs, in which the converted backbone gets its own folder.
        allow_unsafe_pickle: also read pickles that need more than tensors and plain
            types; such a file can run any code of its author on this machine.
    """

    path: pathlib.Path
    folder: pathlib.Path = dataclasses.field(default_factory=files.checkpoints_folder)
    allow_unsafe_pickle: bool = False


@dataclasses.dataclass(frozen=True)
class Export:
    """Write a network for use elsewhere; the extension of --output sets the format.

    Attributes:
        weights: path of a backbone.safetensors or a classifier.safetensors, or
            imagenet.
        output: file to write: .pth is a state dict with torchvision's names (those of
            a classifier after "backbone."), .safetensors the same with its metadata;
            .pt2, .onnx and .ts (TorchScript) are the network itself, which
            torch.export.load, ONNX Runtime and torch.jit.load run without this project
            on any number of images.
        size: side in pixels of the images that it takes; None takes the side at which
            the weights are evaluated.
        backbone: network for ImageNet weights, resnet18 if None; a file names its own.
        card: also write a model card beside the file, in Markdown.
    """

    weights: str
    output: pathlib.Path
    size: int | None = None
    backbone: Backbone | None = None
    card: bool = False

    def __post_init__(self) -> None:
        """Reject what can be rejected before weights are read."""
        export.check(self.output)
        _check_side(self.size)


@dataclasses.dataclass(frozen=True)
class Predict:
    """Predict the classes of new images, and print the likeliest ones.

    Attributes:
        weights: path of a classifier.safetensors, which baseline and evaluate write.
        images: images, and folders of images.
        output: file to write, .csv: file, class, probability, and the next likeliest.
    """

    images: tyro.conf.Positional[tuple[str, ...]]
    weights: str
    output: pathlib.Path | None = None

    def __post_init__(self) -> None:
        """Reject what can be rejected before weights are read."""
        if not self.images:
            raise ValueError("Name the images: python -m helpers predict photo.jpg …")
        if self.output:
            prediction.check(self.output)


@dataclasses.dataclass(frozen=True)
class Embed:
    """Write the features of images, with the paths of the images.

    Attributes:
        weights: path of a backbone.safetensors or a classifier.safetensors, or
            imagenet.
        images: folder of images, at any depth, or a single image.
        output: file to write: .npz for NumPy, .parquet for pandas.
        size: side in pixels at which the network sees them; None takes that at which
            the weights are evaluated.
    """

    weights: str
    images: str
    output: pathlib.Path
    size: int | None = None

    def __post_init__(self) -> None:
        """Reject what can be rejected before weights are read."""
        embedding.check(self.output)
        _check_side(self.size)


@dataclasses.dataclass(frozen=True)
class Search:
    """Find the images of a folder that are most like a given one.

    Attributes:
        photo: the image to compare with.
        weights: path of a backbone.safetensors or a classifier.safetensors, or
            imagenet.
        images: folder of images, at any depth.
        output: picture to write, .png, .jpg, .pdf or .svg: the image, and those most
            like it.
        size: side in pixels at which the network sees them; None takes that at which
            the weights are evaluated.
    """

    photo: tyro.conf.Positional[str]
    weights: str
    images: str
    output: pathlib.Path | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        """Reject what can be rejected before weights are read."""
        endings = (".png", ".jpg", ".pdf", ".svg")
        if self.output and self.output.suffix not in endings:
            raise ValueError(
                f"{self.output.name} has no known ending: choose one of "
                f"{', '.join(endings)}."
            )
        _check_side(self.size)


@dataclasses.dataclass(frozen=True)
class List:
    """List the backbones and classifiers on this machine, and what was released.

    Attributes:
        folder: folder with runs.
    """

    folder: pathlib.Path = dataclasses.field(default_factory=files.checkpoints_folder)


@dataclasses.dataclass(frozen=True)
class Results:
    """Print the table of results, or write the tables of README and docs.

    Attributes:
        folder: folder with records; None shows your own and those that came with the
            project.
        readme: write README.md's short table and docs/results.md's full one instead, of
            the records that came with the project.
    """

    folder: pathlib.Path | None = None
    readme: bool = False


def _check_side(size: int | None) -> None:
    if size is not None:
        settings.check_range("size", size, 1, data.LARGEST_SIDE)
