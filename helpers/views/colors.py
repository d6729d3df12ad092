"""Colour changes of a batch, folded into one affine map an image.

Brightness, saturation, hue and greyscale are linear in a pixel's colour and contrast is
affine, so whatever is drawn becomes a matrix C (3, 3) and an offset c (3,).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from helpers import hardware
from helpers.views.randomness import Draws
from helpers.views.settings import ViewSettings

GRAY = (0.299, 0.587, 0.114)  # luma weights of ITU-R 601, as torchvision uses them

# Rotating a colour by a hue angle about the grey axis happens in YIQ coordinates.
_TO_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
_TO_RGB = tuple(map(tuple, torch.linalg.inv(torch.tensor(_TO_YIQ)).tolist()))


def color_transform(
    mean: Tensor, settings: ViewSettings, draws: Draws, groups: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Draw each image's colour changes and fold them into one affine map.

    Brightness, contrast, saturation and hue come in a random order, an image each its
    own, then greyscale. Contrast needs the image's mean, which passes through the same
    maps. Values are clamped once, at the end, where torchvision clamps after each.

    Args:
        mean: mean colour of every image, (N, 3) with N = B · P.
        settings: what is drawn.
        draws: the images' random numbers.
        groups: () or (P,), how the N images are spread.

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
    amount = drawn * strength  # brightness, contrast, saturation: ± x; hue: turns
    factor = (1 + amount[:, :3]).clamp(min=0)[..., None, None]
    brightness = factor[:, 0] * eye
    contrast = factor[:, 1] * eye  # its offset follows below
    saturation = factor[:, 2] * eye + (1 - factor[:, 2]) * gray
    linear = torch.stack([brightness, contrast, saturation, hue_matrix(amount[:, 3])])

    order = draws.uniform(*groups, 4).reshape(count, 4).argsort(dim=1)
    image = torch.arange(count, device=device)
    matrix = eye.expand(count, 3, 3)
    offset = torch.zeros(count, 3, device=device)
    for place in range(4):
        chosen = order[:, place]
        change = linear[chosen, image]
        now = (matrix @ mean[..., None])[..., 0] + offset
        pull = (1 - factor[:, 1, :, 0]) * luma(now)  # towards the mean grey
        shift = torch.where((chosen == 1)[:, None], pull, 0.0)
        matrix = change @ matrix
        offset = (change @ offset[..., None])[..., 0] + shift

    keep = draws.chance(settings.jitter, *groups).reshape(-1, 1)
    matrix = torch.where(keep[..., None], matrix, eye)
    offset = torch.where(keep, offset, 0.0)
    drop = draws.chance(settings.grayscale, *groups).reshape(-1, 1)
    matrix = torch.where(drop[..., None], gray @ matrix, matrix)
    offset = torch.where(drop, luma(offset), offset)
    return matrix, offset


def luma(colors: Tensor) -> Tensor:
    """The grey of every colour: (N, 3) to (N, 1)."""
    return (colors * hardware.constant(GRAY, colors.device)).sum(-1, keepdim=True)


def hue_matrix(turn: Tensor) -> Tensor:
    """Turn colours about the grey axis: (N,) turns of the circle to (N, 3, 3)."""
    to_yiq, to_rgb = (hardware.constant(m, turn.device) for m in (_TO_YIQ, _TO_RGB))
    angle = 2 * math.pi * turn
    rotation = torch.zeros(len(turn), 3, 3, device=turn.device)
    rotation[:, 0, 0] = 1
    rotation[:, 1, 1] = rotation[:, 2, 2] = angle.cos()
    rotation[:, 2, 1] = angle.sin()
    rotation[:, 1, 2] = -angle.sin()
    return to_rgb @ rotation @ to_yiq
