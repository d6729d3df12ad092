"""PIRL: an image and its shuffled jigsaw mean the same.

Each of the two has to find the entry m_I of the image in a memory bank, among those of
other images: the image by its feature f(v_I), the jigsaw by its feature g(v_It).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from helpers import views
from helpers.methods import base, losses, memory
from helpers.views.randomness import StepRandom


@dataclasses.dataclass(frozen=True)
class PIRLOptions(base.JigsawOptions):
    """PIRL's own options.

    Attributes:
        negatives: other images to compare with, drawn anew each step; 0 takes all.
        temperature: τ.
        weight: λ, the share of the transformed image's term in the loss.
        bank_momentum: μ, the share of an entry that an update keeps.
    """

    negatives: int = 0
    temperature: float = 0.1
    weight: float = 0.5
    bank_momentum: float = 0.5


class PIRL(base.Method):
    """Misra & van der Maaten 2020, arXiv:1912.01991: equation 5, section 2.2."""

    Options = PIRLOptions

    def __init__(self, backbone: nn.Module, count: int, options: PIRLOptions) -> None:
        """See ``base.Method``."""
        super().__init__(backbone, count, options)
        self.build_heads()
        self.bank = memory.MemoryBank(count, options.output_dim, options.bank_momentum)

    def build_heads(self) -> None:
        """Build an MLP for images, one for patches, and a layer that joins patches."""
        width, hidden = self.backbone.feature_dim, self.options.hidden_dim
        d = self.options.output_dim
        self.image_head = base.mlp(width, hidden, d)
        self.patch_head = base.mlp(width, hidden, d)
        self.jigsaw_head = nn.Linear(self.options.grid**2 * d, d)

    def views(self, images: Tensor, random: StepRandom) -> tuple[Tensor, ...]:
        """The view v_I, the jigsaw v_It (B, 9, 3, P, P), and draws for negatives."""
        options = self.options
        image = views.random_view(images, options.view, random)  # (B, 3, S, S)
        jigsaw = views.jigsaw_patches(images, options.patch_view, random, **options.cut)
        uniform = random.table(options.negatives) * (self.count - 1)
        return image, jigsaw, uniform.long()  # (B, K), in 0 ... N − 2

    def f(self, image: Tensor) -> Tensor:
        """The feature f(v_I) of the image, (B, d)."""
        return self.image_head(self.backbone(image))

    def g(self, jigsaw: Tensor) -> Tensor:
        """The feature g(v_It) of the jigsaw, (B, d)."""
        # A pass of its own: BatchNorm's statistics of patches are not those of images.
        patches = self.patch_head(self.backbone(jigsaw.flatten(0, 1)))  # (B·9, d)
        return self.jigsaw_head(patches.view(len(jigsaw), -1))  # (B, 9·d) -> (B, d)

    def loss(self, views: tuple[Tensor, ...], index: Tensor, labels: Tensor) -> Tensor:
        """λ·L(m_I, g(v_It)) + (1 − λ)·L(m_I, f(v_I))."""
        image, jigsaw, uniform = views
        f, g = self.f(image), self.g(jigsaw)  # (B, d), (B, d)
        self.index, self.embedding = index, f.detach()
        few = self.options.negatives > 0
        negatives = losses.negative_indices(uniform, index) if few else None  # (B, K)
        pretext, itself = (self.compare(q, index, negatives) for q in (g, f))
        return self.options.weight * pretext + (1 - self.options.weight) * itself

    def compare(self, q: Tensor, index: Tensor, negatives: Tensor | None) -> Tensor:
        """L(m_I, q): InfoNCE of queries (B, d) with the bank."""
        m, tau = self.bank.entries, self.options.temperature  # (N, d)
        return losses.info_nce(q, m, index, tau, negatives)

    def after_step(self, progress: float) -> None:
        """Both terms have seen the old bank; now the entries of the batch move."""
        self.bank.update(self.index, self.embedding)

    @torch.no_grad()
    def start(self, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        """Fill the bank by one pass over the images as they are."""
        for images, index in batches:
            image = views.whole_view(images, self.options.view.size)
            self.bank.fill(index, self.f(image))
