"""A data set that needs no download: pictures of ten classes, drawn from a seed.

A picture has 96 x 96 pixels and shows several things of one class, each with a size,
pose, palette and light of its own, among clutter before a backdrop. Classes differ in
shape and texture, never in colour; palettes and backdrops come from a small stock that
all classes share. So two crops of a picture have little but the class in common, and a
few labelled pictures do not show all that a class may look like. The same (seed, split,
index, size) gives the same bytes on every machine.
"""

import math

import numpy as np

from helpers.data.demo import shapes
from helpers.data.demo.scenes import SCENE_HUES, SCENES, turned
from helpers.data.demo.shapes import Dice, Layer

SPLITS = ("unlabeled", "train", "test")
VERSION = 1  # raised when a seed draws other pictures, so that stored ones are redrawn
STOCK = 1_000_003  # seed of the palettes and backdrops that all pictures share
PALETTES, BACKDROPS = 6, 3  # of things and of each scene: too few to tell a class


KINDS = (  # a class's shape, and how far it may lean to either side, in turns
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
    """Convert OKLCH, where all hues look equally light, to sRGB (3, 1, 1).

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
    """Draw five colours: main, pattern (lighter or darker), accent, dark and light."""
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
    """Draw five similar, pale colours to paint a background with."""
    level, chroma = dice.between(0.55, 0.9), dice.between(0.02, 0.06)
    steps = 0, dice.between(-0.07, 0.07), -0.05, -0.09, 0.06
    return [colour(level + up, chroma, hue + dice.between(-0.05, 0.05)) for up in steps]


def paint(canvas: np.ndarray, layers: list[Layer], palette: list, pixel: float) -> None:
    """Paint layers on the canvas (3, H, W), with edges that are a pixel wide."""
    for distance, first, second, mix, soft in layers:
        cover = np.clip(0.5 - np.asarray(distance, np.float32) / max(pixel, soft), 0, 1)
        mix = np.clip(np.asarray(mix, np.float32), 0, 1)
        tint = palette[first] + (palette[second] - palette[first]) * mix
        canvas += (tint - canvas) * cover


def project(x, y, dice: Dice, centre: tuple, scale: float, lean: float):
    """Return pixels in a thing's own coordinates: tilted, turned, sheared, mirrored."""
    x, y = (x - centre[0]) / scale, (y - centre[1]) / scale
    depth = 1 + dice.between(-0.15, 0.15) * x + dice.between(-0.15, 0.15) * y
    depth = np.maximum(depth, 0.3)  # points behind the eye stay far away
    u, v = turned(x / depth, y / depth, dice, lean)
    u = (u + dice.between(-0.2, 0.2) * v) * dice.between(0.9, 1.2)
    return u * (-1, 1)[dice.below(2)], v


def clutter(x, y, dice: Dice, centre: tuple, size: float) -> list[Layer]:
    """Draw a distractor: an ellipse, bar or trapezium, plain or with a pattern."""
    u, v = project(x, y, dice, centre, size, 0.5)
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
    """Return a brightness that rises across the picture in a random direction."""
    cos, sin = shapes.direction(dice.between(0, 1))
    return dice.between(gentle, strong) * (x * cos + y * sin)


def scatter(dice: Dice) -> list[tuple[tuple[float, float], float]]:
    """Draw positions and sizes of three to six things that hardly overlap."""
    spots: list[tuple[tuple[float, float], float]] = []
    for _ in range(30):
        scale = dice.between(0.24, 0.44)
        spot = dice.between(-0.8, 0.8), dice.between(-0.8, 0.8)
        gaps = [
            shapes.length(spot[0] - u, spot[1] - v) - 0.8 * (scale + other)
            for (u, v), other in spots
        ]
        if len(spots) < 6 and min(gaps, default=1) > 0:
            spots.append((spot, scale))
    return spots


def window(centre: float, scale: float, size: int) -> slice:
    """Return which pixels along a side a thing and its shadow may cover."""
    first, last = ((centre + reach * 1.5 * scale + 1) * size / 2 for reach in (-1, 1))
    return slice(max(0, math.floor(first)), min(size, math.ceil(last)))


def put(part, shape, x, y, centre, scale, lean, dice, palette, pixel) -> None:
    """Draw a thing with its shadow and shading into its part of the canvas."""
    u, v = project(x, y, dice, centre, scale, lean)
    layers = shape(u, v, dice)
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
    """Draw a picture of a class, uint8 (3, size, size)."""
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
    """Draw the first ``count`` pictures of a split, each independent of the others.

    Args:
        split: "unlabeled", "train" or "test"; no picture is in two of them.
        count: number of pictures, at least 1; every ten in a row show each class once.
        seed: of the whole data set, a non-negative integer.
        size: side of the pictures in pixels.

    Returns:
        Images uint8 (count, 3, size, size) and labels int64 (count,), which index
        ``CLASSES``. The unlabeled split has labels too; the caller hides them.

    Raises:
        ValueError: when the split is unknown or ``count`` is not a positive integer.
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
