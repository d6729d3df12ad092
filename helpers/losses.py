r"""PIRL's memory bank and its three losses.

Letters: q (B, d) are queries, f(v_I) or g(v_It); m (N, d) is the bank, one entry an
image, all of norm 1; i (B,) are the numbers of the queries' own images; τ is the
temperature and s the cosine similarity. Every loss attracts q to m_i and repels it from
the other entries; an image is never among its own negatives.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional


class MemoryBank(nn.Module):
    """One feature an image, the running mean of what the network said about it.

    Entries have norm 1; an update is m ← normalize(μ·m + (1 − μ)·f/|f|) for the images
    of the batch and touches no other row. It is a buffer, so checkpoints hold it.
    Source: Misra & van der Maaten 2020, arXiv:1912.01991, section 3.3.

    Args:
        count: number of images N.
        dim: width d of a feature.
        momentum: μ in [0, 1).
    """

    def __init__(self, count: int, dim: int, momentum: float = 0.5) -> None:
        """See the class; entries start as random directions until ``fill``."""
        super().__init__()
        self.momentum = momentum
        entries = functional.normalize(torch.randn(count, dim), dim=1)
        self.register_buffer("entries", entries)

    @torch.no_grad()
    def update(self, index: Tensor, features: Tensor) -> None:
        """Move the entries ``index`` (B,) towards ``features`` (B, d).

        Where several processes train together, every one learns of all their images.
        """
        index, features = gather(index), gather(features.float())
        new = functional.normalize(features, dim=1)
        mixed = self.momentum * self.entries[index] + (1 - self.momentum) * new
        self.entries[index] = functional.normalize(mixed, dim=1)

    @torch.no_grad()
    def fill(self, index: Tensor, features: Tensor) -> None:
        """Replace the entries ``index`` (B,) by ``features`` (B, d)."""
        self.entries[index] = functional.normalize(features.float(), dim=1)


def gather(rows: Tensor) -> Tensor:
    """The rows (B, ...) of all processes, in their order; without gradients."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return rows
    everybody = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
    distributed.all_gather(everybody, rows.contiguous())
    return torch.cat(everybody)


def info_nce(q: Tensor, m: Tensor, i: Tensor, temperature: float) -> Tensor:
    r"""Pick the own image among all: −log softmax(s(q, m) / τ)[i], mean over the batch.

    The loss of the MLP-head models (VISSL's ``cross_entropy``), with the whole bank as
    negatives by one matrix product.

    Returns:
        A scalar, float32.
    """
    logits = functional.normalize(q.float(), dim=1) @ m.T / temperature  # (B, N)
    return functional.cross_entropy(logits, i)
