"""What convolutions of small maps place by place are worth on a CPU.

    python -m benchmarks.small_maps

The project's own training steps with ``small_maps.SmallMapConv2d`` and with
torch's, in turns. On a GPU both are torch's.
"""

from __future__ import annotations

import dataclasses

import tyro

from benchmarks import measuring
from helpers import hardware
from helpers.models.small_maps import SmallMapConv2d
from helpers.training import sessions, settings


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is measured."""

    methods: tuple[str, ...] = ("pirl", "byol")
    """Methods to measure."""
    recipe: str = "minutes"
    """Recipe of every method."""
    image_size: int | None = None
    """Side of the views in pixels; the recipe's own by default."""
    rounds: int = 5
    """Turns of each contender; the median of the rounds' ratios is printed."""
    steps: int = 10
    """Steps a turn."""


def main(asked: Settings) -> None:
    """Measure and print."""
    print(f"{hardware.name()}, {hardware.precision()}")
    for name in asked.methods:
        print(compare(name, asked))


def compare(name: str, asked: Settings) -> str:
    """Both contenders' steps of one method, and what the one is to the other."""
    changes = {"image_size": asked.image_size} if asked.image_size else {}
    chosen = settings.configure(name, asked.recipe, **changes)
    images = measuring.noise(asked.steps * chosen.batch_size)
    session = sessions.start(chosen, images, devices=1, nodes=1)
    ours = [
        part for part in session.method.modules() if isinstance(part, SmallMapConv2d)
    ]

    def contender(kind: type) -> float:
        for part in ours:
            part.__class__ = kind
        return measuring.train(session, asked.steps)

    kinds = {"ours": SmallMapConv2d, "torch": SmallMapConv2d.__base__}
    measuring.train(session, 2)  # warms up
    rates = measuring.in_turns(
        {key: lambda kind=kind: contender(kind) for key, kind in kinds.items()},
        asked.rounds,
    )
    times = measuring.ratio(rates["ours"], rates["torch"])
    return f"{name}, {chosen.image_size} px: {times:.2f} times torch's images a second"


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
