"""Settings of all training, and those of pre-training, filled from a recipe."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import re
from collections.abc import Sequence
from typing import Any, Literal

import torch

from helpers import hardware, methods, views
from helpers.data.dataset import Dataset, unlimited_name
from helpers.methods import base
from helpers.models import backbones, weight_files
from helpers.training import optimizers
from helpers.views.settings import ViewSettings

# The smallest and the largest number that a setting may be: generous, but such that no
# number overflows and no array is larger than any memory.
RANGES = {
    "epochs": (1, 1_000_000),
    "batch_size": (1, 1_000_000),
    "learning_rate": (0, 1_000_000),
    "weight_decay": (0, 1_000),
    "momentum": (0, 0.999999),
    "warmup_epochs": (0, 1_000_000),
    "final_factor": (0, 1_000),
    "patience": (0, 1_000_000),
    "gradient_clip": (0, 1_000_000),
    "seed": (0, 2**32 - 1),
    "monitor_every": (1, 1_000_000),
    "backbone_scale": (0, 1_000),
    # Options of methods.
    "hidden_dim": (1, 100_000),
    "output_dim": (1, 1_000_000),
    "predictor_scale": (0, 1_000),
    "target_momentum": (0, 1),
    "bank_momentum": (0, 0.999999),
    "temperature": (0.001, 1_000),
    "teacher_temperature": (0.001, 1_000),
    "epsilon": (0.001, 1_000),
    "negatives": (0, 100_000_000),
    "queue_size": (1, 100_000_000),
    "queue_start": (0, 1),
    "frozen": (0, 1),
    "prototypes": (2, 1_000_000),
    "weight": (0, 1),
    "redundancy": (0, 1_000_000),
    "invariance": (0, 1_000_000),
    "variance": (0, 1_000_000),
    "covariance": (0, 1_000_000),
    "small_views": (0, 1_000),
    "patch_blur": (0, 1),
    "grid": (2, 100),
    "bn_splits": (1, 100_000),
}
COMPOSED = {"method", "recipe", "options", "view"}  # fields that configure itself sets


def check_ranges(settings: Any) -> None:
    """Raise a ValueError for a number in a dataclass that is out of its range."""
    for field in dataclasses.fields(settings):
        if field.name in RANGES:
            value = getattr(settings, field.name)
            for number in value if isinstance(value, tuple) else (value,):
                check_range(field.name, number, *RANGES[field.name])


def check_range(name: str, number: float, least: float, most: float) -> None:
    """Raise a ValueError for a number that is not between two others."""
    if not number >= least:  # NaN is refused as well
        raise ValueError(f"{name} must be at least {least:,}, not {number}.")
    if number > most:
        raise ValueError(f"{name} must be at most {most:,}, not {number}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How weights are trained: optimizer, learning rate and its schedule.

    Attributes:
        epochs: passes over the images; training time grows with it.
        batch_size: images per step.
        optimizer: sgd, nesterov, adam, adamw, lars or larc.
        learning_rate: at the peak of the schedule.
        weight_decay: of weights; biases and normalisation have none.
        momentum: of the optimizer, in [0, 1).
        schedule: of the learning rate after the warm-up: a cosine over all steps, a
            tenth whenever the training loss stays on a plateau, or constant.
        warmup_epochs: epochs of linear warm-up, may be a fraction.
        final_factor: end of the cosine, as a share of its peak.
        patience: epochs that the plateau waits for a lower training loss.
        gradient_clip: largest norm of all gradients together; 0 sets no limit.
        seed: of all random numbers.
    """

    epochs: int = 200
    batch_size: int = 256
    optimizer: Literal[optimizers.OPTIMIZERS] = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    momentum: float = 0.9
    schedule: Literal[optimizers.SCHEDULES] = "cosine"
    warmup_epochs: float = 1.0
    final_factor: float = 0.0
    patience: int = 10
    gradient_clip: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values before any data is read.

        Raises:
            ValueError: for an unknown name, or a number out of its range.
        """
        optimizers.check(self.optimizer, self.schedule)
        check_ranges(self)

    def build_optimizer(
        self, groups: Sequence[dict[str, Any]], learning_rate: float
    ) -> torch.optim.Optimizer:
        """Build the optimizer; see ``optimizers.build``."""
        return optimizers.build(
            groups,
            self.optimizer,
            learning_rate=learning_rate,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            fused=self.gradient_clip == 0,  # what is clipped has to be seen
        )

    def rate_factor(self, step: int, steps: int, losses: Sequence[float]) -> float:
        """The schedule's factor on the learning rate; see ``optimizers.schedule``.

        Args:
            step: number of the step in the training; the first is 0.
            steps: per epoch.
            losses: mean training loss of every epoch so far.
        """
        return optimizers.schedule(
            step,
            total=self.epochs * steps,
            warmup=round(self.warmup_epochs * steps),
            final=self.final_factor,
            kind=self.schedule,
            losses=losses,
            patience=self.patience,
        )

    def say_if_rate_only_rises(self) -> None:
        """Print a sentence if the warm-up takes all epochs."""
        if self.warmup_epochs >= self.epochs and hardware.is_first_process():
            print(
                "The learning rate only rises in this training, whose warm-up takes "
                f"{self.warmup_epochs:g} epoch(s): give more epochs, or fewer "
                "warmup_epochs (--warmup-epochs)."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainingSettings(TrainingSettings):
    """All settings of a pre-training run; ``configure`` fills them from a recipe.

    Attributes:
        method: the method that trains the backbone.
        recipe: minutes (for the demo images), hour (photographs, a small machine),
            gpu_hour (a GPU; PIRL, BYOL and SimCLR) or long (a GPU, 200 epochs); it has
            set the defaults of the other values.
        options: of the method.
        backbone: the network that is trained.
        stem: first layers of a ResNet: 7x7 convolution and max-pool (imagenet), 3x3
            and max-pool (pool, for 48 to 96 px), 3x3 alone (small, for 32 px).
        norm: normalisation in a ResNet.
        init: weights before the first step: random, imagenet, or the path of a backbone
            file, or on the command line of another project's checkpoint.
        batch_size: images per step, over all processes.
        learning_rate: at the peak of the schedule, for 256 images per step; it is
            multiplied by batch_size / 256.
        image_size_schedule: pairs of a share of the epochs and the views' side in
            pixels from then on: ``0.75 96`` means 96 px in the last quarter.
        precision: of the arithmetic; auto takes the hardware's fastest.
        compile: whether to compile the network; auto: for long runs on one GPU.
        monitor_every: epochs between two k-NN checks on the training labels.
    """

    method: Literal[tuple(methods.METHODS)]
    recipe: str
    options: base.MethodOptions
    backbone: Literal[backbones.BACKBONES] = "resnet18"
    stem: Literal[tuple(backbones.STEMS)] = "imagenet"
    norm: Literal[tuple(backbones.NORMS)] = "batch"
    init: str = "random"
    image_size_schedule: tuple[tuple[float, int], ...] = ()
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"
    monitor_every: int = 1

    def __post_init__(self) -> None:
        """Check the values before any data is read."""
        super().__post_init__()
        if self.batch_size < 2:
            raise ValueError(
                "batch_size must be at least 2: BatchNorm and the losses compare the "
                "images of a batch."
            )
        methods.get(self.method)
        weight_files.check_first(
            self.init, self.backbone, stem=self.stem, norm=self.norm
        )
        check_ranges(self.options)
        if self.compile not in ("auto", "on", "off"):
            raise ValueError(
                f"Unknown compile {self.compile!r}: choose one of auto, on, off."
            )
        shares = [0.0, *(share for share, _ in self.image_size_schedule), 1.0]
        grows = all(share < later for share, later in itertools.pairwise(shares))
        if not grows or any(size < 1 for _, size in self.image_size_schedule):
            raise ValueError(
                "image_size_schedule needs growing shares between 0 and 1, each with a "
                "side in pixels, such as 0.75 96: 96 px in the last quarter."
            )

    def check_sides(self) -> None:
        """Raise a ValueError if the backbone cannot take the smallest of the views."""
        for _, size in self.image_sizes:
            smallest = self.options_at(size).smallest_side
            backbones.check_side(self.backbone, self.stem, smallest)

    def view_at(self, epoch: int) -> ViewSettings:
        """Settings of the views in an epoch (the first is 0), by the size schedule."""
        view = self.options.view
        for share, size in self.image_size_schedule:
            if epoch >= round(share * self.epochs):
                view = dataclasses.replace(view, size=size)
        return view

    def options_at(self, size: int) -> base.MethodOptions:
        """The method's options with views of another side in pixels."""
        view = dataclasses.replace(self.options.view, size=size)
        return dataclasses.replace(self.options, view=view)

    @property
    def image_sizes(self) -> list[tuple[float, int]]:
        """Every side of the views in pixels, with the share of the epochs it has."""
        changes = (0.0, self.options.view.size), *self.image_size_schedule, (1.0, 0)
        return [
            (end - start, side)
            for (start, side), (end, _) in itertools.pairwise(changes)
        ]

    @property
    def largest_side(self) -> int:
        """Largest side in pixels of any image that is shown, in the run or after it."""
        return max(self.evaluation_size, *(side for _, side in self.image_sizes))

    @property
    def image_size(self) -> int:
        """Side of the views in pixels at the end of the run."""
        return self.view_at(self.epochs - 1).size

    @property
    def evaluation_size(self) -> int:
        """Side in pixels of the whole images that are encoded after the run."""
        return self.view_at(self.epochs - 1).whole_size

    @property
    def peak_learning_rate(self) -> float:
        """Learning rate for this batch size: learning_rate · batch_size / 256."""
        return self.learning_rate * self.batch_size / 256

    def suited_to(self, dataset: Dataset) -> PretrainingSettings:
        """The same settings, with a smaller batch where there are fewer images."""
        count = len(dataset.pretraining)
        if count >= self.batch_size or count < 2:  # one is too few for any batch
            return self
        if hardware.is_first_process():
            print(
                f"There are only {count} images, so the batch size is {count} instead "
                f"of {self.batch_size} and an epoch is a single step: ask for more "
                "epochs."
            )
        return dataclasses.replace(self, batch_size=count)

    def identity(self) -> dict[str, Any]:
        """All settings; a file of initial weights by its content and not its place."""
        return {**dataclasses.asdict(self), "init": self.initial_weights}

    @functools.cached_property
    def initial_weights(self) -> str:
        """What identifies the weights of the start, read once: files may change."""
        return weight_files.identify(self.init)

    def network(self, epoch: int) -> dict[str, Any]:
        """What weights do not tell of their network and its images, after an epoch."""
        view = self.view_at(max(epoch, 0))
        sides = {"image_size": view.size, "evaluation_size": view.whole_size}
        return {"backbone": self.backbone, "stem": self.stem, **sides}

    def about(self, dataset: Dataset, history: list[dict[str, Any]]) -> dict[str, Any]:
        """Describe how the backbone was made, for the metadata of its file."""
        return {
            **self.identity(),
            **self.network(len(history) - 1),
            "data": dataset.name,
            "stored_size": dataset.pretraining.images.shape[-1],
            "fit": dataset.fit,
            "mean": views.MEAN,
            "std": views.STD,
            "epochs_done": len(history),
            "images": history[-1]["images"],
            "knn": next((e["knn"] for e in reversed(history) if "knn" in e), None),
            "minutes": sum(entry["seconds"] for entry in history) / 60,
        }

    def run_name(self, dataset: Dataset) -> str:
        """Name the run's folder; other settings or other images give another name."""
        images = [dataset.name, *dataset.pretraining.images.shape, dataset.files]
        values = self.identity()
        # How often the gauge is read changes no weight.
        values["monitor_every"] = PretrainingSettings.monitor_every
        text = json.dumps([*images, values], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:6]
        data = unlimited_name(dataset.name).removeprefix("folder:")
        data = re.sub(r"[^\w.-]+", "-", data)
        # The names of files may be 255 bytes long; some letters take three.
        data = data.encode()[:120].decode(errors="ignore")
        return f"{self.method}-{data}-{self.epochs}ep-seed{self.seed}-{digest}"


def configure(
    method: str, recipe: str = "minutes", **changes: Any
) -> PretrainingSettings:
    """Take the settings of a method's recipe and change them by name, all checked.

    Args and errors are those of ``from_recipe``.
    """
    chosen = from_recipe(method, recipe, **changes)
    chosen.check_sides()
    return chosen


def from_recipe(
    method: str, recipe: str = "minutes", **changes: Any
) -> PretrainingSettings:
    """Do the same without ``check_sides``, where more changes may follow.

    Args:
        method: one of ``methods.METHODS``.
        recipe: one of the method's ``recipes``: ``minutes`` for the demo images,
            ``hour`` for photographs on a small machine, ``gpu_hour`` for an hour on a
            GPU (PIRL, BYOL and SimCLR), ``long`` for more time on one, with values from
            the literature on small images. Where it names a warm-up, as ``gpu_hour``
            does, other epochs have the same share of it; where views grow, as in
            ``gpu_hour``, those of another size stay at it.
        **changes: fields of ``PretrainingSettings``, of the method's options, or of
            ``ViewSettings`` (``image_size`` means its ``size``).

    Raises:
        ValueError: on an unknown method, recipe or name.
    """
    kind, recipe = methods.get(method), base.FORMER_NAMES.get(recipe, recipe)
    if recipe not in kind.recipes:
        raise ValueError(
            f"Unknown recipe {recipe!r} of {method}: choose one of "
            f"{', '.join(kind.recipes)}."
        )
    own, epochs = kind.recipes[recipe], changes.get("epochs")
    values = {**own, **changes}
    if "warmup_epochs" in own and isinstance(epochs, int):  # meant for its own epochs
        share = own["warmup_epochs"] / own["epochs"]
        values["warmup_epochs"] = changes.get("warmup_epochs", round(share * epochs, 4))
    size = changes.get("size", changes.get("image_size"))
    if size not in (None, own.get("size")) and "image_size_schedule" not in changes:
        values["image_size_schedule"] = ()  # the recipe's begins with its own size
    other = values.get("backbone", "resnet18") not in backbones.RESNETS
    if (other or values.get("init") == "imagenet") and "stem" not in changes:
        values["stem"] = "imagenet"  # the only stem of other networks and weights
    if "image_size" in values:
        values["size"] = values.pop("image_size")

    def only(owner: type) -> dict[str, Any]:
        names = {field.name for field in dataclasses.fields(owner)} - COMPOSED
        return {name: value for name, value in values.items() if name in names}

    # A test makes sure that no name belongs to two of them.
    owners = (ViewSettings, kind.Options, PretrainingSettings)
    for_view, for_method, for_run = map(only, owners)
    unknown = values.keys() - for_view.keys() - for_method.keys() - for_run.keys()
    if unknown:
        raise ValueError(
            f"Unknown setting {min(unknown)!r} of {method}: see "
            f"`python -m helpers pretrain {method} --help`."
        )
    options = kind.Options(view=ViewSettings(**for_view), **for_method)
    return PretrainingSettings(method=method, recipe=recipe, options=options, **for_run)
