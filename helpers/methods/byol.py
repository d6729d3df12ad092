"""BYOL: predict the features that a slow copy of the network gives another view."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from lightly.models.modules import heads
from torch import Tensor, nn
from torch.nn import functional

from helpers.methods import base, ema


@dataclasses.dataclass(frozen=True)
class BYOLOptions(base.PairOptions):
    """BYOL's own options.

    Attributes:
        target_momentum: τ at the start of the run; it climbs to 1 along a cosine.
        predictor_scale: factor on the learning rate of the prediction head.
        standardize: whether every coordinate of the projections gets mean 0 and
            variance 1 over the batch, as in MoCo v3, arXiv:2104.02057: the targets of
            a short run then differ from the first step on.
    """

    hidden_dim: int = 1024
    target_momentum: float = 0.99
    predictor_scale: float = 1.0
    standardize: bool = False


class BYOL(base.Method):
    """Grill et al. 2020, arXiv:2006.07733: equations 1 and 2, algorithm 1."""

    Options = BYOLOptions
    # long: BYOL on STL-10 in table 2 of MSR (Making Self-supervised learning Robust to
    # aggressive augmentations) reaches 91.6 ± 0.1 by SGD 0.1, EMA from 0.99, heads of
    # 1024 and 128, 64 px and 200 epochs; the stem is not stated there.
    recipes = base.recipes(
        short={"hidden_dim": 512, "standardize": True, "target_momentum": 0.97},
        minutes={"learning_rate": 3e-3},
        hour={
            "epochs": 24,
            "batch_size": 32,
            "learning_rate": 1.5e-3,
            "target_momentum": 0.96,
            "predictor_scale": 10.0,
        },
        gpu_hour={
            **base.GPU_HOUR,
            "learning_rate": 6e-4,
            "hidden_dim": 512,
            "standardize": True,
            "target_momentum": 0.96,
            "predictor_scale": 10.0,
        },
        long={"learning_rate": 0.1},
    )

    def __init__(self, backbone: nn.Module, count: int, options: BYOLOptions) -> None:
        """See ``base.Method``."""
        super().__init__(backbone, count, options)
        hidden, out = options.hidden_dim, options.output_dim
        last = nn.BatchNorm1d(out, affine=False) if options.standardize else None
        self.projection_head = heads.ProjectionHead(
            [
                (backbone.feature_dim, hidden, nn.BatchNorm1d(hidden), nn.ReLU()),
                (hidden, out, last, None),
            ]
        )
        self.prediction_head = heads.BYOLPredictionHead(out, hidden, out)
        self.online = nn.Sequential(self.backbone, self.projection_head)
        self.target = ema.slow_copy(self.online)

    def loss(self, views: tuple[Tensor, ...], index: Tensor, labels: Tensor) -> Tensor:
        """‖q̄ − z̄'‖² = 2 − 2 cos(q, z'), in both directions."""
        z_1, z_2 = self.online(views[0]), self.online(views[1])  # (B, d) each
        with torch.no_grad():
            target_1, target_2 = self.target(views[0]), self.target(views[1])  # (B, d)
        self.embedding = z_1.detach()
        q_1, q_2 = self.prediction_head(z_1), self.prediction_head(z_2)  # (B, d)
        return regression(q_1, target_2) + regression(q_2, target_1)

    def after_step(self, progress: float) -> None:
        """ξ ← τ·ξ + (1 − τ)·θ with τ = 1 − (1 − τ₀)·(cos(π·progress) + 1) / 2."""
        momentum = ema.momentum(self.options.target_momentum, progress)
        ema.follow(self.target, self.online, momentum)

    def groups(self) -> list[dict[str, Any]]:
        """The prediction head may learn faster than the rest."""
        predictor = base.parameters(self.prediction_head)
        scale = self.options.predictor_scale
        return [
            {"params": base.parameters(self.online)},
            {"params": predictor, "scale": scale},
        ]


def regression(q: Tensor, z: Tensor) -> Tensor:
    """Mean over the batch of 2 − 2 cos(q, z); q and z are (B, d)."""
    return 2 - 2 * functional.cosine_similarity(q.float(), z.float(), dim=1).mean()
