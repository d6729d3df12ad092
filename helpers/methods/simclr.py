r"""SimCLR: two views of an image find each other among all views of the batch.

The backbone and a projection head make $z_1$ and $z_2$ of the two views of an image.
With $s$ the cosine similarity and a temperature $\tau$, each view has to pick its
partner out of all other views $z_k$ of the batch:

$$\mathcal{L} = -\log \frac{e^{s(z_1, z_2) / \tau}}
{\sum_{k \neq 1} e^{s(z_1, z_k) / \tau}},$$

the mean over all views. This is called *NT-Xent*. The numerator pulls the two views of
an image together, the denominator pushes the views of different images apart, most of
all those that are wrongly near; a small $\tau$ attends to little else. More images in a
batch make the task harder and the features better.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from lightly.models.modules import heads
from torch import Tensor, nn
from torch.nn import functional

from helpers.methods import base, losses


@dataclasses.dataclass(frozen=True)
class SimCLROptions(base.MethodOptions):
    """SimCLR's own options.

    Attributes:
        temperature: τ; small values attend to the hardest negatives only.
    """

    temperature: float = 0.2


class SimCLR(base.Method):
    """Chen et al. 2020, arXiv:2002.05709: NT-Xent, equation 1."""

    Options = SimCLROptions
    # long: widths of lightly's Imagenette benchmark, τ of solo-learn for CIFAR-10.
    recipes = base.recipes(gpu_hour=base.GPU_HOUR)
    formula = (losses.contrastive,)

    def __init__(self, backbone: nn.Module, count: int, options: SimCLROptions) -> None:
        """See ``base.Method``."""
        super().__init__(backbone, count, options)
        self.projection_head = heads.SimCLRProjectionHead(
            backbone.feature_dim, options.hidden_dim, options.output_dim
        )

    def loss(self, views: tuple[Tensor, ...], index: Tensor, labels: Tensor) -> Tensor:
        """NT-Xent over both views: every image is a group of its own."""
        z_1, z_2 = (self.projection_head(self.backbone(view)) for view in views)
        self.embedding = z_1.detach()  # (B, d)
        return losses.contrastive(z_1, z_2, index, self.options.temperature)

    def by_hand(self, views: Any, index: Tensor, labels: Tensor) -> Tensor:
        """The same loss in a few lines: a cross-entropy over similarities."""
        z = torch.cat([self.projection_head(self.backbone(view)) for view in views])
        z = functional.normalize(z, dim=1)  # (2B, d)
        scores = z @ z.T / self.options.temperature  # (2B, 2B)
        scores.fill_diagonal_(-torch.inf)  # a view is not its own partner
        partner = torch.arange(len(z)).roll(len(index))  # i + B, or i − B
        return functional.cross_entropy(scores, partner)
