"""The data set inside the package: ten kinds of things, drawn from a seed.

A first run needs pictures before anyone has downloaded STL-10. These are drawn: 96 x 96
pixels, several things of one kind, each in a size, pose, palette and light of its own,
among clutter before a backdrop. The ten kinds differ by shape and texture, never by
colour; palettes and backdrops come from a small stock that all kinds share. Two crops
of a picture thus have its kind in common and little else, while a few labelled pictures
cannot show all that a kind may look like. The same (seed, split, index, size) gives the
same bytes on every machine.
"""

import math

import numpy as np

from helpers.data.demo import shapes
from helpers.data.demo.scenes import SCENE_HUES, SCENES, turned
from helpers.data.demo.shapes import Dice, Layer

SPLITS = ("unlabeled", "train", "test")
VERSION = 1  # raised when the same seed draws other pictures: kept copies are redrawn
STOCK = 1_000_003  # seeds the palettes and backdrops that all pictures share
PALETTES, BACKDROPS = 6, 3  # of things, and of each scene: so few that they say little


KINDS = (  # shape, largest lean either way in turns
    (shapes.balloon, 0.06),
    (shapes.butterfly, 0.2),
    (shapes.cactus, 0.05),
    (shapes.fish, 0.1),
    (shapes.house, 0.03),
    (shapes.leaf, 0.5),
    (shapes.mushroom, 0.06),
    (shapes.snail, 0.08),
    (shapes.starfish, 0.5),
    (shapes.wheel, 0.5),
)
CLASSES: tuple[str, ...] = tuple(shape.__name__ for shape, _ in KINDS)


def colour(lightness: float, chroma: float, hue: float) -> np.ndarray:
    """Return the sRGB colour (3, 1, 1) of an OKLCH one, whose hues look equally light.

    Hue in turns. Source: B. Ottosson, "A perceptual color space for image processing".
    """
    a, b = (chroma * part for part in shapes.direction(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    srgb = [round(min(max(value, 0), 1) ** (1 / 2.2), 6) for value in linear]
    return np.array(srgb, dtype=np.float32).reshape(3, 1, 1)


def thing_palette(dice: Dice, hue: float) -> list[np.ndarray]:
    """Return main, pattern, accent, dark and light; the first two differ in grey."""
    main, gap = dice.between(0.4, 0.85), dice.between(0.22, 0.4)
    pattern = main - gap if main > 0.6 else main + gap
    other = hue + (0.08, 0.33, 0.5)[dice.below(3)]
    return [
        colour(main, dice.between(0.07, 0.2), hue),
        colour(pattern, dice.between(0.03, 0.16), other),
        colour(dice.between(0.5, 0.75), dice.between(0.05, 0.16), other + 0.1),
        colour(dice.between(0.22, 0.34), 0.04, hue),
        colour(dice.between(0.88, 0.96), 0.03, other),
    ]


def scene_palette(dice: Dice, hue: float) -> list[np.ndarray]:
    """Return five colours of one calm family, from which a background is painted."""
    level, chroma = dice.between(0.55, 0.9), dice.between(0.02, 0.06)
    steps = 0, dice.between(-0.07, 0.07), -0.05, -0.09, 0.06
    return [colour(level + up, chroma, hue + dice.between(-0.05, 0.05)) for up in steps]


def paint(canvas: np.ndarray, layers: list[Layer], palette: list, pixel: float) -> None:
    """Paint layers on the canvas (3, H, W) in place, with edges a pixel wide."""
    for distance, first, second, mix, soft in layers:
        cover = np.clip(0.5 - np.asarray(distance, np.float32) / max(pixel, soft), 0, 1)
        mix = np.clip(np.asarray(mix, np.float32), 0, 1)
        tint = palette[first] + (palette[second] - palette[first]) * mix
        canvas += (tint - canvas) * cover


def place(x, y, dice: Dice, centre: tuple, scale: float, lean: float):
    """Return the pixels in a thing's own plane: tilted, turned, sheared, mirrored."""
    x, y = (x - centre[0]) / scale, (y - centre[1]) / scale
    depth = 1 + dice.between(-0.15, 0.15) * x + dice.between(-0.15, 0.15) * y
    depth = np.maximum(depth, 0.3)  # keeps what lies behind the eye far away
    u, v = turned(x / depth, y / depth, dice, lean)
    u = (u + dice.between(-0.2, 0.2) * v) * dice.between(0.9, 1.2)
    return u * (-1, 1)[dice.below(2)], v


def clutter(x, y, dice: Dice, centre: tuple, size: float) -> list[Layer]:
    """Return a distractor: a blob, bar or polygon, plain or in some class's pattern."""
    u, v = place(x, y, dice, centre, size, 0.5)
    outline = (
        shapes.ellipse(u, v, 1, dice.between(0.5, 1)),
        shapes.box(u, v, 1.5, dice.between(0.2, 0.5), 0.1),
        shapes.trapezium(u, v, 0.5, 0.8, dice.between(0.2, 0.6)),
    )[dice.below(3)]
    plain, fine = 0.5 + 0.5 * v, size * dice.between(3, 6)
    s, t = u * fine, v * fine
    patterned = shapes.stripes(s), shapes.checks(s / 2, t / 2), shapes.dots(s, t)
    first, second, mix = dice.below(3), 3 + dice.below(2), dice.below(5)
    return [Layer(outline, first, second, (plain, plain, *patterned)[mix])]


def light(x, y, dice: Dice, gentle: float, strong: float):
    """Return a slope across the picture, in some direction and of some strength."""
    cos, sin = shapes.direction(dice.between(0, 1))
    return dice.between(gentle, strong) * (x * cos + y * sin)


def scatter(dice: Dice) -> list[tuple[tuple[float, float], float]]:
    """Return places and sizes of three to six things that hardly overlap."""
    spots: list[tuple[tuple[float, float], float]] = []
    for _ in range(30):
        scale = dice.between(0.24, 0.44)
        spot = dice.between(-0.8, 0.8), dice.between(-0.8, 0.8)
        gaps = [
            shapes.length(spot[0] - there[0], spot[1] - there[1]) - 0.8 * (scale + wide)
            for there, wide in spots
        ]
        if len(spots) < 6 and min(gaps, default=1) > 0:
            spots.append((spot, scale))
    return spots


def window(centre: float, scale: float, size: int) -> slice:
    """Return the pixels along one side that a thing and its shadow may cover."""
    first, last = ((centre + reach * 1.5 * scale + 1) * size / 2 for reach in (-1, 1))
    return slice(max(0, math.floor(first)), min(size, math.ceil(last)))


def put(part, shape, x, y, centre, scale, lean, dice, palette, pixel) -> None:
    """Draw one thing with its shadow and shading into its part of the canvas."""
    layers = shape(*place(x, y, dice, centre, scale, lean), dice)
    body = np.minimum.reduce([layer.distance for layer in layers])
    moved = [
        np.clip(np.arange(side) + dice.below(5) - 2, 0, side - 1) for side in body.shape
    ]
    part *= 1 - dice.between(0.2, 0.5) * shapes.step(-body[np.ix_(*moved)])
    paint(part, layers, palette, pixel / scale)
    rim = dice.between(0.05, 0.25) * np.clip(1 + body * 6, 0, 1)  # darker near the edge
    shade = light(x - centre[0], y - centre[1], dice, 0.1, 0.4) / scale - rim
    part *= 1 + shade * shapes.step(-body, scale / pixel)


def render(shape, lean: float, dice: Dice, size: int) -> np.ndarray:
    """Return one picture of this kind of thing, uint8 (3, size, size)."""
    line = (np.arange(size, dtype=np.float32) + 0.5) * np.float32(2 / size) - 1
    x, y = np.broadcast_arrays(line[None, :], line[:, None])  # (H, W) in (-1, 1)
    canvas = np.zeros((3, size, size), np.float32)
    pixel, number = 2 / size, dice.below(PALETTES)
    colours = thing_palette(Dice(STOCK, number), number / PALETTES)
    kind = dice.below(len(SCENES))
    studio = Dice(STOCK, PALETTES + kind, dice.below(BACKDROPS))
    calm = scene_palette(studio, SCENE_HUES[kind] + studio.between(0, 0.08))
    mixed = [*calm[:2], colour(0.6, 0.1, number / PALETTES + 0.3), *colours[:2]]
    paint(canvas, SCENES[kind](x, y, studio), calm, pixel)
    for _ in range(4 + dice.below(4)):
        spot = dice.between(-1, 1), dice.between(-1, 1)
        paint(canvas, clutter(x, y, dice, spot, dice.between(0.1, 0.25)), mixed, pixel)
    for spot, scale in scatter(dice):
        tube = dice.below(PALETTES)
        palette = thing_palette(Dice(STOCK, tube), tube / PALETTES)
        rows, columns = (window(centre, scale, size) for centre in reversed(spot))
        part = canvas[:, rows, columns]
        across, down = x[rows, columns], y[rows, columns]
        put(part, shape, across, down, spot, scale, lean, dice, palette, pixel)
    vignette = dice.between(0, 0.15) * (x * x + y * y)
    lit = dice.between(0.8, 1.25) - vignette
    canvas = ((canvas - 0.5) * dice.between(0.85, 1.2) + 0.5) * lit
    grain = dice.field(canvas.shape, dtype=np.float32) - 0.5
    canvas += 0.04 * grain
    return (np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8)


def draw(
    split: str, count: int, seed: int = 0, size: int = 96
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the first `count` pictures of a split, each independent of the others.

    Args:
        split: "unlabeled", "train" or "test"; no picture is in two of them.
        count: How many pictures, at least 1; every ten in a row hold each class once.
        seed: Which data set, a non-negative integer.
        size: Side of the square pictures in pixels.

    Returns:
        Images uint8 (count, 3, size, size) and labels int64 (count,), which index
        `CLASSES`; the unlabeled split has them too, to be hidden by the caller.

    Raises:
        ValueError: If the split is unknown or `count` is no whole number above 0.
    """
    if split not in SPLITS:
        raise ValueError(f"Unknown split {split!r}: choose one of {', '.join(SPLITS)}.")
    if not isinstance(count, int | np.integer) or count < 1:
        raise ValueError(f"count is {count!r}: give a whole number of at least 1.")
    part, tens = SPLITS.index(split), range(0, count, len(KINDS))
    orders = [np.argsort(Dice(seed, part, ten, 1).field(len(KINDS))) for ten in tens]
    labels = np.concatenate(orders)[:count].astype(np.int64)
    images = np.empty((count, 3, size, size), np.uint8)
    for index, label in enumerate(labels):
        images[index] = render(*KINDS[label], Dice(seed, part, index), size)
    return images, labels
