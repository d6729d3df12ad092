r"""VICReg: agree between views, vary between images, and repeat no coordinate.

Three terms act on the projections $Z^1$ and $Z^2$ of the two views, (B, d) each:

$$\mathcal{L} = \lambda\, \frac{1}{B d} \lVert Z^1 - Z^2 \rVert^2
+ \mu\, \tfrac{1}{2} \bigl( v(Z^1) + v(Z^2) \bigr)
+ \nu\, \bigl( c(Z^1) + c(Z^2) \bigr),$$

$$v(Z) = \frac{1}{d} \sum_j \max \bigl( 0,\ 1 - \operatorname{std}(Z_{:,j}) \bigr),
\qquad c(Z) = \frac{1}{d} \sum_{i \neq j} \operatorname{cov}(Z)_{ij}^2.$$

*Invariance* brings the two views of an image together. *Variance* keeps every
coordinate's standard deviation over the batch above 1, which a constant fails.
*Covariance* keeps coordinates from repeating each other. Both are computed for each
view by itself, over the batch, so no pair of images is pushed apart. The 1/d of the
invariance and the ½ are those of the authors' code; the paper has neither.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from lightly.loss import vicreg_loss
from torch import Tensor, nn

from helpers.methods import barlow_twins, base


@dataclasses.dataclass(frozen=True)
class VICRegOptions(base.PairOptions):
    """VICReg's own options; the weights are the paper's.

    Attributes:
        invariance: λ, the weight of the distance between two views.
        variance: μ, the weight of the missing standard deviations.
        covariance: ν, the weight of the coordinates' covariances.
    """

    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0
    hidden_dim: int = 2048
    output_dim: int = 2048


class VICReg(barlow_twins.BarlowTwins):
    """Bardes, Ponce & LeCun 2022, arXiv:2105.04906: equations 1 to 6.

    Backbone, head and recipes are those of Barlow Twins; only the loss is another.
    """

    Options = VICRegOptions
    formula = (
        barlow_twins.BarlowTwins,
        vicreg_loss.variance_loss,
        vicreg_loss.covariance_loss,
    )

    def build_criterion(self) -> nn.Module:
        """Build the loss of two projections: invariance, variance and covariance."""
        options = self.options
        return vicreg_loss.VICRegLoss(
            options.invariance, options.variance, options.covariance
        )

    def by_hand(self, views: Any, index: Tensor, labels: Tensor) -> Tensor:
        """The same loss in a few lines; variance is halved as in the authors' code."""
        z = [self.projection_head(self.backbone(view)) for view in views]
        total = self.options.invariance * (z[0] - z[1]).pow(2).mean()
        for each in z:  # (B, d)
            std = (each.var(dim=0) + 1e-4).sqrt()  # (d,)
            variance = (1 - std).clamp(min=0).mean() / 2
            covariance = each.T.cov()  # (d, d)
            others = covariance - covariance.diagonal().diag()
            total = total + self.options.variance * variance
            total = total + self.options.covariance * others.pow(2).sum() / len(std)
        return total
