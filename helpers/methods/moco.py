r"""MoCo: find your partner among thousands of remembered images.

The network turns one view into a query $q$. A slow copy of it, the *momentum encoder*,
turns the other into a key $k_+$, the one to be found. The wrong answers $k_j$ come from
a queue with the $K$ latest keys of earlier batches:

$$\mathcal{L} = -\log \frac{e^{q \cdot k_+ / \tau}}
{e^{q \cdot k_+ / \tau} + \sum_{j=1}^{K} e^{q \cdot k_j / \tau}},$$

with all features of norm 1, and the mean over both directions. So the number of
negatives does not depend on the batch. Keys grow old in the queue, but they stay
comparable, because the encoder that made them moves slowly: after every step
$\xi \leftarrow m\,\xi + (1 - m)\,\theta$. The loss may rise at first, while real
images take the place of the random directions that the queue starts with.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from lightly.models.modules import heads
from torch import Tensor, nn
from torch.nn import functional

from helpers.methods import base, ema, memory


@dataclasses.dataclass(frozen=True)
class MoCoOptions(base.MethodOptions):
    """MoCo's own options.

    Attributes:
        temperature: τ.
        queue_size: number K of keys in the queue.
        target_momentum: m, the share of its weights that the momentum encoder keeps.
    """

    temperature: float = 0.1
    queue_size: int = 4096
    target_momentum: float = 0.99


class MoCo(base.Method):
    """Version 2, symmetric: He et al. 2020, arXiv:1911.05722 and 2003.04297."""

    Options = MoCoOptions
    recipes = base.recipes(
        short={"target_momentum": 0.97}, minutes={"queue_size": 1024}
    )
    formula = (memory.Queue, ema)

    def __init__(self, backbone: nn.Module, count: int, options: MoCoOptions) -> None:
        """See ``base.Method``."""
        super().__init__(backbone, count, options)
        self.projection_head = heads.MoCoProjectionHead(
            backbone.feature_dim, options.hidden_dim, options.output_dim
        )
        self.online = nn.Sequential(self.backbone, self.projection_head)
        self.target = ema.slow_copy(self.online)
        self.queue = memory.Queue(options.queue_size, options.output_dim)

    def loss(self, views: tuple[Tensor, ...], index: Tensor, labels: Tensor) -> Tensor:
        """Each view's query looks for the other view's key."""
        q_1, q_2 = (memory.unit(self.online(view)) for view in views)  # (B, d) each
        with torch.no_grad():
            self.keys = [memory.unit(self.target(view)) for view in views]
        k_1, k_2 = self.keys  # (B, d) each
        self.embedding = q_1.detach()
        return (self.pick(q_1, k_2) + self.pick(q_2, k_1)) / 2

    def pick(self, q: Tensor, k: Tensor) -> Tensor:
        """−log softmax of the own key among itself and the queue; q, k are (B, d)."""
        with memory.full_precision(q):
            own = (q * k).sum(dim=1, keepdim=True)  # (B, 1)
            scores = torch.cat([own, q @ self.queue.entries.T], dim=1)  # (B, 1 + K)
            logits = scores / self.options.temperature
            return -logits.log_softmax(dim=1)[:, 0].mean()

    def by_hand(self, views: Any, index: Tensor, labels: Tensor) -> Tensor:
        """The same loss in a few lines: the own key stands before the queue's."""
        total = torch.zeros(())
        for view, other in (views, views[::-1]):
            q = functional.normalize(self.online(view), dim=1)  # (B, d)
            k = functional.normalize(self.target(other), dim=1).detach()  # (B, d)
            own = (q * k).sum(dim=1, keepdim=True)  # (B, 1)
            scores = torch.cat([own, q @ self.queue.entries.T], dim=1)  # (B, 1 + K)
            first = torch.zeros(len(q), dtype=torch.int64)
            total = total + functional.cross_entropy(
                scores / self.options.temperature, first
            )
        return total / 2

    def after_step(self, progress: float) -> None:
        """The momentum encoder follows; the queue takes the batch's keys."""
        ema.follow(self.target, self.online, self.options.target_momentum)
        for keys in self.keys:
            self.queue.push(keys)
