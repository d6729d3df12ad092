r"""PIRL's memory bank and its three losses.

Letters: q (B, d) are queries, f(v_I) or g(v_It); m (N, d) is the bank, one entry an
image, all of norm 1; i (B,) are the numbers of the queries' own images; τ is the
temperature and s the cosine similarity.

A query is compared with its candidates, its own image's entry and those of others, the
negatives D_N: all N entries, or the own one and some that were drawn. ``scores`` makes
s(q, m_j) / τ of them, and a loss makes one number of the scores. Every loss attracts q
to m_i and repels it from the negatives; an image is never among its own negatives.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional


class MemoryBank(nn.Module):
    """One feature an image, the running mean of what the network said about it.

    Entries have norm 1; an update is m ← normalize(μ·m + (1 − μ)·f/|f|) for the images
    of the batch and touches no other row. All is in buffers, so checkpoints hold it.
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
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("updated", torch.zeros(count, dtype=torch.int64))

    @property
    def age(self) -> Tensor:
        """How many updates ago every entry last moved, int64 (N,)."""
        return self.updates - self.updated

    @torch.no_grad()
    def update(self, index: Tensor, features: Tensor) -> None:
        """Move the entries ``index`` (B,) towards ``features`` (B, d).

        Where several processes train together, every one learns of all their images.
        """
        index, features = gather(index), gather(features.float())
        new = functional.normalize(features, dim=1)
        mixed = self.momentum * self.entries[index] + (1 - self.momentum) * new
        self.entries[index] = functional.normalize(mixed, dim=1)
        self.updates += 1
        self.updated[index] = self.updates

    @torch.no_grad()
    def fill(self, index: Tensor, features: Tensor) -> None:
        """Replace the entries ``index`` (B,) by ``features`` (B, d)."""
        self.entries[index] = functional.normalize(features.float(), dim=1)

    def neighbors(self, index: Tensor, *, k: int = 6) -> Tensor:
        """The k images whose entries are nearest to these images' (B,): (B, k)."""
        similarity = self.entries[index] @ self.entries.T
        similarity.scatter_(1, index[:, None], -torch.inf)
        return similarity.topk(min(k, len(self.entries) - 1), dim=1).indices


def gather(rows: Tensor) -> Tensor:
    """The rows (B, ...) of all processes, in their order; without gradients."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return rows
    everybody = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
    distributed.all_gather(everybody, rows.contiguous())
    return torch.cat(everybody)


def scores(
    q: Tensor, m: Tensor, i: Tensor, temperature: float, negatives: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """s(q, m_j) / τ for all candidates j, by one matrix product with the bank.

    Args:
        q: queries (B, d).
        m: the bank (N, d).
        i: the queries' own images, (B,).
        temperature: τ.
        negatives: numbers of other images, (B, K), as ``others`` makes them; None
            takes all of them.

    Returns:
        The scores, float32 (B, N) or (B, 1 + K), and the own images' columns, (B,).
    """
    every = functional.normalize(q.float(), dim=1) @ m.T / temperature  # (B, N)
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


def info_nce(scores: Tensor, own: Tensor) -> Tensor:
    r"""Pick the own image among all candidates, mean over the batch.

        L(m_i, q) = −log h(m_i, q)
        h(m_j, q) = exp(s(m_j, q) / τ) / Σ_k exp(s(m_k, q) / τ),   k in {i} ∪ D_N

    The loss of the models with MLP heads (VISSL's ``cross_entropy``, τ = 0.1).
    Source: van den Oord et al. 2018, arXiv:1807.03748, equation 4.

    Args:
        scores: of ``scores``, (B, K).
        own: the column of the own image, (B,).

    Returns:
        A scalar, float32; so do the other two.
    """
    return functional.cross_entropy(scores, own)


def nce(scores: Tensor, own: Tensor) -> Tensor:
    r"""Tell the own image from each of the others: the paper's loss (τ = 0.07).

        L(m_i, q) = −log h(m_i, q) − Σ_{j in D_N} log(1 − h(m_j, q))

    with ``info_nce``'s h: negatives are compared with the second argument, q. Which sum
    the h of a negative is divided by, the paper leaves open; here it is that of m_i's.
    Source: Misra & van der Maaten 2020, arXiv:1912.01991, equations 3 to 5.
    """
    log_h = functional.log_softmax(scores, dim=1)
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

    def forward(self, scores: Tensor, own: Tensor) -> Tensor:
        """The loss of scores (B, 1 + K), with the own image in column ``own`` (B,)."""
        self.fix(scores.detach())
        noise = math.log((scores.shape[1] - 1) / self.count)  # log K/N
        u = scores - self.log_z - noise  # the odds, as a logarithm: log P_j / (K/N)
        # −log σ(u_i) − Σ log σ(−u_j), where −log σ(−u) = softplus(u) = u − log σ(u).
        loss = functional.softplus(u).sum(dim=1) - u.gather(1, own[:, None])[:, 0]
        return loss.mean()

    def fix(self, scores: Tensor) -> None:
        """Set Z by the first batch of all processes; no look at it, so no waiting."""
        each = gather(scores.logsumexp(dim=1))
        mean = each.logsumexp(dim=0) - math.log(len(each) * scores.shape[1])
        guess = mean + math.log(self.count)
        self.log_z = torch.where(self.log_z.isinf(), guess, self.log_z)
