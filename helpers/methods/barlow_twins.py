r"""Barlow Twins: each coordinate agrees between views and repeats no other one.

The projections of the two views, (B, d) each, are standardised over the batch. Their
cross-correlation $\mathcal{C}$ compares every coordinate of one with every coordinate
of the other:

$$\mathcal{L} = \sum_i (1 - \mathcal{C}_{ii})^2
+ \lambda \sum_i \sum_{j \neq i} \mathcal{C}_{ij}^2, \qquad
\mathcal{C}_{ij} = \frac{1}{B} \sum_b z^1_{b,i}\, z^2_{b,j}.$$

The first sum asks that a coordinate does not depend on the view. A constant fails it:
standardised it is 0 everywhere, and the sum is $d$. The second asks that no two
coordinates are correlated, which rules out one coordinate repeated $d$ times. Neither
needs negatives, a slow copy or a stop-gradient. The embedding is wide, because every
coordinate can hold something new. The loss is a sum over coordinates, so its size
depends on their number $d$; it starts near $d$.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from lightly.loss import barlow_twins_loss
from lightly.models.modules import heads
from torch import Tensor, nn

from helpers.methods import base, memory


@dataclasses.dataclass(frozen=True)
class BarlowTwinsOptions(base.PairOptions):
    """Barlow Twins' own options.

    Attributes:
        redundancy: λ, the weight of the coordinates' correlations with each other; the
            paper's.
    """

    redundancy: float = 5e-3
    hidden_dim: int = 2048
    output_dim: int = 2048


class BarlowTwins(base.Method):
    """Zbontar et al. 2021, arXiv:2103.03230: equations 1 and 2, algorithm 1."""

    Options = BarlowTwinsOptions
    recipes = base.recipes(
        short={"hidden_dim": 512, "output_dim": 512},
        # Adam, 2e-3 for 512 images: winci-ai/CW-RGP, which trains Barlow Twins and
        # VICReg on STL-10 as W-MSE does, ResNet-18 and 64 px. Widths: solo-learn.
        long={
            "optimizer": "adam",
            "learning_rate": 1e-3,
            "weight_decay": 1e-6,
            **base.ASYMMETRIC,
        },
    )
    formula = (barlow_twins_loss.BarlowTwinsLoss.forward,)

    def __init__(
        self, backbone: nn.Module, count: int, options: BarlowTwinsOptions
    ) -> None:
        """See ``base.Method``."""
        super().__init__(backbone, count, options)
        self.projection_head = heads.BarlowTwinsProjectionHead(
            backbone.feature_dim, options.hidden_dim, options.output_dim
        )
        self.projection_head.layers[-1].bias = None  # no term depends on the mean
        self.criterion = self.build_criterion()

    def build_criterion(self) -> nn.Module:
        """Build the loss of two projections: Σ (1 − C_ii)² + λ Σ C_ij²."""
        return barlow_twins_loss.BarlowTwinsLoss(self.options.redundancy)

    def loss(self, views: tuple[Tensor, ...], index: Tensor, labels: Tensor) -> Tensor:
        """The criterion of the projections of all processes."""
        z_1, z_2 = (self.projection_head(self.backbone(view)) for view in views)
        self.embedding = z_1.detach()  # (B, d)
        with memory.full_precision(z_1):
            z_1, z_2 = memory.gather(z_1.float()), memory.gather(z_2.float())
            return self.criterion(z_1, z_2)

    def by_hand(self, views: Any, index: Tensor, labels: Tensor) -> Tensor:
        """The same loss in a few lines."""
        z = [self.projection_head(self.backbone(view)) for view in views]
        z_1, z_2 = ((v - v.mean(0)) / (v.var(0, correction=0) + 1e-5).sqrt() for v in z)
        correlation = z_1.T @ z_2 / len(z_1)  # C, (d, d)
        itself = correlation.diagonal()  # (d,)
        others = correlation - itself.diag()  # (d, d)
        return (1 - itself).pow(2).sum() + self.options.redundancy * others.pow(2).sum()
