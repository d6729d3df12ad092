"""Classifiers: a head for frozen features, and a backbone with a head."""

from __future__ import annotations

from torch import Tensor, nn


class MLP(nn.Sequential):
    """Two-layer classifier on frozen features: Linear(D, 128), ReLU, Linear(128, C)."""

    def __init__(self, feature_dim: int, classes: int, hidden: int = 128) -> None:
        """Build the layers for D = ``feature_dim`` and C = ``classes``."""
        super().__init__(
            nn.Linear(feature_dim, hidden),  # (B, 128)
            nn.ReLU(inplace=True),
            nn.Linear(hidden, classes),  # (B, C)
        )


class Classifier(nn.Module):
    """A backbone and a linear head: images (B, 3, S, S) to class logits (B, C).

    A BatchNorm without weights gives every feature mean 0 and variance 1 over the batch
    before the head, as in the classifiers of frozen features (He et al. 2021,
    arXiv:2111.06377, appendix A.1). Without it the head learns slowly, because after a
    short pre-training the features vary along few directions.
    """

    def __init__(self, backbone: nn.Module, classes: int) -> None:
        """Add a new head, with random weights, to a backbone."""
        super().__init__()
        self.backbone = backbone
        self.standardize = nn.BatchNorm1d(backbone.feature_dim, affine=False)
        self.head = nn.Linear(backbone.feature_dim, classes)

    def forward(self, views: Tensor) -> Tensor:
        """Return class logits (B, C) for views (B, 3, S, S); in training B >= 2."""
        return self.classify(self.backbone(views))  # (B, C)

    def classify(self, features: Tensor) -> Tensor:
        """Return class logits (B, C) for features of the backbone (B, D)."""
        return self.head(self.standardize(features))  # (B, C)
