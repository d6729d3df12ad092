"""What the pre-training loop asks of a method."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

from torch import Tensor, nn

from helpers import optimizers, views
from helpers.randomness import StepRandom
from helpers.view_settings import ViewSettings


@dataclasses.dataclass(frozen=True)
class Options:
    """What every method lets its user choose; a method's own options extend it.

    Attributes:
        view: the distribution of the random views.
    """

    view: ViewSettings = ViewSettings()

    @property
    def smallest_side(self) -> int:
        """Side in pixels of the smallest pictures the backbone sees."""
        return self.view.size


class Method(nn.Module):
    """A way to learn without labels: what it sees, and what it minimises.

    Args:
        backbone: maps (B, 3, S, S) to (B, D); its ``feature_dim`` is D.
        count: number of images in the pre-training set.
        options: of the method's own ``Options``.

    Attributes:
        embedding: (B, d), detached: what the last loss compared; the collapse gauge.
    """

    Options: ClassVar[type[Options]] = Options
    recipes: ClassVar[dict[str, dict[str, Any]]] = {}
    embedding: Tensor

    def __init__(self, backbone: nn.Module, count: int, options: Options) -> None:
        """See the class."""
        super().__init__()
        self.backbone, self.count, self.options = backbone, count, options

    def set_view(self, view: ViewSettings) -> None:
        """Draw other views from now on: those at the end of a run may be larger."""
        self.options = dataclasses.replace(self.options, view=view)

    def views(self, images: Tensor, random: StepRandom) -> Any:
        """Two random views of images uint8 (B, 3, H, W), each (B, 3, S, S)."""
        view = self.options.view
        return (
            views.random_view(images, view, random),
            views.random_view(images, view, random),
        )

    def loss(self, views: Any, index: Tensor, labels: Tensor) -> Tensor:
        """The loss of one batch, a scalar.

        Args:
            views: what ``views`` returned.
            index: numbers of the images in the pre-training set, (B,).
            labels: (B,), -1 where there is none.
        """
        raise NotImplementedError

    def forward(self, views: Any, index: Tensor, labels: Tensor) -> Tensor:
        """The loss; what runs when several processes train together."""
        return self.loss(views, index, labels)

    def start(self, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        """Called once before the first step with (images, index) of the whole set."""

    def after_step(self, progress: float) -> None:
        """Called after every optimizer step; ``progress`` in [0, 1] of the run."""

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups for ``optimizers.build``."""
        return [{"params": optimizers.parameters(self)}]
