r"""The contrastive losses: InfoNCE against a memory bank, and SupCon's between views.

Queries q are features of the batch, m are the entries of the bank, one per image, and i
the numbers of the queries' own images; s is the cosine similarity, τ the temperature.
"""

from __future__ import annotations

from typing import Any

import torch
from lightly.utils import dist
from torch import Tensor
from torch.nn import functional

from helpers.methods import memory

PART = 16_384  # entries of the bank that are compared at a time


def info_nce(
    q: Tensor, m: Tensor, i: Tensor, temperature: float, negatives: Tensor | None = None
) -> Tensor:
    r"""Find the own image among all candidates: a cross-entropy over similarities.

        L(m_i, q) = −log h(m_i, q)
        h(m_j, q) = exp(s(m_j, q) / τ) / Σ_k exp(s(m_k, q) / τ),   k in {i} ∪ D_N

    With drawn negatives the loss is the last two lines. They would also do for the
    whole bank; ``info_nce_whole_bank`` gives the same without keeping B x N scores.
    Source: van den Oord et al. 2018, arXiv:1807.03748, equation 4.

    Args:
        q: queries, (B, d), of any norm.
        m: the bank's entries, (N, d), of norm 1.
        i: numbers of the queries' own images, int64 (B,).
        temperature: τ.
        negatives: D_N, numbers of other images, int64 (B, K); None takes all N − 1.

    Returns:
        The mean over the batch, a scalar, float32.
    """
    if negatives is None:
        return info_nce_whole_bank(q, m, i, temperature)
    logits, own = scores(q, m, i, temperature, negatives)  # (B, 1 + K), (B,)
    return functional.cross_entropy(logits, own)


def scores(
    q: Tensor, m: Tensor, i: Tensor, temperature: float, negatives: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The similarities s(q, m_j) / τ with all candidates j, and which is the own one.

    Returns:
        float32 (B, 1 + K), the own image first, or (B, N); and the columns of the own
        images, int64 (B,).
    """
    with memory.full_precision(q):
        every = (memory.unit(q) / temperature) @ m.T  # (B, N)
    if negatives is None:
        return every, i
    candidates = torch.cat([i[:, None], negatives], dim=1)  # (B, 1 + K)
    return every.gather(1, candidates), torch.zeros_like(i)


def negative_indices(uniform: Tensor, own: Tensor) -> Tensor:
    """Turn uniform integers into numbers of other images, without the own one.

    Every number that is not below the own one moves up by one.

    Args:
        uniform: (B, K), uniform in 0 ... N − 2.
        own: the queries' own images, (B,).

    Returns:
        (B, K), uniform in 0 ... N − 1 without ``own``.
    """
    return uniform + (uniform >= own[:, None])


def contrastive(z_1: Tensor, z_2: Tensor, group: Tensor, temperature: float) -> Tensor:
    r"""Find the views of the own group among all other views: SupCon's L_out.

    With z the 2B normalised views of the batch, P(i) the other views of i's group and
    A(i) all views but i, it is the mean over all i of

        −1/|P(i)| Σ_{p ∈ P(i)} log( exp(z_i·z_p/τ) / Σ_{a ∈ A(i)} exp(z_i·z_a/τ) ).

    Where every image is a group of its own, this is SimCLR's NT-Xent. The other views
    are those of all processes. Source: Khosla et al. 2020, arXiv:2004.11362, equation
    2; Chen et al. 2020, arXiv:2002.05709, equation 1.

    Args:
        z_1: one view of every image, (B, d).
        z_2: another view of every image, (B, d).
        group: the group of every image, int64 (B,).
        temperature: τ.

    Returns:
        A scalar, float32.
    """
    with memory.full_precision(z_1):
        z = memory.unit(torch.cat([z_1, z_2]))  # (2B, d)
        every, group = memory.gather(z), group.repeat(2)  # (M, d) of all processes
        column = torch.arange(len(every), device=z.device)  # (M,)
        row = column[: len(z)] + dist.rank() * len(z)  # (2B,): this process's own
        itself = row[:, None] == column  # (2B, M)
        logits = (z / temperature @ every.T).masked_fill(itself, -torch.inf)
        positive = (group[:, None] == memory.gather(group)) & ~itself  # (2B, M)
        log_h = logits.log_softmax(dim=1).where(positive, 0.0)  # (2B, M)
        return -(log_h.sum(dim=1) / positive.sum(dim=1)).mean()


def info_nce_whole_bank(q: Tensor, m: Tensor, i: Tensor, temperature: float) -> Tensor:
    """``info_nce`` with all N − 1 negatives, for banks of any size.

    −log h(m_i, q) = log Σ_k exp(q·m_k / τ) − q·m_i / τ. In mixed precision only the
    products with the negatives are of 16 bits, never those with the own entry: when it
    is found with ease, the gradient is a small difference of the two terms.
    """
    dtype = memory.product_type(q)
    with memory.full_precision(q):
        query = memory.unit(q) / temperature  # (B, d)
        own = (query * m[i]).sum(dim=1)  # s(m_i, q) / τ, (B,)
        return (LogSumExp.apply(query, m, i, dtype) - own).mean()


class LogSumExp(torch.autograd.Function):
    """log Σ_k exp(q·m_k) over the whole bank, one part of it at a time.

    The gradient is the mean of the entries, weighted by exp(q·m_k), and is summed up in
    the same pass; so no matrix of B x N scores is ever written and read again. The two
    products with a part are in ``dtype``, everything else in that of q: the own
    entries m_i come first and are left out of the parts.
    Source: Milakov & Gimelshein 2018, arXiv:1805.02867, algorithm 3.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, m: Tensor, i: Tensor, dtype: torch.dtype
    ) -> Tensor:
        """Of queries (B, d), the bank's entries (N, d) and the own ones' numbers."""
        weighted_sum = m[i]  # (B, d), of the entries by exp(score − max)
        new_max = (q * m[i]).sum(1, keepdim=True)  # (B, 1), of all scores so far
        total = torch.ones_like(new_max)  # (B, 1), of the weights
        for start in range(0, len(m), PART):
            part = m[start : start + PART].to(dtype)  # (P, d)
            weight = (q.to(dtype) @ part.T).to(q.dtype)  # (B, P)
            column = (i - start).clamp(0, len(part) - 1)[:, None]  # (B, 1)
            is_own = (column + start) == i[:, None]  # (B, 1)
            others = weight.gather(1, column).masked_fill(is_own, -torch.inf)
            weight.scatter_(1, column, others)
            old_max, new_max = new_max, new_max.maximum(weight.amax(1, keepdim=True))
            weight.sub_(new_max).exp_()
            rescale = (old_max - new_max).exp_()  # sums so far are relative to old_max
            total = rescale * total + weight.sum(1, keepdim=True)
            weighted_sum = rescale * weighted_sum + weight.to(dtype) @ part
        ctx.save_for_backward(weighted_sum / total)
        return (new_max + total.log())[:, 0]

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None, None]:
        """Only the queries learn from the loss; the bank follows f(v_I) instead."""
        (mean,) = ctx.saved_tensors  # (B, d)
        return slope[:, None] * mean, None, None, None
