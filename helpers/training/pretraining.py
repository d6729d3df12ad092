"""The one pre-training loop: every method, on a laptop, a GPU, or several machines."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import pathlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import tqdm
from torch import Tensor, nn

from helpers import files
from helpers.data.dataset import Dataset
from helpers.methods import base
from helpers.models import nearest_neighbors, weight_files
from helpers.training import checkpoints, gauges, logs, optimizers, sessions
from helpers.training.settings import PretrainingSettings
from helpers.views.randomness import StepRandom


@dataclasses.dataclass(frozen=True)
class Run:
    """A run as it stands.

    Attributes:
        settings: as given.
        folder: holds its files.
        method: trained, heads and all.
        history: one entry an epoch, see ``pretrain``.
    """

    settings: PretrainingSettings
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
        return self.folder / weight_files.BACKBONE_FILE


def train_epoch(
    session: sessions.Session, history: Sequence[dict[str, Any]], bar: tqdm.tqdm
) -> tuple[dict[str, Any], Tensor]:
    """One pass over the images, after those in ``history``; the same for every method.

    Returns:
        ``epoch``, ``loss``, ``spread``, ``learning_rate``, ``images`` and ``seconds``;
        and the losses of this process's steps, (steps,).
    """
    settings, fabric, method = session.settings, session.fabric, session.method
    steps, device, epoch = session.steps, session.fabric.device, len(history)
    total = settings.epochs * steps
    before = [entry["loss"] for entry in history]
    started = time.perf_counter()
    method.train()
    method.module.set_view(settings.view_at(epoch))
    # Whatever draws from the global generator (dropout) repeats on resuming.
    torch.manual_seed(settings.seed * 1_000 + epoch)
    # Numbers stay on the device: reading one would make the CPU wait.
    losses, spreads = torch.zeros(2, steps, device=device)
    for place, (images, index) in enumerate(session.shuffled(epoch)):
        step = epoch * steps + place
        factor = settings.rate_factor(step, steps, before)
        optimizers.set_learning_rate(
            session.optimizer, settings.peak_learning_rate, factor
        )
        random = StepRandom(
            settings.seed,
            step,
            settings.batch_size,
            device,
            fabric.global_rank,
            fabric.world_size,
        )
        method.before_step(step / total)
        views = method.views(images, random)
        loss = method(views, index, session.labels[index])
        session.optimizer.zero_grad()
        fabric.backward(loss)
        if settings.gradient_clip > 0:
            fabric.clip_gradients(
                method,
                session.optimizer,
                max_norm=settings.gradient_clip,
                error_if_nonfinite=False,
            )
        session.optimizer.step()
        method.after_step((step + 1) / total)
        losses[place] = loss.detach()
        spreads[place] = gauges.spread(method.embedding)
        bar.update()
    entry = {
        "epoch": epoch + 1,
        "loss": fabric.all_reduce(losses.mean()).item(),
        "spread": fabric.all_reduce(spreads.mean()).item(),
        "learning_rate": settings.peak_learning_rate * factor,
        "images": (epoch + 1) * steps * settings.batch_size,
        "seconds": time.perf_counter() - started,
    }
    return entry, losses


def pretrain(
    settings: PretrainingSettings,
    dataset: Dataset,
    *,
    folder: str | os.PathLike[str] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    on_epoch: Callable[[list[dict[str, Any]]], None] | None = None,
    stop_after: int | None = None,
    resume: bool = True,
    devices: int = 1,
    nodes: int = 1,
) -> Run:
    """Pre-train a backbone, or go on where an earlier call was stopped.

    The state is saved after every epoch. All randomness of a step comes from the seed
    and the step's number, so an interrupted run ends with the weights of one that was
    not, on a CPU bit for bit, and several processes see the same batches as one.

    Args:
        settings: from ``configure``.
        dataset: its ``pretraining`` images are learned from; the training labels serve
            only as a gauge (and SupCon).
        folder: where runs are kept; ``$STL_CHECKPOINTS`` or ``checkpoints`` by default.
        mirror: a second place for the files, which outlives the machine.
        on_epoch: called after every epoch with the history so far.
        stop_after: stop early, after this many epochs; the schedule stays the same.
        resume: False forgets what an earlier call of these settings saved.
        devices: processes on this machine.
        nodes: machines, as started by torchrun.

    Returns:
        The run. Its history has for every epoch ``loss``, ``knn`` (percent, on the
        training labels, if there are any), ``spread`` (1 isotropic, 0 collapsed),
        ``learning_rate``, ``images`` seen and ``seconds``.

    Raises:
        ValueError: when there are fewer images than one batch has.
    """
    if stop_after is not None and stop_after < 1:
        raise ValueError(f"stop_after must be at least 1, not {stop_after}.")
    session = sessions.start(settings, dataset, devices, nodes)
    fabric, method = session.fabric, session.method
    store = _store(settings, dataset, folder, mirror)
    if not resume and fabric.global_rank == 0:
        store.clear()
    history = sessions.restore(session, store)
    if history and fabric.global_rank == 0 and not _is_handed_on(store, history):
        sessions.hand_on(session, store, dataset, history)
    log = logs.Log(store.folder / "logs", history)
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
        entry, losses = train_epoch(session, history, bar)
        _check_finite(entry)
        is_last = epoch + 1 == settings.epochs
        is_due = is_last or (epoch + 1) % settings.monitor_every == 0
        if is_due and dataset.train_count:  # without labels there is no such gauge
            entry["knn"] = nearest_neighbors.accuracy(
                method.backbone,
                dataset.train,
                image_size=settings.view_at(epoch).whole_size,
            )
        history.append(entry)
        knn = f", k-NN {entry['knn']:.1f} %" if "knn" in entry else ""
        bar.set_postfix_str(f"loss {entry['loss']:.3f}{knn}")
        if fabric.global_rank == 0:
            sessions.save(session, store, dataset, history)
            log.add(entry, losses)
            if on_epoch:
                on_epoch(history)
        fabric.barrier()
    bar.close()
    log.close()
    return Run(settings, store.folder, session.method.module, history)


def _store(
    settings: PretrainingSettings,
    dataset: Dataset,
    folder: str | os.PathLike[str] | None,
    mirror: str | os.PathLike[str] | None,
) -> checkpoints.Store:
    name = settings.run_name(dataset)
    return checkpoints.Store(
        files.checkpoints_folder(folder) / name,
        pathlib.Path(mirror) / name if mirror else None,
    )


def _is_handed_on(store: checkpoints.Store, history: Sequence[dict[str, Any]]) -> bool:
    """Whether the backbone file here is that of the history's last epoch."""
    file = store.folder / weight_files.BACKBONE_FILE
    with contextlib.suppress(ValueError):
        return weight_files.read_about(file).get("epochs_done") == len(history)
    return False


def _check_finite(entry: dict[str, Any]) -> None:
    if not math.isfinite(entry["loss"]):
        raise FloatingPointError(
            f"The loss of epoch {entry['epoch']} is not a number: lower learning_rate; "
            "the state before this epoch is kept."
        )
