"""The random numbers of a step, the same for any number of processes."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Draws:
    """A table of random numbers, one row per image, handed out column by column.

    Args:
        table: float32 (B, K) in [0, 1).
    """

    def __init__(self, table: Tensor) -> None:
        """See the class."""
        self.table, self.used = table, 0

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """The next numbers of every image, in [low, high): (B, *shape).

        Raises:
            ValueError: when the table has fewer columns left.
        """
        start = self.used
        self.skip(*shape)
        taken = self.table[:, start : self.used].reshape(-1, *shape)
        return taken * (high - low) + low

    def chance(self, probability: float, *shape: int) -> Tensor:
        """True with the given probability: bool (B, *shape)."""
        return self.uniform(*shape) < probability

    def skip(self, *shape: int) -> None:
        """Pass over numbers of a change that is switched off.

        Raises:
            ValueError: when the table has fewer columns left.
        """
        count, left = math.prod(shape), self.table.shape[1] - self.used
        if count > left:
            raise ValueError(
                f"{count} random numbers per image are needed, {left} of the table's "
                f"{self.table.shape[1]} are left: make the table wider."
            )
        self.used += count

    def check_all_used(self) -> None:
        """Make sure that the table is as wide as what was drawn from it.

        Raises:
            ValueError: when columns are left.
        """
        if self.used != self.table.shape[1]:
            raise ValueError(
                f"{self.used} of the table's {self.table.shape[1]} random numbers per "
                "image were used: make the table narrower."
            )


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
