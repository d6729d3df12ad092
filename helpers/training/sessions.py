"""What one process holds while it trains, and how it is saved and restored."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import math
from collections.abc import Iterator
from typing import Any

import lightning_fabric
import torch
from lightning_fabric import strategies
from torch import Tensor, nn

from helpers import hardware, methods
from helpers.data import streaming
from helpers.data.dataset import Dataset
from helpers.models import backbones
from helpers.training import checkpoints
from helpers.training.settings import PretrainingSettings

# Compiling takes minutes and pays a part of every step: a rule of thumb.
STEPS_WORTH_COMPILING = 10_000

# Its notes on precision and devices repeat what the records say.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


@dataclasses.dataclass(frozen=True)
class Session:
    """What one process holds while it trains.

    Attributes:
        settings: of the run.
        fabric: the engine: devices, processes, mixed precision.
        method: wrapped by the engine.
        optimizer: likewise.
        images: uint8 (N, 3, H, W), on the device when they fit there, or files.
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
        """Steps of an epoch; the few images left over come in another epoch."""
        return len(self.images) // self.settings.batch_size

    def shuffled(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's images and their numbers, in the epoch's own order."""
        settings, fabric = self.settings, self.fabric
        generator = torch.Generator().manual_seed(settings.seed * 100_003 + epoch)
        order = torch.randperm(len(self.images), generator=generator)
        share = settings.batch_size // fabric.world_size
        start = fabric.global_rank * share
        whole = order.split(settings.batch_size)[: self.steps]
        mine = [batch[start : start + share] for batch in whole]
        return streaming.batches(self.images, mine, fabric.device)

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All images and their numbers, one after another."""
        count = len(self.images)
        # Parts of equal size: BatchNorm can do nothing with one image left over.
        numbers = torch.arange(count).tensor_split(math.ceil(count / 256))
        return streaming.batches(self.images, numbers, self.fabric.device)


def start(
    settings: PretrainingSettings, dataset: Dataset, devices: int, nodes: int
) -> Session:
    """Build everything a run needs, as it is before the first step."""
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
    if settings.batch_size % (devices * nodes):
        raise ValueError(
            f"A batch of {settings.batch_size} cannot be shared equally by "
            f"{devices * nodes} processes: set batch_size to a multiple of that."
        )
    fabric = _fabric(settings, devices, nodes)
    torch.manual_seed(settings.seed)
    backbone = backbones.build(
        settings.backbone,
        stem=settings.stem,
        weights=settings.init,
        norm=settings.norm,
    )
    method = methods.get(settings.method)(backbone, len(images), settings.options)
    method = method.to(memory_format=torch.channels_last)
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        method = nn.SyncBatchNorm.convert_sync_batchnorm(method)
    rate = settings.peak_learning_rate
    steps = settings.epochs * (len(images) // settings.batch_size)
    if compiles(settings.compile, steps, fabric.device, fabric.world_size):
        method.compile()  # in place: its names and its checkpoints stay as they are
    optimizer = settings.build_optimizer(method.groups(), rate)
    method, optimizer = fabric.setup(method, optimizer)
    images = streaming.fit_on_device(images, fabric.device)
    labels = labels.to(fabric.device)
    return Session(settings, fabric, method, optimizer, images, labels)


def restore(session: Session, store: checkpoints.Store) -> list[dict[str, Any]]:
    """Go back to the saved state, or let the method start; the history so far."""
    fabric = session.fabric
    # One process reads: other machines may not see its disk.
    saved = fabric.broadcast(store.load_state() if fabric.global_rank == 0 else None)
    if saved is None:
        session.method.train()
        session.method.module.start(session.in_order())
        return []
    session.method.load_state_dict(saved["method"])
    session.optimizer.load_state_dict(saved["optimizer"])
    if saved["scaler"]:  # it has none where it was saved in another precision
        fabric.strategy.precision.load_state_dict(saved["scaler"])
    return saved["history"]


def save(
    session: Session,
    store: checkpoints.Store,
    dataset: Dataset,
    history: list[dict[str, Any]],
) -> None:
    """Write the backbone to hand on, and then all that ``restore`` needs.

    In this order a run whose state says that it is finished has its backbone.
    """
    hand_on(session, store, dataset, history)
    state = {
        "method": session.method.state_dict(),
        "optimizer": session.optimizer.state_dict(),
        "scaler": session.fabric.strategy.precision.state_dict(),
        "history": history,
    }
    store.save_state(state, len(history))


def hand_on(
    session: Session,
    store: checkpoints.Store,
    dataset: Dataset,
    history: list[dict[str, Any]],
) -> None:
    """Write what others read: the history and the backbone file."""
    store.save_json("history.json", history)
    about = session.settings.about(dataset, history)
    about |= {"hardware": hardware.name(), "processes": session.fabric.world_size}
    store.save_backbone(session.method.backbone, about)


def compiles(choice: str, steps: int, device: torch.device, processes: int = 1) -> bool:
    """Whether to compile: as chosen, or on one GPU when a run has many steps.

    It depends on the steps of the whole run, so that a resumed one computes alike.
    Several processes share BatchNorm's statistics, at which torch's compiler is said
    to break the network into parts; whether it still pays has not been measured.
    """
    can = device.type == "cuda" and importlib.util.find_spec("triton") is not None
    pays = processes == 1 and steps >= STEPS_WORTH_COMPILING
    return choice == "on" or (choice == "auto" and can and pays)


def _fabric(
    settings: PretrainingSettings, devices: int, nodes: int
) -> lightning_fabric.Fabric:
    precision = settings.precision
    many = devices * nodes > 1
    fabric = lightning_fabric.Fabric(
        accelerator="auto" if hardware.device().type != "cpu" else "cpu",
        devices=devices,
        num_nodes=nodes,
        precision=hardware.precision() if precision == "auto" else precision,
        # The memory bank is equal on all processes already; sending it costs time.
        strategy=strategies.DDPStrategy(broadcast_buffers=False) if many else "auto",
    )
    fabric.launch()
    torch.backends.cudnn.benchmark = True  # shapes repeat: let a GPU try its kernels
    return fabric
