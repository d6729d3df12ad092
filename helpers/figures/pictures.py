"""Pictures in rows and columns, and the style of every figure.

A figure that is the last value of a cell is shown once, in a file small enough to be
kept in the notebook. Nothing here uses pyplot or depends on its backend. Names of
classes and networks come from folders and files: ``short`` makes any of them fit.
"""

from __future__ import annotations

import base64
import io
import math
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import axes, figure
from matplotlib import patches as shapes
from PIL import Image
from torch import Tensor, nn

from helpers import files, views
from helpers.data.dataset import Split

# Colour-blind readers can tell these apart.
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
TOL = ("#332288", "#B5A300", "#882255")
COLORS = (*OKABE_ITO, "#7F7F7F", *TOL)
BLUE, RIGHT, WRONG, INK, FAINT = COLORS[0], COLORS[2], COLORS[5], "#222222", "#8A8A8A"
STYLE: dict[str, Any] = {
    "figure.dpi": 96,
    "savefig.dpi": "figure",
    "figure.facecolor": "white",  # also on GitHub's dark pages
    "savefig.facecolor": "white",
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,  # class names may have dollar signs
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
SIDE, GAP = 0.94, 0.06  # of a picture, and between pictures, in units of a cell


class Figure(figure.Figure):
    """A figure that a notebook shows as a small file.

    Attributes:
        photographs: whether it is made of pictures; then it is kept as a JPEG, which
            is several times smaller than a PNG.
    """

    photographs = False

    def savefig(self, *args: Any, **kwargs: Any) -> None:
        """Write the figure to a file, as matplotlib does."""
        # Some texts are made while a figure is drawn.
        with matplotlib.rc_context(STYLE), warnings.catch_warnings():
            # An emoji that the font lacks is drawn as a box.
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            super().savefig(*args, **kwargs)

    def mime_bundle(self) -> dict[str, str]:
        """Return the figure as a notebook keeps it: base64 by MIME type."""
        drawn, stored = io.BytesIO(), io.BytesIO()
        self.savefig(drawn, format="png")
        picture = Image.open(drawn).convert("RGB")
        if self.photographs:
            picture.save(stored, "jpeg", quality=50)
        else:  # a line drawing has few colours
            picture.quantize(128).save(stored, "png", optimize=True)
        kind = "image/jpeg" if self.photographs else "image/png"
        encoded = base64.b64encode(stored.getvalue()).decode()
        return {kind: encoded, "text/plain": "a figure"}

    def _ipython_display_(self) -> None:
        from IPython import display  # not needed from a shell

        display.display(self.mime_bundle(), raw=True)


@styled
def image_grid(
    images: Tensor,
    titles: Sequence[str] | None = None,
    columns: int = 10,
    cell: float = 0.8,
) -> Figure:
    """Draw pictures row by row.

    Args:
        images: (N, 3, H, W), uint8 or float in [0, 1].
        titles: N texts, shown above the pictures.
        columns: pictures per row.
        cell: inches from a picture to the next.
    """
    columns = min(columns, len(images))
    gap = 0.24 / cell * (1 + titles[0].count("\n")) if titles else 0.0
    rows = math.ceil(len(images) / columns)
    fig, ax = _sheet(columns, rows, cell=cell, row_gap=gap)
    for number, picture in enumerate(_pictures(images)):
        x, y = number % columns, number // columns * (1 + gap) + gap
        _show(ax, picture, x, y)
        if titles:
            ax.text(x + SIDE / 2, y - 0.06, titles[number], ha="center", fontsize=8)
    return fig


@styled
def class_examples(split: Split, classes: Sequence[str], per_class: int = 8) -> Figure:
    """Draw some pictures of each class, one class per row, at most 20 classes."""
    classes = classes[:20]
    fig, ax = _sheet(per_class, len(classes), list(map(short, classes)), cell=0.68)
    for row in range(len(classes)):
        members = split[split.labels == row].sample(per_class)
        for column, picture in enumerate(_pictures(members.images[:])):
            _show(ax, picture, column, row)
    return fig


@styled
def view_rows(images: Tensor, rows: dict[str, Tensor]) -> Figure:
    """Draw images in a row, and their views in rows below them.

    Args:
        images: the originals, uint8 (N, 3, H, W).
        rows: from a row's name to its views, normalised float32 (N, 3, S, S).
    """
    fig, ax = _sheet(len(images), 1 + len(rows), ["original", *rows], cell=0.95)
    originals_and_views = [images, *map(views.denormalize, rows.values())]
    for row, shown in enumerate(originals_and_views):
        for column, picture in enumerate(_pictures(shown)):
            _show(ax, picture, column, row)
    return fig


@styled
def jigsaw(images: Tensor, patches: Tensor, *, of_views: bool = False) -> Figure:
    """Draw images, their grids, and the shuffled patches that the network sees.

    Args:
        images: uint8 (B, 3, H, W).
        patches: (B, n², 3, P, P) in shuffled order, uint8 or normalised float32.
        of_views: the images are views, and the patches are not cut from these.
    """
    if patches.is_floating_point():
        patches = views.denormalize(patches)
    grid = math.isqrt(patches.shape[1])
    names = ["view"] if of_views else ["image", "its grid"]
    row = len(names)  # of the patches
    fig, ax = _sheet(len(images), row + 1, [*names, "shuffled\npatches"], cell=1.25)
    for column, picture in enumerate(_pictures(images)):
        _show(ax, picture, column, 0)
        if not of_views:
            _show(ax, picture, column, 1)
            ends = np.array([0, SIDE])
            for line in np.linspace(0, SIDE, grid + 1)[1:-1]:
                ax.plot(column + ends, [1 + line] * 2, color="white", linewidth=1.5)
                ax.plot([column + line] * 2, 1 + ends, color="white", linewidth=1.5)
        size, step = (SIDE + 0.03) / grid - 0.03, (SIDE + 0.03) / grid
        for number, patch in enumerate(_pictures(patches[column])):
            x, y = column + number % grid * step, row + number // grid * step
            _show(ax, patch, x, y, size)
    return fig


@styled
def neighbors(
    queries: Split, found: Mapping[str, Split], classes: Sequence[str]
) -> Figure:
    """Draw images beside those whose features are nearest, for several networks.

    A neighbour of the same class has a solid green frame and a tick; a neighbour of
    another class has a dashed red frame, a cross and the name of its class. Where one
    of the two has no label, there is no frame.

    Args:
        queries: Q images, one per row.
        found: from a network's name to its k neighbours of each query, nearest first:
            Q·k images, row by row.
        classes: names of the classes.
    """
    rows = len(queries)
    names = [name_of(label, classes) for label in queries.labels.tolist()]
    k = max(len(nearest) for nearest in found.values()) // rows
    fig, ax = _sheet(1.4 + len(found) * (k + 0.4) - 0.4, rows, names, row_gap=0.3)
    low, high = ax.get_ylim()
    ax.set_ylim(low, high - 0.3)  # room for the networks' names
    for row, picture in enumerate(_pictures(queries.images[:])):
        _show(ax, picture, 0, row * 1.3)
    for group, (title, nearest) in enumerate(found.items()):
        left = 1.4 + group * (k + 0.4)
        ax.text(left, -0.12, short(title), weight="bold", va="bottom")
        for number, picture in enumerate(_pictures(nearest.images[:])):
            x, y = left + number % k, number // k * 1.3
            label = int(nearest.labels[number])
            sought = int(queries.labels[number // k])
            _show(ax, picture, x, y)
            if min(label, sought) < 0:
                continue
            same = label == sought
            other = f"✗ {name_of(label, classes, 12)}"
            color, text = (RIGHT, "✓") if same else (WRONG, other)
            frame = shapes.Rectangle((x, y), SIDE, SIDE, fill=False, ec=color, lw=2)
            frame.set_linestyle("-" if same else (0, (3, 1.5)))
            ax.add_patch(frame)
            ax.text(
                x + SIDE / 2, y + 1.17, text, color=color, ha="center", fontsize=6.5
            )
    return fig


@styled
def mistakes(
    images: Split, outputs: Tensor, classes: Sequence[str], count: int = 8
) -> Figure | None:
    """Draw the images of which a classifier is surest and wrong; None if it never is.

    Args:
        images: N images with their true labels.
        outputs: logits of the classifier, (N, C).
        classes: C names.
        count: images to draw.
    """
    sure, said = outputs.softmax(dim=1).max(dim=1)
    wrong = (said != images.labels).nonzero()[:, 0]
    if not len(wrong):
        return None
    worst = wrong[sure[wrong].argsort(descending=True)[:count]]
    pairs = zip(said[worst].tolist(), images.labels[worst].tolist(), strict=True)
    titles = [
        f"{name_of(wrong, classes)}?\n{name_of(true, classes)}!"
        for wrong, true in pairs
    ]
    return image_grid(images[worst].images[:], titles, columns=4, cell=1.6)


def save(drawn: Figure, file: pathlib.Path) -> None:
    """Write a figure to a file, in the format that its ending stands for."""
    files.write(file, lambda path: drawn.savefig(path, dpi=150))


@styled
def filters(networks: Mapping[str, nn.Module]) -> Figure:
    """Draw the filters of the first convolution of networks, one below the other.

    Each filter is stretched to the full range of colours, so that its form shows.
    """
    grids = []
    for network in networks.values():
        first = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
        weight = first.weight.detach().float().cpu()  # (C, 3, k, k)
        low, high = weight.amin((1, 2, 3), True), weight.amax((1, 2, 3), True)
        grids.append(((weight - low) / (high - low).clamp(min=1e-12))[:64])
    columns = 32
    rows = [math.ceil(len(grid) / columns) for grid in grids]
    names = [
        short(name) if not row else ""
        for name, count in zip(networks, rows, strict=True)
        for row in range(count)
    ]
    fig, ax = _sheet(columns, len(names), names)
    for above, grid in zip(np.cumsum([0, *rows]), grids, strict=False):
        for number, picture in enumerate(_pictures(grid)):
            _show(ax, picture, number % columns, above + number // columns)
    return fig


def name_of(label: int, classes: Sequence[str], letters: int = 24) -> str:
    """The name of a label's class as a figure shows it; below 0 there is none."""
    return short(classes[label], letters) if label >= 0 else "no label"


def short(name: str, letters: int = 24) -> str:
    """A name as a figure shows it: short, on one line, without stray bytes."""
    name = files.printable(name.replace("_", " "))
    return name if len(name) <= letters else name[: letters - 1].rstrip() + "…"


def _pictures(images: Tensor) -> np.ndarray:
    """Convert images, uint8 or float in [0, 1] (N, 3, H, W), to uint8 (N, H, W, 3)."""
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
    """Make an empty sheet whose unit is a picture, with the rows' names at the left.

    Args:
        columns: pictures per row.
        rows: number of rows.
        names: of the rows.
        cell: inches from a picture to the next.
        row_gap: space for text above or below every row, in pictures.
    """
    cell = min(cell, 9 / columns)
    longest = max((len(line) for name in names for line in name.split("\n")), default=0)
    left = (0.09 * longest + 0.15) / cell if names else GAP / 2  # space for the names
    height = rows * (1 + row_gap)
    fig = Figure(figsize=((left + columns) * cell, height * cell))
    fig.photographs = True
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(-left, columns - GAP / 2), ylim=(height - GAP / 2, -GAP / 2))
    ax.set_axis_off()
    for row, name in enumerate(names):
        y = row * (1 + row_gap) + SIDE / 2
        ax.text(-0.1, y, name, ha="right", va="center", linespacing=1.1)
    return fig, ax


def _show(
    ax: axes.Axes, picture: np.ndarray, x: float, y: float, size: float = SIDE
) -> None:
    """Draw a picture (H, W, 3) with its upper left corner at (x, y)."""
    limits = ax.axis()
    ax.imshow(picture, extent=(x, x + size, y + size, y), aspect="auto")
    ax.axis(limits)
