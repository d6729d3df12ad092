r"""SupCon: SimCLR with labels, where all views of a class find each other.

The backbone and a projection head turn every view into $z$ of norm 1. For a view $i$,
$A(i)$ are all other views of the batch and $P(i)$ those among them that show the same
class. With a temperature $\tau$ the loss is the mean over all views of

$$\mathcal{L}_i = \frac{-1}{|P(i)|} \sum_{p \in P(i)}
\log \frac{e^{z_i \cdot z_p / \tau}}{\sum_{a \in A(i)} e^{z_i \cdot z_a / \tau}}.$$

For an image without a label, $P(i)$ is its other view alone. With all labels this is
supervised training by comparison; with none it would be SimCLR, and with labels for a
few images in a hundred it is nearly that, because two of a class rarely meet. Beware:
the k-NN accuracy shown while training uses the labels that the network learns from.
Trust only the accuracy on test images.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from helpers.methods import base, losses, simclr


class SupCon(simclr.SimCLR):
    """Khosla et al. 2020, arXiv:2004.11362: L_out, equation 2."""

    formula = (simclr.SimCLR, losses.contrastive)
    needs_labels = True
    recipes = base.recipes(
        # The authors' for CIFAR-10: 0.5 for 1,024 images, weight decay 1e-4, τ 0.1
        # (HobbitLong/SupContrast, README). Their loss is τ / 0.07 = 1.43 times as large
        # as L_out, which the same steps here need in the rate: 0.125 · 1.43 and 1e-4 /
        # 1.43. The head is as wide as the features and 128, as theirs is.
        long={"learning_rate": 0.18, "weight_decay": 7e-5, "temperature": 0.1}
    )

    def loss(self, views: tuple[Tensor, ...], index: Tensor, labels: Tensor) -> Tensor:
        """SimCLR's loss with a group per class and per unlabelled image."""
        group = torch.where(labels >= 0, labels, -1 - index)  # (B,)
        return super().loss(views, group, labels)

    def by_hand(self, views: Any, index: Tensor, labels: Tensor) -> Tensor:
        """The same loss in a few lines: every view of the own class is a partner."""
        group = torch.where(labels >= 0, labels, -1 - index).repeat(2)  # (2B,)
        z = torch.cat([self.projection_head(self.backbone(view)) for view in views])
        z = functional.normalize(z, dim=1)  # (2B, d)
        scores = z @ z.T / self.options.temperature  # (2B, 2B)
        scores.fill_diagonal_(-torch.inf)  # a view is not its own partner
        log_h = scores.log_softmax(dim=1)
        partner = (group[:, None] == group).fill_diagonal_(False)  # (2B, 2B)
        means = [-log_h[i, partner[i]].mean() for i in range(len(z))]
        return torch.stack(means).mean()
