"""What features are compared with: PIRL's memory bank, queues and prototypes.

All of it is kept in buffers and parameters, so that it is part of the saved state, and
is the same on all processes.
"""

from __future__ import annotations

import contextlib

import torch
from lightly.utils import dist
from torch import Tensor, distributed, nn
from torch.nn import functional


class MemoryBank(nn.Module):
    """One entry per image: a running mean of the features the network gave it.

    Entries have norm 1. An update is m ← normalize(μ·m + (1 − μ)·f/|f|) for the images
    of the batch and changes no other entry.
    Source: Misra & van der Maaten 2020, arXiv:1912.01991, section 2.2.

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
        self.register_buffer("entries", entries)  # (N, d)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("updated", torch.zeros(count, dtype=torch.int64))

    @property
    def age(self) -> Tensor:
        """Number of updates since each entry last moved, int64 (N,)."""
        return self.updates - self.updated

    @torch.no_grad()
    def update(self, index: Tensor, features: Tensor) -> None:
        """Move the entries ``index`` (B,) towards ``features`` (B, d).

        Where several processes train together, each updates the images of all.
        """
        index, features = gather(index), gather(features.float())
        new = functional.normalize(features, dim=1)  # (B, d)
        mixed = self.momentum * self.entries[index] + (1 - self.momentum) * new
        self.entries[index] = functional.normalize(mixed, dim=1)
        self.updates += 1
        self.updated[index] = self.updates

    @torch.no_grad()
    def fill(self, index: Tensor, features: Tensor) -> None:
        """Replace the entries ``index`` (B,) by ``features`` (B, d)."""
        self.entries[index] = functional.normalize(features.float(), dim=1)

    def similarity(self, features: Tensor, index: Tensor) -> Tensor:
        """Cosines of features (B, d) with the entries ``index`` (K,): (B, K)."""
        with full_precision(features):
            return unit(features) @ self.entries[index].T

    def neighbors(self, index: Tensor, *, k: int = 6) -> Tensor:
        """The k images whose entries are nearest to those of ``index`` (B,): (B, k)."""
        similarity = self.entries[index] @ self.entries.T
        similarity.scatter_(1, index[:, None], -torch.inf)
        return similarity.topk(min(k, len(self.entries) - 1), dim=1).indices


class Queue(nn.Module):
    """The latest features of earlier batches, first in, first out.

    It starts full of random directions.
    Source: He et al. 2020, arXiv:1911.05722, section 3.2.

    Args:
        size: number of images K.
        *shape: shape of an image's features: (d,), or (V, d) for V views.
    """

    def __init__(self, size: int, *shape: int) -> None:
        """See the class."""
        super().__init__()
        entries = functional.normalize(torch.randn(size, *shape), dim=-1)
        self.register_buffer("entries", entries)  # (K, ...), newest first

    @torch.no_grad()
    def push(self, features: Tensor) -> None:
        """Put in the features (B, ...) of all processes; the oldest drop out."""
        new = torch.cat([gather(features.float()), self.entries])
        self.entries.copy_(new[: len(self.entries)])

    def share(self) -> Tensor:
        """The part of the entries that is this process's own: (K / processes, ...)."""
        return self.entries.tensor_split(dist.world_size())[dist.rank()]


class Prototypes(nn.Module):
    """Learned directions, and the products of features with them.

    Args:
        dim: width d of a feature.
        count: number of prototypes K.

    Attributes:
        frozen: whether the coming steps must not move the prototypes.
    """

    def __init__(self, dim: int, count: int) -> None:
        """See the class; they start as random directions of norm 1."""
        super().__init__()
        self.weight = nn.Parameter(unit(torch.randn(count, dim)))
        self.frozen = False

    def forward(self, features: Tensor) -> Tensor:
        """Products of features (B, d), of norm 1, with prototypes: float32 (B, K)."""
        with full_precision(features):
            return unit(features) @ self.weight.T

    @torch.no_grad()
    def normalize(self) -> None:
        """Put all prototypes back on the unit sphere."""
        self.weight.copy_(unit(self.weight))

    def after_backward(self) -> None:
        """Drop the gradient if frozen: then no optimizer moves or remembers it."""
        if self.frozen:
            self.weight.grad = None


def unit(features: Tensor) -> Tensor:
    """Divide features (B, d) by their length; float32."""
    return functional.normalize(features.float(), dim=1)


def gather(rows: Tensor) -> Tensor:
    """The rows (B, ...) of all processes, in their order.

    Gradients flow back to the process a row came from. There they add up over all
    processes, and the mean over processes that follows makes them equal to those of a
    single process with the whole batch.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return rows
    return torch.cat(dist.gather(rows.contiguous()))


@torch.no_grad()
def average(tensors: list[Tensor]) -> None:
    """Replace tensors by their means over all processes, in one message."""
    if distributed.is_available() and distributed.is_initialized():
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        parts = (flat / dist.world_size()).split([t.numel() for t in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))


def full_precision(tensor: Tensor) -> contextlib.AbstractContextManager:
    """Turn mixed precision off within a ``with``, on the device of ``tensor``.

    Otherwise a similarity of float32 features is computed in 16 bits.
    """
    return torch.autocast(tensor.device.type, enabled=False)


def product_type(tensor: Tensor) -> torch.dtype:
    """The type of matrix products: 16 bits in mixed precision, float32 without."""
    kind = tensor.device.type
    mixed = torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if mixed else torch.float32
