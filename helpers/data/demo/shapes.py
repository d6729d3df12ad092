"""The shapes of the ten demo classes, made of signed distances and patterns.

A shape is a list of layers, the bottom one first: a signed distance gives the region of
a layer, a pattern the mixture of two colours in it. It fills about [-1, 1]; u points
right, v down. Pixels are computed with + - * / sqrt, abs, floor, clip, minimum, maximum
and comparisons only, all exact under IEEE 754: every machine draws the same bytes.
"""

import math
from typing import NamedTuple

import numpy as np

MAIN, PATTERN, ACCENT, DARK, LIGHT = range(5)  # indexes of a palette


class Layer(NamedTuple):
    """A region and its paint: colour ``first`` where ``mix`` is 0, ``second`` at 1."""

    distance: np.ndarray | float  # (H, W), negative inside
    first: int
    second: int = MAIN
    mix: np.ndarray | float = 0.0  # (H, W), clipped to [0, 1]
    soft: float = 0.0  # width of an edge that is softer than a pixel


class Dice:
    """Random numbers made of uniform ones, which NumPy keeps the same."""

    def __init__(self, *entropy: int) -> None:
        """Seed PCG64 with non-negative integers."""
        self.field = np.random.default_rng(entropy).random

    def between(self, low: float, high: float) -> float:
        """Return a uniform float in [low, high)."""
        return low + (high - low) * float(self.field())

    def below(self, count: int) -> int:
        """Return a uniform integer in [0, count)."""
        return int(self.between(0, count))


def direction(turns: float) -> tuple[float, float]:
    """Return (cos, sin) of an angle in turns, rounded as math libraries differ."""
    angle = 2 * math.pi * turns
    return round(math.cos(angle), 6), round(math.sin(angle), 6)


def length(u, v):
    """Return the Euclidean length of (u, v)."""
    return np.sqrt(u * u + v * v)


def ellipse(u, v, radius_u, radius_v):
    """Return the distance to an ellipse (exact for a circle)."""
    return (length(u / radius_u, v / radius_v) - 1) * min(radius_u, radius_v)


def box(u, v, half_u, half_v, corner=0.03):
    """Return the distance to a rectangle with rounded corners."""
    u, v = np.abs(u) - (half_u - corner), np.abs(v) - (half_v - corner)
    outside = length(np.maximum(u, 0), np.maximum(v, 0))
    return outside + np.minimum(np.maximum(u, v), 0) - corner


def limb(u, v, start, end, thick, thin):
    """Return the distance to a round bar from ``thick`` at its start to ``thin``."""
    along_u, along_v = end[0] - start[0], end[1] - start[1]
    u, v, square = u - start[0], v - start[1], along_u * along_u + along_v * along_v
    way = np.clip((u * along_u + v * along_v) / square, 0, 1)
    return length(u - way * along_u, v - way * along_v) - (thick + (thin - thick) * way)


def trapezium(u, v, half_u, half_v, slope):
    """Return the distance to a box whose sides spread by ``slope`` to the bottom."""
    sides = (np.abs(u) - half_u - slope * v) / math.sqrt(1 + slope * slope)
    return np.maximum(np.abs(v) - half_v, sides)


def join(a, b, soft=0.1):
    """Return the distance to a union whose crease is rounded off."""
    near = np.maximum(soft - np.abs(a - b), 0)
    return np.minimum(a, b) - near * near / (4 * soft)


def step(t, sharpness=2.5):
    """Return 0 where t is well below zero, 1 well above, and a ramp between."""
    return np.clip(0.5 + sharpness * t, 0, 1)


def saw(t):
    """Return the fraction of t moved to [-0.5, 0.5)."""
    return t - np.floor(t) - 0.5


def wave(t):
    """Return a wave of period 1 in [-1, 1]: a sine made of parabolas."""
    t = 2 * saw(t + 0.5)
    return 4 * t * (1 - np.abs(t))


def stripes(t):
    """Return soft-edged stripes of period 1."""
    return step(wave(t))


def checks(s, t):
    """Return a chequerboard whose squares have side 1/2."""
    return step(wave(s) * wave(t), 5)


def dots(s, t, radius=0.33):
    """Return round spots on a lattice of side 1, every other row shifted by half."""
    return step(radius - length(saw(s + saw(np.floor(t) / 2)), saw(t)), 6)


def bricks(s, t):
    """Return 1 on the mortar between bricks two wide and one high."""
    across, up = np.abs(saw(s / 2 + saw(np.floor(t) / 2))), np.abs(saw(t))
    return step(np.maximum(2 * across - 0.85, up - 0.36), 6)


def balloon(u, v, dice: Dice) -> list[Layer]:
    """Hot-air balloon: a chequered envelope above a basket on ropes."""
    bulge = u / np.sqrt(np.maximum(1 - (v + 0.3) * (v + 0.3), 0.1))
    squares = checks(bulge * dice.between(1.6, 2.4), v * dice.between(1.3, 2))
    return [
        Layer(box(np.abs(u) - 0.13, v - 0.66, 0.02, 0.16, 0), DARK),
        Layer(box(u, v - 0.86, 0.19, 0.13), ACCENT, DARK, stripes(v * 12)),
        Layer(limb(u, v, (0, -0.32), (0, 0.45), 0.66, 0.16), MAIN, PATTERN, squares),
    ]


def butterfly(u, v, dice: Dice) -> list[Layer]:
    """Butterfly: mirrored wings with dark borders and ringed eyespots."""
    side, spread = np.abs(u), dice.between(0.52, 0.62)
    s, t = side - 0.5, v + 0.36
    upper = ellipse(0.8 * s - 0.6 * t, 0.6 * s + 0.8 * t, spread, 0.34)
    wings = join(upper, ellipse(side - 0.38, v - 0.42, 0.36, dice.between(0.34, 0.46)))
    eyes = np.minimum(length(side - 0.6, v + 0.42), length(side - 0.42, v - 0.45))
    rings = np.maximum(step(wings + 0.09, 12), stripes(eyes * 5.5) * (eyes < 0.27))
    body = limb(u, v, (0, -0.45), (0, 0.5), 0.09, 0.05)
    feelers = limb(side, v, (0.03, -0.5), (0.28, -0.92), 0.025, 0.025)
    return [Layer(wings, MAIN, PATTERN, rings), Layer(np.minimum(body, feelers), DARK)]


def cactus(u, v, dice: Dice) -> list[Layer]:
    """Cactus: ribbed columns with pale spines, in a pot."""
    side, skew = np.abs(u), v + dice.between(-0.25, 0.25) * u
    elbow, top = dice.between(-0.2, 0.15), dice.between(-0.7, -0.4)
    arms = limb(side, skew, (0.2, elbow), (0.62, elbow), 0.16, 0.16)
    arms = join(arms, limb(side, skew, (0.62, elbow), (0.62, top), 0.16, 0.16))
    plant = join(arms, limb(u, v, (0, -0.66), (0, 0.7), 0.27, 0.27))
    return [
        Layer(plant, MAIN, PATTERN, 0.65 * stripes(u * 6.5 + 0.25)),
        Layer(np.maximum(plant, 0.12 - dots(u * 6.5, v * 5, 0.2)), LIGHT),
        Layer(trapezium(u, v - 0.77, 0.36, 0.22, -0.25), ACCENT),
    ]


def fish(u, v, dice: Dice) -> list[Layer]:
    """Fish: curved stripes around an oval body, a forked tail, fins and an eye."""
    height, fold = dice.between(0.4, 0.55), np.abs(v)
    tail = limb(u, fold, (0.5, 0), (0.84, 0.32), 0.1, 0.14)
    fins = limb(u, fold, (-0.2, height - 0.1), (0.28, height + 0.12), 0.14, 0.04)
    bands = stripes((u + 0.5 * v * v) * dice.between(2.4, 3.6) + dice.between(0, 1))
    eye = length(u + 0.62, v + 0.1)
    return [
        Layer(np.minimum(tail, fins), ACCENT, PATTERN, stripes(v * 7) * 0.6),
        Layer(ellipse(u + 0.16, v, 0.76, height), MAIN, PATTERN, bands * (u > -0.42)),
        Layer(eye - 0.11, LIGHT, DARK, step(0.06 - eye, 20)),
    ]


def house(u, v, dice: Dice) -> list[Layer]:
    """House: brick walls, a roof of wavy tiles, a door, two windows and a chimney."""
    width, ridge = dice.between(0.62, 0.75), dice.between(0.75, 0.95)
    roof = trapezium(u, v + ridge / 2, width / 2 + 0.1, ridge / 2, width / ridge + 0.2)
    s, t = np.abs(u) - 0.43, v - 0.38  # both windows at once
    bars = step(0.03 - np.minimum(np.abs(s), np.abs(t)), 20)
    return [
        Layer(box(u - 0.4, v + 0.55, 0.1, 0.3), PATTERN, MAIN, bricks(u * 8, v * 8)),
        Layer(box(u, v - 0.42, width, 0.52), MAIN, LIGHT, bricks(u * 6, v * 6)),
        Layer(roof, PATTERN, ACCENT, stripes(v * 7 + 0.15 * wave(u * 5))),
        Layer(box(u, v - 0.66, 0.15, 0.28), ACCENT, DARK, 0.5 * stripes(u * 9)),
        Layer(box(s, t, 0.15, 0.17), DARK, LIGHT, bars),
    ]


def leaf(u, v, dice: Dice) -> list[Layer]:
    """Leaf: a pointed blade, the overlap of two circles, with veins and a stalk."""
    v = v + dice.between(-0.25, 0.25) * (u * u - 0.3)
    width, fold = dice.between(0.42, 0.58), np.abs(v)
    offset = (0.72 - width * width) / (2 * width)
    blade = length(u + 0.1, fold + offset) - offset - width + 0.018 * wave(u * 7)
    side_veins = step(wave(u * dice.between(3.2, 4.4) - fold * 3.2) - 0.72, 4)
    veins = np.maximum(side_veins, step(0.035 - fold, 25))
    stalk = limb(u, v, (-0.98, 0), (-0.6, 0), 0.035, 0.035)
    return [Layer(stalk, PATTERN), Layer(blade, MAIN, PATTERN, veins)]


def mushroom(u, v, dice: Dice) -> list[Layer]:
    """Mushroom: a spotted cap with gills beneath, on a swelling stem."""
    fine, shift = dice.between(2.6, 3.6), dice.between(0, 1)
    stem = limb(u, v, (0, 0), (0, 0.7), 0.17, 0.25)
    cap = np.maximum(ellipse(u, v - 0.05, 0.9, dice.between(0.7, 0.9)), v - 0.1)
    return [
        Layer(stem, LIGHT, DARK, 0.3 * stripes(u * 8)),
        Layer(ellipse(u, v - 0.1, 0.78, 0.14), LIGHT, DARK, 0.7 * stripes(u * 7)),
        Layer(cap, MAIN, LIGHT, dots(u * fine + shift, v * fine + shift)),
    ]


def snail(u, v, dice: Dice) -> list[Layer]:
    """Snail: a spiral of half circles about two centres in turn, on a long foot."""
    turns, s, t = dice.between(2.6, 3.6), u - 0.15, v + 0.15
    radius = length(s + np.sign(t) * (0.25 / turns), t)
    spiral = stripes(radius * turns - 0.25 * np.sign(t))
    neck = limb(u, v, (-0.62, 0.5), (-0.74, 0.05), 0.15, 0.14)
    foot = join(neck, limb(u, v, (-0.6, 0.52), (0.9, 0.62), 0.17, 0.05))
    horns = limb(np.abs(u + 0.78), v, (0.05, 0), (0.15, -0.42), 0.03, 0.05)
    return [
        Layer(np.minimum(foot, horns), ACCENT, LIGHT, 0.4 * dots(u * 7, v * 7)),
        Layer(length(s, t) - 0.62, MAIN, PATTERN, spiral),
    ]


def starfish(u, v, dice: Dice) -> list[Layer]:
    """Starfish: five tapering arms, each with a ridge of beads."""
    arms, beads = 9.0, 9.0
    for arm in range(5):
        cos, sin = direction(arm / 5 + dice.between(-0.025, 0.025))
        arms = join(arms, limb(u, v, (0, 0), (0.92 * cos, 0.92 * sin), 0.27, 0.07))
        along, across = u * cos + v * sin, u * sin - v * cos
        beads = np.minimum(beads, length(across, saw(along * 6) / 6) + (along < 0.08))
    marks = np.maximum(step(0.05 - beads, 22), 0.6 * step(arms + 0.05, 14))
    return [Layer(arms, MAIN, PATTERN, marks)]


def wheel(u, v, dice: Dice) -> list[Layer]:
    """Wheel: a tyre, a rim, thin spokes with air between them and a hub."""
    radius, pairs = length(u, v), 4 + dice.below(3)
    lines = [direction(pair / (2 * pairs)) for pair in range(pairs)]
    spokes = np.minimum.reduce([np.abs(u * sin - v * cos) for cos, sin in lines])
    return [
        Layer(np.maximum(spokes - 0.045, radius - 0.75), LIGHT),
        Layer(np.abs(radius - 0.84) - 0.12, DARK, PATTERN, 0.5 * checks(u * 6, v * 6)),
        Layer(np.abs(radius - 0.68) - 0.06, MAIN),
        Layer(radius - 0.2, MAIN, DARK, step(0.09 - radius, 20)),
    ]
