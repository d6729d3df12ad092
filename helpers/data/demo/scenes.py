"""The backgrounds of the demo pictures: six scenes, each a list of layers."""

import numpy as np

from helpers.data.demo import shapes
from helpers.data.demo.shapes import Dice, Layer

EVERYWHERE = -9.0  # the distance of a layer that covers the whole picture


def noise(x, y, dice: Dice, cells: int):
    """Draw smooth noise (H, W) in [0, 1] with ``cells`` bumps along a side."""
    grid = dice.field((cells + 1, cells + 1), dtype=np.float32)
    x, y = (x[0] + 1) * (cells / 2), (y[:, 0] + 1) * (cells / 2)
    column, row = x.astype(int), y.astype(int)
    x, y = x - np.floor(x), (y - np.floor(y))[:, None]
    x, y = x * x * (3 - 2 * x), y * y * (3 - 2 * y)
    rows = grid[row] + (grid[row + 1] - grid[row]) * y  # (H, cells + 1)
    return rows[:, column] + (rows[:, column + 1] - rows[:, column]) * x


def turned(x, y, dice: Dice, limit: float):
    """Turn coordinates to either side by at most ``limit`` of a full turn."""
    cos, sin = shapes.direction(dice.between(-limit, limit))
    return x * cos + y * sin, y * cos - x * sin


def sky(x, y, dice: Dice) -> list[Layer]:
    """Draw a gradient from top to bottom with soft clouds."""
    clouds = noise(x, y, dice, 3) + 0.4 * noise(x, y, dice, 8)
    gradient = Layer(EVERYWHERE, 0, 1, 0.5 + 0.5 * y)
    return [gradient, Layer(0.85 - clouds, 4, 1, 0.3, soft=0.5)]


def meadow(x, y, dice: Dice) -> list[Layer]:
    """Draw hills before a plain sky, and a field whose rows widen to the front."""
    horizon = dice.between(-0.4, 0.4)
    hills = horizon - 0.2 + 0.12 * shapes.wave(x * 0.4 + dice.between(0, 1)) - y
    rows = shapes.wave(1.2 / (np.maximum(y - horizon, 0) + 0.2))
    grass = 0.25 + 0.25 * rows + 0.5 * noise(x, y, dice, 20)
    air = Layer(EVERYWHERE, 0, 4, 0.3 + 0.3 * y)
    return [air, Layer(hills, 1), Layer(horizon - y, 2, 3, grass)]


def water(x, y, dice: Dice) -> list[Layer]:
    """Draw bands of light on water, bent by smooth noise."""
    bend = noise(x, y, dice, 3) + 0.1 * shapes.wave(x * 1.5)
    ripples = shapes.wave(y * dice.between(2, 4) + bend)
    return [Layer(EVERYWHERE, 0, 1, 0.5 + 0.3 * ripples + 0.2 * y)]


def tiles(x, y, dice: Dice) -> list[Layer]:
    """Draw square tiles of uneven tone, with joints."""
    (s, t), count = turned(x, y, dice, 0.05), dice.between(1.5, 3)
    joints = np.maximum(np.abs(shapes.saw(s * count)), np.abs(shapes.saw(t * count)))
    ground = Layer(EVERYWHERE, 0, 1, noise(x, y, dice, 5))
    return [ground, Layer(0.46 - joints, 3, soft=0.03)]


def cloth(x, y, dice: Dice) -> list[Layer]:
    """Draw a cloth of crossing bands."""
    (s, t), count = turned(x, y, dice, 0.12), dice.between(1, 2.5)
    bands = shapes.stripes(s * count) + shapes.stripes(t * count)
    return [Layer(EVERYWHERE, 0, 1, 0.35 * bands + 0.3 * noise(x, y, dice, 12))]


def lamps(x, y, dice: Dice) -> list[Layer]:
    """Draw lights that are out of focus."""
    layers = [Layer(EVERYWHERE, 0, 1, noise(x, y, dice, 3))]
    for _ in range(5 + dice.below(5)):
        far = shapes.length(x - dice.between(-1, 1), y - dice.between(-1, 1))
        disc, tint = far - dice.between(0.1, 0.3), 1 + dice.below(4)
        layers.append(Layer(disc, tint, 0, 0.4, soft=0.15))
    return layers


SCENES = (sky, meadow, water, tiles, cloth, lamps)
SCENE_HUES = (0.68, 0.33, 0.56, 0.18, 0.05, 0.84)  # of each, in turns
