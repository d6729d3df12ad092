"""What a process holds during pre-training: how it starts, is saved and resumed."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import os
import pathlib
import shutil
import sysconfig
from collections.abc import Iterator
from typing import Any

import lightning_fabric
import torch
from torch import Tensor, nn

from helpers import hardware, methods
from helpers.data import streaming
from helpers.data.dataset import Dataset
from helpers.models import small_maps, weight_files
from helpers.training import checkpoints, engine, optimizers
from helpers.training.settings import PretrainingSettings

# Compiling takes minutes and saves a part of every step: a rule of thumb.
STEPS_WORTH_COMPILING = 10_000
OLDEST_CAPABILITY = (7, 0)  # of a GPU that triton compiles for
# Numbers that every epoch's entry in the history has.
ENTRY = ("epoch", "loss", "spread", "learning_rate", "images", "seconds")


@dataclasses.dataclass(frozen=True)
class Session:
    """What a process holds during pre-training.

    Attributes:
        settings: of the run.
        fabric: the engine: devices, processes, mixed precision.
        method: wrapped by the engine.
        optimizer: wrapped by the engine.
        images: uint8 (N, 3, H, W), on the device where they fit, or files.
        labels: int64 (N,), on the device.
    """

    settings: PretrainingSettings
    fabric: lightning_fabric.Fabric
    method: nn.Module
    optimizer: torch.optim.Optimizer
    images: streaming.Images
    labels: Tensor

    @property
    def steps(self) -> int:
        """Steps per epoch; the few images left over come in another epoch."""
        return len(self.images) // self.settings.batch_size

    def shuffled(self, epoch: int, skipped: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's batches of an epoch: images and their indices, shuffled.

        Args:
            epoch: the first is 0.
            skipped: number of batches at its start that are left out.
        """
        seed = self.settings.seed * 100_003 + epoch
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.images), generator=generator)
        batches = engine.own_batches(order, self.settings.batch_size, self.fabric)
        rest = batches[skipped : self.steps]
        return streaming.batches(self.images, rest, self.fabric.device)

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All images and their indices, in batches, in the order of the data set."""
        count = len(self.images)
        # Batches of equal size: BatchNorm cannot use a single image left over.
        batches = torch.arange(count).tensor_split(math.ceil(count / 256))
        return streaming.batches(self.images, batches, self.fabric.device)


def start(
    settings: PretrainingSettings, dataset: Dataset, devices: int, nodes: int
) -> Session:
    """Build everything that a run needs before its first step; see ``pretrain``.

    Raises:
        ValueError: when images, labels or processes do not suit the settings.
    """
    images, labels = dataset.pretraining.images, dataset.pretraining.labels
    if len(images) < settings.batch_size:
        count = len(images)
        advice = f"set batch_size to at most {count}" if count > 1 else "add images"
        raise ValueError(
            f"{dataset.name} has {count} image(s) to learn from, fewer than one batch "
            f"of {settings.batch_size}: {advice}."
        )
    classes = len(labels[labels >= 0].unique())
    if methods.get(settings.method).needs_labels and classes < 2:
        lacks = "a single class" if classes else "none"
        raise ValueError(
            f"{settings.method} learns from labels, and {dataset.name} has {lacks}: "
            "choose another method, such as simclr, or images with labels."
        )
    dataset.warn_if_enlarged(max(side for _, side in settings.image_sizes))
    hardware.check_processes(devices, nodes)
    engine.check_batch(settings.batch_size, devices * nodes)
    fabric = engine.start(settings.precision, devices, nodes)
    torch.manual_seed(settings.seed)
    backbone = weight_files.build(
        settings.backbone,
        stem=settings.stem,
        weights=settings.init,
        norm=settings.norm,
    )
    if fabric.device.type == "cpu":
        small_maps.speed_up(backbone)  # before methods copy it into target networks
    method = methods.get(settings.method)(backbone, len(images), settings.options)
    method = method.to(memory_format=torch.channels_last)
    method = engine.share_statistics(method, fabric)
    rate = settings.peak_learning_rate
    steps = settings.epochs * (len(images) // settings.batch_size)
    if compiles(settings.compile, steps, fabric.device, fabric.world_size):
        method.compile()  # in place: its names and its checkpoints stay as they are
    optimizer = settings.build_optimizer(method.groups(), rate)
    method, optimizer = fabric.setup(method, optimizer)
    images = streaming.fit_on_device(images, fabric.device)
    labels = labels.to(fabric.device)
    return Session(settings, fabric, method, optimizer, images, labels)


@dataclasses.dataclass
class EpochProgress:
    """The part of an epoch that is done.

    Attributes:
        losses: of this process's steps, (steps,), 0 for those still to come.
        spreads: of their embeddings, likewise.
        done: number of steps that are done.
        seconds: they took.
    """

    losses: Tensor
    spreads: Tensor
    done: int = 0
    seconds: float = 0.0

    @classmethod
    def empty(cls, session: Session) -> EpochProgress:
        """Nothing is done of the epoch yet."""
        # Numbers stay on the device: reading one would make the CPU wait.
        return cls(*torch.zeros(2, session.steps, device=session.fabric.device))


@dataclasses.dataclass
class Progress:
    """How far a run is.

    Attributes:
        history: one entry per finished epoch.
        part: of the next epoch, of which some steps may be done.
        extended_from: epochs of the finished run that this one began with; 0 without.
        sittings: the machines that have trained it, in turn, with their number of
            processes; a machine that only shows a finished run is none of them.
    """

    history: list[dict[str, Any]]
    part: EpochProgress
    extended_from: int = 0
    sittings: list[tuple[str, int]] = dataclasses.field(default_factory=list)

    def begin_sitting(self, processes: int) -> None:
        """Note that this machine trains from here on."""
        here = (hardware.name(), processes)
        if self.sittings[-1:] != [here]:
            self.sittings.append(here)


def resume_or_begin(session: Session, store: checkpoints.Store) -> Progress:
    """Load the newest undamaged state; for a new run call the method's ``start``.

    Raises:
        ValueError: when there is a state, but not one of such a run.
    """
    # Only one process reads: other machines may not see its disk.
    saved = engine.on_first(session.fabric, store.load_state)
    if saved is None:
        session.method.train()
        session.method.module.start(session.in_order())
        return Progress([], EpochProgress.empty(session))
    with store.restoring():
        return _restore(session, saved)


def _restore(session: Session, saved: dict[str, Any]) -> Progress:
    """Load what ``save`` has saved; any error means that it is something else."""
    session.method.load_state_dict(saved["method"])
    optimizers.load_moments(session.optimizer, saved["optimizer"])
    if saved["scaler"]:  # there is none when another precision was used before
        session.fabric.strategy.precision.load_state_dict(saved["scaler"])
    progress = Progress(saved["history"], EpochProgress.empty(session))
    checkpoints.check_history(progress.history, session.settings.epochs, ENTRY)
    progress.extended_from = int(saved.get("extended_from", 0))
    sittings = saved.get("sittings", ())  # older states have none
    progress.sittings = [(str(name), int(count)) for name, count in sittings]
    part, saved_part = progress.part, saved["part"]
    for name in ("losses", "spreads"):
        if saved_part[name].shape != part.losses.shape:
            raise ValueError(f"it has {len(saved_part[name])} {name}")
        getattr(part, name).copy_(saved_part[name])
    part.done, part.seconds = int(saved_part["done"]), float(saved_part["seconds"])
    if not 0 <= part.done <= session.steps:
        raise ValueError(f"it is at step {part.done} of {session.steps}")
    return progress


def check_finite(
    session: Session, store: checkpoints.Store, progress: Progress
) -> None:
    """Raise before a state is saved from which a run could not go on.

    The loss of a step is from before its update, so the weights are looked at too.

    Raises:
        FloatingPointError: that says what is kept, and how to go on.
    """
    method, losses = session.method.module, progress.part.losses
    if engine.are_finite([*method.parameters(), *method.backbone.buffers(), losses]):
        return
    advice, file = "Start again with a lower --learning-rate.", store.backbone_file
    if file.is_file():
        advice = (
            f"The last backbone that was saved is kept: begin another run with --init "
            f"{file} and a lower --learning-rate."
        )
    raise FloatingPointError(
        f"Training diverged in epoch {len(progress.history) + 1}: the loss or a weight "
        f"is NaN, infinite or too large. {advice}"
    )


def save(
    session: Session, store: checkpoints.Store, dataset: Dataset, progress: Progress
) -> None:
    """Write the state from which the run can be resumed; all processes have to call.

    At the end of an epoch the backbone is written before, so that a run whose state
    says that it is finished has its backbone.
    """
    part, fabric = progress.part, session.fabric
    # Every process has the losses of its own share; their mean is that of the batch.
    losses, spreads = fabric.all_reduce(torch.stack([part.losses, part.spreads]))
    if fabric.global_rank > 0:
        return
    if not part.done:
        write_backbone(session, store, dataset, progress)
    method = session.method.module
    named, final = method.named_modules(), method.final_backbone
    name = next((name for name, module in named if module is final), "")
    state = {
        "network": session.settings.network(len(progress.history) - 1)
        | {"final": name},
        "method": session.method.state_dict(),
        "optimizer": session.optimizer.state_dict(),
        "scaler": fabric.strategy.precision.state_dict(),
        "history": progress.history,
        "extended_from": progress.extended_from,
        "sittings": progress.sittings,
        "part": {
            "losses": losses.cpu(),
            "spreads": spreads.cpu(),
            "done": part.done,
            "seconds": part.seconds,
        },
    }
    store.save_state(state, len(progress.history), part.done)


def write_backbone(
    session: Session, store: checkpoints.Store, dataset: Dataset, progress: Progress
) -> None:
    """Write the files that others read: the backbone and the history."""
    store.save_json("history.json", progress.history)
    about = session.settings.about(dataset, progress.history)
    here = (hardware.name(), session.fabric.world_size)
    machines, processes = zip(*(progress.sittings or [here]), strict=True)
    about["hardware"] = ", then ".join(dict.fromkeys(machines))
    about["processes"] = processes[-1]
    if progress.extended_from:
        about["extended_from"] = progress.extended_from
    store.save_backbone(session.method.final_backbone, about)


def compiles(choice: str, steps: int, device: torch.device, processes: int = 1) -> bool:
    """Decide whether to compile: as chosen, or for long runs on a single GPU.

    The steps are those of the whole run, so that a resumed run computes alike. Several
    processes share BatchNorm's statistics, where torch's compiler probably has to split
    the network; whether it still pays there has not been measured.
    """
    can = device.type == "cuda" and _can_compile_for(device)
    pays = processes == 1 and steps >= STEPS_WORTH_COMPILING
    return choice == "on" or bool(choice == "auto" and can and pays)


def _can_compile_for(gpu: torch.device) -> bool:
    """Whether triton is there, with what it needs, and knows GPUs of this age."""
    if importlib.util.find_spec("triton") is None:
        return False
    # It builds its driver with Python's headers and the C compiler found in this way.
    builder = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    header = pathlib.Path(sysconfig.get_paths()["include"], "Python.h")
    is_recent = torch.cuda.get_device_capability(gpu) >= OLDEST_CAPABILITY
    return bool(builder) and header.is_file() and is_recent
