"""Images batch by batch: from memory, or from files that workers decode ahead.

Whatever holds the images, a batch has one form, uint8 (B, 3, H, W) on the device, and
batches come in the order that was asked for.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
from torch import Tensor
from torch.utils.data import DataLoader

STAND_INS = 100  # images after a broken one that are tried in its place


class Files:
    """Images that stay on the disk until they are asked for.

    It stands where a tensor uint8 (N, 3, S, S) of the same images would stand: it has
    its length and its shape, and an index reads images. Where a file cannot be read,
    the next one that can stands in for it, whoever reads it and how often.

    Args:
        paths: of the images.
        size: side S in pixels.
        workers: processes that decode batches ahead; 0 decodes where they are used.
    """

    def __init__(
        self, paths: Sequence[str | os.PathLike[str]], size: int, workers: int
    ) -> None:
        """See the class."""
        # One array: millions of path objects would be copied into every worker.
        self.paths = np.array([os.fsencode(path) for path in paths], dtype=np.bytes_)
        self.size, self.workers = size, workers
        self.warned = False

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """N, 3, S, S."""
        return len(self.paths), 3, self.size, self.size

    def __len__(self) -> int:
        """Number of images N."""
        return len(self.paths)

    def select(self, index: Tensor | slice) -> Files:
        """The images with these numbers; nothing is read."""
        chosen = Files([], self.size, self.workers)
        numbers = index.numpy() if isinstance(index, Tensor) else index
        chosen.paths = self.paths[numbers]
        return chosen

    def __getitem__(self, index: Any) -> Tensor:
        """Read the images of any index a tensor takes.

        Raises:
            ValueError: when none of the files there can be read.
        """
        numbers = torch.arange(len(self))[index]
        pixels, shown = self.read(numbers.flatten().numpy())
        self.check(numbers.flatten(), shown)
        return pixels.view(*numbers.shape, *pixels.shape[1:])

    def read(self, numbers: np.ndarray) -> tuple[Tensor, Tensor]:
        """Decode images: pixels (B, 3, S, S), and whose they are (B,), -1 if none's."""
        pixels = torch.zeros(len(numbers), *self.shape[1:], dtype=torch.uint8)
        shown = torch.full((len(numbers),), -1)
        for place, number in enumerate(numbers.tolist()):
            for other in range(number, number + min(STAND_INS, len(self))):
                path = os.fsdecode(self.paths[other % len(self)])
                image = decode(pathlib.Path(path), self.size)
                if image is not None:
                    pixels[place] = torch.from_numpy(image)
                    shown[place] = other % len(self)
                    break
        return pixels, shown

    def check(self, asked: Tensor, shown: Tensor) -> None:
        """Say which image could not be read, once.

        Raises:
            ValueError: when nothing stands in for it.
        """
        broken = (asked != shown).nonzero()[:, 0]
        if len(broken) == 0:
            return
        name = repr(os.fsdecode(self.paths[asked[broken[0]]]))
        if (shown < 0).any():
            raise ValueError(
                f"Neither {name} nor the images after it can be read: check that they "
                "are images."
            )
        if not self.warned:
            self.warned = True
            warnings.warn(
                f"{name} cannot be read: the image after it stands in for it, as for "
                "any other such file; replace or delete it.",
                stacklevel=2,
            )


Images = Tensor | Files


def decode(file: pathlib.Path, size: int) -> np.ndarray | None:
    """One image as uint8 (3, size, size); None when it cannot be read."""
    try:
        with PIL.Image.open(file) as opened:
            # A large JPEG is decoded at a half, a quarter or an eighth of its size.
            opened.draft("RGB", (size, size))
            # Pillow would clip 16-bit values to 8 bits, leaving a white image.
            deep = opened.mode.startswith("I")
            shallow = opened.point(lambda value: value / 257) if deep else opened
            upright = PIL.ImageOps.exif_transpose(shallow.convert("RGB"))
            if upright.size != (size, size):
                upright = PIL.ImageOps.fit(
                    upright, (size, size), PIL.Image.Resampling.BILINEAR
                )
            return np.array(upright).transpose(2, 0, 1)
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError):
        return None


def place(images: Images, device: torch.device) -> Images:
    """Put images on the device if they leave half of its memory free, else nowhere."""
    if isinstance(images, Files):
        return images
    if device.type == "cuda" and images.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        return images
    return images.to(device)


def batches(
    images: Images, indexes: Sequence[Tensor], device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images by their numbers, a batch at a time, on the device.

    Args:
        images: on the device, beside it, or on the disk.
        indexes: the images' numbers, int64 (B,) a batch.
        device: where the batches are needed.

    Yields:
        The images uint8 (B, 3, H, W) and their numbers int64 (B,).
    """
    # Numbers are sent once, not batch by batch: the CPU would wait every time.
    sizes = [len(index) for index in indexes]
    numbers = torch.cat(list(indexes)).to(device).split(sizes)
    if isinstance(images, Files):
        pixels = _decoded(images, indexes, pinned=device.type == "cuda")
    elif images.device.type == device.type:
        pixels = (images[index] for index in numbers)
    else:
        pixels = (_pin(images[index], device) for index in indexes)
    for some, index in zip(pixels, numbers, strict=True):
        yield some.to(device, non_blocking=device.type == "cuda"), index


def _pin(pixels: Tensor, device: torch.device) -> Tensor:
    """Memory that a GPU reads while the CPU goes on."""
    return pixels.pin_memory() if device.type == "cuda" else pixels


def _decoded(
    files: Files, indexes: Sequence[Tensor], *, pinned: bool
) -> Iterator[Tensor]:
    """Batches of files, decoded ahead by the workers, each batch by one of them."""
    loader = DataLoader(
        _Reader(files),
        sampler=[index.numpy() for index in indexes],
        batch_size=None,
        num_workers=files.workers,
        pin_memory=pinned,
        # A generator of its own: the global one must not know how images are read.
        generator=torch.Generator(),
    )
    for (pixels, shown), asked in zip(loader, indexes, strict=True):
        files.check(asked, shown)
        yield pixels


@dataclasses.dataclass(frozen=True)
class _Reader:
    """What a worker holds: an index of it is a whole batch."""

    files: Files

    def __getitem__(self, numbers: np.ndarray) -> tuple[Tensor, Tensor]:
        return self.files.read(numbers)
