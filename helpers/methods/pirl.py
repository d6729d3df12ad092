"""PIRL: an image and its shuffled jigsaw, or the image turned, are the same thing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from helpers import views
from helpers.methods import base, losses, memory, pirl_options
from helpers.methods.pirl_options import Options
from helpers.views.randomness import StepRandom


class PIRL(base.Method):
    """Misra & van der Maaten 2020, arXiv:1912.01991: equation 5, section 2.2."""

    Options = Options
    recipes = pirl_options.RECIPES

    def __init__(self, backbone: nn.Module, count: int, options: Options) -> None:
        """See ``base.Method``."""
        super().__init__(backbone, count, options)
        d = options.output_dim
        self.image_head = projection(backbone.feature_dim, options)
        if options.pretext != "rotation":
            self.patch_head = projection(backbone.feature_dim, options, patches=True)
            self.jigsaw_head = nn.Linear(options.grid**2 * d, d)
        if options.pretext != "jigsaw":
            self.rotation_head = projection(backbone.feature_dim, options)
        self.bank = memory.MemoryBank(count, d, options.bank_momentum)
        self.criterion = {
            "infonce": losses.info_nce,
            "nce": losses.nce,
            "vissl_nce": losses.ConstantNCE(count),
        }[options.loss]

    def views(
        self, images: Tensor, random: StepRandom
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        """The image v_I, what a pretext made of it, and numbers to draw negatives by.

        Returns:
            v_I (B, 3, S, S); a list of v_It: patches (B, 9, 3, P, P), or a rotated view
            (B, 3, S, S), or both; and int64 (B, K), uniform in 0 ... N − 2.
        """
        options = self.options
        image, transformed = views.random_view(images, options.view, random), []
        if options.pretext != "rotation":
            transformed.append(jigsaw(images, options, random))
        if options.pretext != "jigsaw":
            transformed.append(views.rotated_view(images, options.view, random))
        drawn = random.table(options.negatives) * (self.count - 1)
        return image, transformed, drawn.long()

    def f(self, image: Tensor) -> Tensor:
        """The image's feature f(v_I), (B, d)."""
        return self.image_head(self.backbone(image))

    def g(self, transformed: Tensor) -> Tensor:
        """The transformed image's feature g(v_It), (B, d), by heads of its own.

        A forward of its own, too: patches have BatchNorm statistics of their own.
        """
        if transformed.dim() == 4:  # a rotated view
            return self.rotation_head(self.backbone(transformed))
        patches = self.patch_head(self.backbone(transformed.flatten(0, 1)))  # (B·9, d)
        # Put together in their order: (B·9, d) to (B, 9·d) to (B, d).
        return self.jigsaw_head(patches.view(len(transformed), -1))

    def loss(
        self, views: tuple[Tensor, list[Tensor], Tensor], index: Tensor, labels: Tensor
    ) -> Tensor:
        """λ·L(m_I, g(v_It)) + (1 − λ)·L(m_I, f(v_I)); then the bank learns f(v_I).

        With both pretexts, the first term is the mean over their two g(v_It).
        """
        image, transformed, drawn = views
        tau, share = self.options.temperature, self.options.weight
        negatives = losses.others(drawn, index) if self.options.negatives else None

        def compare(q: Tensor) -> Tensor:  # L(m_I, q)
            m = self.bank.entries
            return self.criterion(q, m, index, tau, negatives)

        f, every_g = self.f(image), [self.g(view) for view in transformed]
        pretext = sum(compare(g) for g in every_g) / len(every_g)
        itself = compare(f)
        self.embedding = f.detach()
        self.pending = index, f.detach()
        return share * pretext + (1 - share) * itself

    def after_step(self, progress: float) -> None:
        """All terms have seen the old bank; now the batch's entries move."""
        self.bank.update(*self.pending)

    @torch.no_grad()
    def distances(self, images: Tensor) -> Tensor:
        """‖f/|f| − g/|g|‖ of images and their transforms, the paper's figure 4.

        Args:
            images: uint8 (N, 3, H, W).

        Returns:
            float32 (N,), or (2·N,) with both pretexts, between 0 (the same) and 2
            (opposite).
        """
        self.eval()
        device = next(self.parameters()).device
        found = []
        for number, some in enumerate(images.split(128)):
            random = StepRandom(0, number, len(some), device)
            _, transformed, _ = self.views(some.to(device), random)
            image = views.whole_view(some.to(device), self.options.view.size)
            f = _unit(self.f(image))
            found += [(f - _unit(self.g(view))).norm(dim=1) for view in transformed]
        return torch.cat(found).cpu()

    @torch.no_grad()
    def start(self, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        """Fill the bank by one pass over the images as they are."""
        for images, index in batches:
            image = views.whole_view(images, self.options.view.size)
            self.bank.fill(index, self.f(image))


def jigsaw(images: Tensor, options: Options, random: StepRandom) -> Tensor:
    """The shuffled patches of images uint8 (B, 3, H, W): (B, grid², 3, P, P)."""
    cell, patch = options.sides
    view = dataclasses.replace(
        options.view, scale=options.patch_scale, blur=options.patch_blur
    )
    return views.jigsaw_patches(
        images, view, random, grid=options.grid, cell=cell, patch=patch
    )


def projection(width: int, options: Options, *, patches: bool = False) -> nn.Module:
    """A projection head from ``width`` to d, by the option ``head``.

    ``linear``     Linear, the paper's
    ``mlp``        Linear, BatchNorm, ReLU, Linear
    ``vissl_mlp``  Linear, ReLU, Linear, VISSL's ``mlphead``; its patches get one more
                   ReLU before they are put together
    """
    hidden, d = options.hidden_dim, options.output_dim
    if options.head == "linear":
        return nn.Linear(width, d)
    if options.head == "mlp":
        return nn.Sequential(
            nn.Linear(width, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, d),
        )
    last = [nn.ReLU(inplace=True)] if patches else []
    inside = [nn.Linear(width, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, d)]
    return nn.Sequential(*inside, *last)


def _unit(features: Tensor) -> Tensor:
    return nn.functional.normalize(features.float(), dim=1)
