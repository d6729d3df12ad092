"""Crops, resizing, flips and blurs of a batch as products with small matrices.

All of them are linear in the rows and in the columns of an image, so one matrix R_y
(S, H) and one R_x (S, W) an image do them all: R_y · image · R_xᵀ.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from helpers.views.randomness import Draws
from helpers.views.settings import ViewSettings


def random_crops(
    height: int, width: int, scale: tuple[float, float], draws: Draws
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random crops as torchvision's RandomResizedCrop draws them (ratio 3/4 to 4/3).

    Ten tries an image; the first that fits is taken, else the whole image is.

    Returns:
        top, left, height and width in pixels, float32 (B,) each, whole numbers.
    """
    tries = draws.uniform(10, 2)
    area = (scale[0] + (scale[1] - scale[0]) * tries[..., 0]) * height * width
    ratio = torch.exp((2 * tries[..., 1] - 1) * math.log(4 / 3))
    wide, tall = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (wide <= width) & (tall <= height) & (wide > 0) & (tall > 0)
    first = fits.int().argmax(dim=1, keepdim=True)
    some = fits.any(dim=1)
    tall = torch.where(some, tall.gather(1, first)[:, 0], float(height))
    wide = torch.where(some, wide.gather(1, first)[:, 0], float(width))
    place = draws.uniform(2)
    top = (place[:, 0] * (height - tall + 1)).floor()
    left = (place[:, 1] * (width - wide + 1)).floor()
    return top, left, tall, wide


def resize_matrix(start: Tensor, length: Tensor, pixels: int, size: int) -> Tensor:
    """The matrix that resizes ``length`` pixels from ``start`` on to ``size`` pixels.

    Bilinear with antialiasing: every output pixel is a triangle-weighted mean of the
    pixels under it, none from outside the crop, as in torchvision's ``resized_crop``.

    Args:
        start: first pixel of the crop, (B,).
        length: pixels in the crop, (B,).
        pixels: pixels along this side of the image.
        size: pixels along this side of the view.

    Returns:
        float32 (B, size, pixels); every row sums to 1.
    """
    device = start.device
    step = (length / size)[:, None]  # input pixels an output pixel covers
    center = start[:, None] + (torch.arange(size, device=device) + 0.5) * step - 0.5
    position = torch.arange(pixels, device=device, dtype=torch.float32)
    distance = (position - center[..., None]).abs() / step.clamp(min=1.0)[..., None]
    inside = (position >= start[:, None]) & (position < (start + length)[:, None])
    weights = (1 - distance).clamp(min=0.0) * inside[:, None, :]
    return weights / weights.sum(dim=-1, keepdim=True)


def blur_matrix(
    settings: ViewSettings, size: int, draws: Draws, groups: tuple[int, ...] = ()
) -> Tensor:
    """A Gaussian blur along one side, the identity where none is drawn.

    Args:
        settings: what is drawn.
        size: side S of what is blurred, in pixels.
        draws: the images' random numbers.
        groups: () or (P,), where each of P parts of an image has a blur of its own.

    Returns:
        float32 (B, *groups, S, S); every row sums to 1.
    """
    low, high = settings.blur_sigma
    sigma = draws.uniform(*groups, low=low, high=high)[..., None]
    pixel = torch.arange(size, device=sigma.device)
    weight = torch.exp(-0.5 * (pixel / sigma) ** 2)  # by distance, (B, *groups, S)
    blurred = draws.chance(settings.blur, *groups)[..., None]
    weight = torch.where(blurred, weight, (pixel == 0).float())
    kernel = weight[..., (pixel[:, None] - pixel).abs()]
    return kernel / kernel.sum(dim=-1, keepdim=True)


def resample(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """R_y · image · R_xᵀ for every image and colour, in [0, 1]: (B, 3, S, S)."""
    batch, channels, height, width = images.shape
    pixels = images.reshape(batch, channels * height, width).float().div_(255)
    across = torch.bmm(pixels, columns.transpose(1, 2))  # (B, 3H, S)
    across = across.view(batch, channels, height, -1).transpose(1, 2).flatten(2)
    down = torch.bmm(rows, across)  # (B, S, 3S)
    return down.view(batch, rows.shape[1], channels, -1).transpose(1, 2)
