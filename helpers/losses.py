r"""The losses that lightly lacks, and the memories that features are compared with.

PIRL's letters: q (B, d) are queries, f(v_I) or g(v_It); m (N, d) is the bank, one
entry an image, all of norm 1; i (B,) are the numbers of the queries' own images; τ is
the temperature and s the cosine similarity. Its loss attracts q to m_i and repels it
from the other entries; an image is never among its own negatives.
"""

from __future__ import annotations

import contextlib

import torch
from lightly.utils import dist
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


class Queue(nn.Module):
    """The latest features of earlier batches, first in, first out.

    It is a buffer, so checkpoints hold it, and the same on all processes. It starts
    full of random directions. Source: He et al. 2020, arXiv:1911.05722, section 3.2.

    Args:
        size: number of images K.
        *shape: of an image's features: (d,), or (V, d) for V views.
    """

    def __init__(self, size: int, *shape: int) -> None:
        """See the class."""
        super().__init__()
        entries = functional.normalize(torch.randn(size, *shape), dim=-1)
        self.register_buffer("entries", entries)  # (K, ...), newest first

    @torch.no_grad()
    def push(self, features: Tensor) -> None:
        """Put features (B, ...) of every process in; the oldest drop out."""
        new = torch.cat([gather(features.float()), self.entries])
        self.entries.copy_(new[: len(self.entries)])

    def share(self) -> Tensor:
        """This process's part of the entries, where each is to look at its own."""
        return self.entries.tensor_split(dist.world_size())[dist.rank()]


class Prototypes(nn.Module):
    """Learned directions of norm 1; it maps features to their cosines with them.

    Args:
        dim: width d of a feature.
        count: number of prototypes K.
    """

    def __init__(self, dim: int, count: int) -> None:
        """See the class; they start as random directions."""
        super().__init__()
        self.weight = nn.Parameter(unit(torch.randn(count, dim)))
        self.kept: Tensor | None = None

    def forward(self, features: Tensor) -> Tensor:
        """Cosines of features (B, d) with all prototypes: float32 (B, K)."""
        with full_precision(features):
            return unit(features) @ unit(self.weight).T

    def freeze(self, frozen: bool) -> None:
        """Before a step: say whether ``settle`` is to undo it."""
        self.kept = self.weight.detach().clone() if frozen else None

    @torch.no_grad()
    def settle(self) -> None:
        """After a step: back to norm 1, or to where they were if they are frozen."""
        self.weight.copy_(unit(self.weight) if self.kept is None else self.kept)


def unit(features: Tensor) -> Tensor:
    """Features (B, d) divided by their length, float32."""
    return functional.normalize(features.float(), dim=1)


def gather(rows: Tensor) -> Tensor:
    """The rows (B, ...) of all processes, in their order.

    Gradients flow back to the process a row came from. There they add up over all
    processes, and the mean over processes that follows makes them those of one process.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return rows
    return torch.cat(dist.gather(rows.contiguous()))


def full_precision(tensor: Tensor) -> contextlib.AbstractContextManager:
    """A context where mixed precision is off, on the device of ``tensor``.

    Without it a similarity of float32 features is computed in 16 bits.
    """
    return torch.autocast(tensor.device.type, enabled=False)


def info_nce(q: Tensor, m: Tensor, i: Tensor, temperature: float) -> Tensor:
    r"""Pick the own image among all: −log softmax(s(q, m) / τ)[i], mean over the batch.

    The loss of the MLP-head models (VISSL's ``cross_entropy``), with the whole bank as
    negatives by one matrix product.

    Returns:
        A scalar, float32.
    """
    logits = functional.normalize(q.float(), dim=1) @ m.T / temperature  # (B, N)
    return functional.cross_entropy(logits, i)


def contrastive(z_1: Tensor, z_2: Tensor, group: Tensor, temperature: float) -> Tensor:
    r"""Pick the views of the own group among all other views: SupCon's L_out.

    With z the 2B normalised views of the batch, P(i) the other views of i's group and
    A(i) all views but i, it is the mean over all i of

        −1/|P(i)| Σ_{p ∈ P(i)} log( exp(z_i·z_p/τ) / Σ_{a ∈ A(i)} exp(z_i·z_a/τ) ).

    Where every image is a group of its own, this is SimCLR's NT-Xent. The other views
    are those of all processes. Source: Khosla et al. 2020, arXiv:2004.11362, equation
    2; Chen et al. 2020, arXiv:2002.05709, equation 1.

    Args:
        z_1: one view of every image, (B, d).
        z_2: another, (B, d).
        group: the group of every image, int64 (B,).
        temperature: τ.

    Returns:
        A scalar, float32.
    """
    with full_precision(z_1):
        z = unit(torch.cat([z_1, z_2]))  # (2B, d)
        everybody, group = gather(z), group.repeat(2)
        place = torch.arange(len(everybody), device=z.device)
        itself = place[: len(z), None] + dist.rank() * len(z) == place
        logits = (z @ everybody.T / temperature).masked_fill(itself, -torch.inf)
        positive = (group[:, None] == gather(group)) & ~itself
        chosen = logits.log_softmax(dim=1).where(positive, 0.0).sum(dim=1)
        return -(chosen / positive.sum(dim=1)).mean()
