r"""SimSiam: predict the other view with one network and a stop-gradient, no more.

Both views pass through the same backbone and projection head, which give $z_1$ and
$z_2$. A prediction head then guesses each from the other: $p_1$ should equal $z_2$, and
$p_2$ should equal $z_1$. With $\operatorname{sg}$ for "no gradient flows here",

$$\mathcal{L} = -\tfrac{1}{2} \cos(p_1, \operatorname{sg}(z_2))
- \tfrac{1}{2} \cos(p_2, \operatorname{sg}(z_1)).$$

The loss is between 1 and −1, and a constant output would reach −1 at once. There is no
negative example and no slow target against that. The stop-gradient and the prediction
head prevent it together: the paper finds that training fails without either. The head
has to keep up with $z$ as it moves, so its learning rate stays constant over the whole
run.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules import heads
from torch import Tensor, nn
from torch.nn import functional

from helpers.methods import base


@dataclasses.dataclass(frozen=True)
class SimSiamOptions(base.MethodOptions):
    """SimSiam's options; the prediction head's hidden layer has a quarter of d."""

    hidden_dim: int = 2048
    output_dim: int = 2048


class SimSiam(base.Method):
    """Chen & He 2021, arXiv:2011.10566: equations 1 to 4, algorithm 1."""

    Options = SimSiamOptions
    recipes = base.recipes(
        short={"hidden_dim": 512, "output_dim": 512},
        # The paper's for CIFAR-10, appendix D; its heads are those for ImageNet.
        long={"learning_rate": 0.03},
    )

    def __init__(
        self, backbone: nn.Module, count: int, options: SimSiamOptions
    ) -> None:
        """See ``base.Method``."""
        super().__init__(backbone, count, options)
        hidden, out = options.hidden_dim, options.output_dim
        self.projection_head = heads.SimSiamProjectionHead(
            backbone.feature_dim, hidden, out
        )
        middle = max(1, out // 4)
        self.prediction_head = heads.SimSiamPredictionHead(out, middle, out)
        self.similarity = NegativeCosineSimilarity()

    def loss(self, views: tuple[Tensor, ...], index: Tensor, labels: Tensor) -> Tensor:
        """−cos(p, sg(z)), the mean over both directions."""
        z_1, z_2 = (self.projection_head(self.backbone(view)) for view in views)
        p_1, p_2 = self.prediction_head(z_1).float(), self.prediction_head(z_2).float()
        z_1, z_2 = z_1.detach().float(), z_2.detach().float()  # all are (B, d)
        self.embedding = z_1
        return (self.similarity(p_1, z_2) + self.similarity(p_2, z_1)) / 2

    def by_hand(self, views: Any, index: Tensor, labels: Tensor) -> Tensor:
        """The same loss in a few lines; ``detach`` is the stop-gradient."""
        z = [self.projection_head(self.backbone(view)) for view in views]
        p = [self.prediction_head(each) for each in z]  # twice (B, d)
        forth = functional.cosine_similarity(p[0], z[1].detach(), dim=1).mean()
        back = functional.cosine_similarity(p[1], z[0].detach(), dim=1).mean()
        return -(forth + back) / 2

    def groups(self) -> list[dict[str, Any]]:
        """The prediction head's learning rate stays out of the schedule."""
        encoder = base.parameters(self.backbone, self.projection_head)
        predictor = base.parameters(self.prediction_head)
        return [{"params": encoder}, {"params": predictor, "constant": True}]
