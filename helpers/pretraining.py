"""The one pre-training loop: every method, on a laptop, a GPU, or several machines."""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import tqdm
from torch import Tensor, nn

from helpers import checkpoints, evaluation, hardware, optimizers, sessions
from helpers.methods import base
from helpers.randomness import StepRandom
from helpers.settings import Settings
from helpers.splits import Dataset


@dataclasses.dataclass(frozen=True)
class Run:
    """A run as it stands.

    Attributes:
        settings: as given.
        folder: holds its files.
        method: trained, heads and all.
        history: one entry an epoch, see ``pretrain``.
    """

    settings: Settings
    folder: pathlib.Path
    method: base.Method
    history: list[dict[str, Any]]

    @property
    def backbone(self) -> nn.Module:
        """The trained backbone."""
        return self.method.backbone

    @property
    def minutes(self) -> float:
        """Minutes of training, over all sittings."""
        return sum(entry["seconds"] for entry in self.history) / 60

    @property
    def backbone_file(self) -> pathlib.Path:
        """The file to hand on."""
        return self.folder / checkpoints.BACKBONE_FILE


def train_epoch(
    session: sessions.Session, epoch: int, bar: tqdm.tqdm
) -> dict[str, Any]:
    """One pass over the images; the same for every method.

    Returns:
        ``epoch``, ``loss``, ``spread``, ``learning_rate``, ``images`` and ``seconds``.
    """
    settings, fabric, method = session.settings, session.fabric, session.method
    steps, device = session.steps, session.fabric.device
    total, warmup = settings.epochs * steps, round(settings.warmup_epochs * steps)
    started = time.perf_counter()
    method.train()
    # Whatever draws from the global generator (dropout) repeats on resuming.
    torch.manual_seed(settings.seed * 1_000 + epoch)
    loss_sum = spread_sum = torch.zeros((), device=device)
    for step, index in enumerate(_batches(session, epoch), start=epoch * steps):
        factor = optimizers.schedule(step, total=total, warmup=warmup)
        optimizers.set_learning_rate(
            session.optimizer, settings.peak_learning_rate, factor
        )
        images = session.images[index.to(session.images.device)]
        random = StepRandom(
            settings.seed,
            step,
            settings.batch_size,
            device,
            fabric.global_rank,
            fabric.world_size,
        )
        method.before_step(step / total)
        views = method.views(images.to(device, non_blocking=True), random)
        loss = method(views, index, session.labels[index])
        session.optimizer.zero_grad()
        fabric.backward(loss)
        session.optimizer.step()
        method.after_step((step + 1) / total)
        # Sums stay on the device: reading one would make the CPU wait.
        loss_sum = loss_sum + loss.detach()
        spread_sum = spread_sum + evaluation.spread(method.embedding)
        bar.update()
    return {
        "epoch": epoch + 1,
        "loss": fabric.all_reduce(loss_sum).item() / steps,
        "spread": fabric.all_reduce(spread_sum).item() / steps,
        "learning_rate": settings.peak_learning_rate * factor,
        "images": (epoch + 1) * steps * settings.batch_size,
        "seconds": time.perf_counter() - started,
    }


def pretrain(
    settings: Settings,
    dataset: Dataset,
    *,
    folder: str | os.PathLike[str] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    on_epoch: Callable[[list[dict[str, Any]]], None] | None = None,
    stop_after: int | None = None,
    devices: int = 1,
    nodes: int = 1,
) -> Run:
    """Pre-train a backbone, or go on where an earlier call was stopped.

    The state is saved after every epoch. All randomness of a step comes from the seed
    and the step's number, so an interrupted run ends with exactly the weights of one
    that was not, and several processes see the same batches as one.

    Args:
        settings: from ``configure``.
        dataset: its ``pretraining`` images are learned from; the training labels serve
            only as a gauge (and SupCon).
        folder: where runs are kept; ``$STL_CHECKPOINTS`` or ``checkpoints`` by default.
        mirror: a second place for the files, which outlives the machine.
        on_epoch: called after every epoch with the history so far.
        stop_after: stop early, after this many epochs; the schedule stays the same.
        devices: processes on this machine.
        nodes: machines, as started by torchrun.

    Returns:
        The run. Its history has for every epoch ``loss``, ``knn`` (percent, on the
        training labels), ``spread`` (1 isotropic, 0 collapsed), ``learning_rate``,
        ``images`` seen and ``seconds``.

    Raises:
        ValueError: when there are fewer images than one batch has.
    """
    session = sessions.start(settings, dataset, devices, nodes)
    fabric, method = session.fabric, session.method
    store = _store(settings, dataset, folder, mirror)
    history = _restore(session, store)
    bar = tqdm.tqdm(
        total=settings.epochs * session.steps,
        initial=len(history) * session.steps,
        desc=f"{settings.method} pre-training",
        unit="step",
        mininterval=1.0,
        file=sys.stdout,
        disable=fabric.global_rank > 0 or len(history) >= settings.epochs,
    )
    for epoch in range(
        len(history), min(settings.epochs, stop_after or settings.epochs)
    ):
        entry = train_epoch(session, epoch, bar)
        _check_finite(entry)
        if (epoch + 1) % settings.monitor_every == 0 or epoch + 1 == settings.epochs:
            entry["knn"] = evaluation.monitor(
                method.backbone, dataset.train, image_size=settings.evaluation_size
            )
        history.append(entry)
        knn = f", k-NN {entry['knn']:.1f} %" if "knn" in entry else ""
        bar.set_postfix_str(f"loss {entry['loss']:.3f}{knn}")
        if fabric.global_rank == 0:
            _save(session, store, dataset, history)
            if on_epoch:
                on_epoch(history)
        fabric.barrier()
    bar.close()
    return Run(settings, store.folder, session.method.module, history)


def _store(
    settings: Settings,
    dataset: Dataset,
    folder: str | os.PathLike[str] | None,
    mirror: str | os.PathLike[str] | None,
) -> checkpoints.Store:
    name = settings.run_name(dataset)
    return checkpoints.Store(
        checkpoints.folder(folder) / name,
        pathlib.Path(mirror) / name if mirror else None,
    )


def _restore(
    session: sessions.Session, store: checkpoints.Store
) -> list[dict[str, Any]]:
    """Go back to the saved state, or let the method start; the history so far."""
    fabric, images = session.fabric, session.images
    # One process reads: other machines may not see its disk.
    saved = fabric.broadcast(store.load_state() if fabric.global_rank == 0 else None)
    if saved is None:
        numbers = torch.arange(len(images), device=images.device).split(256)
        session.method.train()
        session.method.module.start(
            (images[index].to(fabric.device), index) for index in numbers
        )
        return []
    session.method.load_state_dict(saved["method"])
    session.optimizer.load_state_dict(saved["optimizer"])
    fabric.strategy.precision.load_state_dict(saved["scaler"])
    return saved["history"]


def _save(
    session: sessions.Session,
    store: checkpoints.Store,
    dataset: Dataset,
    history: list[dict[str, Any]],
) -> None:
    state = {
        "method": session.method.state_dict(),
        "optimizer": session.optimizer.state_dict(),
        "scaler": session.fabric.strategy.precision.state_dict(),
        "history": history,
    }
    store.save_state(state, len(history))
    store.save_json("history.json", history)
    about = session.settings.about(dataset, history)
    about |= {"hardware": hardware.name(), "processes": session.fabric.world_size}
    store.save_backbone(session.method.backbone, about)


def _batches(session: sessions.Session, epoch: int) -> Iterator[Tensor]:
    """Numbers of this process's images, batch by batch, in the epoch's own order."""
    settings, fabric = session.settings, session.fabric
    generator = torch.Generator().manual_seed(settings.seed * 100_003 + epoch)
    order = torch.randperm(len(session.images), generator=generator).to(fabric.device)
    share = settings.batch_size // fabric.world_size
    start = fabric.global_rank * share
    for batch in order.split(settings.batch_size)[: session.steps]:
        yield batch[start : start + share]


def _check_finite(entry: dict[str, Any]) -> None:
    if not math.isfinite(entry["loss"]):
        raise FloatingPointError(
            f"The loss of epoch {entry['epoch']} is not a number: lower learning_rate; "
            "the state before this epoch is kept."
        )
