"""How fast a training step is: ours, the limit, and lightly's pipeline, in turns.

    python -m benchmarks.throughput

ours      images a second of the project's training loop: data, views, loss, optimizer
limit     the same network, loss and optimizer on views that lie ready: the bare step
lightly   the same network and loss behind lightly's pipeline, see benchmarks/peers.py
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re
import statistics
from collections.abc import Callable
from typing import Any

import torch
import tyro
from torch import Tensor
from torch.utils import flop_counter

from benchmarks import measuring, peers, tables
from helpers import hardware, methods
from helpers.data.dataset import Dataset
from helpers.methods import base
from helpers.models import backbones
from helpers.training import sessions, settings
from helpers.views.randomness import StepRandom

MEASURED = ("byol", "pirl", "simclr", "swav")
# Dense 16-bit TFLOP/s by the vendor's data sheets, by words in the device's name.
PEAKS = {
    "T4": 65,
    "L4": 121,
    "L40S": 362,
    "A100": 312,
    "H100 PCIe": 756,
    "H100": 989,
    "H200": 989,
}
STL10 = 105_000  # images of its pre-training set


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is measured, and how long."""

    methods: tuple[str, ...] = tuple(m for m in MEASURED if m in methods.METHODS)
    """Methods to measure."""
    image_size: int = 96
    """Side of the views in pixels; the images have 96."""
    batch_size: int = 128
    """Images a step."""
    stem: str = "imagenet"
    """How the image enters ResNet-18: imagenet, pool or small."""
    rounds: int = 3
    """Turns of each contender; medians are reported."""
    seconds: float = 10.0
    """About how long a turn lasts; at least two steps."""
    threads: int | None = None
    """CPU threads of the training; all by default."""
    workers: int | None = None
    """Worker processes of lightly's pipeline; one a core by default."""
    images: int = 20_000
    """Images in the resident set."""
    output: pathlib.Path = pathlib.Path("benchmarks/latest.json")
    """File for the figures."""


def main(asked: Settings) -> None:
    """Measure every method, print the table, write the file."""
    if asked.threads:
        torch.set_num_threads(asked.threads)
    dataset = measuring.noise(asked.images)
    found: dict[str, Any] = {"about": measuring.about("benchmarks.throughput", asked)}
    for name in asked.methods:
        print(f"{name}, ResNet-18 at {asked.image_size} px", flush=True)
        found[name] = measure(name, dataset, asked)
    print(tables.throughput(found))
    measuring.write(asked.output, found)


def measure(name: str, dataset: Dataset, asked: Settings) -> dict[str, Any]:
    """All figures of one method."""
    gpu = hardware.device().type == "cuda"
    chosen = settings.configure(
        name,
        "long",
        batch_size=asked.batch_size,
        size=asked.image_size,
        stem=asked.stem,
        learning_rate=1e-6,  # noise must not blow the weights up
        compile="on" if gpu else "off",
    )
    session = sessions.start(chosen, dataset, devices=1, nodes=1)
    views, index = ready(session)
    alone = bare_method(chosen, dataset).to(hardware.device())
    flops = count_flops(alone, views, index) / asked.batch_size
    transform = peers.TRANSFORMS[name](
        [tuple(view.shape) for view in peers.pictures(views)]
    )
    workers = hardware.workers() + 1 if asked.workers is None else asked.workers

    def ours(steps: int) -> float:
        return measuring.train(session, steps)

    def limit(steps: int) -> float:
        return bare_step(session, views, index, steps)

    def lightly(steps: int) -> float:
        return peers.train(
            alone,
            transform,
            dataset.pretraining.images,
            steps=steps,
            batch_size=asked.batch_size,
            workers=workers,
        )

    turns: dict[str, Callable[[], float]] = {}
    for go in (ours, limit, lightly):
        steps = measuring.steps_lasting(asked.seconds, go, asked.batch_size)
        turns[go.__name__] = functools.partial(go, steps)
    measuring.forget_peak()
    ours(1)
    memory = measuring.peak_memory()
    rates = measuring.in_turns(turns, asked.rounds)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    tflops = flops * medians["ours"] / 1e12
    best = peak()
    return {
        **medians,
        "of_limit": measuring.ratio(rates["ours"], rates["limit"]),
        "over_lightly": measuring.ratio(rates["ours"], rates["lightly"]),
        "tflops": tflops,
        "of_peak": tflops / best if best else None,
        "peak_memory_gb": memory,
        "stl10_epoch_seconds": STL10 / medians["ours"],
        "rounds": rates,
    }


def peak() -> float | None:
    """The GPU's dense 16-bit peak in TFLOP/s; None where it is not known."""
    if hardware.device().type != "cuda":
        return None
    name = hardware.name()
    known = (n for n in PEAKS if re.search(rf"\b{n}\b", name))
    return next((PEAKS[words] for words in known), None)


def ready(session: sessions.Session) -> tuple[tuple[Tensor, ...], Tensor]:
    """Views of one batch and the images' numbers, on the device."""
    count = session.settings.batch_size
    index = torch.arange(count, device=session.fabric.device)
    random = StepRandom(0, 0, count, session.fabric.device)
    images = session.images[index.to(session.images.device)].to(session.fabric.device)
    return session.method.views(images, random), index


def bare_step(
    session: sessions.Session, views: tuple[Tensor, ...], index: Tensor, steps: int
) -> float:
    """Steps on views that lie ready; images a second."""
    labels = session.labels[index]
    session.method.train()

    def repeat() -> None:
        for _ in range(steps):
            loss = session.method(views, index, labels)
            session.optimizer.zero_grad()
            session.fabric.backward(loss)
            session.optimizer.step()
            session.method.after_step(0.5)
        assert torch.isfinite(loss)

    return steps * len(index) / measuring.seconds(repeat)


def bare_method(chosen: settings.PretrainingSettings, dataset: Dataset) -> base.Method:
    """The same network in float32, outside the engine."""
    backbone = backbones.build("resnet18", stem=chosen.stem)
    create = methods.get(chosen.method)
    return create(backbone, len(dataset.pretraining), chosen.options)


def count_flops(method: base.Method, views: tuple[Tensor, ...], index: Tensor) -> int:
    """Floating-point operations of a step, forward and backward."""
    labels = torch.full_like(index, -1)
    with flop_counter.FlopCounterMode(display=False) as counter:
        method.loss(views, index, labels).backward()
    return counter.get_total_flops()


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
