"""What every training lets its user choose, with labels or without."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import torch

from helpers import optimizers

LEAST = {"epochs": 1, "batch_size": 1}  # of the others it is 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How weights are learned: optimizer, learning rate and its schedule.

    Attributes:
        epochs: passes over the images; the one dial for time.
        batch_size: images a step.
        optimizer: how weights move along their gradients.
        learning_rate: at the peak of the schedule.
        weight_decay: of weights; biases and normalisation have none.
        momentum: of the optimizer, in [0, 1).
        schedule: of the learning rate after the warm-up: a cosine over all steps, a
            tenth whenever the training loss stays on a plateau, or constant.
        warmup_epochs: epochs of linear warm-up, may be a fraction.
        final_factor: where the cosine ends, as a share of its peak.
        patience: epochs that the plateau waits for a lower training loss.
        gradient_clip: largest norm of all gradients together; 0 sets no limit.
        seed: of everything random.
    """

    epochs: int = 200
    batch_size: int = 256
    optimizer: Literal[optimizers.OPTIMIZERS] = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    momentum: float = 0.9
    schedule: Literal[optimizers.SCHEDULES] = "cosine"
    warmup_epochs: float = 1.0
    final_factor: float = 0.0
    patience: int = 10
    gradient_clip: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check what can be checked before any data is read.

        Raises:
            ValueError: for a name that is unknown, or a number below its smallest.
        """
        optimizers.check(self.optimizer, self.schedule)
        for field in dataclasses.fields(Settings):
            value, least = getattr(self, field.name), LEAST.get(field.name, 0)
            if not isinstance(value, str) and not value >= least:
                raise ValueError(f"{field.name} must be at least {least}, not {value}.")

    def build_optimizer(
        self, groups: Sequence[dict[str, Any]], learning_rate: float
    ) -> torch.optim.Optimizer:
        """Build the optimizer; see ``optimizers.build``."""
        return optimizers.build(
            groups,
            self.optimizer,
            learning_rate=learning_rate,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            fused=self.gradient_clip == 0,  # what is clipped has to be seen
        )

    def rate_factor(self, step: int, steps: int, losses: Sequence[float]) -> float:
        """The schedule's factor on the learning rate; see ``optimizers.schedule``.

        Args:
            step: number of the step in the training.
            steps: of an epoch.
            losses: mean of every epoch so far.
        """
        return optimizers.schedule(
            step,
            total=self.epochs * steps,
            warmup=round(self.warmup_epochs * steps),
            final=self.final_factor,
            kind=self.schedule,
            losses=losses,
            patience=self.patience,
        )
