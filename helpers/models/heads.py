"""What ends in class scores: a head on features, a backbone with a head."""

from __future__ import annotations

from torch import Tensor, nn


class MLP(nn.Sequential):
    """The seeds' classifier on features: D to 128, ReLU, to the classes."""

    def __init__(self, feature_dim: int, classes: int, hidden: int = 128) -> None:
        """See the class."""
        super().__init__(
            nn.Linear(feature_dim, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, classes),
        )


class Classifier(nn.Module):
    """A backbone and a linear head: images (B, 3, S, S) to class logits (B, C).

    The head sees every feature with mean 0 and variance 1 over the batch, like the
    classifiers of frozen features, by a BatchNorm without weights (He et al. 2021,
    arXiv:2111.06377, appendix A.1). After a short pre-training the features vary
    along few directions, and a linear layer on them as they are learns slowly.
    """

    def __init__(self, backbone: nn.Module, classes: int) -> None:
        """Add a new head to a backbone."""
        super().__init__()
        self.backbone = backbone
        self.standardize = nn.BatchNorm1d(backbone.feature_dim, affine=False)
        self.head = nn.Linear(backbone.feature_dim, classes)

    def forward(self, views: Tensor) -> Tensor:
        """Class logits (B, C); in training B is at least 2."""
        return self.head(self.standardize(self.backbone(views)))
