r"""VICReg: stay the same between views, vary between images, do not repeat yourself.

The projections $Z^1$ and $Z^2$ of the two views, (B, d) each, are held apart from a
constant by three terms:

$$\mathcal{L} = \lambda\, \frac{1}{B d} \lVert Z^1 - Z^2 \rVert^2
+ \mu\, \tfrac{1}{2} \bigl( v(Z^1) + v(Z^2) \bigr)
+ \nu\, \bigl( c(Z^1) + c(Z^2) \bigr),$$

$$v(Z) = \frac{1}{d} \sum_j \max \bigl( 0,\ 1 - \operatorname{std}(Z_{:,j}) \bigr),
\qquad c(Z) = \frac{1}{d} \sum_{i \neq j} \operatorname{cov}(Z)_{ij}^2.$$

*Invariance* brings the two views of an image together. *Variance* keeps every
coordinate's standard deviation over the batch above 1. *Covariance* keeps two
coordinates from saying the same. Variance and covariance look at one view at a time, so
nothing compares an image with another.
"""

from __future__ import annotations

import dataclasses

from lightly.loss import vicreg_loss
from lightly.models.modules import heads
from torch import Tensor, nn

from helpers.methods import barlow_twins, base, memory


@dataclasses.dataclass(frozen=True)
class Options(base.PairOptions):
    """VICReg's own options.

    Attributes:
        invariance: λ, the weight of the distance between two views.
        variance: μ, the weight of the spread that is missing.
        covariance: ν, the weight of the coordinates' covariances.
    """

    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0
    hidden_dim: int = 2048
    output_dim: int = 2048


class VICReg(base.Method):
    """Bardes, Ponce & LeCun 2022, arXiv:2105.04906: equations 1 to 6."""

    Options = Options
    recipes = barlow_twins.BarlowTwins.recipes  # the same heads, trained alike
    formula = (vicreg_loss.variance_loss, vicreg_loss.covariance_loss)

    def __init__(self, backbone: nn.Module, count: int, options: Options) -> None:
        """See ``base.Method``."""
        super().__init__(backbone, count, options)
        self.projection_head = heads.BarlowTwinsProjectionHead(
            backbone.feature_dim, options.hidden_dim, options.output_dim
        )
        self.projection_head.layers[-1].bias = None  # no term depends on the mean
        self.vicreg = vicreg_loss.VICRegLoss(
            options.invariance, options.variance, options.covariance
        )

    def loss(
        self, views: tuple[Tensor, Tensor], index: Tensor, labels: Tensor
    ) -> Tensor:
        """Invariance, variance and covariance over the images of all processes."""
        z_1, z_2 = (self.projection_head(self.backbone(view)) for view in views)
        self.embedding = z_1.detach()
        with memory.full_precision(z_1):
            return self.vicreg(memory.gather(z_1.float()), memory.gather(z_2.float()))
