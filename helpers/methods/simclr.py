"""SimCLR: two views of an image find each other among all views of the batch."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from lightly import loss as lightly_loss
from lightly.models.modules import heads
from torch import Tensor, nn

from helpers.methods import base


@dataclasses.dataclass(frozen=True)
class Options(base.Options):
    """SimCLR's own options.

    Attributes:
        temperature: τ; small values look at the hardest negatives only.
        hidden_dim: width inside the projection head.
        output_dim: width of the projections z.
    """

    temperature: float = 0.2
    hidden_dim: int = 512
    output_dim: int = 128


class SimCLR(base.Method):
    """Chen et al. 2020, arXiv:2002.05709: NT-Xent, equation 1."""

    Options = Options
    recipes: ClassVar[dict[str, dict[str, Any]]] = {
        "minutes": {
            "epochs": 8,
            "batch_size": 64,
            "optimizer": "adamw",
            "learning_rate": 6e-3,
            "weight_decay": 1e-4,
            "size": 40,
        },
        "hour": {
            "epochs": 20,
            "batch_size": 64,
            "optimizer": "adamw",
            "learning_rate": 6e-3,
            "weight_decay": 1e-4,
            "size": 48,
        },
        "published": {
            "epochs": 200,
            "batch_size": 256,
            "optimizer": "sgd",
            "learning_rate": 0.06,
            "weight_decay": 5e-4,
            "stem": "pool",
            "size": 64,
            "blur": 0.5,
        },
    }

    def __init__(self, backbone: nn.Module, count: int, options: Options) -> None:
        """See ``base.Method``."""
        super().__init__(backbone, count, options)
        self.projection_head = heads.SimCLRProjectionHead(
            backbone.feature_dim, options.hidden_dim, options.output_dim
        )
        self.nt_xent = lightly_loss.NTXentLoss(
            temperature=options.temperature, gather_distributed=True
        )

    def loss(
        self, views: tuple[Tensor, Tensor], index: Tensor, labels: Tensor
    ) -> Tensor:
        """NT-Xent over both views; ``index`` and ``labels`` are not used."""
        z_1, z_2 = (self.projection_head(self.backbone(view)) for view in views)
        self.embedding = z_1.detach()
        return self.nt_xent(z_1.float(), z_2.float())
