"""Crops, resizing, flips and blurs of a batch as products with small matrices.

All of them are linear in the rows and in the columns of an image, so each image needs
only one matrix R_y (S, H) and one R_x (S, W): R_y · image · R_xᵀ.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from helpers.views.randomness import Draws
from helpers.views.settings import ViewSettings

TRIES = 10  # crops drawn for an image, of which the first that fits is taken
CROP_DRAWS = TRIES * 2 + 2  # area and ratio of every try; where the crop lies
BLUR_DRAWS = 2  # standard deviation; blurred or not


def random_crops(
    height: int, width: int, scale: tuple[float, float], draws: Draws
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw a crop per image as torchvision's RandomResizedCrop does, ratio 3/4 to 4/3.

    The first of ten tries that fits is taken; where none fits, the largest part of the
    image's middle that has such a ratio.

    Args:
        height: of the images in pixels.
        width: of the images in pixels.
        scale: smallest and largest share of the image's area.
        draws: the images' random numbers; ``CROP_DRAWS`` are used.

    Returns:
        top, left, height and width in pixels: float32 (B,) each, whole numbers.
    """
    tries = draws.uniform(TRIES, 2)
    area = (scale[0] + (scale[1] - scale[0]) * tries[..., 0]) * height * width
    ratio = torch.exp((2 * tries[..., 1] - 1) * math.log(4 / 3))
    wide, tall = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (wide <= width) & (tall <= height) & (wide > 0) & (tall > 0)
    first = fits.int().argmax(dim=1, keepdim=True)
    any_fits = fits.any(dim=1)
    tallest = min(height, round(width * 4 / 3))
    widest = min(width, round(height * 4 / 3))
    tall = torch.where(any_fits, tall.gather(1, first)[:, 0], float(tallest))
    wide = torch.where(any_fits, wide.gather(1, first)[:, 0], float(widest))
    position = draws.uniform(2)  # (B, 2), in [0, 1)
    top = (position[:, 0] * (height - tall + 1)).floor()
    left = (position[:, 1] * (width - wide + 1)).floor()
    top = torch.where(any_fits, top, float((height - tallest) // 2))
    left = torch.where(any_fits, left, float((width - widest) // 2))
    return top, left, tall, wide


def resize_matrix(
    start: Tensor, length: Tensor, pixels: int, size: int, flip: Tensor | None = None
) -> Tensor:
    """The matrix that crops ``length`` pixels at ``start`` and makes ``size`` of them.

    Bilinear with antialiasing: every output pixel is a triangle-weighted mean of the
    pixels under it, all of them inside the crop, as in torchvision's ``resized_crop``.

    Args:
        start: first pixel of the crop, (B,).
        length: pixels in the crop, (B,).
        pixels: pixels along this side of the image.
        size: pixels along this side of the view.
        flip: which views are mirrored, bool (B, 1); none by default.

    Returns:
        float32 (B, size, pixels); every row sums to 1.
    """
    device = start.device
    step = (length / size)[:, None]  # input pixels an output pixel covers
    number = torch.arange(size, device=device)
    if flip is not None:
        number = torch.where(flip, number.flip(0), number)  # (B, size)
    center = start[:, None] + (number + 0.5) * step - 0.5
    position = torch.arange(pixels, device=device, dtype=torch.float32)
    distance = (position - center[..., None]).abs_()
    distance.div_(step.clamp(min=1.0)[..., None])
    inside = (position >= start[:, None]) & (position < (start + length)[:, None])
    weights = distance.neg_().add_(1).clamp_(min=0.0).mul_(inside[:, None, :].float())
    return weights.div_(weights.sum(dim=-1, keepdim=True))


def blur_matrix(
    settings: ViewSettings, size: int, draws: Draws, groups: tuple[int, ...] = ()
) -> Tensor:
    """Draw the matrix of a Gaussian blur along one side: the identity for no blur.

    Args:
        settings: what is drawn.
        size: side S of what is blurred, in pixels.
        draws: the images' random numbers; ``BLUR_DRAWS`` per picture are used.
        groups: () or (P,), where an image consists of P pictures.

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
    """Compute R_y · image · R_xᵀ for every image and colour.

    Args:
        images: uint8 (B, 3, H, W).
        rows: R_y, (B, S, H).
        columns: R_x, (B, S, W).

    Returns:
        float32 (B, 3, S, S) in [0, 1].
    """
    down = (rows / 255)[:, None] @ images.float()  # (B, 3, S, W)
    made = down.flatten(1, 2) @ columns.mT  # (B, 3S, S)
    return made.unflatten(1, (images.shape[1], -1))
