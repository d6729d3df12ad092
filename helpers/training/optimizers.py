"""Optimizers by name, and the schedules of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

OPTIMIZERS = ("sgd", "nesterov", "adam", "adamw", "lars", "larc")
SCHEDULES = ("cosine", "plateau", "constant")
# What optimizers remember of a weight: SGD, LARS and LARC, Adam and AdamW.
MOMENTS = ({"momentum_buffer"}, {"velocity"}, {"step", "exp_avg", "exp_avg_sq"})


class LARS(torch.optim.Optimizer):
    """SGD whose step for each weight tensor is scaled to the norm of that tensor.

    Every matrix or kernel w has a trust ratio r = η‖w‖ / (‖g‖ + λ‖w‖), also for λ = 0.
    The step is v ← μ·v + rate·(g + λ·w), w ← w − v, where the rate is

    - LARS: lr·r. Source: You et al. 2017, arXiv:1708.03888, algorithm 1.
    - LARC (``clip``): min(r, lr), so that no weight moves faster than under SGD.
      Source: NVIDIA's apex, ``apex.parallel.LARC``; solo-learn's ``clip_lr``.

    Vectors (biases, normalisation) have no ratio: their rate is lr. So it is in
    solo-learn (``exclude_bias_n_norm``); apex gives them one.

    Others differ in two ways. Here, in the paper and in SimCLR's code the rate is
    inside the momentum; in BYOL's, Barlow Twins', VICReg's, solo-learn's and apex's it
    multiplies v. At a constant rate that is the same; in a warm-up of a few steps they
    move further, in a decay less far. And the ratio is of ‖g‖ + λ‖w‖ here, in the
    paper, solo-learn and apex, of ‖g + λ·w‖ in SimCLR's, BYOL's, Barlow Twins' and
    VICReg's code. No recipe uses LARS or LARC. What SwAV's code calls LARC, with η =
    0.001 and no clipping, is LARS here.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
        clip: bool = False,
    ) -> None:
        """Take SGD's arguments; ``trust_coefficient`` is η, ``clip`` means LARC."""
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust_coefficient": trust_coefficient,
            "clip": clip,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "velocity" not in state:
                    state["velocity"] = torch.zeros_like(weight)
                update = weight.grad.add(weight, alpha=group["weight_decay"])
                update.mul_(self._rate(weight, group))
                weight.sub_(state["velocity"].mul_(group["momentum"]).add_(update))

    @staticmethod
    def _rate(weight: nn.Parameter, group: dict[str, Any]) -> torch.Tensor | float:
        if weight.ndim <= 1:
            return group["lr"]
        norm, gradient_norm = weight.norm(), weight.grad.norm()
        size = gradient_norm + group["weight_decay"] * norm
        ratio = group["trust_coefficient"] * norm / size
        rate = ratio.clamp(max=group["lr"]) if group["clip"] else ratio * group["lr"]
        # A weight or a gradient of norm 0 has no ratio.
        return torch.where((norm > 0) & (gradient_norm > 0), rate, group["lr"])


def build(
    groups: Sequence[dict[str, Any]],
    name: str,
    *,
    learning_rate: float,
    weight_decay: float,
    momentum: float = 0.9,
    fused: bool = True,
) -> torch.optim.Optimizer:
    """Build an optimizer, without weight decay for normalisation and biases.

    Args:
        groups: dicts with ``params`` and optionally ``scale`` (factor on the learning
            rate) and ``constant`` (True: the schedule does not change this group).
        name: one of ``OPTIMIZERS``.
        learning_rate: at the peak of the schedule; the batch size does not change it.
        weight_decay: of parameters with two dimensions or more.
        momentum: of SGD, Nesterov, LARS and LARC; Adam's first beta.
        fused: whether Adam is a single kernel, which also divides gradients by the
            loss scaler's factor: they cannot be clipped before.

    Raises:
        ValueError: on an unknown name.
    """
    check(name, SCHEDULES[0])
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
        # Not fused: its momentum stays unset when a loss scaler skips the first step.
        nesterov = name == "nesterov"
        return torch.optim.SGD(
            split, lr=learning_rate, momentum=momentum, nesterov=nesterov, foreach=True
        )
    if name in ("adam", "adamw"):
        create = torch.optim.Adam if name == "adam" else torch.optim.AdamW
        kernel = {"fused": True} if fused else {"foreach": True}
        return create(split, lr=learning_rate, betas=(momentum, 0.999), **kernel)
    if name == "lars":
        return LARS(split, lr=learning_rate, momentum=momentum)
    # apex's coefficient, because LARC does not multiply the ratio by a rate.
    return LARS(
        split, lr=learning_rate, momentum=momentum, trust_coefficient=0.02, clip=True
    )


def check(optimizer: str, schedule: str) -> None:
    """Raise a ValueError for an unknown optimizer or schedule."""
    for setting, value, known in (
        ("optimizer", optimizer, OPTIMIZERS),
        ("schedule", schedule, SCHEDULES),
    ):
        if value not in known:
            raise ValueError(
                f"Unknown {setting} {value!r}: choose one of {', '.join(known)}."
            )


def schedule(
    step: int,
    *,
    total: int,
    warmup: int = 0,
    final: float = 0.0,
    kind: str = "cosine",
    losses: Sequence[float] = (),
    patience: int = 10,
) -> float:
    """The factor on the learning rate in a step: linear warm-up, then the schedule.

    It rises as (step + 1) / warmup over the first ``warmup`` steps. After that it is 1
    (``"constant"``), half a cosine from 1 to ``final``, which it would reach one step
    after the last (``"cosine"``), or the factor that ``plateau`` returns.

    Args:
        step: number of the step in the run; the first is 0.
        total: number of steps in the run.
        warmup: number of steps of linear warm-up.
        final: factor at the end of the cosine.
        kind: one of ``SCHEDULES``.
        losses: mean training loss of every epoch so far.
        patience: of the plateau, in epochs.
    """
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    if kind == "plateau":
        return rise * plateau(losses, patience)
    if kind == "constant" or rise < 1:
        return rise
    progress = max(0, step - warmup) / max(1, total - warmup)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def plateau(losses: Sequence[float], patience: int, threshold: float = 1e-4) -> float:
    """A factor that falls to a tenth whenever the training loss stays on a plateau.

    A plateau is more than ``patience`` epochs without a lower loss. The factor is
    computed from all losses so far, by the rule of torch's ``ReduceLROnPlateau``, so
    that a resumed run needs the losses only.

    Args:
        losses: one per epoch.
        patience: epochs to wait.
        threshold: by which share of itself the best loss must fall to count as lower.
    """
    factor, best, waited = 1.0, math.inf, 0
    for loss in losses:
        if best == math.inf or loss < best - threshold * abs(best):
            best, waited = loss, 0
        else:
            waited += 1
        if waited > patience:
            factor, waited = factor * 0.1, 0
    return factor


def load_moments(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Load what an optimizer remembers of earlier gradients, from its ``state_dict``.

    Other values, such as betas, stay those of the settings. The file may come from
    anyone, and fused kernels do not look at shapes: they would write over foreign
    memory.

    Raises:
        ValueError: when there is a moment that does not belong to its weight.
    """
    own = optimizer.state_dict()["param_groups"]
    for mine, other in zip(own, saved["param_groups"], strict=True):
        if mine["params"] != other["params"]:
            raise ValueError("the optimizer has other weights")
        mine["lr"] = float(other["lr"])  # for whoever saves before the next step
    optimizer.load_state_dict({"state": saved["state"], "param_groups": own})
    weights = {weight for group in optimizer.param_groups for weight in group["params"]}
    for weight, moments in optimizer.state.items():
        names = set(moments)
        if weight not in weights or (names and names not in MOMENTS):
            raise ValueError(f"the optimizer remembers {str(names)[:80]}")
        for name, moment in moments.items():
            form = () if name == "step" else weight.shape
            if moment is None and name == "momentum_buffer":  # of SGD, before a step
                continue
            if moment.shape != form:  # its type is the weight's already
                raise ValueError(f"the optimizer's {name} has another shape")


def set_learning_rate(
    optimizer: torch.optim.Optimizer, learning_rate: float, factor: float
) -> None:
    """Set each group's rate to learning_rate · scale · factor (1 if constant)."""
    for group in optimizer.param_groups:
        scheduled = 1.0 if group["constant"] else factor
        group["lr"] = learning_rate * group["scale"] * scheduled
