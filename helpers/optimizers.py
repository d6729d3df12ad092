"""Optimizers by name, and the schedule: linear warm-up, then a cosine, step by step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn


class LARS(torch.optim.Optimizer):
    """SGD whose step is scaled, weight by weight, to the weight's own norm.

    Every matrix or kernel w takes v ← μ·v + lr·r·(g + λ·w), w ← w − v with the trust
    ratio r = η‖w‖ / (‖g + λ·w‖); vectors (biases, normalisation) take r = 1.
    The ratio holds for λ = 0 too. Source: You et al. 2017, arXiv:1708.03888, alg. 1.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
    ) -> None:
        """Args are as in SGD; ``trust_coefficient`` is η."""
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust_coefficient": trust_coefficient,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Move every parameter that has a gradient once."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                update = weight.grad.add(weight, alpha=group["weight_decay"])
                if weight.ndim > 1:
                    norm, update_norm = weight.norm(), update.norm()
                    ratio = group["trust_coefficient"] * norm / update_norm
                    # A weight or an update of norm 0 has no direction to keep.
                    ratio = torch.where((norm > 0) & (update_norm > 0), ratio, 1.0)
                    update = update * ratio
                state = self.state[weight]
                if "velocity" not in state:
                    state["velocity"] = torch.zeros_like(weight)
                velocity = state["velocity"]
                velocity.mul_(group["momentum"]).add_(update, alpha=group["lr"])
                weight.sub_(velocity)


OPTIMIZERS = ("sgd", "nesterov", "adam", "adamw", "lars")


def build(
    groups: Sequence[dict[str, Any]],
    name: str,
    *,
    learning_rate: float,
    weight_decay: float,
    momentum: float = 0.9,
) -> torch.optim.Optimizer:
    """Build an optimizer; normalisation parameters and biases are not decayed.

    Args:
        groups: dicts with ``params`` and optionally ``scale`` (times the learning rate)
            and ``constant`` (True: the schedule does not touch this group).
        name: one of ``OPTIMIZERS``.
        learning_rate: the peak of the schedule, as it is (no batch-size rule here).
        weight_decay: for weights of two dimensions and more.
        momentum: of SGD, Nesterov and LARS; Adam's first beta.

    Raises:
        ValueError: on an unknown name.
    """
    split = []
    for group in groups:
        shared = {
            "scale": group.get("scale", 1.0),
            "constant": group.get("constant", False),
            "lr": learning_rate * group.get("scale", 1.0),
        }
        params = [p for p in group["params"] if p.requires_grad]
        decayed = [p for p in params if p.ndim > 1]
        rest = [p for p in params if p.ndim <= 1]
        if decayed:
            split.append({"params": decayed, "weight_decay": weight_decay, **shared})
        if rest:
            split.append({"params": rest, "weight_decay": 0.0, **shared})
    if name in ("sgd", "nesterov"):
        # Not fused: its momentum is never set when a loss scaler skips the first step.
        nesterov = name == "nesterov"
        return torch.optim.SGD(
            split, lr=learning_rate, momentum=momentum, nesterov=nesterov, foreach=True
        )
    if name in ("adam", "adamw"):
        create = torch.optim.Adam if name == "adam" else torch.optim.AdamW
        return create(split, lr=learning_rate, betas=(momentum, 0.999), fused=True)
    if name == "lars":
        return LARS(split, lr=learning_rate, momentum=momentum)
    raise ValueError(
        f"Unknown optimizer {name!r}: choose one of {', '.join(OPTIMIZERS)}."
    )


def schedule(step: int, *, total: int, warmup: int = 0, final: float = 0.0) -> float:
    """The factor on the learning rate of step ``step`` (0 is the first).

    It climbs as (step + 1) / warmup over the first ``warmup`` steps, then follows a
    half cosine from 1 to ``final``, which the last step's successor would reach.
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def set_learning_rate(
    optimizer: torch.optim.Optimizer, learning_rate: float, factor: float
) -> None:
    """Set every group to learning_rate · scale · factor (constant groups skip it)."""
    for group in optimizer.param_groups:
        scheduled = 1.0 if group["constant"] else factor
        group["lr"] = learning_rate * group["scale"] * scheduled


def parameters(*modules: nn.Module) -> list[nn.Parameter]:
    """All parameters of several modules, in order."""
    return [parameter for module in modules for parameter in module.parameters()]
