"""Pictures in rows and columns, and the style of every figure.

A figure that is the last value of a cell shows itself, once, and small enough to be
kept in the notebook. Nothing here depends on pyplot or on its backend.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import axes, figure
from matplotlib import patches as shapes
from PIL import Image
from torch import Tensor

from helpers import views
from helpers.data.dataset import Split

# Okabe and Ito's colours, which the colour-blind tell apart, then three of Tol's.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7F7F7F")
COLORS += ("#332288", "#B5A300", "#882255")
BLUE, RIGHT, WRONG, INK, FAINT = COLORS[0], COLORS[2], COLORS[5], "#222222", "#8A8A8A"
STYLE: dict[str, Any] = {
    "figure.dpi": 96,
    "savefig.dpi": "figure",
    "figure.facecolor": "white",  # also on GitHub's dark pages
    "savefig.facecolor": "white",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}
styled = matplotlib.rc_context(STYLE)
SIDE, GAP = 0.94, 0.06  # of a picture and between two, in units of a cell


class Figure(figure.Figure):
    """A figure that puts itself into a notebook.

    Attributes:
        photographs: whether pictures fill it; then a notebook keeps it as JPEG, which
            takes a fraction of PNG's space.
    """

    photographs = False

    def mime_bundle(self) -> dict[str, str]:
        """What a notebook keeps: the picture in base64 under its MIME type."""
        drawn, stored = io.BytesIO(), io.BytesIO()
        with matplotlib.rc_context(STYLE):
            self.savefig(drawn, format="png")
        picture = Image.open(drawn).convert("RGB")
        if self.photographs:
            picture.save(stored, "jpeg", quality=60)
        else:  # a line drawing has few colours
            picture.quantize(128).save(stored, "png", optimize=True)
        kind = "image/jpeg" if self.photographs else "image/png"
        encoded = base64.b64encode(stored.getvalue()).decode()
        return {kind: encoded, "text/plain": "a figure"}

    def _ipython_display_(self) -> None:
        from IPython import display  # a shell may do without it

        display.display(self.mime_bundle(), raw=True)


@styled
def image_grid(
    images: Tensor, titles: Sequence[str] | None = None, columns: int = 10
) -> Figure:
    """Pictures row by row.

    Args:
        images: uint8, or float in [0, 1]: (N, 3, H, W).
        titles: one above each picture.
        columns: pictures in a row.
    """
    columns = min(columns, len(images))
    gap = 0.3 if titles else 0.0
    sheet, place = _sheet(columns, math.ceil(len(images) / columns), row_gap=gap)
    for number, picture in enumerate(_pictures(images)):
        x, y = number % columns, number // columns * (1 + gap) + gap
        _show(place, picture, x, y)
        if titles:
            place.text(x + SIDE / 2, y - 0.06, titles[number], ha="center", fontsize=8)
    return sheet


@styled
def class_examples(split: Split, classes: Sequence[str], per_class: int = 8) -> Figure:
    """A contact sheet, the first pictures of a class, a class a row, 20 at most."""
    classes = classes[:20]
    sheet, place = _sheet(per_class, len(classes), classes, cell=0.68)
    for row in range(len(classes)):
        members = (split.labels == row).nonzero()[:per_class, 0]
        for column, picture in enumerate(_pictures(split.images[members])):
            _show(place, picture, column, row)
    return sheet


@styled
def view_rows(images: Tensor, rows: dict[str, Tensor]) -> Figure:
    """Pictures, a column each, above what was made of them.

    Args:
        images: the originals, uint8 (N, 3, H, W): the first row.
        rows: name of a row to its views, normalised float32 (N, 3, S, S).
    """
    everything = {"original": images, **rows}
    sheet, place = _sheet(len(images), len(everything), list(everything), cell=0.95)
    for row, shown in enumerate(everything.values()):
        floats = shown.is_floating_point()
        pictures = _pictures(views.denormalize(shown) if floats else shown)
        for column, picture in enumerate(pictures):
            _show(place, picture, column, row)
    return sheet


@styled
def jigsaw(images: Tensor, patches: Tensor) -> Figure:
    """Pictures, their grid, and the shuffled patches that a network gets to see.

    Args:
        images: uint8 (B, 3, H, W).
        patches: normalised float32 (B, n², 3, P, P), in the order the network gets.
    """
    side = math.isqrt(patches.shape[1])
    names = ["image", "its grid", "shuffled\npatches"]
    sheet, place = _sheet(len(images), 3, names, cell=1.25)
    for column, picture in enumerate(_pictures(images)):
        _show(place, picture, column, 0)
        _show(place, picture, column, 1)
        ends = np.array([0, SIDE])
        for line in np.linspace(0, SIDE, side + 1)[1:-1]:
            place.plot(column + ends, [1 + line] * 2, color="white", linewidth=1.5)
            place.plot([column + line] * 2, 1 + ends, color="white", linewidth=1.5)
        size, step = (SIDE + 0.03) / side - 0.03, (SIDE + 0.03) / side
        for number, piece in enumerate(_pictures(views.denormalize(patches[column]))):
            x, y = column + number % side * step, 2 + number // side * step
            _show(place, piece, x, y, size)
    return sheet


@styled
def neighbors(
    query_images: Tensor,
    neighbor_images: Tensor,
    query_labels: Tensor,
    neighbor_labels: Tensor,
    classes: Sequence[str],
) -> Figure:
    """Test images, each with the training images its features are closest to.

    A neighbour of the same class has a solid green frame and a tick, one of another a
    dashed red frame, a cross and its class's name.

    Args:
        query_images: uint8 (Q, 3, H, W).
        neighbor_images: uint8 (Q, k, 3, H, W), nearest first.
        query_labels: int64 (Q,).
        neighbor_labels: int64 (Q, k).
        classes: names of the classes.
    """
    queries, count = neighbor_images.shape[:2]
    names = [name_of(label, classes) for label in query_labels.tolist()]
    sheet, place = _sheet(count + 1.4, queries, names, cell=0.9, row_gap=0.28)
    for row, name in enumerate(names):
        y = row * 1.28
        _show(place, _pictures(query_images[row : row + 1])[0], 0, y)
        for rank, picture in enumerate(_pictures(neighbor_images[row])):
            x, other = 1.4 + rank, name_of(int(neighbor_labels[row, rank]), classes)
            same = other == name
            color, text = (RIGHT, "✓") if same else (WRONG, f"✗ {other}")
            _show(place, picture, x, y)
            frame = shapes.Rectangle((x, y), SIDE, SIDE, fill=False, ec=color, lw=2.5)
            frame.set_linestyle("-" if same else (0, (3, 1.5)))
            place.add_patch(frame)
            at = x + SIDE / 2, y + 1.14
            place.text(*at, text, color=color, ha="center", fontsize=8)
    return sheet


def name_of(label: int, classes: Sequence[str]) -> str:
    """The name of a class; labels below 0 mean that there is none."""
    return classes[label] if label >= 0 else "no label"


def _pictures(images: Tensor) -> np.ndarray:
    """Pixels to draw, uint8 (N, H, W, 3), of uint8 or [0, 1] float (N, 3, H, W)."""
    if images.is_floating_point():
        images = (images.detach().float().clamp(0, 1) * 255).round().byte()
    return images.permute(0, 2, 3, 1).cpu().numpy()


def _sheet(
    columns: float,
    rows: int,
    names: Sequence[str] = (),
    cell: float = 0.8,
    row_gap: float = 0.0,
) -> tuple[Figure, axes.Axes]:
    """An empty sheet measured in pictures, the names of its rows at the left.

    Args:
        columns: pictures across.
        rows: pictures down.
        names: of the rows.
        cell: inches from a picture to the next.
        row_gap: room for a line of text in every row, in pictures.
    """
    cell = min(cell, 9 / columns)
    longest = max((len(line) for name in names for line in name.split("\n")), default=0)
    left = (0.09 * longest + 0.15) / cell if names else GAP / 2  # room for the names
    high = rows * (1 + row_gap)
    sheet = Figure(figsize=((left + columns) * cell, high * cell))
    sheet.photographs = True
    place = sheet.add_axes((0, 0, 1, 1))
    place.set(xlim=(-left, columns - GAP / 2), ylim=(high - GAP / 2, -GAP / 2))
    place.set_axis_off()
    for row, name in enumerate(names):
        y = row * (1 + row_gap) + SIDE / 2
        place.text(-0.1, y, name, ha="right", va="center", linespacing=1.1)
    return sheet, place


def _show(
    place: axes.Axes, picture: np.ndarray, x: float, y: float, size: float = SIDE
) -> None:
    """Draw a picture (H, W, 3) with its upper left corner at (x, y)."""
    limits = place.axis()
    place.imshow(picture, extent=(x, x + size, y + size, y), aspect="auto")
    place.axis(limits)
