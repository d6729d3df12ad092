"""The one pre-training loop: every method, on a laptop, a GPU, or several machines."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import tqdm
from torch import Tensor, nn

from helpers import files
from helpers.data.dataset import Dataset
from helpers.methods import base
from helpers.models import nearest_neighbors, weight_files
from helpers.training import (
    checkpoints,
    engine,
    extension,
    gauges,
    logs,
    optimizers,
    ownership,
    sessions,
    signals,
    watch,
)
from helpers.training.settings import PretrainingSettings

GO_ON = "run the same command or cell again to go on"


@dataclasses.dataclass(frozen=True)
class Run:
    """A pre-training run, finished or stopped early.

    Attributes:
        settings: as given.
        folder: where its files are.
        method: the trained method, with backbone and heads.
        history: one entry per epoch, see ``pretrain``.
    """

    settings: PretrainingSettings
    folder: pathlib.Path
    method: base.Method
    history: list[dict[str, Any]]

    @property
    def backbone(self) -> nn.Module:
        """The trained backbone."""
        return self.method.final_backbone

    @property
    def minutes(self) -> float:
        """Minutes of training, including those before the run was resumed."""
        return sum(entry["seconds"] for entry in self.history) / 60

    @property
    def backbone_file(self) -> pathlib.Path:
        """The backbone's file, from which the other notebooks start."""
        return self.folder / weight_files.BACKBONE_FILE


def train_epoch(
    session: sessions.Session,
    history: Sequence[dict[str, Any]],
    bar: tqdm.tqdm,
    part: sessions.EpochProgress | None = None,
    after_step: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Any], Tensor]:
    """Train for one epoch; the same loop for every method.

    Args:
        session: what is trained, and on which images.
        history: entries of the epochs before.
        bar: moves on by one per step.
        part: of the epoch that is done already; it grows with every step.
        after_step: called after every step, to save and to stop.

    Returns:
        The epoch's entry (``epoch``, ``loss``, ``spread``, ``learning_rate``,
        ``images`` and ``seconds``), and the losses of this process's steps, (steps,).
    """
    settings, fabric = session.settings, session.fabric
    model, optimizer = session.method, session.optimizer
    method = model.module  # calls through Fabric would look into every layer
    steps, epoch = session.steps, len(history)
    total = settings.epochs * steps
    before = [entry["loss"] for entry in history]
    part = part or sessions.EpochProgress.empty(session)
    started = time.perf_counter() - part.seconds
    model.train()
    method.set_view(settings.view_at(epoch))
    batches = session.shuffled(epoch, part.done)
    for step, (images, index) in enumerate(batches, start=epoch * steps + part.done):
        factor = settings.rate_factor(step, steps, before)
        optimizers.set_learning_rate(optimizer, settings.peak_learning_rate, factor)
        random = engine.step_random(settings.seed, step, settings.batch_size, fabric)
        method.before_step(step / total)
        views = method.views(images, random)
        loss = model(views, index, session.labels[index])
        optimizer.zero_grad()
        fabric.backward(loss)
        method.after_backward()
        engine.clip_gradients(fabric, model, optimizer, settings.gradient_clip)
        optimizer.step()
        method.after_step((step + 1) / total)
        part.losses[part.done] = loss.detach()
        part.spreads[part.done] = gauges.spread(method.embedding)
        part.done += 1
        part.seconds = time.perf_counter() - started
        bar.update()
        after_step()
    factor = settings.rate_factor((epoch + 1) * steps - 1, steps, before)
    entry = {
        "epoch": epoch + 1,
        "loss": fabric.all_reduce(part.losses.mean()).item(),
        "spread": fabric.all_reduce(part.spreads.mean()).item(),
        "learning_rate": settings.peak_learning_rate * factor,
        "images": (epoch + 1) * steps * settings.batch_size,
        "seconds": time.perf_counter() - started,
    }
    return entry, part.losses


def pretrain(
    settings: PretrainingSettings,
    dataset: Dataset,
    *,
    folder: str | os.PathLike[str] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    on_epoch: Callable[[list[dict[str, Any]]], None] | None = None,
    stop_after: int | None = None,
    save_minutes: float = 5.0,
    resume: bool = True,
    extend: bool = False,
    devices: int = 1,
    nodes: int = 1,
) -> Run:
    """Pre-train a backbone, or resume a run that was stopped.

    The state is saved after an epoch, every few minutes, and when a signal asks the
    process to stop. All randomness of a step comes from the seed and the step's number.
    So a resumed run ends with the same weights as one that was never stopped, on a CPU
    with as many threads bit for bit, and several processes see the same batches as one.

    Args:
        settings: from ``configure``.
        dataset: its ``pretraining`` images are learned from; the training labels are
            used for the k-NN gauge only (and by SupCon).
        folder: of all runs; ``$STL_CHECKPOINTS`` or ``checkpoints`` by default.
        mirror: a second folder for copies of the files, such as one on Google Drive.
        on_epoch: called after every epoch with the history so far.
        stop_after: number of epochs after which to stop; the schedule stays the same.
        save_minutes: minutes after which the state is saved within an epoch.
        resume: False deletes the states that a run with these settings has saved.
        extend: begin with the last state of the finished run that has fewer epochs and
            otherwise the same settings; from there on the schedule is that of all
            epochs asked for.
        devices: processes per machine.
        nodes: machines, as started by torchrun.

    Returns:
        The run. Its history has for every epoch ``loss``, ``knn`` (percent, on the
        training labels, if there are any), ``spread`` (1 isotropic, 0 collapsed),
        ``learning_rate``, ``images`` seen and ``seconds``.

    Raises:
        ValueError: when images, labels or processes do not suit the settings, another
            process owns the run, only its finished backbone is left, or there is none
            to extend.
        FloatingPointError: when the loss or the weights are no numbers to compute with;
            what was saved before is kept.
        signals.StoppedError: after a signal, a ``KeyboardInterrupt``; all is saved.
    """
    if stop_after is not None and stop_after < 1:
        raise ValueError(f"stop_after must be at least 1, not {stop_after}.")
    if not save_minutes > 0:
        raise ValueError(f"save_minutes must be above 0, not {save_minutes}.")
    session = sessions.start(settings, dataset, devices, nodes)
    store = _store(settings, dataset, folder, mirror)
    with contextlib.ExitStack() as stack:

        def begin() -> None:
            is_owned = stack.enter_context(ownership.own(store.folder))
            if not resume:
                store.clear()
            store.begin(is_owned=is_owned)
            if store.position() is None:
                if resume:
                    store.check_replaceable()
                _extend(settings, dataset, store, extend)

        engine.on_first(session.fabric, begin)
        watching = watch.Watch(session.fabric, save_minutes)
        return _train(session, store, dataset, watching, on_epoch, stop_after, extend)


def _train(
    session: sessions.Session,
    store: checkpoints.Store,
    dataset: Dataset,
    watching: watch.Watch,
    on_epoch: Callable[[list[dict[str, Any]]], None] | None,
    stop_after: int | None,
    extend: bool,
) -> Run:
    """Train from the newest state on, or from the start; see ``pretrain``."""
    settings, fabric, method = session.settings, session.fabric, session.method
    is_first = fabric.global_rank == 0
    progress = sessions.resume_or_begin(session, store)
    history, steps, epochs = progress.history, session.steps, settings.epochs
    if extend and not progress.extended_from and (history or progress.part.done):
        raise ValueError(
            f"{store.folder} has begun from nothing already, so there is nothing to "
            "extend: add --no-resume (in Python resume=False) to begin it anew from "
            "the finished run, or leave out --extend to go on."
        )
    if len(history) < epochs:
        progress.begin_sitting(fabric.world_size)
    is_behind = history and not backbone_is_current(store, history)
    if is_first and is_behind and not progress.part.done:
        sessions.write_backbone(session, store, dataset, progress)
    if is_first:
        _announce(settings, progress, steps)
    sample = nearest_neighbors.evenly_spaced(dataset.train)
    log = logs.Log(store.folder / "logs", history, steps)
    if is_first and len(history) >= epochs:
        log.catch_up()
    bar = tqdm.tqdm(
        total=epochs * steps,
        initial=len(history) * steps + progress.part.done,
        desc=f"{settings.method} pre-training",
        unit="step",
        mininterval=1.0,
        file=sys.stdout,
        disable=not is_first or len(history) >= epochs,
    )

    def save() -> None:
        watching.save(lambda: sessions.save(session, store, dataset, progress))

    def after_step() -> None:
        if watching.after_step():
            sessions.check_finite(session, store, progress)
            save()
            watching.stop_if_asked(f"{_place(progress, steps, epochs)}; {GO_ON}")

    # The bar is closed however the training ends: a sentence has a line of its own.
    with bar, signals.handled(watching.note):
        last = min(epochs, stop_after or epochs) - 1
        for epoch in range(len(history), last + 1):
            entry, losses = train_epoch(
                session, history, bar, progress.part, after_step
            )
            sessions.check_finite(session, store, progress)
            is_due = epoch + 1 == epochs or (epoch + 1) % settings.monitor_every == 0
            if is_due and nearest_neighbors.is_informative(sample.labels):
                entry["knn"] = nearest_neighbors.accuracy(
                    method.final_backbone,
                    sample,
                    image_size=settings.view_at(epoch).whole_size,
                )
            history.append(entry)
            progress.part = sessions.EpochProgress.empty(session)
            knn = f", k-NN {entry['knn']:.1f} %" if "knn" in entry else ""
            bar.set_postfix_str(f"loss {entry['loss']:.3f}{knn}")
            # Where epochs are short, saving each would take longer than training.
            is_saved = watching.agree(is_epochs_end=True) or epoch == last
            if is_saved:
                save()
            if is_first:
                log.add(entry, losses)
                if on_epoch:
                    on_epoch(history)
            fabric.barrier()
            if watching.agree() and not is_saved:
                save()
            watching.stop_if_asked(f"{_place(progress, steps, epochs)}; {GO_ON}")
    log.close()
    # A run that trained no more here has the views of its last epoch as well.
    method.module.set_view(settings.view_at(len(history) - 1))
    return Run(settings, store.folder, session.method.module, history)


def _announce(
    settings: PretrainingSettings, progress: sessions.Progress, steps: int
) -> None:
    """Say from where a run goes on, if it does not begin."""
    history, epochs = progress.history, settings.epochs
    if len(history) >= epochs:
        first = progress.extended_from
        print(
            "This run is already finished; its results are shown."
            + (f" It extended one of {first} epochs." if first else "")
        )
    elif history or progress.part.done:
        print(f"Going on after {_place(progress, steps, epochs)}.")
    else:
        settings.say_if_rate_only_rises()
    if len(history) == progress.extended_from > 0:
        losses = [entry["loss"] for entry in history]
        rate = settings.rate_factor(len(history) * steps, steps, losses)
        print(
            f"This extends a finished run of {len(history)} epochs. From here on the "
            f"schedule is that of {epochs} epochs: the learning rate goes from "
            f"{history[-1]['learning_rate']:.2g} to "
            f"{rate * settings.peak_learning_rate:.2g}. The result is not that of "
            f"{epochs} epochs in one go, and the backbone's file says so."
        )


def _extend(
    settings: PretrainingSettings,
    dataset: Dataset,
    store: checkpoints.Store,
    wanted: bool,
) -> None:
    """Begin a new run with the state of a shorter one if wanted, or offer to.

    Raises:
        ValueError: when it is wanted and there is none.
    """
    mirror = store.mirror.parent if store.mirror else None
    found = extension.find(settings, dataset, store.folder.parent, mirror)
    if found is None and wanted:
        raise ValueError(
            f"There is no finished run in {str(store.folder.parent)!r} with fewer "
            "epochs and otherwise the same settings: leave out --extend."
        )
    if found and wanted:
        extension.begin(store, *found)
    elif found:
        print(
            f"This run starts from nothing. A finished one of {found[0]} epochs with "
            f"otherwise the same settings is in {found[1].folder}: --extend (in Python "
            "extend=True) goes on from its state."
        )


def _place(progress: sessions.Progress, steps: int, epochs: int) -> str:
    """Where a run is, such as "step 37 of 120 of epoch 4 of 10"."""
    done = len(progress.history)
    if progress.part.done:
        return f"step {progress.part.done} of {steps} of epoch {done + 1} of {epochs}"
    return f"epoch {done} of {epochs}"


def _store(
    settings: PretrainingSettings,
    dataset: Dataset,
    folder: str | os.PathLike[str] | None,
    mirror: str | os.PathLike[str] | None,
) -> checkpoints.Store:
    roots = [files.checkpoints_folder(folder)]
    roots += [pathlib.Path(mirror)] if mirror else []
    name = settings.run_name(dataset)
    return checkpoints.Store(*(root / name for root in roots))


def backbone_is_current(
    store: checkpoints.Store, history: Sequence[dict[str, Any]]
) -> bool:
    """Whether this machine's backbone file was written after the last epoch."""
    with contextlib.suppress(ValueError):
        about = weight_files.read_about(store.backbone_file)
        return about.get("epochs_done") == len(history)
    return False
