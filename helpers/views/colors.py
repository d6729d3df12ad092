"""Colour changes of a batch, every picture with its own strengths.

Brightness, contrast, saturation and greyscale are products with a small matrix. A turn
of the hue and VISSL's photometric distortion work on the pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from helpers import hardware
from helpers.views.randomness import Draws
from helpers.views.settings import ViewSettings

GRAY = (0.299, 0.587, 0.114)  # luma weights of ITU-R 601, as torchvision uses them
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
JITTER_DRAWS = 4 + 4 + 2  # strengths, their order; changed or not, grey or not
PHOTOMETRIC_DRAWS = 4  # distorted or not, bits, sharpness, threshold


def jitter(
    pixels: Tensor, settings: ViewSettings, draws: Draws, groups: tuple[int, ...] = ()
) -> Tensor:
    """Draw and apply hue, brightness, contrast, saturation and greyscale.

    Brightness, contrast and saturation come in a random order, another one for every
    picture, and values are clamped after each, as in torchvision's ``ColorJitter``. The
    turn of the hue is always first, because it is the slow one and nearly commutes with
    the others: it keeps the largest and the smallest value of a colour. Greyscale is
    last, and part of the last change, so that one clamp serves both: on average a grey
    picture differs from torchvision's by less than one of 255 levels. Where pictures
    are distorted, it waits for that, as in VISSL, see ``drop``.

    Args:
        pixels: (N, 3, P), N pictures of P pixels in [0, 1].
        settings: what is drawn.
        draws: the images' random numbers; ``JITTER_DRAWS`` per picture are used.
        groups: (), or (n,) where an image consists of n pictures.

    Returns:
        (N, 3, P) in [0, 1].
    """
    count, device = len(pixels), pixels.device
    strengths = (settings.brightness, settings.contrast, settings.saturation)
    strength = hardware.constant((*strengths, settings.hue), device)
    amount = (draws.uniform(*groups, 4).reshape(count, 4) * 2 - 1) * strength
    order = draws.uniform(*groups, 4).reshape(count, 4)[:, :HUE].argsort(dim=1)
    changed = draws.chance(settings.jitter, *groups).reshape(-1, 1)
    grayscale = settings.grayscale if settings.photometric == 0 else 0.0
    is_gray = draws.chance(grayscale, *groups).reshape(-1, 1, 1)

    amount = torch.where(changed, amount, 0.0)
    if settings.hue > 0:
        pixels = turn_hue(pixels, amount[:, HUE])
    gray = hardware.constant(GRAY, device)
    chosen = order.T[..., None, None]  # (3, N, 1, 1): which change comes n-th
    factor = (1 + amount).clamp(min=0).gather(1, order).T[..., None, None]
    mixed_in = (1 - factor) * (chosen == SATURATION)  # of the pixel's own grey
    shift = (1 - factor) * (chosen == CONTRAST)  # towards the picture's mean grey
    matrix = factor * torch.eye(3, device=device) + mixed_in * gray  # (3, N, 3, 3)
    last = matrix[-1]
    matrix[-1] = torch.where(is_gray, gray.expand(3, 3) @ last, last)
    for change, towards in zip(matrix, shift, strict=True):
        mean = (pixels.mean(dim=2) @ gray)[:, None, None]  # (N, 1, 1)
        pixels = torch.baddbmm(towards * mean, change, pixels).clamp_(0, 1)
    return pixels


def turn_hue(pixels: Tensor, turn: Tensor) -> Tensor:
    r"""Turn the hues of pixels (N, 3, P), in place, by (N,) parts of the colour circle.

    As in HSV, the largest value V and the smallest value m of a colour stay. Its hue is
    a place on a circle of length 6C, C = V − m, with red at 0, green at 2C and blue at
    −2C. From red it is V − 2m + g + b − r away, on green's side if g > b. At a distance
    d from a primary colour, that colour's value is m + 2C − d, but at least m and at
    most V. Nothing here divides or chooses, which would be slow, and grey, C = 0, stays
    as it is. Equal to torchvision's ``adjust_hue``.
    """
    red, green, blue = pixels.unbind(dim=1)  # (N, P) each
    high = torch.maximum(torch.maximum(red, green), blue)  # V
    low = torch.minimum(torch.minimum(red, green), blue)  # m
    place = (green + blue).sub_(red).add_(high).sub_(low, alpha=2)  # 0 ... 3C
    place.copysign_(green - blue)  # −3C ... 3C
    chroma = high - low  # C
    base = low - chroma
    for value, primary in zip((red, green, blue), (0, 2, -2), strict=True):
        ahead = torch.remainder(6 * turn - primary + 3, 6) - 3  # in [−3, 3)
        away = torch.addcmul(place, chroma, ahead[:, None]).abs_()  # 0 ... 6C
        # The circle is closed: d = 3C − |away − 3C|, and m + 2C − d as above.
        away.sub_(chroma, alpha=3).abs_().add_(base)
        torch.clamp(away, low, high, out=value)
    return pixels


def drop(pixels: Tensor, probability: float, draws: Draws) -> Tensor:
    """Make pictures (..., 3, S, S) grey with a probability."""
    is_gray = draws.chance(probability, *pixels.shape[1:-3])[..., None, None, None]
    weights = hardware.constant(GRAY, pixels.device)[:, None, None]
    gray = (pixels * weights).sum(dim=-3, keepdim=True)
    return torch.where(is_gray, gray, pixels)


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
