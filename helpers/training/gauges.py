"""The collapse gauge of pre-training: do all embeddings look alike?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional

COLLAPSED = 0.1  # a smaller spread counts as collapsed; isotropic embeddings have 1


def spread(embedding: Tensor) -> Tensor:
    """Measure how spread out embeddings (B, d) are: 1 is isotropic, 0 is collapsed.

    It is the standard deviation of each coordinate of the normalised embeddings,
    averaged over the coordinates, times √d.
    Source: Chen & He 2021, arXiv:2011.10566, section 4.1.
    """
    normalized = functional.normalize(embedding.float(), dim=1)  # (B, d)
    return normalized.std(dim=0).mean() * embedding.shape[1] ** 0.5


def is_collapsed(history: Sequence[Mapping[str, Any]]) -> bool:
    """Whether all embeddings were nearly the same in the last epoch of a history."""
    return bool(history) and history[-1]["spread"] < COLLAPSED
