r"""The losses that lightly lacks: PIRL's three, and SupCon's.

PIRL's letters: q (B, d) are queries, f(v_I) or g(v_It); m (N, d) is the bank, one entry
an image, all of norm 1; i (B,) are the numbers of the queries' own images; τ is the
temperature and s the cosine similarity.

A query is compared with its candidates, its own image's entry and those of others, the
negatives D_N: all N entries, or the own one and some that were drawn, (B, K) numbers as
``others`` makes them. Every loss is a function of q, m, i, τ and those numbers, or None
for all, and returns a scalar, float32, the mean over the batch. It attracts q to m_i
and repels it from the negatives; an image is never among its own negatives.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from lightly.utils import dist
from torch import Tensor, nn
from torch.nn import functional

from helpers.methods import memory

PART = 16_384  # entries of the bank that are looked at together


def info_nce(
    q: Tensor, m: Tensor, i: Tensor, temperature: float, negatives: Tensor | None = None
) -> Tensor:
    r"""Pick the own image among all candidates.

        L(m_i, q) = −log h(m_i, q)
        h(m_j, q) = exp(s(m_j, q) / τ) / Σ_k exp(s(m_k, q) / τ),   k in {i} ∪ D_N

    The loss of the models with MLP heads (VISSL's ``cross_entropy``, τ = 0.1). In mixed
    precision only the products with the whole bank are of 16 bits, never the own score.
    Source: van den Oord et al. 2018, arXiv:1807.03748, equation 4.
    """
    if negatives is not None:
        return functional.cross_entropy(*scores(q, m, i, temperature, negatives))
    dtype = memory.product_type(q)
    with memory.full_precision(q):
        query = memory.unit(q) / temperature
        own = (query * m[i]).sum(dim=1)  # s(m_i, q) / τ
        return (LogSumExp.apply(query, m, dtype) - own).mean()


class LogSumExp(torch.autograd.Function):
    """log Σ_k exp(q·m_k) over the whole bank, a part of it at a time.

    The gradient is the mean of the entries, each weighted by its h, and is summed up in
    the same pass; so there is no matrix of B x N scores to be written and read again.
    The two products with a part are in ``dtype``; all else stays in that of q.
    Source: Milakov & Gimelshein 2018, arXiv:1805.02867, algorithm 3.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, m: Tensor, dtype: torch.dtype) -> Tensor:
        """Of queries (B, d) and the bank (N, d): (B,)."""
        highest = q.new_full((len(q), 1), -torch.inf)
        total, pull = torch.zeros_like(highest), torch.zeros_like(q)
        for part in m.split(PART):
            part = part.to(dtype)
            weight = (q.to(dtype) @ part.T).to(q.dtype)
            before, highest = highest, highest.maximum(weight.amax(1, keepdim=True))
            weight.sub_(highest).exp_()
            shrink = (before - highest).exp_()  # what was summed knew another highest
            total = shrink * total + weight.sum(1, keepdim=True)
            pull = shrink * pull + weight.to(dtype) @ part
        ctx.save_for_backward(pull / total)
        return (highest + total.log())[:, 0]

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        """The bank learns nothing from a loss; it follows f(v_I)."""
        (mean,) = ctx.saved_tensors
        return slope[:, None] * mean, None, None


def nce(
    q: Tensor, m: Tensor, i: Tensor, temperature: float, negatives: Tensor | None = None
) -> Tensor:
    r"""Tell the own image from each of the others: the paper's loss (τ = 0.07).

        L(m_i, q) = −log h(m_i, q) − Σ_{j in D_N} log(1 − h(m_j, q))

    with ``info_nce``'s h: negatives are compared with the second argument, q. Which sum
    the h of a negative is divided by, the paper leaves open; here it is that of m_i's.
    Source: Misra & van der Maaten 2020, arXiv:1912.01991, equations 3 to 5.
    """
    every, own = scores(q, m, i, temperature, negatives)
    log_h = functional.log_softmax(every, dim=1)
    # A negative that has it all, h = 1 after rounding, would make log(1 − h) infinite.
    rejected = torch.log1p(-log_h.exp().clamp(max=1 - 1e-6))
    of_own = own[:, None]
    loss = rejected.gather(1, of_own)[:, 0] - log_h.gather(1, of_own)[:, 0]
    return (loss - rejected.sum(dim=1)).mean()


class ConstantNCE(nn.Module):
    r"""The loss of VISSL's released models with linear heads (τ = 0.07).

    A logistic regression that tells the own image from K noise images of probability
    1 / N each, in place of a softmax:

        P_j = exp(s(q, m_j) / τ) / Z
        L = −log P_i / (P_i + K/N) − Σ_{j in D_N} log (K/N) / (P_j + K/N)

    Z is a constant: N times the mean of exp(s / τ) over the first queries the loss is
    asked about, g(v_It) of the first batch. Unlike VISSL, no image is its own negative.
    Source: Wu et al. 2018, arXiv:1805.01978, section 3.2; VISSL's ``nce_loss.py``.

    Args:
        count: number of images N.
    """

    def __init__(self, count: int) -> None:
        """See the class; log Z is infinite until the first batch."""
        super().__init__()
        self.count = count
        self.register_buffer("log_z", torch.tensor(math.inf))

    def forward(
        self,
        q: Tensor,
        m: Tensor,
        i: Tensor,
        temperature: float,
        negatives: Tensor | None = None,
    ) -> Tensor:
        """The loss; the first call sets Z."""
        every, own = scores(q, m, i, temperature, negatives)
        self.fix(every.detach())
        noise = math.log((every.shape[1] - 1) / self.count)  # log K/N
        u = every - self.log_z - noise  # the odds, as a logarithm: log P_j / (K/N)
        # −log σ(u_i) − Σ log σ(−u_j), where −log σ(−u) = softplus(u) = u − log σ(u).
        loss = functional.softplus(u).sum(dim=1) - u.gather(1, own[:, None])[:, 0]
        return loss.mean()

    def fix(self, scores: Tensor) -> None:
        """Set Z by the first batch of all processes; no look at it, so no waiting."""
        each = memory.gather(scores.logsumexp(dim=1))
        mean = each.logsumexp(dim=0) - math.log(len(each) * scores.shape[1])
        guess = mean + math.log(self.count)
        self.log_z = torch.where(self.log_z.isinf(), guess, self.log_z)


def scores(
    q: Tensor, m: Tensor, i: Tensor, temperature: float, negatives: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """s(q, m_j) / τ for all candidates j, by one matrix product with the bank.

    Returns:
        The scores, float32 (B, N) or (B, 1 + K), and the own images' columns, (B,).
    """
    with memory.full_precision(q):
        every = (memory.unit(q) / temperature) @ m.T  # τ divides the small matrix
    if negatives is None:
        return every, i
    candidates = torch.cat([i[:, None], negatives], dim=1)
    return every.gather(1, candidates), torch.zeros_like(i)


def others(drawn: Tensor, i: Tensor) -> Tensor:
    """Make of numbers below N − 1 those of images that are not i: D_N.

    Args:
        drawn: (B, K), uniform in 0 ... N − 2.
        i: the queries' own images, (B,).

    Returns:
        (B, K), uniform in 0 ... N − 1 without i.
    """
    return drawn + (drawn >= i[:, None])


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
    with memory.full_precision(z_1):
        z = memory.unit(torch.cat([z_1, z_2]))  # (2B, d)
        everybody, group = memory.gather(z), group.repeat(2)
        place = torch.arange(len(everybody), device=z.device)
        itself = place[: len(z), None] + dist.rank() * len(z) == place
        logits = (z / temperature @ everybody.T).masked_fill(itself, -torch.inf)
        positive = (group[:, None] == memory.gather(group)) & ~itself
        chosen = logits.log_softmax(dim=1).where(positive, 0.0).sum(dim=1)
        return -(chosen / positive.sum(dim=1)).mean()
