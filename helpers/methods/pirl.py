"""PIRL: an image and its shuffled jigsaw are the same thing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from helpers import losses, views
from helpers.methods import base
from helpers.randomness import StepRandom


@dataclasses.dataclass(frozen=True)
class Options(base.Options):
    """PIRL's own options.

    Attributes:
        patch_scale: share of the image's area in the crop that becomes the jigsaw.
        grid: cells a side of the jigsaw.
        cell: side of a cell in pixels.
        patch: side of the patch cut out of a cell, in pixels.
        output_dim: width d of f(v_I), g(v_It) and the bank's entries.
        hidden_dim: width inside the heads.
        temperature: τ.
        weight: λ, the share of the jigsaw's term in the loss.
        bank_momentum: of the memory bank.
    """

    patch_scale: tuple[float, float] = (0.6, 1.0)
    grid: int = 3
    cell: int = 32
    patch: int = 24
    output_dim: int = 128
    hidden_dim: int = 512
    temperature: float = 0.1
    weight: float = 0.5
    bank_momentum: float = 0.5


class PIRL(base.Method):
    """Misra & van der Maaten 2020, arXiv:1912.01991: equation 5, section 3.3."""

    Options = Options
    recipes: ClassVar[dict[str, dict[str, Any]]] = {
        "minutes": {
            "epochs": 7,
            "batch_size": 64,
            "optimizer": "adamw",
            "learning_rate": 12e-3,
            "weight_decay": 1e-4,
            "size": 40,
            "cell": 27,
            "patch": 20,
        },
        "hour": {
            "epochs": 20,
            "batch_size": 64,
            "optimizer": "adamw",
            "learning_rate": 12e-3,
            "weight_decay": 1e-4,
            "size": 48,
            "cell": 27,
            "patch": 20,
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
        width, d = backbone.feature_dim, options.output_dim
        pieces = options.grid**2
        self.image_head = mlp(width, options.hidden_dim, d)
        self.patch_head = mlp(width, options.hidden_dim, d)
        self.jigsaw_head = nn.Linear(pieces * d, d)
        self.bank = losses.MemoryBank(count, d, options.bank_momentum)

    def views(self, images: Tensor, random: StepRandom) -> tuple[Tensor, Tensor]:
        """The image (B, 3, S, S) and its shuffled patches (B, 9, 3, P, P)."""
        options = self.options
        whole = dataclasses.replace(options.view, scale=options.patch_scale)
        return (
            views.random_view(images, options.view, random),
            views.jigsaw_patches(
                images,
                whole,
                random,
                grid=options.grid,
                cell=options.cell,
                patch=options.patch,
            ),
        )

    def f(self, image: Tensor) -> Tensor:
        """The image's feature f(v_I), (B, d)."""
        return self.image_head(self.backbone(image))

    def g(self, patches: Tensor) -> Tensor:
        """The feature g(v_It) of the patches put together in their order, (B, d)."""
        # A forward of their own: patches have BatchNorm statistics of their own.
        each = self.patch_head(self.backbone(patches.flatten(0, 1)))  # (B·9, d)
        return self.jigsaw_head(each.view(len(patches), -1))  # (B, 9·d) to (B, d)

    def loss(
        self, views: tuple[Tensor, Tensor], index: Tensor, labels: Tensor
    ) -> Tensor:
        """λ·L(m_I, g(v_It)) + (1 − λ)·L(m_I, f(v_I)); then the bank learns f(v_I)."""
        image, patches = views
        f, g = self.f(image), self.g(patches)
        m, tau, share = self.bank.entries, self.options.temperature, self.options.weight
        jigsaw = losses.info_nce(g, m, index, tau)
        itself = losses.info_nce(f, m, index, tau)
        self.embedding = f.detach()
        self.pending = index, f.detach()
        return share * jigsaw + (1 - share) * itself

    def after_step(self, progress: float) -> None:
        """Both terms have seen the old bank; now the batch's entries move."""
        self.bank.update(*self.pending)

    @torch.no_grad()
    def distances(self, images: Tensor) -> Tensor:
        """‖f/|f| − g/|g|‖ of every image and one jigsaw of it, the paper's figure 4.

        Args:
            images: uint8 (N, 3, H, W).

        Returns:
            float32 (N,), between 0 (the same) and 2 (opposite).
        """
        self.eval()
        device = next(self.parameters()).device
        found = []
        for number, some in enumerate(images.split(128)):
            random = StepRandom(0, number, len(some), device)
            _, patches = self.views(some.to(device), random)
            image = views.whole_view(some.to(device), self.options.view.size)
            difference = _unit(self.f(image)) - _unit(self.g(patches))
            found.append(difference.norm(dim=1))
        return torch.cat(found).cpu()

    @torch.no_grad()
    def start(self, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        """Fill the bank by one pass over the images as they are."""
        for images, index in batches:
            image = views.whole_view(images, self.options.view.size)
            self.bank.fill(index, self.f(image))


def _unit(features: Tensor) -> Tensor:
    return nn.functional.normalize(features.float(), dim=1)


def mlp(width: int, hidden: int, out: int) -> nn.Module:
    """A projection head: Linear, BatchNorm, ReLU, Linear."""
    return nn.Sequential(
        nn.Linear(width, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, out),
    )
