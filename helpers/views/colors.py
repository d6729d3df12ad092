"""Colour changes of a batch: what is affine in a pixel's colour, and what is not.

Brightness, contrast, saturation, hue and greyscale are affine in a colour, so all of
them together are one matrix C (3, 3) and one offset c (3,) per image. VISSL's
photometric distortion is not: ``photometric`` works on the pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from helpers import hardware
from helpers.views.randomness import Draws
from helpers.views.settings import ViewSettings

GRAY = (0.299, 0.587, 0.114)  # luma weights of ITU-R 601, as torchvision uses them
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
AFFINE_DRAWS = 4 + 4 + 2  # strengths, their order; changed or not, grey or not
PHOTOMETRIC_DRAWS = 4  # distorted or not, bits, sharpness, threshold

# Rotating a colour by a hue angle about the grey axis happens in YIQ coordinates.
_TO_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
_TO_RGB = tuple(map(tuple, torch.linalg.inv(torch.tensor(_TO_YIQ)).tolist()))


def affine(
    mean: Tensor, settings: ViewSettings, draws: Draws, groups: tuple[int, ...] = ()
) -> tuple[Tensor, Tensor]:
    """Draw the colour changes of every image and fold them into one affine map.

    Brightness, contrast, saturation and hue come in a random order, another one for
    every image, then greyscale. Contrast needs the image's mean, which passes through
    the same maps. Values are clamped once, at the end; torchvision clamps every time.

    Args:
        mean: mean colour of every picture, (N, 3) with N = B · P.
        settings: what is drawn.
        draws: the images' random numbers; ``AFFINE_DRAWS`` per picture are used.
        groups: () or (P,), where an image consists of P pictures.

    Returns:
        matrix (N, 3, 3) and offset (N, 3) of colour ↦ matrix · colour + offset.
    """
    device, count = mean.device, len(mean)
    gray = hardware.constant(GRAY, device).expand(3, 3)  # every row gives the luma
    eye = torch.eye(3, device=device)
    strength = hardware.constant(
        (settings.brightness, settings.contrast, settings.saturation, settings.hue),
        device,
    )
    drawn = draws.uniform(*groups, 4).reshape(count, 4) * 2 - 1
    amount = (
        drawn * strength
    )  # (N, 4): ± brightness, contrast, saturation; hue in turns
    factor = (1 + amount[:, :HUE]).clamp(min=0)[..., None, None]  # (N, 3, 1, 1)
    brightness = factor[:, BRIGHTNESS] * eye  # (N, 3, 3)
    contrast = factor[:, CONTRAST] * eye  # its offset follows below
    saturation = factor[:, SATURATION]
    saturation = saturation * eye + (1 - saturation) * gray
    hue = hue_matrix(amount[:, HUE])
    changes = torch.stack([brightness, contrast, saturation, hue])  # (4, N, 3, 3)

    order = draws.uniform(*groups, 4).reshape(count, 4).argsort(dim=1)
    picture = torch.arange(count, device=device)
    matrix = eye.expand(count, 3, 3)
    offset = torch.zeros(count, 3, device=device)
    for chosen in order.T:  # (N,): the next change of every picture
        change = changes[chosen, picture]
        mean_now = (matrix @ mean[..., None])[..., 0] + offset
        towards_gray = (1 - factor[:, CONTRAST, :, 0]) * luma(mean_now)  # (N, 1)
        shift = torch.where((chosen == CONTRAST)[:, None], towards_gray, 0.0)
        matrix = change @ matrix
        offset = (change @ offset[..., None])[..., 0] + shift

    changed = draws.chance(settings.jitter, *groups).reshape(-1, 1)
    matrix = torch.where(changed[..., None], matrix, eye)
    offset = torch.where(changed, offset, 0.0)
    is_gray = draws.chance(settings.grayscale, *groups).reshape(-1, 1)
    matrix = torch.where(is_gray[..., None], gray @ matrix, matrix)
    offset = torch.where(is_gray, luma(offset), offset)
    return matrix, offset


def luma(colors: Tensor) -> Tensor:
    """The grey level of every colour: (N, 3) to (N, 1)."""
    return (colors * hardware.constant(GRAY, colors.device)).sum(-1, keepdim=True)


def hue_matrix(turn: Tensor) -> Tensor:
    """Matrices (N, 3, 3) that turn hues about the grey axis by (N,) parts of a turn."""
    to_yiq, to_rgb = (hardware.constant(m, turn.device) for m in (_TO_YIQ, _TO_RGB))
    angle = 2 * math.pi * turn
    rotation = torch.zeros(len(turn), 3, 3, device=turn.device)
    rotation[:, 0, 0] = 1
    rotation[:, 1, 1] = rotation[:, 2, 2] = angle.cos()
    rotation[:, 2, 1] = angle.sin()
    rotation[:, 1, 2] = -angle.sin()
    return to_rgb @ rotation @ to_yiq


def photometric(pixels: Tensor, probability: float, draws: Draws) -> Tensor:
    """Posterize, sharpen, solarize and stretch the contrast: all four, or none.

    Every picture has its own strengths, as VISSL's ``ImgPilRandomPhotometric`` draws
    them: 4 to 8 bits, sharpness 0.1 to 1.9, a threshold from 0 to 256.

    Args:
        pixels: in [0, 1], (B, 3, S, S), or (B, P, 3, S, S) where an image consists of
            P pictures.
        probability: of the distortion.
        draws: the images' random numbers; ``PHOTOMETRIC_DRAWS`` per picture are used.

    Returns:
        The same shape, in [0, 1].
    """
    pictures = pixels.flatten(0, -4)  # (N, 3, S, S) with N = B or B · P
    drawn = draws.uniform(*pixels.shape[1:-3], 4).reshape(-1, 4)
    chance, bits, sharpness, threshold = drawn.T[..., None, None, None]  # (N, 1, 1, 1)
    distorted = posterize(pictures, 4 + (5 * bits).floor())
    distorted = sharpen(distorted, 0.1 + 1.8 * sharpness)
    bright = distorted >= (257 * threshold).floor() / 255
    distorted = torch.where(bright, 1 - distorted, distorted)
    distorted = stretch(distorted)
    return torch.where(chance < probability, distorted, pictures).view(pixels.shape)


def posterize(pixels: Tensor, bits: Tensor) -> Tensor:
    """Keep the highest ``bits`` (N, 1, 1, 1) of the 8 bits of pixels (N, 3, S, S)."""
    step = 2 ** (8 - bits)
    return ((pixels * 255).round() / step).floor() * step / 255


def sharpen(pixels: Tensor, factor: Tensor) -> Tensor:
    """Blend with a smoothed picture: 0 gives it, 1 changes nothing, 2 sharpens.

    Pixels at the border are not changed, as in Pillow and torchvision.
    """
    kernel = pixels.new_ones(1, 1, 3, 3)
    kernel[..., 1, 1] = 5
    planes = functional.conv2d(pixels.flatten(0, 1)[:, None], kernel / 13)
    smooth = pixels.clone()
    smooth[..., 1:-1, 1:-1] = planes.view(*pixels.shape[:2], *planes.shape[-2:])
    return torch.lerp(smooth, pixels, factor).clamp(0, 1)


def stretch(pixels: Tensor) -> Tensor:
    """Stretch every colour of a picture to [0, 1]; a constant colour is not changed."""
    low, high = pixels.amin((-1, -2), keepdim=True), pixels.amax((-1, -2), keepdim=True)
    span = high - low
    return torch.where(span > 0, (pixels - low) / span.clamp(min=1e-6), pixels)
