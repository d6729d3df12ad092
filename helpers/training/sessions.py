"""What a process holds during pre-training: how it starts, is saved and resumed."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from collections.abc import Iterator
from typing import Any

import lightning_fabric
import torch
from torch import Tensor, nn

from helpers import hardware, methods
from helpers.data import streaming
from helpers.data.dataset import Dataset
from helpers.models import small_maps, weight_files
from helpers.training import checkpoints, engine
from helpers.training.settings import PretrainingSettings

# Compiling takes minutes and saves a part of every step: a rule of thumb.
STEPS_WORTH_COMPILING = 10_000


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

    def shuffled(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's batches of an epoch: images and their indices, shuffled."""
        seed = self.settings.seed * 100_003 + epoch
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.images), generator=generator)
        batches = engine.own_batches(order, self.settings.batch_size, self.fabric)
        return streaming.batches(self.images, batches[: self.steps], self.fabric.device)

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
        raise ValueError(
            f"{dataset.name} has {len(images)} images to learn from, fewer than one "
            f"batch of {settings.batch_size}: set batch_size to at most {len(images)}."
        )
    if methods.get(settings.method).needs_labels and not (labels >= 0).any():
        raise ValueError(
            f"{settings.method} learns from labels, and {dataset.name} has none: "
            "choose another method, such as simclr, or images with labels."
        )
    dataset.warn_if_enlarged(settings.image_size)
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


def resume_or_begin(session: Session, store: checkpoints.Store) -> list[dict[str, Any]]:
    """Load the newest undamaged state and return its history, one entry per epoch.

    For a new run call the method's ``start``, and return no entries.
    """
    fabric = session.fabric
    # Only one process reads: other machines may not see its disk.
    saved = fabric.broadcast(store.load_state() if fabric.global_rank == 0 else None)
    if saved is None:
        session.method.train()
        session.method.module.start(session.in_order())
        return []
    session.method.load_state_dict(saved["method"])
    session.optimizer.load_state_dict(saved["optimizer"])
    if saved["scaler"]:  # there is none when another precision was used before
        fabric.strategy.precision.load_state_dict(saved["scaler"])
    return saved["history"]


def save(
    session: Session,
    store: checkpoints.Store,
    dataset: Dataset,
    history: list[dict[str, Any]],
) -> None:
    """Write the backbone, then the state from which the run can be resumed.

    In this order, a run whose state says that it is finished has its backbone.
    """
    write_backbone(session, store, dataset, history)
    state = {
        "method": session.method.state_dict(),
        "optimizer": session.optimizer.state_dict(),
        "scaler": session.fabric.strategy.precision.state_dict(),
        "history": history,
    }
    store.save_state(state, len(history))


def write_backbone(
    session: Session,
    store: checkpoints.Store,
    dataset: Dataset,
    history: list[dict[str, Any]],
) -> None:
    """Write the files that others read: the backbone and the history."""
    store.save_json("history.json", history)
    about = session.settings.about(dataset, history)
    about |= {"hardware": hardware.name(), "processes": session.fabric.world_size}
    store.save_backbone(session.method.backbone, about)


def compiles(choice: str, steps: int, device: torch.device, processes: int = 1) -> bool:
    """Decide whether to compile: as chosen, or for long runs on a single GPU.

    The steps are those of the whole run, so that a resumed run computes alike. Several
    processes share BatchNorm's statistics, where torch's compiler probably has to split
    the network; whether it still pays there has not been measured.
    """
    can = device.type == "cuda" and importlib.util.find_spec("triton") is not None
    pays = processes == 1 and steps >= STEPS_WORTH_COMPILING
    return choice == "on" or (choice == "auto" and can and pays)
