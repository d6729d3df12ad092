"""What one process holds while it trains: engine, method, optimizer, images."""

from __future__ import annotations

import dataclasses
import logging

import lightning_fabric
import torch
from lightning_fabric import strategies
from torch import Tensor, nn

from helpers import backbones, hardware, methods, optimizers
from helpers.settings import Settings
from helpers.splits import Dataset

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
        images: uint8 (N, 3, H, W), on the device when they fit there.
        labels: int64 (N,), on the device.
    """

    settings: Settings
    fabric: lightning_fabric.Fabric
    method: nn.Module
    optimizer: torch.optim.Optimizer
    images: Tensor
    labels: Tensor

    @property
    def steps(self) -> int:
        """Steps of an epoch; the few images left over come in another epoch."""
        return len(self.images) // self.settings.batch_size


def start(settings: Settings, dataset: Dataset, devices: int, nodes: int) -> Session:
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
    fabric = _fabric(settings, devices, nodes)
    torch.manual_seed(settings.seed)
    backbone = backbones.build(
        settings.arch, stem=settings.stem, weights=settings.init, norm=settings.norm
    )
    method = methods.get(settings.method)(backbone, len(images), settings.options)
    method = method.to(memory_format=torch.channels_last)
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        method = nn.SyncBatchNorm.convert_sync_batchnorm(method)
    optimizer = optimizers.build(
        method.groups(),
        settings.optimizer,
        learning_rate=settings.peak_learning_rate,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
    )
    method, optimizer = fabric.setup(method, optimizer)
    images, labels = _resident(images, fabric.device), labels.to(fabric.device)
    return Session(settings, fabric, method, optimizer, images, labels)


def _fabric(settings: Settings, devices: int, nodes: int) -> lightning_fabric.Fabric:
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
    return fabric


def _resident(images: Tensor, device: torch.device) -> Tensor:
    """The images on the device if they leave half of its memory free, else here."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return images.to(device) if images.nbytes < free / 2 else images.pin_memory()
    return images.to(device)
