"""What the speed benchmarks share: fair turns, peak memory, where a figure is from."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import pathlib
import platform
import resource
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import lightly
import torch
import torchvision
import tqdm

from helpers import files, hardware
from helpers.data.dataset import Dataset, Split
from helpers.training import pretraining, sessions

SIDE = 96  # of the images in pixels, as in STL-10
PACKAGES = {"torch": torch, "torchvision": torchvision, "lightly": lightly}


def in_turns(
    contenders: Mapping[str, Callable[[], float]], rounds: int
) -> dict[str, list[float]]:
    """Let the contenders take turns, so that a slow minute is everybody's.

    Args:
        contenders: each measures its rate once, in images or views a second.
        rounds: turns of each.

    Returns:
        The rates of each, a round after the other.
    """
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name, measure in contenders.items():
            rates[name].append(measure())
        latest = ", ".join(f"{name} {found[-1]:,.1f}" for name, found in rates.items())
        print(f"  round {number + 1} of {rounds}: {latest}", flush=True)
    return rates


def ratio(over: list[float], under: list[float]) -> float:
    """Median of the rounds' ratios: both sides of a round saw the same machine."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def noise(count: int) -> Dataset:
    """Images for a benchmark, uint8 noise without labels; they are made in parts."""
    images = torch.empty(count, 3, SIDE, SIDE, dtype=torch.uint8)
    for part in images.split(1_000):
        part.random_(0, 256)
    split = Split(images, torch.full((count,), -1))
    return Dataset("noise", ("none",), split, 0, split[:1])


def train(session: sessions.Session, steps: int, bar: Any = None) -> float:
    """Steps of the project's own loop, in the middle of a run; images per second.

    Args:
        session: of the run; an epoch of this loop sees the first of its images.
        steps: to take.
        bar: its ``update`` is called after every step; nothing is shown by default.
    """
    batch_size, taken = session.settings.batch_size, 0.0
    before = [{"loss": 0.0}] * (session.settings.epochs // 2)
    for done in range(0, steps, session.steps):
        count = min(session.steps, steps - done) * batch_size
        part = dataclasses.replace(session, images=session.images[:count])
        entry, _ = pretraining.train_epoch(part, before, bar or tqdm.tqdm(disable=True))
        taken += entry["seconds"]
    return steps * batch_size / taken


def steps_lasting(
    seconds: float, measure: Callable[[int], float], batch_size: int
) -> int:
    """Find how many steps last about so long, two at least.

    Args:
        seconds: to last.
        measure: takes so many steps; returns images a second.
        batch_size: images a step.
    """
    measure(1)  # in the first step kernels are chosen or compiled
    steps = 1
    while (taken := steps * batch_size / measure(steps)) < seconds / 4:
        steps *= 2
    return max(2, round(steps * seconds / taken))


def synchronize() -> None:
    """Wait for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def forget_peak() -> None:
    """Let the peak of the memory start anew."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):  # Linux alone can
        pathlib.Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> float:
    """Peak memory in GB: of the GPU, or else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if "VmHWM" in x)
        return int(line.split()[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9  # macOS: bytes


def seconds(work: Callable[[], Any]) -> float:
    """How long something takes."""
    started = time.perf_counter()
    work()
    synchronize()
    return time.perf_counter() - started


def about(module: str, asked: Any) -> dict[str, Any]:
    """Where and how the figures were made, for the file that holds them."""
    versions = {name: package.__version__ for name, package in PACKAGES.items()}
    command = ["python", "-m", module, *sys.argv[1:]]
    return {
        "hardware": hardware.name(),
        "precision": hardware.precision(),
        "versions": {"python": platform.python_version(), **versions},
        "date": datetime.date.today().isoformat(),
        "command": shlex.join(command),
        "settings": {k: v for k, v in vars(asked).items() if k != "output"},
    }


def write(file: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Write figures as JSON."""
    text = json.dumps(content, indent=1, default=str) + "\n"
    files.write(file, lambda path: path.write_text(text))
    print(f"Written to {file}")
