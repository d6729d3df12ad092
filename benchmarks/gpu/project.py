"""The only file of this benchmark that knows the inside of ``helpers``."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import pathlib
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import torch
from torch import nn

from benchmarks import measuring, peers, throughput
from helpers import data, hardware, methods
from helpers.data.dataset import Dataset, limit_labels
from helpers.evaluation import protocols, records
from helpers.methods import base
from helpers.models import backbones, nearest_neighbors, weight_files
from helpers.training import pretraining, sessions, settings

SAVE_EVERY = 20.0  # seconds between two saved states; an epoch may take less than one
LATE = 10.0  # seconds without a batch after which lightly's workers are given up
_counted: dict[tuple[str, int, str], float] = {}


class OutOfTimeError(Exception):
    """A training that has to end before its last epoch."""


@functools.cache
def load(source: str) -> Dataset:
    """The images; read once per process."""
    return data.load(source)


@functools.cache
def few_labels(source: str, labels: int) -> Dataset:
    """The same images with so many labels per class."""
    return limit_labels(load(source), labels)


def configure(
    method: str, recipe: str = "gpu_hour", **changes: Any
) -> settings.PretrainingSettings:
    """The recipe for a GPU, with changes."""
    return settings.configure(method, recipe, **changes)


def halve(source: pathlib.Path, target: pathlib.Path) -> None:
    """Write a backbone file again with its weights in float16."""
    weight_files.save_half(source, target)


def start(chosen: settings.PretrainingSettings, dataset: Dataset) -> sessions.Session:
    """A run before its first step."""
    return sessions.start(chosen, dataset, devices=1, nodes=1)


def compile_method(session: sessions.Session, **how: Any) -> None:
    """Compile a method where it is; ``how`` is ``torch.compile``'s."""
    session.method.module.compile(**how)


def bare(session: sessions.Session) -> Callable[[int], float]:
    """What measures the bare step: views that are ready; images per second."""
    views, index = throughput.ready(session)
    return functools.partial(throughput.bare_step, session, views, index)


def gigaflops(session: sessions.Session, dataset: Dataset) -> float:
    """10⁹ floating-point operations of a step per image, forward and backward."""
    chosen = session.settings
    key = chosen.method, chosen.image_size, chosen.stem
    if key not in _counted:
        few = dataclasses.replace(chosen, batch_size=min(8, chosen.batch_size))
        views, index = throughput.ready(dataclasses.replace(session, settings=few))
        method = _alone(few, dataset)
        with torch.backends.cudnn.flags(benchmark=False):  # it runs once
            total = throughput.count_flops(method, views, index)
        _counted[key] = total / few.batch_size / 1e9
    return _counted[key]


def lightly(
    session: sessions.Session, dataset: Dataset, steps: int, workers: int | None
) -> float:
    """One epoch of lightly's pipeline with the same network; images per second."""
    chosen, method = session.settings, _alone(session.settings, dataset)
    views, index = throughput.ready(session)
    shapes = [tuple(view.shape) for view in peers.pictures(views)]
    shown = peers.as_ours([torch.rand(s, device=index.device) for s in shapes])
    method.loss(shown, index, torch.full_like(index, -1)).backward()
    method.zero_grad()  # this step has chosen the kernels
    return peers.train(
        method,
        peers.TRANSFORMS[chosen.method](shapes),
        dataset.pretraining.images,
        steps=steps,
        batch_size=chosen.batch_size,
        workers=hardware.workers() + 1 if workers is None else workers,
        late=LATE,
    )


def _alone(chosen: settings.PretrainingSettings, dataset: Dataset) -> base.Method:
    """The network in float32, outside the engine, on the device."""
    return throughput.bare_method(chosen, dataset).to(hardware.device())


def pretrain(
    chosen: settings.PretrainingSettings,
    dataset: Dataset,
    folder: pathlib.Path,
    *,
    on_epoch: Callable[[list[dict[str, Any]]], None],
    compiler: str | None = None,
) -> pathlib.Path:
    """Pre-train by the project's own loop, saving now and then; the backbone file.

    Args:
        chosen: the settings.
        dataset: to learn from.
        folder: for the run's files.
        on_epoch: called after every epoch with the history; an ``OutOfTimeError`` that
            it raises ends the training, and the backbone is taken as it is.
        compiler: of a rehearsal, in place of torch's own.
    """
    with saving_rarely() as save_now, compiling_by(compiler):
        try:
            run = pretraining.pretrain(
                chosen, dataset, folder=folder, on_epoch=on_epoch
            )
        except OutOfTimeError:
            save_now()
            name = f"{chosen.run_name(dataset)}/{weight_files.BACKBONE_FILE}"
            return folder / name
    return run.backbone_file


@contextlib.contextmanager
def saving_rarely() -> Iterator[Callable[[], None]]:
    """Let the loop save its state now and then and at the end, not every epoch.

    Yields:
        What saves the state as it is at that moment.
    """
    save, last, run = sessions.save, 0.0, ()

    def rarely(session: sessions.Session, *others: Any) -> None:
        nonlocal last, run
        run = session, *others
        is_last = len(others[-1].history) == session.settings.epochs
        if is_last or time.monotonic() - last > SAVE_EVERY:
            save(*run)
            last = time.monotonic()

    with mock.patch.object(sessions, "save", rarely):
        yield lambda: save(*run)


@contextlib.contextmanager
def compiling_by(compiler: str | None) -> Iterator[None]:
    """Let networks be compiled by another compiler, if one is named."""
    if compiler is None:
        yield
        return
    other = functools.partialmethod(nn.Module.compile, backend=compiler)
    with mock.patch.object(nn.Module, "compile", other):
        yield


def gauge(
    file: pathlib.Path | None, dataset: Dataset, side: int, stem: str = "imagenet"
) -> float:
    """Leave-one-out k-NN on the training labels in percent, as the loop measures it.

    Args:
        file: of the backbone; None for random weights.
        dataset: whose training labels are used.
        side: of the images, in pixels.
        stem: of the network with random weights.
    """
    backbone = opener(file, stem)()
    return nearest_neighbors.accuracy(backbone, dataset.train, image_size=side)


def about(file: pathlib.Path) -> dict[str, Any]:
    """How the backbone in a file was made."""
    return weight_files.read_about(file)


def stem_and_side(method: str, **changes: Any) -> tuple[str, int, int]:
    """Stem, side in pixels of the views, and that of whole images in evaluation."""
    chosen = configure(method, **changes)
    return chosen.stem, chosen.image_size, chosen.evaluation_size


def opener(file: pathlib.Path | None, stem: str) -> Callable[[], nn.Module]:
    """What makes a new copy of a backbone: from its file, or with random weights."""

    def create() -> nn.Module:
        if file is None:
            return backbones.build("resnet18", stem=stem)
        return weight_files.load_backbone(file)[0]

    return create


def name(method: str | None) -> str:
    """A method's name in the table of results."""
    return methods.get(method).__name__ if method else "random"


def frozen(
    create: Callable[[], nn.Module],
    method: str | None,
    made: Mapping[str, Any],
    side: int,
    datasets: Sequence[Dataset],
) -> Iterator[dict[str, Any]]:
    """Records of k-NN and linear probe on the frozen backbone, for each data set."""
    torch.manual_seed(0)
    backbone = create()
    for dataset in datasets:
        features = protocols.encode(backbone, dataset, image_size=side)
        experiment = protocols.Experiment(dataset, name(method), dict(made))
        for protocol in (protocols.knn, protocols.linear_probe):
            yield protocol(features, experiment).record


def supervised(
    create: Callable[[], nn.Module],
    method: str | None,
    made: Mapping[str, Any],
    side: int,
    dataset: Dataset,
    *,
    seed: int,
    epochs: int,
    **changes: Any,
) -> dict[str, Any]:
    """The record of one fine-tuning, or of the baseline where there is no method."""
    chosen = protocols.supervised_settings(side, epochs)
    with tempfile.TemporaryDirectory() as folder:
        return protocols.fine_tune(
            create,
            protocols.Experiment(
                dataset, name(method), dict(made), seeds=(seed,), folder=folder
            ),
            dataclasses.replace(chosen, **changes),
            protocol="fine-tuning" if method else "baseline",
        ).record


def merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """One record of two that differ in their classifiers' seeds, as of one training."""
    both = first, second

    def joined(name: str) -> list[Any]:
        return [value for one in both for value in one[name]]

    merged = records.merge(
        both,
        top1=joined("top1"),
        top5=[one["top5_mean"] for one in both for _ in one["top1"]],
        minutes=[one["minutes"] for one in both for _ in one["top1"]],
        seed_numbers=joined("seed_numbers"),
    )
    shared = ("weights", "commit", "date")
    return {
        **merged,
        **{name: first[name] for name in shared if name in first},
        "balanced": joined("balanced"),
        "largest_share": second["largest_share"],
    }


def machine() -> dict[str, Any]:
    """What everything runs on."""
    found = {
        "hardware": hardware.name(),
        "precision": hardware.precision(),
        "cores": hardware.workers() + 1,
        "python": platform.python_version(),
        **{name: package.__version__ for name, package in measuring.PACKAGES.items()},
    }
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory
        found |= {"cuda": torch.version.cuda, "gpu_memory_gb": round(memory / 1e9, 1)}
    return found


def use_toy_network() -> None:
    """Let ``backbones.build`` build two convolutions in place of any network."""

    def build(*_: Any, **__: Any) -> nn.Module:
        first, second = (
            [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.BatchNorm2d(b), nn.ReLU()]
            for a, b in ((3, 8), (8, 16))
        )
        pool = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        network = nn.Sequential(*first, *second, *pool)
        network.feature_dim = 16
        return network

    backbones.build = build


def tidy() -> bool:
    """Give memory back and forget what was compiled; whether the GPU still works."""
    torch.compiler.reset()
    gc.collect()
    if not torch.cuda.is_available():
        return True
    try:
        torch.cuda.set_sync_debug_mode("default")
        torch.cuda.empty_cache()
        torch.cuda.synchronize()
        return (torch.zeros(1, device="cuda") + 1).item() == 1
    except RuntimeError:  # after an illegal access nothing works in this process
        return False
