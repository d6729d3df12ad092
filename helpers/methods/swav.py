r"""SwAV: predict the cluster that the other view belongs to.

Projections $z$ of the views are compared with $K$ learned *prototypes* $c_k$, all of
norm 1. From the scores $z \cdot c_k$ of the batch and of a queue of earlier images the
Sinkhorn algorithm makes *codes* $q$, soft assignments that use all prototypes equally
often. A view $s$ has to predict the code of every other view $t$ from its own scores:

$$\mathcal{L} = -\sum_k q_t^{(k)} \log p_s^{(k)}, \qquad
p_s^{(k)} = \frac{e^{z_s \cdot c_k / \tau}}{\sum_{j} e^{z_s \cdot c_j / \tau}}.$$

Codes come from the two large views; small ones, which cost little, predict them too. No
constant can win, because the codes use all prototypes evenly. At a loss of $\ln K$
nothing has been learned.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from lightly.loss import SwaVLoss, swav_loss
from lightly.models.modules import heads
from torch import Tensor, nn

from helpers.methods import base, memory


@dataclasses.dataclass(frozen=True)
class SwAVOptions(base.MultiCropOptions):
    """SwAV's own options.

    Attributes:
        prototypes: number of prototypes K.
        temperature: τ of the predictions p.
        epsilon: softness of the codes, at least 0.02; lower it if the loss stays at
            ln K.
        queue_size: images remembered, with both their large views.
        queue_start: share of the run after which the queue is used.
        frozen: share of the run, at its start, in which prototypes do not move.
    """

    prototypes: int = 512
    temperature: float = 0.1
    epsilon: float = 0.05
    queue_size: int = 3840
    queue_start: float = 0.1
    frozen: float = 0.01

    def __post_init__(self) -> None:
        """Check that codes can be computed in float32.

        Raises:
            ValueError: when exp(−2 / ε), of a feature opposite to a prototype, is 0.
        """
        super().__post_init__()
        if not self.epsilon >= 0.02:
            raise ValueError(f"epsilon must be at least 0.02, not {self.epsilon}.")


class SwAV(base.Method):
    """Caron et al. 2020, arXiv:2006.09882: equations 1 to 5, section 3.3."""

    Options = SwAVOptions
    recipes = base.recipes(
        short={"small_size": 24, "epsilon": 0.02, "queue_start": 0.5},
        minutes={"prototypes": 64, "queue_size": 256},
        # Adam, 1e-3 for 128 images, and 512 prototypes: lightly's CIFAR-10 benchmark.
        # The queue: solo-learn's for CIFAR-10. τ, ε, the scale of small views: paper.
        long={"optimizer": "adam", "learning_rate": 2e-3, "weight_decay": 1e-6},
    )
    formula = (SwaVLoss.forward, swav_loss.sinkhorn)

    def __init__(self, backbone: nn.Module, count: int, options: SwAVOptions) -> None:
        """See ``base.Method``."""
        super().__init__(backbone, count, options)
        width, dim = backbone.feature_dim, options.output_dim
        self.projection_head = heads.SwaVProjectionHead(width, options.hidden_dim, dim)
        self.prototypes = memory.Prototypes(dim, options.prototypes)
        self.queue = memory.Queue(options.queue_size, 2, dim)
        rounds = 3  # of Sinkhorn's algorithm
        tau, epsilon = options.temperature, options.epsilon
        self.swav = SwaVLoss(tau, rounds, epsilon, sinkhorn_gather_distributed=True)
        self.before_step(1.0)

    def before_step(self, progress: float) -> None:
        """Prototypes get norm 1; early in the run they are frozen, without a queue."""
        self.uses_queue = progress >= self.options.queue_start
        self.prototypes.frozen = progress < self.options.frozen
        self.prototypes.normalize()

    def loss(self, views: tuple[Tensor, ...], index: Tensor, labels: Tensor) -> Tensor:
        """L(s, t) over all pairs of views s ≠ t with a large t."""
        z = self.projection_head(base.features(self.backbone, views))  # (V·B, d)
        z = memory.unit(z).chunk(len(views))  # V times (B, d)
        self.large = torch.stack(z[:2], dim=1).detach()  # (B, 2, d)
        self.embedding = self.large[:, 0]
        # Neither p nor q changes with the 1, the largest score; exp(1 / ε) may be inf.
        scores, queued = [self.prototypes(view) - 1 for view in z], None  # V x (B, K)
        if self.uses_queue:
            earlier = self.queue.share().unbind(dim=1)  # twice (Q, d)
            queued = [self.prototypes(view) - 1 for view in earlier]  # twice (Q, K)
        return self.swav(scores[:2], scores[2:], queued)[0]

    def by_hand(self, views: Any, index: Tensor, labels: Tensor) -> Tensor:
        """The same loss in a few lines, as it is before the queue is used."""
        z = memory.unit(self.projection_head(base.features(self.backbone, views)))
        scores = self.prototypes(z).chunk(len(views))  # V times (B, K)
        total = torch.zeros(())
        for t in range(2):  # a large view gives codes
            codes = (scores[t].detach() / self.options.epsilon).exp()  # (B, K)
            for _ in range(3):  # Sinkhorn's algorithm: equal sums in both directions
                codes = codes / codes.sum(dim=0)  # of the prototypes
                codes = codes / codes.sum(dim=1, keepdim=True)  # of the images
            for s in range(len(views)):  # and every other view predicts them
                if s != t:
                    log_p = (scores[s] / self.options.temperature).log_softmax(dim=1)
                    total = total - (codes * log_p).sum(dim=1).mean()
        return total / (2 * (len(views) - 1))

    def after_backward(self) -> None:
        """Frozen prototypes get no gradient, so they gather no momentum either."""
        self.prototypes.after_backward()

    def after_step(self, progress: float) -> None:
        """The queue takes the large views."""
        self.queue.push(self.large)
