"""The supervised loop: the baseline, the MLP head and fine-tuning.

The weights after the last epoch are kept, whatever the validation accuracy: that is a
curve to look at and a way to compare settings. The test split decides nothing.
"""

from __future__ import annotations

import dataclasses
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any, Literal

import lightning_fabric
import torch
import tqdm
from torch import Tensor, nn
from torch.nn import functional

from helpers import views
from helpers.data import streaming
from helpers.data.dataset import Split, stratified_split
from helpers.methods import base
from helpers.models import small_maps
from helpers.models.heads import Classifier
from helpers.training import checkpoints, engine, optimizers, watch
from helpers.training.settings import TrainingSettings
from helpers.views.randomness import StepRandom
from helpers.views.settings import ViewSettings

VALIDATE_EVERY = 5  # epochs


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadSettings(TrainingSettings):
    """How a head is trained on features of a frozen backbone; by default, the MLP head.

    Attributes:
        batch_size: images per step; those left over are used in another epoch.
        label_smoothing: share of the target spread over all classes, in [0, 1).
        validation: share of the training labels held out, in [0, 1); none of a class
            of which it is less than half an image.
    """

    epochs: int = 100
    batch_size: int = 32
    optimizer: Literal[optimizers.OPTIMIZERS] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-1
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.0
    validation: float = 0.1

    def __post_init__(self) -> None:
        """Check the values before any data is read."""
        super().__post_init__()
        for name in ("label_smoothing", "validation"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is in [0, 1), not {getattr(self, name)}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuningSettings(HeadSettings):
    """How backbone and head are trained together: the baseline, and fine-tuning.

    With the same stem and side, the two differ only in their initial weights, so
    nothing else can explain a difference in accuracy. That backbone and head share one
    learning rate was decided on held-out training labels of photographs; the rate
    itself and the batch size on drawings other than the demo's.

    Attributes:
        learning_rate: of the head, at the peak of the schedule.
        backbone_scale: the backbone's learning rate as a multiple of the head's.
        view: the random views to train on.
    """

    epochs: int = 30
    batch_size: int = 24
    weight_decay: float = 1e-2
    warmup_epochs: float = 2.0
    backbone_scale: float = 1.0
    view: ViewSettings = ViewSettings(size=48, scale=(0.3, 1.0), jitter=0.5)

    def __post_init__(self) -> None:
        """Check the values before any data is read."""
        super().__post_init__()
        if self.batch_size < 2:
            raise ValueError(
                "batch_size must be at least 2: BatchNorm compares the images of a "
                "batch."
            )


def train_on_images(
    classifier: Classifier,
    train: Split,
    settings: FineTuningSettings,
    *,
    label: str = "training",
    store: checkpoints.Store | None = None,
    on_epoch: Callable[[list[dict[str, Any]]], object] | None = None,
) -> list[dict[str, Any]]:
    """Train backbone and head on random views: the baseline, and fine-tuning.

    Args:
        classifier: changed in place, and left in evaluation mode.
        train: labelled images, of which a share is held out for validation.
        settings: of the training.
        label: text in front of the progress bar.
        store: where the state is kept as the training goes on, and from where the same
            training is resumed; None keeps nothing.
        on_epoch: called after every epoch with the history so far.

    Returns:
        One entry per epoch: ``epoch``, ``loss``, ``seconds`` and, in some epochs,
        ``validation`` (top-1 accuracy in percent).

    Raises:
        ValueError: when the processes that torchrun has started cannot share a batch,
            or there is only one image to learn from.
    """
    view = settings.view

    def train_view(images: Tensor, random: StepRandom) -> Tensor:
        return views.random_view(images, view, random)  # (B, 3, S, S)

    def test_view(images: Tensor) -> Tensor:
        return views.whole_view(images, view.size)  # (B, 3, S, S)

    groups = [
        {"params": base.parameters(classifier.head)},
        {
            "params": base.parameters(classifier.backbone),
            "scale": settings.backbone_scale,
        },
    ]
    views_of = train_view, test_view
    return fit(classifier, groups, train, *views_of, settings, label, store, on_epoch)


def train_on_features(
    head: nn.Module,
    features: Tensor,
    labels: Tensor,
    settings: HeadSettings,
    *,
    label: str = "training",
    store: checkpoints.Store | None = None,
    on_epoch: Callable[[list[dict[str, Any]]], object] | None = None,
) -> list[dict[str, Any]]:
    """Train a head on features (N, D) of a frozen backbone; see ``train_on_images``."""
    groups = [{"params": base.parameters(head)}]

    def unchanged(batch: Tensor, random: StepRandom | None = None) -> Tensor:
        return batch  # (B, D)

    train = Split(features, labels)
    return fit(
        head, groups, train, unchanged, unchanged, settings, label, store, on_epoch
    )


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Whole batches in an epoch; images left over have their turn in another one."""
    return max(1, images // batch_size)


def fit(
    network: nn.Module,
    groups: list[dict[str, Any]],
    train: Split,
    train_view: Callable[[Tensor, StepRandom], Tensor],
    test_view: Callable[[Tensor], Tensor],
    settings: HeadSettings,
    label: str,
    store: checkpoints.Store | None = None,
    on_epoch: Callable[[list[dict[str, Any]]], object] | None = None,
) -> list[dict[str, Any]]:
    """Train with cross-entropy, on images or on features.

    Processes started by torchrun share every batch, and all return the same history.

    Args:
        network: changed in place, and left in evaluation mode.
        groups: of its parameters, for ``optimizers.build``.
        train: images or features, with labels.
        train_view: turns a batch into the network's input for training.
        test_view: turns a batch into the network's input for validation.
        settings: of the training.
        label: text in front of the progress bar.
        store: for states to resume from; see ``train_on_images``.
        on_epoch: called after every epoch with the history so far.

    Returns:
        See ``train_on_images``.

    Raises:
        FloatingPointError: when the weights are no numbers to compute with any more.
    """
    kept, held = torch.arange(len(train)), torch.arange(0)
    if settings.validation > 0:
        # Of very few labels none is spared for a curve.
        kept, held = stratified_split(
            train.labels, settings.validation, settings.seed, at_least=0
        )
    batch_size = min(settings.batch_size, len(kept))
    if batch_size < min(settings.batch_size, 2):
        raise ValueError(
            f"{len(kept)} image(s) cannot be trained on: give at least two labels, "
            "beside those that are held out for validation."
        )
    steps = steps_per_epoch(len(kept), batch_size)
    fabric = _start(network, batch_size)
    optimizer = settings.build_optimizer(groups, settings.learning_rate)
    model, optimizer = fabric.setup(network, optimizer)
    device = fabric.device
    train = Split(
        streaming.fit_on_device(train.images, device), train.labels.to(device)
    )
    generator = torch.Generator().manual_seed(settings.seed)
    states = _States(store, fabric, network, optimizer, settings.epochs)
    history = states.load()
    if not history:
        settings.say_if_rate_only_rises()
    for _ in history:  # the order of every epoch follows from that before
        torch.randperm(len(kept), generator=generator)
    bar = tqdm.tqdm(
        total=settings.epochs * steps,
        initial=len(history) * steps,
        desc=label,
        unit="step",
        mininterval=1.0,
        file=sys.stdout,
        disable=fabric.global_rank > 0,
    )
    with bar:
        for epoch in range(len(history), settings.epochs):
            started = time.perf_counter()
            model.train()
            loss_sum = torch.zeros((), device=device)
            losses = [entry["loss"] for entry in history]
            order = kept[torch.randperm(len(kept), generator=generator)]
            own = engine.own_batches(order, batch_size, fabric)
            batches = streaming.batches(train.images, own, device)
            for step, (batch, index) in enumerate(batches, start=epoch * steps):
                factor = settings.rate_factor(step, steps, losses)
                optimizers.set_learning_rate(optimizer, settings.learning_rate, factor)
                random = engine.step_random(settings.seed, step, batch_size, fabric)
                logits = model(train_view(batch, random))  # (B, C)
                loss = functional.cross_entropy(
                    logits.float(),
                    train.labels[index],
                    label_smoothing=settings.label_smoothing,
                )
                optimizer.zero_grad()
                fabric.backward(loss)
                engine.clip_gradients(fabric, model, optimizer, settings.gradient_clip)
                optimizer.step()
                loss_sum += loss.detach()
                bar.update()
            mean = fabric.all_reduce(loss_sum).item() / steps
            if not engine.are_finite([*network.parameters(), *network.buffers()]):
                raise FloatingPointError(
                    f"{label} diverged in epoch {epoch + 1}: a weight is NaN, infinite "
                    "or too large. Train again with a lower learning rate."
                )
            entry = {"epoch": epoch + 1, "loss": mean}
            last = epoch + 1 == settings.epochs
            if len(held) and (last or (epoch + 1) % VALIDATE_EVERY == 0):
                right = entry["validation"] = _accuracy(model, test_view, train, held)
                bar.set_postfix_str(f"loss {mean:.3f}, validation {right:.1f} %")
            entry["seconds"] = time.perf_counter() - started
            history.append(fabric.broadcast(entry))  # to the digit the same everywhere
            if not last:
                states.save(history)
            if on_epoch and fabric.global_rank == 0:
                on_epoch(history)
    network.eval()
    return history


@dataclasses.dataclass
class _States:
    """States of a training that is under way, from which it can be resumed.

    Where epochs are short, saving after each would take longer than the training.

    Attributes:
        store: where they are kept; None keeps nothing.
        fabric: the engine; of its processes, the first reads and writes.
        network: that is trained.
        optimizer: of its weights.
        epochs: of the whole training.
        saved: when the last was saved, in seconds of a clock.
        cost: seconds that it took.
    """

    store: checkpoints.Store | None
    fabric: lightning_fabric.Fabric
    network: nn.Module
    optimizer: torch.optim.Optimizer
    epochs: int
    saved: float = dataclasses.field(default_factory=time.monotonic)
    cost: float = 0.0

    def load(self) -> list[dict[str, Any]]:
        """Load the newest state and return its history; no entries without a state."""
        if self.store is None:
            return []
        state = engine.on_first(self.fabric, self.store.load_state)
        if state is None:
            return []
        with self.store.restoring():
            self.network.load_state_dict(state["network"])
            optimizers.load_moments(self.optimizer, state["optimizer"])
            if state["scaler"]:  # there is none where the precision was another
                self.fabric.strategy.precision.load_state_dict(state["scaler"])
            checkpoints.check_history(state["history"], self.epochs)
        return state["history"]

    def save(self, history: list[dict[str, Any]]) -> None:
        """Save the state after an epoch, if it is time to.

        What cannot be saved does not stop the training: its result is still shown.
        """
        began = time.monotonic()
        is_due = watch.saving_pays(began - self.saved, self.cost)
        if self.store is None or self.fabric.global_rank > 0 or not is_due:
            return
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.fabric.strategy.precision.state_dict(),
            "history": history,
        }
        try:
            self.store.save_state(state, len(history))
        except OSError as error:
            warnings.warn(str(error), stacklevel=2)
        self.saved = time.monotonic()
        self.cost = self.saved - began


def _start(network: nn.Module, batch_size: int) -> lightning_fabric.Fabric:
    """Start the processes' engine and make the network ready for it.

    Raises:
        ValueError: when the processes cannot share a batch.
    """
    devices, nodes = engine.launched()
    engine.check_batch(batch_size, devices * nodes)
    fabric = engine.start(devices=devices, nodes=nodes)
    if fabric.device.type == "cpu":
        small_maps.speed_up(network)
    network.to(memory_format=torch.channels_last)
    engine.share_statistics(network, fabric)
    return fabric


@torch.no_grad()
def _accuracy(
    model: nn.Module,
    test_view: Callable[[Tensor], Tensor],
    train: Split,
    held: Tensor,
) -> float:
    """Top-1 accuracy in percent on the images with the indices ``held``."""
    model.eval()
    right = 0
    batches = streaming.batches(train.images, held.split(256), train.labels.device)
    for batch, index in batches:
        predicted = model(test_view(batch)).argmax(dim=1)  # (B,)
        right += (predicted == train.labels[index]).sum()
    return 100 * int(right) / len(held)
