"""Slow copies of a network: the targets that BYOL, MoCo and DINO learn from.

With θ the weights that learn by gradient and ξ those of the copy, every step ends with
ξ ← τ·ξ + (1 − τ)·θ. The copy gets no gradient. Its BatchNorm layers normalise by the
batch, as the network's do, so their running statistics are not copied.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import nn


def slow_copy(network: nn.Module) -> nn.Module:
    """Copy a network and let no gradient reach the copy."""
    return copy.deepcopy(network).requires_grad_(False)


def momentum(start: float, progress: float) -> float:
    """Raise τ from ``start`` to 1: 1 − (1 − τ₀)·(cos(π·progress) + 1) / 2.

    Source: Grill et al. 2020, arXiv:2006.07733, section 3.2; ``progress`` in [0, 1].
    """
    return 1 - (1 - start) * (math.cos(math.pi * progress) + 1) / 2


@torch.no_grad()
def follow(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """Move all weights of the copy: ξ ← τ·ξ + (1 − τ)·θ; ``momentum`` is τ."""
    followers, leaders = list(target.parameters()), list(online.parameters())
    torch._foreach_lerp_(followers, leaders, 1 - momentum)
