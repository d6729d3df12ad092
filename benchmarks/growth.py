"""Peak memory of training with so many images resident, as one JSON line.

    python -m benchmarks.growth --method pirl --images 100000

A process of its own, because a process never forgets its peak memory.
"""

from __future__ import annotations

import dataclasses
import json

import tyro

from benchmarks import measuring
from helpers.training import sessions, settings


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is measured."""

    method: str = "byol"
    """Method to train."""
    images: int = 5_000
    """Images in memory, 96 px."""
    steps: int = 4
    """Training steps."""
    batch_size: int = 128
    """Images a step."""


def main(asked: Settings) -> None:
    """Train a few steps and print the peak memory."""
    session = start(asked)
    measuring.train(session, asked.steps)
    found = {
        "method": asked.method,
        "images": asked.images,
        "peak_gb": measuring.peak_memory(),
        "images_gb": session.images.nbytes / 1e9,
    }
    print(json.dumps(found))


def start(asked: Settings) -> sessions.Session:
    """A run with so many images resident, before its first step."""
    chosen = settings.configure(
        asked.method,
        "published",
        batch_size=asked.batch_size,
        size=measuring.SIDE,
        stem="imagenet",
        learning_rate=1e-6,
    )
    return sessions.start(chosen, measuring.noise(asked.images), devices=1, nodes=1)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
