"""Gauges of a pre-training run: have the embeddings collapsed?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional

COLLAPSED = 0.1  # of the spread that isotropic embeddings have


def spread(embedding: Tensor) -> Tensor:
    """How spread out embeddings (B, d) are: 1 is isotropic, 0 is collapsed.

    The standard deviation of every coordinate of the normalised embedding, mean over
    the coordinates, times √d. Source: Chen & He 2021, arXiv:2011.10566, section 4.1.
    """
    normalized = functional.normalize(embedding.float(), dim=1)
    return normalized.std(dim=0).mean() * embedding.shape[1] ** 0.5


def is_collapsed(history: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the embeddings of the last epoch hardly differ from each other."""
    return bool(history) and history[-1]["spread"] < COLLAPSED
