"""Draw the figures of the README and the notebooks: ``python images/draw.py``.

One visual language: blue learns by gradient, dashed grey does not, yellow is what goes
from one place to another, black is a loss. Lengths are pixels, y points down.
"""

from __future__ import annotations

import io
import pathlib
import sys
from collections.abc import Callable, Sequence

import matplotlib
import numpy as np
import torch
from matplotlib import figure, patches
from PIL import Image

FOLDER = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))  # the project need not be installed

from helpers import demo, views

Point = tuple[float, float]
INK, QUIET, LINE = "#1F2933", "#5B6770", "#7B8794"
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
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.axes.set(xlim=(0, width), ylim=(height, 0))
        self.limits = self.axes.axis()

    def text(self, x: float, y: float, words: str, size: float = 14, **style) -> None:
        """Write words around (x, y)."""
        style = {"ha": "center", "va": "center", "linespacing": 1.35, **style}
        self.axes.text(x, y, words, size=size, zorder=5, **style)

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
        self.axes.add_patch(
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
        self.text(x, y - 13 * bool(below), title, size, color=color)
        self.text(x, y + 14, below, 11.5, color=color if kind == BLACK else QUIET)

    def group(self, area: tuple[float, float, float, float], name: str) -> None:
        """Draw a pale field behind boxes that belong together, its name on top."""
        left, top, width, height = area
        shape = patches.FancyBboxPatch(
            *((left, top), width, height),
            boxstyle="round,pad=0,rounding_size=14",
            facecolor="#F8FAFC",
            edgecolor="#D5DCE3",
            zorder=0,
        )
        self.axes.add_patch(shape)
        self.text(left + 14, top + 20, name, 12.5, ha="left", color=QUIET)

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
        self.axes.add_patch(shape)

    def stop(self, x: float, y: float, upright: bool = False) -> None:
        """Mark an arrow at (x, y) with two bars: no gradient flows back through it."""
        for shift in (-4, 4):
            bar = ((x - 11, x + 11), (y + shift,) * 2)
            if not upright:
                bar = ((x + shift,) * 2, (y - 11, y + 11))
            self.axes.plot(*bar, color="white", linewidth=6, zorder=4)
        for shift in (-4, 4):
            bar = ((x - 11, x + 11), (y + shift,) * 2)
            if not upright:
                bar = ((x + shift,) * 2, (y - 11, y + 11))
            self.axes.plot(*bar, color="#B3261E", linewidth=2.6, zorder=5)

    def picture(self, x: float, y: float, side: float, pixels: np.ndarray) -> None:
        """Show pixels (H, W, 3) in a square with its upper left corner at (x, y)."""
        extent = (x, x + side, y + side, y)
        self.axes.imshow(pixels, extent=extent, interpolation="lanczos", zorder=2)
        self.axes.axis(self.limits)
        self.axes.set_aspect("auto")

    def save(self, name: str) -> None:
        """Write the page as a PNG of 256 colours, a third of the size of all colours."""
        stream = io.BytesIO()
        self.figure.savefig(stream, format="png", dpi=100)
        page = Image.open(stream).convert("RGB")
        page = page.quantize(256, dither=Image.Dither.NONE)
        page.save(FOLDER / name, optimize=True)


def pixels(images: torch.Tensor) -> np.ndarray:
    """Pixels to show, (..., H, W, 3), of uint8 or normalised float (..., 3, H, W)."""
    if images.is_floating_point():
        images = (views.denormalize(images) * 255).byte()
    return images.movedim(-3, -1).numpy()


def drawn(count: int, side: int = 288) -> torch.Tensor:
    """Demo pictures, larger than the data set's, so that they stay sharp."""
    return torch.from_numpy(demo.draw("train", count, size=side)[0])


def two_views(image: torch.Tensor, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two random views of one image."""
    settings, random = views.ViewSettings(size=240), views.StepRandom(seed, 0, 1)
    pair = (views.random_view(image[None], settings, random) for _ in range(2))
    first, second = (pixels(view)[0] for view in pair)
    return first, second


def inputs(page: Canvas, image: np.ndarray, pair: Sequence[np.ndarray], rows) -> None:
    """The image at the left and arrows to its two views, at the heights of rows."""
    middle = (rows[0] + rows[1]) / 2
    page.picture(30, middle - 65, 130, image)
    page.text(95, middle + 86, "image")
    for row, view in zip(rows, pair, strict=True):
        page.picture(230, row - 60, 120, view)
        page.arrow((160, middle), (195, middle), (195, row), (228, row))


def byol() -> None:
    """Online and target network, predictor, stop-gradient and moving average."""
    page, (top, low) = Canvas(1440, 560), (125, 415)
    image = drawn(6)[5]
    inputs(page, pixels(image), two_views(image, 3), (top, low))
    page.text(290, top + 78, "view 1")
    page.text(290, low + 78, "view 2")
    page.group((395, 30, 710, 185), r"online network $\theta$: learns by gradient")
    page.group((395, 320, 445, 185), r"target network $\xi$: a slow copy")
    for y, kind in ((top, BLUE), (low, GREY)):
        page.box((415, y - 42, 170, 84), "backbone", "ResNet-18", kind)
        page.box((645, y - 42, 175, 84), "projection", "head", kind)
        page.arrow((350, y), (413, y))
        page.arrow((585, y), (643, y))
    page.box((910, top - 42, 175, 84), "prediction", "head")
    page.arrow((820, top), (908, top))
    page.text(862, top - 22, "$z$", 20)
    page.arrow((500, 215), (500, 318), dashed=True)
    words = r"after every step:  $\xi \leftarrow \tau\,\xi + (1-\tau)\,\theta$"
    page.text(520, 267, words, 15, ha="left")
    page.box((1180, 222, 230, 96), r"$2 - 2\,\cos(q, z')$", "loss", BLACK, 20)
    page.arrow((1085, top), (1295, top), (1295, 220))
    page.text(1190, top - 22, "$q$", 20)
    page.arrow((820, low), (1295, low), (1295, 320))
    page.text(1190, low - 24, "$z'$", 20)
    page.stop(980, low)
    page.text(980, low + 36, "stop gradient", 12.5, color="#B3261E")
    page.text(1250, low + 78, "and once more with the views swapped", 12.5, color=QUIET)
    page.save("byol.png")


def simclr() -> None:
    """Two views, one network, and the similarities of all views of the batch."""
    page, (top, low) = Canvas(1440, 560), (125, 415)
    image = drawn(6)[5]
    inputs(page, pixels(image), two_views(image, 3), (top, low))
    page.text(290, top + 78, "view 1")
    page.text(290, low + 78, "view 2")
    for y, name in ((top, "$z_1$"), (low, "$z_2$")):
        page.box((415, y - 42, 170, 84), "backbone", "ResNet-18")
        page.box((645, y - 42, 175, 84), "projection", "head")
        page.arrow((350, y), (413, y))
        page.arrow((585, y), (643, y))
        page.arrow((820, y), (900, y), (900, 270 + (y - 270) * 0.25), (958, 270 + (y - 270) * 0.25))
        page.text(860, y - 22, name, 20)
    for x in (500, 732):
        page.arrow((x, top + 42), (x, low - 42), dashed=True, head=False, color=LINE)
    page.text(616, 270, "shared\nweights", 12.5, color=QUIET)
    matrix(page, 965, 150, 240)
    page.text(1085, 118, "all views of the batch", 13)
    page.arrow((1207, 270), (1258, 270))
    page.box((1260, 222, 155, 96), "NT-Xent", "loss", BLACK, 16)
    page.text(1085, 423, r"$s(z_i, z_j)\,/\,\tau$", 19)
    legend = (("#0072B2", "same image: attract"), ("#E3E8ED", "other images: repel"))
    for number, (color, words) in enumerate(legend):
        y = 470 + 32 * number
        page.axes.add_patch(patches.Rectangle((975, y - 9), 18, 18, color=color))
        page.text(1005, y, words, 12.5, ha="left")
    page.save("simclr.png")


def matrix(page: Canvas, left: float, top: float, side: float) -> None:
    """The similarities of the two views of four images with each other."""
    count, cell = 8, side / 8
    for row in range(count):
        for column in range(count):
            color = "#0072B2" if abs(row - column) == count // 2 else "#E3E8ED"
            if row == column:  # a view is not compared with itself
                color = "white"
            corner = (left + column * cell + 1.5, top + row * cell + 1.5)
            square = patches.Rectangle(corner, cell - 3, cell - 3, color=color)
            page.axes.add_patch(square)


def pirl() -> None:
    """Image and jigsaw, shared backbone, two heads, memory bank, two losses."""
    page, (top, low) = Canvas(1440, 620), (130, 470)
    image, settings = drawn(6)[5], views.ViewSettings(size=240, scale=(0.6, 1.0))
    random = views.StepRandom(5, 0, 1)
    view = pixels(views.random_view(image[None], settings, random))[0]
    pieces = views.jigsaw_patches(image[None], settings, random, cell=96, patch=72)[0]
    middle = (top + low) / 2
    page.picture(30, middle - 65, 130, pixels(image))
    page.text(95, middle + 86, "image")
    for y in (top, low):
        page.arrow((160, middle), (195, middle), (195, y), (228, y))
        page.box((415, y - 42, 150, 84), "backbone", "ResNet-18")
        page.arrow((352, y), (413, y))
        page.arrow((565, y), (603, y))
    page.picture(230, top - 60, 120, view)
    page.text(290, top + 80, "view $v_I$", 15)
    for number, piece in enumerate(pixels(pieces)):
        x, y = number % 3 * 41.5, number // 3 * 41.5
        page.picture(230 + x, low - 60 + y, 37, piece)
    page.text(290, low + 82, "shuffled\npatches $v_{I^t}$", 15, va="top", y=low + 68) if False else None
    page.text(290, low + 95, "jigsaw $v_{I^t}$:\nnine patches", 15)
    page.arrow((490, top + 42), (490, low - 42), dashed=True, head=False, color=LINE)
    page.text(500, middle, "shared\nweights", 12.5, ha="left", color=QUIET)
    page.box((605, top - 42, 130, 84), "head", "for images")
    page.box((605, low - 42, 130, 84), "head", "for patches")
    page.box((773, low - 42, 130, 84), "linear", "9 patches to 1")
    page.arrow((735, low), (771, low))
    page.arrow((735, top), (1068, top))
    page.arrow((903, low), (1068, low))
    page.text(840, top - 24, "$f(v_I)$", 20)
    page.text(985, low - 24, "$g(v_{I^t})$", 20)
    page.box((1070, top - 45, 340, 90), r"$(1-\lambda)\;L(m_I,\ f(v_I))$", "the view finds its image", BLACK, 19)
    page.box((1070, low - 45, 340, 90), r"$\lambda\;L(m_I,\ g(v_{I^t}))$", "the jigsaw finds its image", BLACK, 19)
    bank(page, 1130, middle - 62, 220, 124)
    page.arrow((1240, middle - 62), (1240, top + 47))
    page.arrow((1240, middle + 62), (1240, low - 47))
    page.text(1258, (top + middle) / 2 - 8, "$m_I$", 20, ha="left")
    page.text(1258, (low + middle) / 2 + 8, "$m_I$", 20, ha="left")
    page.arrow((940, top), (940, middle), (1128, middle), dashed=True)
    page.stop(940, 205, upright=True)
    page.text(920, 205, "stop gradient", 12.5, ha="right", color="#B3261E")
    words = "after every step:\n" + r"$m_I \leftarrow \mu\,m_I + (1-\mu)\,f(v_I)$"
    page.text(922, middle + 4, words, 14, ha="right")
    words = "memory bank: one entry an image; the own one attracts, all others repel"
    page.text(1410, 572, words, 12.5, ha="right", color=QUIET)
    page.save("pirl.png")


def bank(page: Canvas, left: float, top: float, width: float, height: float) -> None:
    """The memory bank: rows, one of them this image's."""
    page.box((left, top, width, height), kind=WHITE)
    rows = 7
    step = (height - 16) / rows
    for row in range(rows):
        own = row == rows // 2
        corner = (left + 10, top + 10 + row * step)
        color = "#E69F00" if own else "#E3E8ED"
        page.axes.add_patch(
            patches.Rectangle(corner, width - 20, step - 4, color=color, zorder=3)
        )


def resnet18_transfer() -> None:
    """What moves when the backbone is frozen, and what when it is fine-tuned."""
    page = Canvas(1440, 590)
    image = pixels(drawn(6)[5])
    stages = ("conv1", "layer1", "layer2", "layer3", "layer4")
    shapes = ("64", "64", "128", "256", "512")
    rows = (("feature_extraction: the backbone is frozen", 30, GREY),)
    rows += (("fine_tuning: everything moves", 315, BLUE),)
    for name, start, kind in rows:
        page.group((180, start, 1010, 245), name)
        y = start + 115
        page.picture(30, y - 55, 110, image)
        page.arrow((140, y), (203, y))
        for number, (stage, width) in enumerate(zip(stages, shapes, strict=True)):
            left = 205 + number * 140
            page.box((left, y - 50, 108, 100), stage, f"{width} channels", kind, 14)
            if number < 4:
                page.arrow((left + 108, y), (left + 138, y))
        page.arrow((873, y), (998, y))
        page.text(935, y - 34, "512 features", 12.5)
        page.text(935, y + 22, "mean over\nthe image", 11.5, color=QUIET, va="top") if False else None
        page.box((1000, y - 50, 165, 100), "head", "10 classes")
        page.arrow((1165, y), (1248, y))
        page.box((1250, y - 45, 160, 90), "loss", "cross-entropy", BLACK)
        end = 1082 if kind == GREY else 259
        back = "#B3261E"
        page.arrow((1330, y + 45), (1330, y + 92), (end, y + 92), (end, y + 53), color=back)
        page.text(1265, y + 110, "gradient", 12.5, color=back)
    page.save("resnet18_transfer.png")


def story() -> None:
    """The notebooks and the file that one hands to the next."""
    page, some = Canvas(1500, 580), pixels(drawn(24))
    for number in range(6):
        page.picture(30 + number % 3 * 66, 60 + number // 3 * 66, 62, some[number])
    for number in range(9):
        page.picture(30 + number % 3 * 66, 330 + number // 3 * 66, 62, some[number + 10])
    page.text(127, 38, "few images with labels", 13)
    page.text(127, 308, "many without", 13)
    page.box((320, 80, 330, 88), "baseline_accuracy_ResNet18", "how far the labels go alone", WHITE, 14)
    page.box((320, 325, 250, 88), "train_PIRL", "pre-training on jigsaws", WHITE)
    page.box((320, 437, 250, 88), "train_BYOL", "pre-training on two views", WHITE)
    page.box((650, 375, 240, 100), "backbone.safetensors", "the one file handed over", YELLOW, 14)
    page.box((970, 325, 250, 88), "feature_extraction", "frozen backbone, new head", WHITE)
    page.box((970, 437, 250, 88), "fine_tuning", "everything moves", WHITE)
    table(page, 1310, 325, 160, 200)
    page.save("story.png")


def table(page: Canvas, left: float, top: float, width: float, height: float) -> None:
    """A small table: one row a run."""
    page.box((left, top, width, height), kind=YELLOW)


def demo_sheet() -> None:
    """Four pictures of every class of the demo set."""
    per_class, side, step = 4, 118, 124
    images, labels = demo.draw("train", 60, size=4 * side)
    page = Canvas(10 * step + 8, per_class * step + 42)
    for column, name in enumerate(demo.CLASSES):
        page.text(column * step + 7 + side / 2, 20, name, 14)
        for row, number in enumerate(np.flatnonzero(labels == column)[:per_class]):
            shown = images[number].transpose(1, 2, 0)
            page.picture(column * step + 7, row * step + 40, side, shown)
    page.save("demo.png")


FIGURES: tuple[Callable[[], None], ...] = (
    *(story, byol, pirl, simclr, resnet18_transfer, demo_sheet),
)

if __name__ == "__main__":
    torch.set_num_threads(1)
    with matplotlib.rc_context(STYLE):
        for make in FIGURES:
            make()
