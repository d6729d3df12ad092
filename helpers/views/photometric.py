"""The colour distortions of VISSL's PIRL that are not affine in a pixel's colour."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from helpers.views.randomness import Draws


def distort(pixels: Tensor, probability: float, draws: Draws) -> Tensor:
    """Posterize, sharpen, solarize and stretch the contrast: all four, or none.

    Every picture has its own strengths, as VISSL's ``ImgPilRandomPhotometric`` draws
    them: 4 to 8 bits, sharpness 0.1 to 1.9, a threshold from 0 to 256.

    Args:
        pixels: in [0, 1], (B, 3, S, S), or (B, P, 3, S, S) where each of P is drawn
            for itself.
        probability: of the distortion.
        draws: the images' random numbers; four a picture are taken.

    Returns:
        The same shape, in [0, 1].
    """
    pictures = pixels.flatten(0, -4)  # (N, 3, S, S) with N = B or B · P
    drawn = draws.uniform(*pixels.shape[1:-3], 4).reshape(-1, 4)
    chance, bits, sharpness, threshold = drawn.T[..., None, None, None]  # (N, 1, 1, 1)
    made = posterize(pictures, 4 + (5 * bits).floor())
    made = sharpen(made, 0.1 + 1.8 * sharpness)
    made = torch.where(made >= (257 * threshold).floor() / 255, 1 - made, made)
    made = stretch(made)
    return torch.where(chance < probability, made, pictures).view(pixels.shape)


def posterize(pixels: Tensor, bits: Tensor) -> Tensor:
    """Keep the first ``bits`` (N, 1, 1, 1) of the eight of a pixel's (N, 3, S, S)."""
    step = 2 ** (8 - bits)
    return ((pixels * 255).round() / step).floor() * step / 255


def sharpen(pixels: Tensor, factor: Tensor) -> Tensor:
    """Blend with a smoothed picture: factor 0 is smooth, 1 nothing, 2 sharp.

    Pixels at the border stay as they are, as in Pillow and torchvision.
    """
    kernel = pixels.new_ones(1, 1, 3, 3)
    kernel[..., 1, 1] = 5
    planes = functional.conv2d(pixels.flatten(0, 1)[:, None], kernel / 13)
    smooth = pixels.clone()
    smooth[..., 1:-1, 1:-1] = planes.view(*pixels.shape[:2], *planes.shape[-2:])
    return torch.lerp(smooth, pixels, factor).clamp(0, 1)


def stretch(pixels: Tensor) -> Tensor:
    """Let every colour of a picture span [0, 1]; one of a single value stays."""
    low, high = pixels.amin((-1, -2), keepdim=True), pixels.amax((-1, -2), keepdim=True)
    span = high - low
    return torch.where(span > 0, (pixels - low) / span.clamp(min=1e-6), pixels)
