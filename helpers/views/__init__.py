r"""Random views of a whole batch at once, every image with its own parameters.

Cropping, resizing, flipping and blurring are linear in the rows and in the columns of
an image, so they are one product, R_y · image · R_xᵀ with R_y (S, H) and R_x (S, W).
Brightness, contrast, saturation and greyscale are affine in a pixel's colour, so each
is a product with a matrix (3, 3). Hue, solarizing and VISSL's photometric distortion
are neither. All random numbers of a step come from its ``StepRandom``, so it can be
repeated exactly.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from helpers import hardware
from helpers.views import colors, geometry
from helpers.views.randomness import Draws, StepRandom
from helpers.views.settings import ViewSettings

MEAN = (0.485, 0.456, 0.406)  # ImageNet's: right for photographs and for its weights
STD = (0.229, 0.224, 0.225)

# Random numbers drawn per image: another count would give every seed other views.
FRAME_DRAWS = geometry.CROP_DRAWS + 1  # the crop; flipped or not
PATCH_DRAWS = 1 + 2 + 1  # turn in the shuffled order; offset down, across; flipped


def random_view(images: Tensor, settings: ViewSettings, random: StepRandom) -> Tensor:
    """Draw a random view of every image.

    Args:
        images: uint8 (B, 3, H, W).
        settings: what is drawn.
        random: the step's random numbers, for B images.

    Returns:
        float32 (B, 3, S, S), normalised.
    """
    (view,) = random_views(images, settings, random, 1)
    return view


def random_views(
    images: Tensor, settings: ViewSettings, random: StepRandom, count: int
) -> tuple[Tensor, ...]:
    """Draw several random views of every image: the same as ``random_view`` so often.

    On a GPU all are made at once: each operation costs a launch, however large it is.
    """

    def view(images: Tensor, draws: Draws) -> Tensor:
        rows, columns = _crop(images, settings, settings.size, draws, settings.flip)
        if settings.blur > 0:
            blur = geometry.blur_matrix(settings, settings.size, draws)
            rows, columns = blur @ rows, blur @ columns
        made = finish(geometry.resample(images, rows, columns), settings, draws)
        if settings.blur == 0:
            draws.skip(geometry.BLUR_DRAWS)  # they have columns even without blur
        return made

    width = FRAME_DRAWS + geometry.BLUR_DRAWS + _finish_draws(settings)
    tables = [random.table(width) for _ in range(count)]
    if _on_cpu(images):
        return tuple(_in_chunks(view, images, table) for table in tables)
    together = images.repeat(count, 1, 1, 1)  # (count · B, 3, H, W)
    return _in_chunks(view, together, torch.cat(tables)).chunk(count)


def rotated_view(images: Tensor, settings: ViewSettings, random: StepRandom) -> Tensor:
    """Draw a random view of every image and turn it by 0, 90, 180 or 270 degrees.

    Takes and returns what ``random_view`` does; the four turns are equally likely.
    """
    view = random_view(images, settings, random)
    turns = (random.table(1) * 4).long()[..., None, None]  # (B, 1, 1, 1)
    for turn in (1, 2, 3):
        view = torch.where(turns == turn, view.rot90(turn, (2, 3)), view)
    return view


def whole_view(images: Tensor, size: int) -> Tensor:
    """Resize and normalise whole images: what evaluation sees.

    Args:
        images: uint8 (B, 3, H, W).
        size: side of the view in pixels.

    Returns:
        float32 (B, 3, size, size).
    """

    def view(images: Tensor, _: Draws) -> Tensor:
        height, width = images.shape[-2:]
        zero = torch.zeros(len(images), device=images.device)
        rows = geometry.resize_matrix(zero, zero + height, height, size)
        columns = geometry.resize_matrix(zero, zero + width, width, size)
        return normalize(geometry.resample(images, rows, columns))

    return _in_chunks(view, images, torch.zeros(len(images), 0))


def jigsaw_patches(
    images: Tensor,
    settings: ViewSettings,
    random: StepRandom,
    *,
    grid: int = 3,
    cell: int = 32,
    patch: int = 24,
) -> Tensor:
    """Cut every image into shuffled patches: PIRL's transformed image.

    A crop of the image (``settings.scale`` of its area) is resized to ``grid * cell``
    pixels and divided into ``grid * grid`` cells. A patch is taken from each cell at a
    random offset below cell − patch, so that neighbours do not touch; each patch has a
    flip, a blur and colours of its own. All orders of the patches are equally likely.
    All of it is as in VISSL's ``ImgPilToPatchesAndImage`` and the transforms after it.

    Args:
        images: uint8 (B, 3, H, W).
        settings: crop, blur and colours; its ``size`` is not used.
        random: the step's random numbers, for B images.
        grid: cells along a side; 3 makes nine patches.
        cell: side of a cell in pixels.
        patch: side of a patch in pixels, at most ``cell``.

    Returns:
        float32 (B, grid², 3, patch, patch), normalised, in shuffled order.
    """
    count, side = grid * grid, grid * cell

    def cut(images: Tensor, draws: Draws) -> Tensor:
        rows, columns = _crop(images, settings, side, draws)
        whole = geometry.resample(images, rows, columns)
        order = draws.uniform(count).argsort(dim=1)  # (B, count): cell numbers
        offset = (draws.uniform(count, 2) * max(1, cell - patch)).long()
        y = torch.div(order, grid, rounding_mode="floor") * cell + offset[..., 0]
        x = (order % grid) * cell + offset[..., 1]
        span = torch.arange(patch, device=images.device)
        flip = draws.chance(settings.flip, count)[..., None]
        across = torch.where(flip, span.flip(0), span)  # (B, count, patch)
        down = y[..., None, None] + span[:, None]  # (B, count, patch, 1)
        pixel = down * side + (x[..., None] + across)[:, :, None]
        pixel = pixel.reshape(len(images), 1, -1).expand(-1, 3, -1)
        patches = whole.flatten(2).gather(2, pixel)  # (B, 3, count · patch²)
        patches = patches.view(-1, 3, count, patch, patch).transpose(1, 2)
        if settings.blur > 0:
            blur = geometry.blur_matrix(settings, patch, draws, (count,))[:, :, None]
            patches = blur @ patches @ blur.mT
        return finish(patches, settings, draws)

    blur_draws = geometry.BLUR_DRAWS if settings.blur > 0 else 0
    each = PATCH_DRAWS + blur_draws + _finish_draws(settings)
    return _in_chunks(cut, images, random.table(geometry.CROP_DRAWS + count * each))


def _finish_draws(settings: ViewSettings) -> int:
    """How many random numbers ``finish`` uses per picture."""
    photometric = colors.PHOTOMETRIC_DRAWS + 1 if settings.photometric > 0 else 0
    return colors.JITTER_DRAWS + 1 + photometric  # 1: solarized or not; grey or not


def _in_chunks(
    make: Callable[[Tensor, Draws], Tensor], images: Tensor, table: Tensor
) -> Tensor:
    """Apply ``make`` to all images, on a CPU to 32 at a time: its caches are small.

    Raises:
        ValueError: when the table has other rows than the images, or other columns than
            ``make`` draws.
    """
    if len(images) != len(table):
        raise ValueError(
            f"The random numbers are for {len(table)} images, not {len(images)}: give "
            "StepRandom the size of the batch."
        )
    chunk = 32 if _on_cpu(images) else max(1, len(images))
    parts = []
    for few, rows in zip(images.split(chunk), table.split(chunk), strict=True):
        draws = Draws(rows)
        parts.append(make(few, draws))
        draws.check_all_used()
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _on_cpu(images: Tensor) -> bool:
    """Whether images are on a CPU."""
    return images.device.type == "cpu"


def _crop(
    images: Tensor,
    settings: ViewSettings,
    size: int,
    draws: Draws,
    flip: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw R_y (B, size, H) and R_x (B, size, W), flipped with a probability."""
    height, width = images.shape[-2:]
    top, left, tall, wide = geometry.random_crops(height, width, settings.scale, draws)
    rows = geometry.resize_matrix(top, tall, height, size)
    flipped = None if flip is None else draws.chance(flip)[:, None]
    return rows, geometry.resize_matrix(left, wide, width, size, flipped)


def finish(pixels: Tensor, settings: ViewSettings, draws: Draws) -> Tensor:
    """Draw and apply colours, clamp to [0, 1], solarize, distort, normalise.

    Args:
        pixels: (B, 3, S, S), or (B, P, 3, S, S) where an image consists of P pictures,
            each with colours of its own; they may be overwritten.
        settings: what is drawn.
        draws: the images' random numbers; ``_finish_draws`` per picture are used.

    Returns:
        The same shape, normalised.
    """
    shape = pixels.shape
    groups = shape[1:-3]  # () or (P,)
    flat = pixels.reshape(-1, 3, shape[-2] * shape[-1])  # (B·P, 3, S²)
    flat = colors.jitter(flat, settings, draws, groups)
    if settings.solarize > 0:
        chosen = draws.chance(settings.solarize, *groups).reshape(-1, 1, 1)
        flat = torch.where(chosen & (flat >= 0.5), 1 - flat, flat)
    pixels = flat.view(shape)
    if settings.photometric > 0:
        pixels = colors.photometric(pixels, settings.photometric, draws)
        pixels = colors.drop(pixels, settings.grayscale, draws)
    if settings.solarize == 0:
        draws.skip(*groups)  # it has a column even so
    return normalize(pixels)


def normalize(pixels: Tensor) -> Tensor:
    """Normalise pixels in [0, 1], (..., 3, S, S), by ``MEAN`` and ``STD``."""
    mean, std = _mean_and_std(pixels.device)
    return pixels.sub(mean).div_(std)


def denormalize(views: Tensor) -> Tensor:
    """Undo ``normalize``, to show views: back to [0, 1]."""
    mean, std = _mean_and_std(views.device)
    return (views * std + mean).clamp(0, 1)


def _mean_and_std(device: torch.device) -> tuple[Tensor, Tensor]:
    mean, std = (hardware.constant(numbers, device) for numbers in (MEAN, STD))
    return mean[:, None, None], std[:, None, None]
