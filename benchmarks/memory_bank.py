"""What a large memory bank costs PIRL: time and memory of a step.

    python -m benchmarks.memory_bank

One step (views, loss, backward, optimizer, bank) with a bank of 5,000 and of 100,000
images, in turns, so that whatever else the machine does meets both; the median of the
rounds is printed. Peak memory is that of a process of its own a bank.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable

import torch
import tyro

from helpers import hardware, methods
from helpers.models import backbones
from helpers.training import optimizers, settings
from helpers.views.randomness import StepRandom

MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is measured."""

    counts: tuple[int, int] = (5_000, 100_000)
    """Images in the small and in the large bank."""
    batch: int = 128
    """Images a step."""
    image_size: int = 64
    """Side of the views in pixels; patches follow it."""
    loss: str = "infonce"
    """PIRL's loss."""
    negatives: int = 0
    """Negatives drawn an image; 0 takes the whole bank."""
    rounds: int = 9
    """Steps with each bank that are timed."""


def main(asked: Settings) -> None:
    """Measure and print."""
    chosen = _configure(asked)
    print(
        f"{hardware.name()}, {hardware.precision()}, ResNet-18, batch {asked.batch}, "
        f"views of {asked.image_size} px, patches of {chosen.options.cut['patch']} px, "
        f"{asked.loss}, negatives {asked.negatives or 'all'}"
    )
    peaks = [_alone(asked, count) for count in asked.counts]
    steps = [prepare(asked, count) for count in asked.counts]
    seconds: list[list[float]] = [[], []]
    for number in range(asked.rounds + 1):
        for step, times in zip(steps, seconds, strict=True):
            started = time.perf_counter()
            step(number)
            _wait()
            times.append(time.perf_counter() - started)
    medians = [statistics.median(times[1:]) for times in seconds]  # the first warms up
    for count, median, peak in zip(asked.counts, medians, peaks, strict=True):
        print(
            f"{count:>9,} images: {median:7.3f} s a step, peak {peak / MIB:7,.0f} MiB"
        )
    small, large = asked.counts
    entries = (large - small) * chosen.options.output_dim * 4
    scores = (large - small) * asked.batch * 4
    grown = peaks[1] - peaks[0]
    print(f"time: {100 * (medians[1] / medians[0] - 1):+.1f} %")
    print(
        f"peak memory: {grown / MIB:+,.0f} MiB; the bank's entries grew by "
        f"{entries / MIB:,.0f} MiB, a score matrix by {scores / MIB:,.0f} MiB"
    )


def prepare(asked: Settings, count: int) -> Callable[[int], None]:
    """Build a method with a bank of ``count`` images; returns what does a step."""
    chosen = _configure(asked)
    torch.manual_seed(0)
    method = methods.get("pirl")(
        backbones.build(chosen.backbone, stem=chosen.stem), count, chosen.options
    )
    hardware.to_device(method).train()
    optimizer = optimizers.build(
        method.groups(), "sgd", learning_rate=1e-3, weight_decay=0.0
    )
    shape, device = (asked.batch, 3, 96, 96), hardware.device()
    images = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    labels = torch.full((asked.batch,), -1, device=device)

    def step(number: int) -> None:
        random = StepRandom(0, number, asked.batch, device)
        index = torch.randperm(count)[: asked.batch].to(device)
        views = method.views(images, random)
        with hardware.autocast():
            loss = method(views, index, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step(0.5)

    return step


def _configure(asked: Settings) -> settings.PretrainingSettings:
    return settings.configure(
        "pirl",
        "published",
        image_size=asked.image_size,
        loss=asked.loss,
        negatives=asked.negatives,
    )


def _alone(asked: Settings, count: int) -> int:
    """Peak memory in bytes of a fresh process that does three steps."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (asked, count))


def _peak(asked: Settings, count: int) -> int:
    step = prepare(asked, count)
    for number in range(3):
        step(number)
    _wait()
    if hardware.device().type == "cuda":
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _wait() -> None:
    if hardware.device().type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
