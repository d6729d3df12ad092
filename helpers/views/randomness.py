"""The random numbers of a step, the same for any number of processes."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Draws:
    """A table of random numbers, one row per image, handed out column by column.

    Args:
        table: float32 (B, K) in [0, 1).

    Raises:
        ValueError: when more numbers are drawn than the table has, or fewer.
    """

    def __init__(self, table: Tensor) -> None:
        """See the class."""
        self.table, self.used = table, 0

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """The next numbers of every image, in [low, high): (B, *shape)."""
        start = self.used
        self.skip(*shape)
        taken = self.table[:, start : self.used].reshape(-1, *shape)
        return taken * (high - low) + low

    def chance(self, probability: float, *shape: int) -> Tensor:
        """True with the given probability: bool (B, *shape)."""
        return self.uniform(*shape) < probability

    def skip(self, *shape: int) -> None:
        """Leave out numbers that only a change that is switched off would draw."""
        self.used += math.prod(shape)
        if self.used > self.table.shape[1]:
            raise ValueError(f"{self._account()}: make the table wider.")

    def check_all_used(self) -> None:
        """Make sure that nothing of the table is left."""
        if self.used < self.table.shape[1]:
            raise ValueError(f"{self._account()}: make the table narrower.")

    def _account(self) -> str:
        columns = self.table.shape[1]
        return f"{self.used} random numbers per image are drawn from {columns} columns"


class StepRandom:
    """The random numbers of one step, the same for any number of processes.

    Every draw is made for the global batch; a process keeps the rows of its own images.

    Args:
        seed: of the run.
        step: number of the step in the run.
        batch: images in the global batch.
        device: where the numbers are needed.
        rank: number of this process.
        processes: how many share the batch.
    """

    def __init__(
        self,
        seed: int,
        step: int,
        batch: int,
        device: torch.device | str = "cpu",
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        """See the class."""
        self.generator = torch.Generator(device)
        # Odd multipliers spread neighbouring (seed, step) over the generator's seeds.
        self.generator.manual_seed((seed * 1_000_003 + step * 7_919 + 17) % (1 << 62))
        self.batch = batch
        share = batch // processes
        self.rows = slice(rank * share, (rank + 1) * share)

    def table(self, columns: int) -> Tensor:
        """New random numbers in [0, 1), one row per image here: (B, columns)."""
        device = self.generator.device
        drawn = torch.rand(self.batch, columns, generator=self.generator, device=device)
        return drawn[self.rows]
