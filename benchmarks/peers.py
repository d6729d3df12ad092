"""lightly's pipeline: its transforms on PIL images, workers, its examples' loop.

The network, its heads and the loss are this project's, which are lightly's parts, so
that only the pipeline differs: float32, views by PIL in worker processes, no change of
memory order. The images are in memory; a real pipeline decodes them as well.

lightly has a transform for PIRL, but no model and no example. The transform takes the
corner of an image that is larger than its views, and whole cells as patches; here it
cuts the whole image, enlarged so that patches of the size that our network sees fit
into its cells with the room that ours have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import PIL.Image
import torch
from lightly import transforms
from torch import Tensor
from torch.utils import data
from torchvision.transforms import v2

from benchmarks import measuring
from helpers import hardware
from helpers.methods import base

LATE = 30.0  # seconds without a batch after which the workers are given up


def byol(shapes: list[tuple[int, ...]]) -> Callable:
    """BYOL's two transforms."""
    size = shapes[0][-1]
    return transforms.BYOLTransform(
        transforms.BYOLView1Transform(input_size=size),
        transforms.BYOLView2Transform(input_size=size),
    )


def simclr(shapes: list[tuple[int, ...]]) -> Callable:
    """SimCLR's transform, twice."""
    return transforms.SimCLRTransform(input_size=shapes[0][-1])


def swav(shapes: list[tuple[int, ...]]) -> Callable:
    """SwAV's large and small views, as many of each as our method has."""
    sides = [shape[-1] for shape in shapes]
    large, small = max(sides), min(sides)
    return transforms.SwaVTransform(
        crop_sizes=(large, small), crop_counts=(sides.count(large), sides.count(small))
    )


def pirl(shapes: list[tuple[int, ...]]) -> Callable:
    """PIRL's transform, with patches of our size."""
    (*_, size), (*_, patch) = shapes
    made = transforms.PIRLTransform(input_size=size)
    side = 4 * patch  # a patch of ours is three quarters of one of three cells
    jigsaw = transforms.Jigsaw(3, side, patch, made.transforms[1].transform)
    made.transforms[1] = v2.Compose([v2.Resize((side, side)), jigsaw])
    return made


TRANSFORMS = {"byol": byol, "simclr": simclr, "swav": swav, "pirl": pirl}


def pictures(views: Iterable[Tensor]) -> list[Tensor]:
    """The pictures among a method's views; PIRL's also hold numbers to draw by."""
    return [view for view in views if view.dim() >= 4]


def as_ours(shown: Sequence[Tensor]) -> tuple[Any, ...]:
    """A batch of the peer's pictures in the form of our method's views."""
    if shown[-1].dim() < 5:
        return tuple(shown)
    image, patches = shown
    return image, patches, torch.zeros(len(image), 0, dtype=torch.int64)


class Photographs(data.Dataset):
    """Images in memory, given out as lightly's examples get them: PIL and a number."""

    def __init__(self, images: Tensor, count: int, transform: Callable) -> None:
        """Give out ``count`` images; uint8 (N, 3, H, W) are repeated if need be."""
        self.images = images.permute(0, 2, 3, 1).contiguous().numpy()
        self.count, self.transform = count, transform

    def __len__(self) -> int:
        """Images of an epoch."""
        return self.count

    def __getitem__(self, number: int) -> tuple[Any, int]:
        """Views of one image, and its number."""
        kept = number % len(self.images)
        return self.transform(PIL.Image.fromarray(self.images[kept])), kept


def train(
    method: base.Method,
    transform: Callable,
    images: Tensor,
    *,
    steps: int,
    batch_size: int,
    workers: int,
    late: float = LATE,
) -> float:
    """An epoch of so many steps, from starting the workers on; images a second.

    Args:
        method: to train.
        transform: makes the views of one image.
        images: uint8 (N, 3, H, W).
        steps: of the epoch.
        batch_size: images per step.
        workers: processes that make views.
        late: seconds without a batch after which the workers are given up.

    Raises:
        RuntimeError: when the workers hang.
    """
    device = hardware.device()
    loader = data.DataLoader(
        Photographs(images, steps * batch_size, transform),
        batch_size=batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        timeout=late if workers else 0,
    )
    optimizer = torch.optim.SGD(method.parameters(), lr=1e-6, momentum=0.9)
    labels = torch.full((batch_size,), -1, device=device)
    method.train()

    def epoch() -> None:
        total = torch.zeros((), device=device)
        for shown, index in loader:
            views = as_ours([view.to(device) for view in shown])
            loss = method.loss(views, index.to(device), labels)
            total += loss.detach()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            method.after_step(0.5)
        assert torch.isfinite(total)

    return steps * batch_size / measuring.seconds(epoch)
