"""The one supervised loop: the baseline, the MLP head and fine-tuning.

The last epoch's weights are kept, whatever the validation accuracy was: it is a curve
to look at and a way to compare settings. The test split has no say in anything.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

import torch
import tqdm
from torch import Tensor, nn
from torch.nn import functional

from helpers import hardware, views
from helpers.data import streaming
from helpers.data.dataset import Split, stratified_split
from helpers.methods import base
from helpers.models.heads import Classifier
from helpers.training import optimizers
from helpers.training.settings import TrainingSettings
from helpers.views.randomness import StepRandom
from helpers.views.settings import ViewSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadSettings(TrainingSettings):
    """How a head is trained on features of a frozen backbone.

    Attributes:
        batch_size: images a step; the labels left over are used in the next epoch.
        label_smoothing: share of the target spread over all classes, in [0, 1).
        validation: share of the training labels held out, in [0, 1).
    """

    epochs: int = 50
    batch_size: int = 32
    optimizer: Literal[optimizers.OPTIMIZERS] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    warmup_epochs: float = 2.0
    label_smoothing: float = 0.0
    validation: float = 0.1

    def __post_init__(self) -> None:
        """Check what can be checked before any data is read."""
        super().__post_init__()
        for name in ("label_smoothing", "validation"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is in [0, 1), not {getattr(self, name)}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuningSettings(HeadSettings):
    """How backbone and head are trained together.

    Attributes:
        learning_rate: of the head, at the peak of the schedule.
        backbone_scale: the backbone's learning rate as a multiple of the head's.
        view: the random views to train on.
    """

    backbone_scale: float = 1.0
    view: ViewSettings = ViewSettings(scale=(0.4, 1.0), jitter=0.5)

    def __post_init__(self) -> None:
        """Check what can be checked before any data is read."""
        super().__post_init__()
        if self.batch_size < 2:
            raise ValueError("batch_size is at least 2: features are standardised.")


def train_on_images(
    classifier: Classifier,
    train: Split,
    settings: FineTuningSettings,
    *,
    label: str = "training",
) -> list[dict[str, Any]]:
    """Train backbone and head on random views; for the baseline and fine-tuning.

    Args:
        classifier: changed in place.
        train: the labelled images; a share of them is held out for validation.
        settings: see ``FineTuningSettings``.
        label: said beside the progress bar.

    Returns:
        One entry an epoch: ``epoch``, ``loss``, ``seconds`` and, on some epochs,
        ``validation`` (top-1 in percent).
    """
    view = settings.view

    def see(images: Tensor, random: StepRandom) -> Tensor:
        return views.random_view(images, view, random)

    def see_whole(images: Tensor) -> Tensor:
        return views.whole_view(images, view.size)

    groups = [
        {"params": base.parameters(classifier.head)},
        {
            "params": base.parameters(classifier.backbone),
            "scale": settings.backbone_scale,
        },
    ]
    return fit(classifier, groups, train, see, see_whole, settings, label)


def train_on_features(
    head: nn.Module,
    features: Tensor,
    labels: Tensor,
    settings: HeadSettings,
    *,
    label: str = "training",
) -> list[dict[str, Any]]:
    """Train a head on features (N, D) of a frozen backbone; see ``train_on_images``."""
    groups = [{"params": base.parameters(head)}]

    def see(some: Tensor, random: StepRandom | None = None) -> Tensor:
        return some

    return fit(head, groups, Split(features, labels), see, see, settings, label)


@torch.no_grad()
def predict(
    classifier: nn.Module,
    images: streaming.Images,
    *,
    image_size: int,
    batch_size: int = 256,
) -> Tensor:
    """Class logits (N, C), float32 on the CPU, of whole images uint8 (N, 3, H, W)."""
    hardware.to_device(classifier).eval()
    outputs = []
    numbers = torch.arange(len(images)).split(batch_size)
    for some, _ in streaming.batches(images, numbers, hardware.device()):
        view = views.whole_view(some, image_size)
        with hardware.autocast():
            outputs.append(classifier(view).float().cpu())
    return torch.cat(outputs)


def fit(
    network: nn.Module,
    groups: list[dict[str, Any]],
    train: Split,
    see: Callable[[Tensor, StepRandom], Tensor],
    see_whole: Callable[[Tensor], Tensor],
    settings: HeadSettings,
    label: str,
) -> list[dict[str, Any]]:
    """Train on images or features; what both ways to train have in common.

    Args:
        network: changed in place.
        groups: of its parameters, for ``optimizers.build``.
        train: images or features, with labels.
        see: makes of a batch what the network sees in training.
        see_whole: likewise in validation.
        settings: how it is trained.
        label: said beside the progress bar.

    Returns:
        See ``train_on_images``.
    """
    hardware.to_device(network)
    device = hardware.device()
    kept = torch.arange(len(train))
    held = kept[:0]
    share, seed = settings.validation, settings.seed
    if share > 0:
        kept, held = stratified_split(train.labels, share, seed)
    train = Split(
        streaming.fit_on_device(train.images, device), train.labels.to(device)
    )
    optimizer = settings.build_optimizer(groups, settings.learning_rate)
    is_half = hardware.precision() == "16-mixed"
    scaler = torch.amp.GradScaler(device.type, enabled=is_half)
    batch_size = min(settings.batch_size, len(kept))
    steps = len(kept) // batch_size
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    history = []
    bar = tqdm.tqdm(
        total=settings.epochs * steps,
        desc=label,
        unit="step",
        mininterval=1.0,
        file=sys.stdout,
    )
    for epoch in range(settings.epochs):
        started = time.perf_counter()
        network.train()
        loss_sum = torch.zeros((), device=device)
        losses = [entry["loss"] for entry in history]
        order = kept[torch.randperm(len(kept), generator=generator)]
        numbers = order[: steps * batch_size].split(batch_size)
        batches = streaming.batches(train.images, numbers, device)
        for place, (some, index) in enumerate(batches):
            step = epoch * steps + place
            factor = settings.rate_factor(step, steps, losses)
            optimizers.set_learning_rate(optimizer, settings.learning_rate, factor)
            random = StepRandom(seed, step, batch_size, device)
            shown = see(some, random)
            with hardware.autocast():
                logits = network(shown)
            loss = functional.cross_entropy(
                logits.float(),
                train.labels[index],
                label_smoothing=settings.label_smoothing,
            )
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            if settings.gradient_clip > 0:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_clip)
            scaler.step(optimizer)
            scaler.update()
            loss_sum += loss.detach()
            bar.update()
        entry = {"epoch": epoch + 1, "loss": loss_sum.item() / steps}
        if len(held) and ((epoch + 1) % 5 == 0 or epoch + 1 == settings.epochs):
            right = entry["validation"] = _accuracy(network, see_whole, train, held)
            bar.set_postfix_str(f"loss {entry['loss']:.3f}, validation {right:.1f} %")
        entry["seconds"] = time.perf_counter() - started
        history.append(entry)
    bar.close()
    return history


@torch.no_grad()
def _accuracy(
    network: nn.Module,
    see: Callable[[Tensor], Tensor],
    train: Split,
    held: Tensor,
) -> float:
    """Top-1 in percent on the images with the numbers ``held``."""
    network.eval()
    right = 0
    batches = streaming.batches(train.images, held.split(256), hardware.device())
    for some, index in batches:
        with hardware.autocast():
            predicted = network(see(some)).argmax(dim=1)
        right += (predicted == train.labels[index]).sum()
    return 100 * int(right) / len(held)
