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

from helpers import hardware, optimizers, splits, training, views
from helpers.randomness import StepRandom
from helpers.splits import Split
from helpers.view_settings import ViewSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadSettings(training.Settings):
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
class Settings(HeadSettings):
    """How backbone and head are trained together.

    Attributes:
        learning_rate: of the head, at the peak of the schedule.
        backbone_scale: the backbone's learning rate as a multiple of the head's.
        view: the random views to train on.
    """

    backbone_scale: float = 1.0
    view: ViewSettings = ViewSettings(scale=(0.4, 1.0), jitter=0.5)


class MLP(nn.Sequential):
    """The seeds' classifier on features: D to 128, ReLU, to the classes."""

    def __init__(self, feature_dim: int, classes: int, hidden: int = 128) -> None:
        """See the class."""
        super().__init__(
            nn.Linear(feature_dim, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, classes),
        )


class Classifier(nn.Module):
    """A backbone and a head: images (B, 3, S, S) to class logits (B, C)."""

    def __init__(self, backbone: nn.Module, classes: int) -> None:
        """Add one linear layer to a backbone."""
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.feature_dim, classes)

    def forward(self, views: Tensor) -> Tensor:
        """Class logits (B, C)."""
        return self.head(self.backbone(views))


def train_on_images(
    classifier: Classifier, train: Split, settings: Settings, *, label: str = "training"
) -> list[dict[str, Any]]:
    """Train backbone and head on random views; for the baseline and fine-tuning.

    Args:
        classifier: changed in place.
        train: the labelled images; a share of them is held out for validation.
        settings: see ``Settings``.
        label: said beside the progress bar.

    Returns:
        One entry an epoch: ``epoch``, ``loss``, ``seconds`` and, on some epochs,
        ``validation`` (top-1 in percent).
    """
    images = train.images.to(hardware.device())

    def take(index: Tensor, random: StepRandom) -> Tensor:
        chosen = images[index.to(images.device)]
        return hardware.lay_out(views.random_view(chosen, settings.view, random))

    def whole(index: Tensor) -> Tensor:
        chosen = images[index.to(images.device)]
        return hardware.lay_out(views.whole_view(chosen, settings.view.whole_size))

    groups = [
        {"params": optimizers.parameters(classifier.head)},
        {
            "params": optimizers.parameters(classifier.backbone),
            "scale": settings.backbone_scale,
        },
    ]
    return _train(classifier, groups, take, whole, train.labels, settings, label)


def train_on_features(
    head: nn.Module,
    features: Tensor,
    labels: Tensor,
    settings: HeadSettings,
    *,
    label: str = "training",
) -> list[dict[str, Any]]:
    """Train a head on features (N, D) of a frozen backbone; see ``train_on_images``."""
    features = features.to(hardware.device())
    groups = [{"params": optimizers.parameters(head)}]

    def take(index: Tensor, random: StepRandom | None = None) -> Tensor:
        return features[index.to(features.device)]

    return _train(head, groups, take, take, labels, settings, label)


@torch.no_grad()
def predict(
    classifier: nn.Module, images: Tensor, *, image_size: int, batch_size: int = 256
) -> Tensor:
    """Class logits (N, C), float32 on the CPU, of whole images uint8 (N, 3, H, W)."""
    hardware.place(classifier).eval()
    outputs = []
    for some in images.split(batch_size):
        view = views.whole_view(some.to(hardware.device()), image_size)
        with hardware.autocast():
            outputs.append(classifier(hardware.lay_out(view)).float().cpu())
    return torch.cat(outputs)


def _train(
    network: nn.Module,
    groups: list[dict[str, Any]],
    take: Callable[[Tensor, StepRandom], Tensor],
    whole: Callable[[Tensor], Tensor],
    labels: Tensor,
    settings: HeadSettings,
    label: str,
) -> list[dict[str, Any]]:
    hardware.place(network)
    device = hardware.device()
    kept = torch.arange(len(labels))
    held = kept[:0]
    if settings.validation > 0:
        kept, held = splits.stratified_split(labels, settings.validation, settings.seed)
    optimizer = settings.build_optimizer(groups, settings.learning_rate)
    scaler = torch.amp.GradScaler(
        device.type, enabled=hardware.precision() == "16-mixed"
    )
    batch_size = min(settings.batch_size, len(kept))
    steps = len(kept) // batch_size
    generator = torch.Generator().manual_seed(settings.seed)
    torch.manual_seed(settings.seed)
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
        for place, index in enumerate(order[: steps * batch_size].split(batch_size)):
            step = epoch * steps + place
            factor = settings.rate_factor(step, steps, losses)
            optimizers.set_learning_rate(optimizer, settings.learning_rate, factor)
            random = StepRandom(settings.seed, step, batch_size, device)
            with hardware.autocast():
                logits = network(take(index, random))
            loss = functional.cross_entropy(
                logits.float(),
                labels[index].to(device),
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
            entry["validation"] = _accuracy(network, whole, labels, held)
            bar.set_postfix_str(
                f"loss {entry['loss']:.3f}, validation {entry['validation']:.1f} %"
            )
        entry["seconds"] = time.perf_counter() - started
        history.append(entry)
    bar.close()
    return history


@torch.no_grad()
def _accuracy(
    network: nn.Module,
    whole: Callable[[Tensor], Tensor],
    labels: Tensor,
    index: Tensor,
) -> float:
    network.eval()
    right = 0
    for some in index.split(256):
        with hardware.autocast():
            predicted = network(whole(some)).argmax(dim=1).cpu()
        right += int((predicted == labels[some]).sum())
    return 100 * right / len(index)
