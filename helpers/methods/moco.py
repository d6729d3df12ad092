r"""MoCo: find your partner among thousands of remembered images.

The network turns one view into a query $q$. A slow copy of it, the *momentum encoder*,
turns the other into a key $k_+$, the one to be found. The *negatives* $k_j$ come from a
queue with the $K$ latest keys of earlier batches:

$$\mathcal{L} = -\log \frac{e^{q \cdot k_+ / \tau}}
{e^{q \cdot k_+ / \tau} + \sum_{j=1}^{K} e^{q \cdot k_j / \tau}},$$

with all features of norm 1, and the mean over both directions (the paper takes one).
So the number of negatives does not depend on the batch. Keys grow old in the queue, but
they stay comparable, because the encoder that made them moves slowly: after every step
$\xi \leftarrow m\,\xi + (1 - m)\,\theta$. The loss may rise at first, while real
images take the place of the random directions that the queue starts with.

Query and key could recognise each other by the statistics of a BatchNorm that saw both
among the same images. So BatchNorm sees a batch in groups, and keys are in other groups
than their queries: the paper's *shuffling BN*. (With the recipe *long*: the batches of
the short recipes are too small for groups.)
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import torch
from lightly.models.modules import heads
from lightly.utils import dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules import batchnorm

from helpers.methods import base, ema, memory


@dataclasses.dataclass(frozen=True)
class MoCoOptions(base.MethodOptions):
    """MoCo's own options.

    Attributes:
        temperature: τ.
        queue_size: number K of keys in the queue; of few images at most half as many,
            so that few meet an earlier key of their own as a negative.
        target_momentum: m, the share of its weights that the momentum encoder keeps.
        bn_splits: groups of a batch, over all processes, that BatchNorm sees one by
            one; a process has at least two. 1 is BatchNorm over the whole batch.
    """

    temperature: float = 0.1
    queue_size: int = 4096
    target_momentum: float = 0.99
    bn_splits: int = 8

    def __post_init__(self) -> None:
        """Check the number of groups.

        Raises:
            ValueError: when there is none.
        """
        if self.bn_splits < 1:
            raise ValueError(f"bn_splits must be at least 1, not {self.bn_splits}.")


class MoCo(base.Method):
    """Version 2, symmetric: He et al., arXiv:1911.05722; Chen et al., arXiv:2003.04297.

    Shuffling BN (section 3.3) is that of the authors' demonstration for one GPU,
    ``SplitBatchNorm``. With several processes each splits its own share of a batch,
    where the authors' code sends images to other GPUs.
    """

    Options = MoCoOptions
    recipes = base.recipes(
        # Tuned without groups; those of 64 images would be small.
        short={"target_momentum": 0.97, "bn_splits": 1},
        minutes={"queue_size": 1024},
        # 0.06 for 512 images: moco_cifar10_demo.ipynb of the authors' colab folder, as
        # are the defaults of queue, temperature, momentum and groups.
        long={"learning_rate": 0.03},
    )
    formula = (memory.Queue, ema)

    def __init__(self, backbone: nn.Module, count: int, options: MoCoOptions) -> None:
        """See ``base.Method``."""
        super().__init__(backbone, count, options)
        self.projection_head = heads.MoCoProjectionHead(
            backbone.feature_dim, options.hidden_dim, options.output_dim
        )
        self.online = nn.Sequential(self.backbone, self.projection_head)
        self.groups_here = 1
        if options.bn_splits > 1:
            self.groups_here = max(2, options.bn_splits // dist.world_size())
            split_batch_norm(self.online, self.groups_here)
        self.target = ema.slow_copy(self.online)
        size = min(options.queue_size, max(1, count // 2))  # two keys an image
        self.queue = memory.Queue(size, options.output_dim)

    def loss(self, views: tuple[Tensor, ...], index: Tensor, labels: Tensor) -> Tensor:
        """Each view's query looks for the other view's key."""
        q_1, q_2 = (memory.unit(self.online(view)) for view in views)  # (B, d) each
        with torch.no_grad():
            self.keys = [memory.unit(self.shuffled(view)) for view in views]
        k_1, k_2 = self.keys  # (B, d) each
        self.embedding = q_1.detach()
        return (self.pick(q_1, k_2) + self.pick(q_2, k_1)) / 2

    def shuffled(self, view: Tensor) -> Tensor:
        """Keys (B, d) of a view, in other groups than its queries.

        Queries are in groups with their neighbours in the batch; of n groups of keys
        the first has the images 0, n, 2n ... That is as good as a random order, because
        a batch is in one already.
        """
        groups, number = self.groups_here, torch.arange(len(view), device=view.device)
        order = torch.cat([number[first::groups] for first in range(groups)])
        keys = self.target(view[order])
        return torch.empty_like(keys).index_copy_(0, order, keys)

    def pick(self, q: Tensor, k: Tensor) -> Tensor:
        """−log softmax of the own key among itself and the queue; q, k are (B, d)."""
        with memory.full_precision(q):
            own = (q * k).sum(dim=1, keepdim=True)  # (B, 1)
            scores = torch.cat([own, q @ self.queue.entries.T], dim=1)  # (B, 1 + K)
            logits = scores / self.options.temperature
            return -logits.log_softmax(dim=1)[:, 0].mean()

    def by_hand(self, views: Any, index: Tensor, labels: Tensor) -> Tensor:
        """The same loss in a few lines: the own key stands before the queue's."""
        total = torch.zeros(())
        for view, other in (views, views[::-1]):
            q = functional.normalize(self.online(view), dim=1)  # (B, d)
            k = functional.normalize(self.shuffled(other), dim=1).detach()  # (B, d)
            own = (q * k).sum(dim=1, keepdim=True)  # (B, 1)
            scores = torch.cat([own, q @ self.queue.entries.T], dim=1)  # (B, 1 + K)
            first = torch.zeros(len(q), dtype=torch.int64)
            total = total + functional.cross_entropy(
                scores / self.options.temperature, first
            )
        return total / 2

    def after_step(self, progress: float) -> None:
        """The momentum encoder follows; the queue takes the batch's keys."""
        norms = [m for m in self.modules() if isinstance(m, SplitBatchNorm)]
        if norms:  # processes see other groups, but the network is one
            running = [(norm.running_mean, norm.running_var) for norm in norms]
            memory.average(list(itertools.chain.from_iterable(running)))
        ema.follow(self.target, self.online, self.options.target_momentum)
        for keys in self.keys:
            self.queue.push(keys)


class SplitBatchNorm(batchnorm._NormBase):
    """BatchNorm that normalises every group of a batch by the group's own statistics.

    It is what BatchNorm does where every GPU has a group; in evaluation it is plain
    BatchNorm. It is not among the layers whose statistics processes share.

    Args:
        norm: the BatchNorm whose weights and running statistics it takes over.
        groups: number of groups, of neighbours in the batch.
    """

    def __init__(self, norm: batchnorm._BatchNorm, groups: int) -> None:
        """See the class."""
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine)
        self.load_state_dict(norm.state_dict())
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Normalise features (B, C) or maps (B, C, H, W).

        Raises:
            ValueError: when a group would be a single image.
        """
        running = [self.running_mean, self.running_var]
        shared = {"weight": self.weight, "bias": self.bias, "eps": self.eps}
        if not self.training:
            return functional.batch_norm(x, *running, **shared)
        if len(x) < 2 * self.groups:
            raise ValueError(
                f"{len(x)} images are too few for {self.groups} groups of at least 2: "
                "set bn_splits=1 or raise batch_size."
            )
        shared |= {"training": True, "momentum": self.momentum}
        # Every group moves running statistics of its own; their mean is kept.
        moved = [[one.clone() for one in running] for _ in range(self.groups)]
        pairs = zip(x.tensor_split(self.groups), moved, strict=True)
        made = [functional.batch_norm(part, *own, **shared) for part, own in pairs]
        for one, after in zip(running, zip(*moved, strict=True), strict=True):
            one.copy_(torch.stack(after).mean(dim=0))
        return torch.cat(made)


def split_batch_norm(network: nn.Module, groups: int) -> None:
    """Replace every BatchNorm in a network; names in its state stay the same."""
    for name, child in network.named_children():
        if isinstance(child, batchnorm._BatchNorm):
            setattr(network, name, SplitBatchNorm(child, groups))
        else:
            split_batch_norm(child, groups)
