"""Draw the figures of the README and the notebooks: ``make figures``."""

from __future__ import annotations

import pathlib

import matplotlib
import numpy as np
import torch
from matplotlib import patches

from helpers import views
from helpers.data import demo
from helpers.views.randomness import StepRandom
from helpers.views.settings import ViewSettings
from tools.figures import canvas, curves, overview
from tools.figures.canvas import (
    BLACK,
    BLUE,
    BRIGHT,
    GREY,
    LINE,
    PALE,
    QUIET,
    RED,
    YELLOW,
    Canvas,
)

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "images"


def byol() -> None:
    """Online and target network, predictor, stop-gradient and moving average."""
    page, (top, low) = Canvas(1440, 540), (120, 410)
    image = canvas.drawn(6)[5]
    canvas.inputs(page, canvas.pixels(image), canvas.two_views(image, 3), (top, low))
    page.text(290, top + 78, "view 1")
    page.text(290, low + 78, "view 2")
    page.group((395, 25, 710, 160), r"online network $\theta$: learns by gradient")
    page.group((395, 315, 445, 160), r"target network $\xi$: a slow copy of it")
    for y, kind in ((top, BLUE), (low, GREY)):
        page.box((415, y - 42, 170, 84), "backbone", "ResNet-18", kind)
        page.box((645, y - 42, 175, 84), "projection", "head", kind)
        page.arrow((350, y), (413, y))
        page.arrow((585, y), (643, y))
    page.box((910, top - 42, 175, 84), "prediction", "head")
    page.arrow((820, top), (908, top))
    page.text(862, top - 22, "$z$", 22)
    page.arrow((500, 185), (500, 313), dashed=True)
    page.text(520, 232, "after every step, a moving average (EMA):", 12.5, ha="left")
    page.text(520, 266, r"$\xi \leftarrow \tau\,\xi + (1-\tau)\,\theta$", 20, ha="left")
    page.box((1180, 216, 230, 98), r"$2 - 2\,\cos(q, z')$", "loss", BLACK, 20)
    page.arrow((1085, top), (1295, top), (1295, 214))
    page.text(1190, top - 22, "$q$", 22)
    page.arrow((820, low), (1295, low), (1295, 316))
    page.text(1190, low - 24, "$z'$", 22)
    page.stop(980, low)
    page.text(980, low + 34, "stop gradient", 12.5, color=RED)
    words = "and once more with the two views swapped"
    page.text(1410, low + 78, words, 12.5, ha="right", color=QUIET)
    page.save(FOLDER / "byol.png")


def simclr() -> None:
    """Two views, the shared network, and the similarities of all views of a batch."""
    page, (top, low) = Canvas(1440, 540), (120, 410)
    image, middle = canvas.drawn(6)[5], (top + low) / 2
    canvas.inputs(page, canvas.pixels(image), canvas.two_views(image, 3), (top, low))
    page.text(290, top + 78, "view 1")
    page.text(290, low + 78, "view 2")
    for y, to, name in ((top, middle - 54, "$z_1$"), (low, middle + 54, "$z_2$")):
        page.box((415, y - 42, 170, 84), "backbone", "ResNet-18")
        page.box((645, y - 42, 175, 84), "projection", "head")
        page.arrow((350, y), (413, y))
        page.arrow((585, y), (643, y))
        page.arrow((820, y), (885, y), (885, to), (923, to))
        page.text(856, y - 22, name, 22)
    for x in (500, 732):
        page.arrow((x, top + 42), (x, low - 42), dashed=True, head=False, color=LINE)
    page.text(616, middle, "shared\nweights", 12.5, color=QUIET)
    canvas.similarities(page, 928, middle - 108, 216)
    page.text(1036, middle - 130, "all views of the batch", 13)
    page.text(1036, middle + 137, r"$s(z_i, z_j)\,/\,\tau$", 20)
    page.arrow((1148, middle), (1188, middle))
    page.box((1190, middle - 78, 225, 156), kind=BLACK)
    above, below = r"e^{s(z_1,\,z_2)/\tau}", r"\sum_{k\neq 1}\ e^{s(z_1,\,z_k)/\tau}"
    ratio = rf"$-\log\,\dfrac{{{above}}}{{{below}}}$"
    page.text(1302, middle - 20, ratio, 16, color="white")
    page.text(1302, middle + 54, "NT-Xent loss", 11.5, color="white")
    legend = ((BRIGHT, "same image: attract"), (PALE, "other images: repel"))
    for number, (color, words) in enumerate(legend):
        y = low + 40 + 32 * number
        page.ax.add_patch(patches.Rectangle((938, y - 9), 18, 18, color=color))
        page.text(968, y, words, 12.5, ha="left")
    page.save(FOLDER / "simclr.png")


def pirl() -> None:
    """Image and jigsaw, shared backbone, two heads, memory bank, two losses."""
    page, (top, low) = Canvas(1440, 600), (120, 450)
    image = canvas.drawn(6)[5]
    settings = ViewSettings(size=240, scale=(0.6, 1.0))
    random = StepRandom(8, 0, 1)
    view = canvas.pixels(views.random_view(image[None], settings, random))[0]
    pieces = views.jigsaw_patches(image[None], settings, random, cell=96, patch=72)[0]
    middle = (top + low) / 2
    canvas.inputs(page, canvas.pixels(image), (view, None), (top, low))
    for number, piece in enumerate(canvas.pixels(pieces)):
        x, y = number % 3 * 41.5, number // 3 * 41.5
        page.picture(230 + x, low - 60 + y, 37, piece)
    page.text(290, top + 80, "view $v_I$", 15)
    page.text(290, low + 93, "jigsaw $v_{I^t}$:\nnine patches", 15)
    for y, name in ((top, "for images"), (low, "for patches")):
        page.box((415, y - 42, 150, 84), "backbone", "ResNet-18")
        page.box((605, y - 42, 130, 84), "head", name)
        page.arrow((350, y), (413, y))
        page.arrow((565, y), (603, y))
    page.arrow((490, top + 42), (490, low - 42), dashed=True, head=False, color=LINE)
    page.text(502, top + 84, "shared\nweights", 12.5, ha="left", color=QUIET)
    page.box((773, low - 42, 130, 84), "linear", "9 patches to 1")
    page.arrow((735, low), (771, low))
    page.arrow((735, top), (1068, top))
    page.arrow((903, low), (1068, low))
    page.text(838, top - 24, "$f(v_I)$", 21)
    page.text(985, low - 24, "$g(v_{I^t})$", 21)
    for y, loss, words in (
        (top, r"$(1-\lambda)\;L(m_I,\ f(v_I))$", "the view finds its image"),
        (low, r"$\lambda\;L(m_I,\ g(v_{I^t}))$", "the jigsaw finds its image"),
    ):
        page.box((1070, y - 46, 340, 92), loss, words, BLACK, 20)
    page.text(
        1240, low + 72, "its own entry attracts, all others repel", 12.5, color=QUIET
    )
    canvas.memory_bank(page, 1110, middle - 60, 240, 120)
    page.arrow((1300, middle - 60), (1300, top + 48))
    page.arrow((1300, middle + 60), (1300, low - 48))
    page.text(1316, middle - 82, "$m_I$", 21, ha="left")
    page.text(1316, middle + 84, "$m_I$", 21, ha="left")
    page.text(1112, middle - 80, "memory bank", 13.5, ha="left")
    page.text(1112, middle + 80, "one entry per image", 12.5, ha="left", color=QUIET)
    page.arrow((940, top), (940, middle), (1108, middle), dashed=True)
    page.stop(940, top + 72, upright=True)
    page.text(918, top + 72, "stop gradient", 12.5, ha="right", color=RED)
    page.text(
        920,
        middle - 12,
        r"after every step, with $\bar f = f\,/\,\Vert f\,\Vert$ :",
        12.5,
        ha="right",
    )
    update = r"$m_I \leftarrow \mathrm{normalize}(\mu\,m_I + (1-\mu)\,\bar f(v_I))$"
    page.text(920, middle + 22, update, 18, ha="right")
    page.save(FOLDER / "pirl.png")


def resnet18_transfer() -> None:
    """Which layers learn when the backbone is frozen, and when it is fine-tuned."""
    page, image = Canvas(1440, 570), canvas.pixels(canvas.drawn(6)[5])
    stages = {"conv1": 64, "layer1": 64, "layer2": 128, "layer3": 256, "layer4": 512}
    frozen = "feature_extraction: the backbone is frozen, only the head learns"
    for name, start, kind, end in (
        (frozen, 25, GREY, 1092),
        ("fine_tuning: every layer learns", 305, BLUE, 261),
    ):
        page.group((180, start, 1005, 240), name)
        y = start + 115
        page.picture(30, y - 55, 110, image)
        page.arrow((140, y), (198, y))
        for number, (stage, width) in enumerate(stages.items()):
            left = 200 + number * 148
            page.box((left, y - 50, 122, 100), stage, f"{width} channels", kind)
            if number > 0:
                page.arrow((left - 26, y), (left - 2, y))
        page.arrow((914, y), (1018, y))
        page.text(963, y - 32, "512\nfeatures", 12)
        page.box((1020, y - 50, 145, 100), "head", "10 classes")
        page.arrow((1165, y), (1248, y))
        page.box((1250, y - 46, 160, 92), "loss", "cross-entropy", BLACK)
        turn = y + 90
        page.arrow((1330, y + 46), (1330, turn), (end, turn), (end, y + 52), color=RED)
        page.text(1257, turn + 18, "gradient", 12.5, color=RED)
    page.save(FOLDER / "resnet18_transfer.png")


def story() -> None:
    """The notebooks, and the file that is handed from one to the next."""
    page, images = Canvas(1500, 570), canvas.pixels(canvas.drawn(30))
    for number, image in enumerate(images[:15]):
        row, column = divmod(number, 3)
        page.picture(30 + column * 66, (55 if row < 2 else 202) + row * 66, 62, image)
    page.text(127, 33, "few images with labels", 12.5)
    page.text(127, 312, "many images without", 12.5)
    page.group((305, 28, 350, 152), "1   labels alone")
    page.group((305, 290, 280, 250), "2   pre-train without labels")
    page.group((955, 290, 280, 250), "3, 4   use the features")
    for left, top, width, name, words in (
        (325, 76, 310, "baseline_accuracy_ResNet18", "how far do the labels go?"),
        (325, 333, 240, "train_PIRL", "an image and its jigsaw"),
        (325, 437, 240, "train_BYOL", "two views of an image"),
        (975, 333, 240, "feature_extraction", "frozen backbone, new head"),
        (975, 437, 240, "fine_tuning", "all layers learn"),
    ):
        page.box((left, top, width, 84), name, words)
    page.box(
        (648, 375, 244, 104),
        "backbone.safetensors",
        "the one file handed on",
        YELLOW,
        13.5,
    )
    page.arrow((227, 427), (303, 427))
    page.arrow((585, 427), (646, 427))
    page.arrow((892, 427), (953, 427))
    page.arrow((1235, 427), (1293, 427))
    page.arrow((227, 118), (303, 118))
    page.arrow((655, 118), (1382, 118), (1382, 338))
    page.arrow((265, 118), (265, 240), (1095, 240), (1095, 288))
    page.text(800, 222, "the same labels", 12.5, color=QUIET)
    canvas.table(page, 1295, 340, 175, 174)
    page.save(FOLDER / "story.png")


def demo_sheet() -> None:
    """Four pictures of every class of the demo set."""
    per_class, side, step = 4, 118, 124
    images, labels = demo.draw("train", 60, size=4 * side)
    page = Canvas(10 * step + 8, per_class * step + 42)
    for column, name in enumerate(demo.CLASSES):
        page.text(column * step + 7 + side / 2, 27, name, 14, va="baseline")
        for row, number in enumerate(np.flatnonzero(labels == column)[:per_class]):
            shown = images[number].transpose(1, 2, 0)
            page.picture(column * step + 7, row * step + 40, side, shown)
    page.save(FOLDER / "demo.png", few_colors=True)


def methods() -> None:
    """The methods side by side."""
    overview.methods(FOLDER / "methods.png")


def learning() -> None:
    """Accuracy against images seen, as measured."""
    curves.learning(FOLDER / "learning.png")


FIGURES = (story, byol, pirl, simclr, resnet18_transfer, demo_sheet, methods, learning)

if __name__ == "__main__":
    torch.set_num_threads(1)
    with matplotlib.rc_context(canvas.STYLE):
        for make in FIGURES:
            make()
