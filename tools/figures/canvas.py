"""A white page for figures: boxes, arrows, marks and pictures.

All figures speak one visual language: blue learns by gradient, dashed grey does not,
yellow is data that is handed on, black is a loss. Lengths are pixels, y points down.
"""

from __future__ import annotations

import io
import pathlib
from collections.abc import Sequence

import matplotlib
import numpy as np
import torch
from matplotlib import figure, patches
from PIL import Image

from helpers import views
from helpers.data import demo
from helpers.views.randomness import StepRandom
from helpers.views.settings import ViewSettings

Point = tuple[float, float]
INK, QUIET, LINE, RED = "#1F2933", "#5B6770", "#7B8794", "#B3261E"
BRIGHT, PALE = "#0072B2", "#E3E8ED"
BLUE, GREY, YELLOW, BLACK, WHITE = "blue", "grey", "yellow", "black", "white"
FILL = {BLUE: "#E1EEF8", GREY: "#F3F4F6", YELLOW: "#FFF4D6", BLACK: INK, WHITE: WHITE}
EDGE = {BLUE: "#0072B2", GREY: LINE, YELLOW: "#C98A00", BLACK: INK, WHITE: LINE}
STYLE = {"font.family": "DejaVu Sans", "mathtext.fontset": "cm", "text.color": INK}


class Canvas:
    """A white page to draw on.

    Args:
        width: in pixels.
        height: in pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        """See the class."""
        self.figure = figure.Figure(figsize=(width / 100, height / 100), dpi=100)
        self.ax = self.figure.add_axes((0, 0, 1, 1))
        self.ax.set_axis_off()
        self.ax.set(xlim=(0, width), ylim=(height, 0))
        self.limits = self.ax.axis()

    def text(self, x: float, y: float, words: str, size: float = 14, **style) -> None:
        """Write words around (x, y)."""
        style = {"ha": "center", "va": "center", "linespacing": 1.35, **style}
        self.ax.text(x, y, words, size=size, zorder=5, **style)

    def box(
        self,
        area: tuple[float, float, float, float],
        title: str = "",
        below: str = "",
        kind: str = BLUE,
        size: float = 14,
    ) -> None:
        """Draw a box at (left, top, width, height) with a title and a second line."""
        left, top, width, height = area
        self.ax.add_patch(
            patches.FancyBboxPatch(
                (left, top),
                width,
                height,
                boxstyle="round,pad=0,rounding_size=10",
                facecolor=FILL[kind],
                edgecolor=EDGE[kind],
                linewidth=1.8,
                linestyle=(0, (4, 2.5)) if kind == GREY else "-",
                zorder=2,
            )
        )
        x, y = left + width / 2, top + height / 2
        color = "white" if kind == BLACK else INK
        high = y - 5 if below else y + 6
        self.text(x, high, title, size, color=color, va="baseline")
        color = color if kind == BLACK else QUIET
        self.text(x, y + 20, below, 11.5, color=color, va="baseline")

    def group(self, area: tuple[float, float, float, float], name: str) -> None:
        """Draw a pale field, its name on top, behind boxes that belong together."""
        left, top, width, height = area
        shape = patches.FancyBboxPatch(
            (left, top),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=14",
            facecolor="#F8FAFC",
            edgecolor="#D5DCE3",
            zorder=0,
        )
        self.ax.add_patch(shape)
        style = {"ha": "left", "va": "baseline", "color": QUIET}
        self.text(left + 14, top + 25, name, 12.5, **style)

    def arrow(
        self, *points: Point, dashed: bool = False, head: bool = True, color: str = INK
    ) -> None:
        """Draw an arrow along points."""
        codes = [1] + [2] * (len(points) - 1)
        shape = patches.FancyArrowPatch(
            path=matplotlib.path.Path(points, codes),
            arrowstyle="-|>,head_width=4.5,head_length=8" if head else "-",
            shrinkA=0,
            shrinkB=0,
            linewidth=1.9,
            linestyle=(0, (4, 2.5)) if dashed else "-",
            color=color,
            joinstyle="miter",
            capstyle="butt",
            zorder=3,
        )
        self.ax.add_patch(shape)

    def stop(self, x: float, y: float, upright: bool = False) -> None:
        """Mark an arrow at (x, y) with two bars: no gradient flows back through it."""
        for color, width, zorder in (("white", 6, 4), (RED, 2.6, 5)):
            for shift in (-4, 4):
                along, across = (-11, 11), (shift, shift)
                dx, dy = (along, across) if upright else (across, along)
                line = np.add(x, dx), np.add(y, dy)
                self.ax.plot(*line, color=color, linewidth=width, zorder=zorder)

    def picture(self, x: float, y: float, side: float, pixels: np.ndarray) -> None:
        """Show pixels (H, W, 3) in a square with its upper left corner at (x, y)."""
        extent = (x, x + side, y + side, y)
        self.ax.imshow(pixels, extent=extent, interpolation="lanczos", zorder=2)
        self.ax.axis(self.limits)
        self.ax.set_aspect("auto")

    def save(self, path: pathlib.Path, few_colors: bool = False) -> None:
        """Write the page as a PNG; 256 colours make one with many pictures smaller."""
        stream = io.BytesIO()
        self.figure.savefig(stream, format="png", dpi=100)
        page = Image.open(stream).convert("RGB")
        if few_colors:
            page = page.quantize(256, kmeans=4, dither=Image.Dither.NONE)
        page.save(path, optimize=True)


def pixels(images: torch.Tensor) -> np.ndarray:
    """Convert images, uint8 or normalised float (..., 3, H, W), to (..., H, W, 3)."""
    if images.is_floating_point():
        images = (views.denormalize(images) * 255).byte()
    return images.movedim(-3, -1).numpy()


def inputs(
    page: Canvas,
    image: np.ndarray,
    pair: Sequence[np.ndarray | None],
    rows: tuple[float, float],
) -> None:
    """Draw an image at the left and arrows to its two views, at heights ``rows``."""
    middle = (rows[0] + rows[1]) / 2
    page.picture(30, middle - 65, 130, image)
    page.text(95, middle + 86, "image")
    for row, view in zip(rows, pair, strict=True):
        if view is not None:
            page.picture(230, row - 60, 120, view)
        page.arrow((160, middle), (195, middle), (195, row), (228, row))


def similarities(page: Canvas, left: float, top: float, side: float) -> None:
    """Draw how similar the two views of four images are to each other."""
    count, cell = 8, side / 8
    for row, column in np.ndindex(count, count):
        if row != column:  # a view is not compared with itself
            color = BRIGHT if abs(row - column) == count // 2 else PALE
            corner = (left + column * cell + 1.5, top + row * cell + 1.5)
            square = patches.Rectangle(corner, cell - 3, cell - 3, color=color)
            page.ax.add_patch(square)


def memory_bank(
    page: Canvas, left: float, top: float, width: float, height: float
) -> None:
    """Draw rows of features, one of which is this image's."""
    page.box((left, top, width, height), kind=WHITE)
    count, step = 7, (height - 16) / 7
    for row in range(count):
        corner = (left + 10, top + 10 + row * step)
        color = "#E69F00" if row == count // 2 else PALE
        bar = patches.Rectangle(corner, width - 20, step - 4, color=color, zorder=3)
        page.ax.add_patch(bar)


def table(page: Canvas, left: float, top: float, width: float, height: float) -> None:
    """Draw results as bars, one per run."""
    page.box((left, top, width, height), kind=WHITE)
    page.text(left + width / 2, top + 27, "one honest table", 12.5)
    for row, share in enumerate((0.45, 0.66, 0.72, 0.84)):
        bar = (left + 16, top + 56 + row * 27)
        color = LINE if row == 0 else BRIGHT
        page.ax.add_patch(
            patches.Rectangle(bar, (width - 32) * share, 15, color=color, zorder=3)
        )


def drawn(count: int, side: int = 288) -> torch.Tensor:
    """Draw demo pictures larger than those of the data set, so that they stay sharp."""
    return torch.from_numpy(demo.draw("train", count, size=side)[0])


def two_views(image: torch.Tensor, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw two random views of an image."""
    settings = ViewSettings(size=240)
    random = StepRandom(seed, 0, 1)
    pair = (views.random_view(image[None], settings, random) for _ in range(2))
    first, second = (pixels(view)[0] for view in pair)
    return first, second
