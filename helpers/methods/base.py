"""What the pre-training loop asks of a method, and what several methods share."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from helpers import views
from helpers.views.randomness import StepRandom
from helpers.views.settings import LARGEST, ViewSettings

_SHORT = {
    "batch_size": 64,
    "optimizer": "adamw",
    "learning_rate": 6e-3,
    "weight_decay": 1e-4,
}
_RECIPES: dict[str, dict[str, Any]] = {
    "minutes": {**_SHORT, "epochs": 8, "size": 40},
    "hour": {**_SHORT, "epochs": 20, "size": 48},
    # Put together from several sources; docs/recipes.md has all of every method.
    "long": {
        "epochs": 200,  # lightly's Imagenette benchmark, as are the next four
        "batch_size": 256,
        "optimizer": "sgd",
        "learning_rate": 0.06,
        "weight_decay": 5e-4,
        "stem": "pool",  # W-MSE on STL-10, arXiv:2007.06346, as is the size
        "size": 64,
        "blur": 0.5,  # MoCo v2, arXiv:2003.04297, as is ViewSettings()
    },
}
# For an hour or less on a GPU, by which the released backbones were trained;
# docs/recipes.md says which of these values were compared with others.
GPU_HOUR: dict[str, Any] = {
    **_RECIPES["long"],
    **_SHORT,
    "batch_size": _RECIPES["long"]["batch_size"],
    "epochs": 120,
    "warmup_epochs": 6.0,
    "learning_rate": 3e-3,
    "blur": 0.0,
    "image_size_schedule": ((0.9, 96),),
    "compile": "off",  # as it was measured; no GPU has been seen to compile yet
}
FORMER_NAMES = {"published": "long"}
# The views of BYOL's paper, arXiv:2006.07733, table 6: see ``PairOptions``.
ASYMMETRIC = {"asymmetric": True, "saturation": 0.2}


class Recipes(dict[str, dict[str, Any]]):
    """Values by the name of a recipe; former names are known, but not listed."""

    def __missing__(self, name: str) -> dict[str, Any]:
        """The recipe of a former name."""
        return self[FORMER_NAMES[name]]


def recipes(short: dict[str, Any] | None = None, **changes: dict[str, Any]) -> Recipes:
    """The recipes that all methods start from, with a method's own values on top.

    Args:
        short: changes to both short recipes, ``minutes`` and ``hour``.
        **changes: changes to a single recipe, by its name, or all of another one.
    """
    shared = {"minutes": short or {}, "hour": short or {}}
    return Recipes(
        (name, _RECIPES.get(name, {}) | shared.get(name, {}) | changes.get(name, {}))
        for name in _RECIPES | changes
    )


@dataclasses.dataclass(frozen=True)
class MethodOptions:
    """What every method lets its user choose; a method's own options extend it.

    Attributes:
        view: the distribution of the random views.
        hidden_dim: width inside the heads.
        output_dim: width d of the features that the loss compares.
    """

    view: ViewSettings = ViewSettings()
    hidden_dim: int = 512
    output_dim: int = 128

    @property
    def every_view(self) -> tuple[ViewSettings, ...]:
        """The distribution of each view of an image: two, drawn alike."""
        return self.view, self.view

    @property
    def smallest_side(self) -> int:
        """Side in pixels of the smallest pictures the backbone sees."""
        return min(view.size for view in self.every_view)


@dataclasses.dataclass(frozen=True)
class PairOptions(MethodOptions):
    """Options of methods whose two views may be drawn differently.

    Attributes:
        asymmetric: the first view always blurred, the second blurred in 10 % and
            solarized in 20 %: as in BYOL's paper, arXiv:2006.07733, table 6, which also
            has a saturation of 0.2.
    """

    asymmetric: bool = False

    @property
    def every_view(self) -> tuple[ViewSettings, ...]:
        """The distribution of each of the two views."""
        if not self.asymmetric:
            return self.view, self.view
        return (
            dataclasses.replace(self.view, blur=1.0, solarize=0.0),
            dataclasses.replace(self.view, blur=0.1, solarize=0.2),
        )


@dataclasses.dataclass(frozen=True)
class MultiCropOptions(PairOptions):
    """Options of methods that add small views to the two large ones.

    Source: Caron et al. 2020, arXiv:2006.09882, section 3.3.

    Attributes:
        small_views: small views of an image, beside the two large ones.
        small_size: side of a small view in pixels.
        small_scale: smallest and largest share of the image's area in a small view.
    """

    small_views: int = 4
    small_size: int = 32
    small_scale: tuple[float, float] = (0.05, 0.14)

    def __post_init__(self) -> None:
        """Check the small views, whose settings have names of their own here."""
        try:
            _ = self.small_view
        except ValueError as error:
            raise ValueError(f"small_{error}") from None

    @property
    def every_view(self) -> tuple[ViewSettings, ...]:
        """The distribution of each view, the two large ones first."""
        small = (self.small_view for _ in range(self.small_views))
        return (*super().every_view, *small)

    @property
    def small_view(self) -> ViewSettings:
        """The distribution of each small view."""
        return dataclasses.replace(
            self.view, size=self.small_size, scale=self.small_scale
        )


@dataclasses.dataclass(frozen=True)
class JigsawOptions(MethodOptions):
    """Options of methods that also see an image as shuffled patches.

    Attributes:
        patch_scale: share of the image's area in the crop that becomes the jigsaw.
        patch_blur: probability of a Gaussian blur of a patch.
        grid: cells per side of the jigsaw, 2 or more.
        cell: side of a cell in pixels; None makes the jigsaw's side 1.5 times the
            view's.
        patch: side of the patch cut from a cell, in pixels; None takes three quarters
            of the cell's side, about the 64 of 85 of PIRL's paper.
    """

    patch_scale: tuple[float, float] = (0.6, 1.0)
    patch_blur: float = 0.0
    grid: int = 3
    cell: int | None = None
    patch: int | None = None

    def __post_init__(self) -> None:
        """Check that there are several cells and that patches fit into them."""
        try:
            _ = self.patch_view
        except ValueError as error:
            raise ValueError(f"patch_{error}") from None
        if self.grid < 2:
            raise ValueError(f"grid must be at least 2, not {self.grid}.")
        for name in ("cell", "patch"):
            side = getattr(self, name)
            if side is not None and not 1 <= side <= LARGEST:
                raise ValueError(f"{name} must be 1 to {LARGEST:,} px, not {side}.")
        cell, patch = self.cut["cell"], self.cut["patch"]
        if not 0 < patch <= cell:
            raise ValueError(
                f"A patch of {patch} px does not lie in a cell of {cell} px: make "
                "patch smaller or cell larger."
            )

    @property
    def cut(self) -> dict[str, int]:
        """How ``views.jigsaw_patches`` cuts an image: grid, cell and patch."""
        cell = self.cell or 3 * self.view.size // 2 // self.grid
        return {"grid": self.grid, "cell": cell, "patch": self.patch or 3 * cell // 4}

    @property
    def patch_view(self) -> ViewSettings:
        """The distribution of the crop, the blur and the colours of the patches."""
        return dataclasses.replace(
            self.view, scale=self.patch_scale, blur=self.patch_blur
        )

    @property
    def smallest_side(self) -> int:
        """Side in pixels of the smallest pictures the backbone sees."""
        return min(self.view.size, self.cut["patch"])


class Method(nn.Module):
    """A way to learn without labels: the views it needs and the loss it minimises.

    The file of a method starts with its text: a title, what it does, its formula.
    Everything a method keeps from step to step is a parameter or a buffer, so that it
    is part of the saved state.

    Args:
        backbone: maps (B, 3, S, S) to (B, D); its ``feature_dim`` is D.
        count: number of images in the pre-training set.
        options: an instance of the class's ``Options``.

    Attributes:
        embedding: (B, d), detached: the features the last loss compared, by which the
            collapse gauge is computed.
        formula: functions and modules that compute the formula, for a notebook to
            show, where the class itself does not.
        needs_labels: whether the method is pointless without any labels.
    """

    Options: ClassVar[type[MethodOptions]] = MethodOptions
    recipes: ClassVar[Recipes] = Recipes()
    formula: ClassVar[tuple[Any, ...]] = ()
    needs_labels: ClassVar[bool] = False
    embedding: Tensor

    def __init__(self, backbone: nn.Module, count: int, options: MethodOptions) -> None:
        """See the class."""
        super().__init__()
        self.backbone, self.count, self.options = backbone, count, options

    @property
    def final_backbone(self) -> nn.Module:
        """The backbone that is scored while training and saved: the one that learns."""
        return self.backbone

    def set_view(self, view: ViewSettings) -> None:
        """Change the views, which may become larger towards the end of a run."""
        self.options = dataclasses.replace(self.options, view=view)

    def views(self, images: Tensor, random: StepRandom) -> Any:
        """Random views of images uint8 (B, 3, H, W), each (B, 3, S, S)."""
        alike = itertools.groupby(self.options.every_view)
        drawn = (
            views.random_views(images, view, random, len(list(same)))
            for view, same in alike
        )
        return tuple(itertools.chain.from_iterable(drawn))

    def loss(self, views: Any, index: Tensor, labels: Tensor) -> Tensor:
        """The loss of one batch, a scalar.

        Args:
            views: the result of ``views``.
            index: numbers of the images in the pre-training set, int64 (B,).
            labels: int64 (B,), -1 where there is none.
        """
        raise NotImplementedError

    def forward(self, views: Any, index: Tensor, labels: Tensor) -> Tensor:
        """The loss; several processes share gradients only through ``forward``."""
        return self.loss(views, index, labels)

    def start(self, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        """Called once before the first step with (images, index) of the whole set."""

    def before_step(self, progress: float) -> None:
        """Called before every step; ``progress`` in [0, 1) of the run."""

    def after_backward(self) -> None:
        """Called between the backward pass and the optimizer step."""

    def after_step(self, progress: float) -> None:
        """Called after every optimizer step; ``progress`` in (0, 1] of the run."""

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups for ``optimizers.build``."""
        return [{"params": parameters(self)}]


def mlp(width: int, hidden: int, out: int) -> nn.Sequential:
    """Linear, BatchNorm, ReLU, Linear: a head from (B, width) to (B, out)."""
    return nn.Sequential(
        nn.Linear(width, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, out),
    )


def parameters(*modules: nn.Module) -> list[nn.Parameter]:
    """All parameters of several modules, in order."""
    return [parameter for module in modules for parameter in module.parameters()]


def features(backbone: nn.Module, views: Sequence[Tensor]) -> Tensor:
    """Encode views of several sizes, with one forward pass for each size.

    Args:
        backbone: maps (B, 3, S, S) to (B, D).
        views: V views (B, 3, S, S), those of the same S next to each other.

    Returns:
        (V·B, D), in the order of the views.
    """
    groups = itertools.groupby(views, key=lambda view: view.shape[-1])
    return torch.cat([backbone(torch.cat(list(group))) for _, group in groups])
