"""Draws the methods side by side: what each of them compares."""

from __future__ import annotations

import dataclasses
import pathlib

from tools.figures.canvas import BLACK, BLUE, GREY, INK, LINE, QUIET, YELLOW, Canvas

WIDE, HIGH, GAP, LEGEND = 344, 244, 12, 28


@dataclasses.dataclass(frozen=True)
class Panel:
    """A method in a few boxes.

    Attributes:
        name: of the method.
        loss: its loss, in two lines of words.
        above: name and kind of a box behind the first network, or None.
        below: name and kind of a box behind the second network, or None.
        bypass: whether the second network's output also passes by this box.
        slow: whether the second network is a slow copy of the first.
        stop: whether no gradient flows through the second network.
    """

    name: str
    loss: tuple[str, str]
    above: tuple[str, str] | None = None
    below: tuple[str, str] | None = None
    bypass: bool = False
    slow: bool = False
    stop: bool = False


PANELS = (
    Panel("SimCLR", ("find the partner", "in the batch")),
    Panel("SupCon", ("find the class", "in the batch")),
    Panel(
        "MoCo",
        ("find the partner", "among old keys"),
        below=("queue", YELLOW),
        bypass=True,
        slow=True,
        stop=True,
    ),
    Panel(
        "SimSiam",
        ("predict", "the other view"),
        above=("predictor", BLUE),
        stop=True,
    ),
    Panel(
        "SwAV",
        ("guess the cluster", "of the other view"),
        above=("prototypes", YELLOW),
        below=("prototypes", YELLOW),
        stop=True,
    ),
    Panel(
        "DINO",
        ("agree with", "the teacher"),
        below=("centre", YELLOW),
        slow=True,
        stop=True,
    ),
    Panel("Barlow Twins", ("views agree,", "coordinates differ")),
    Panel("VICReg", ("views agree,", "coordinates vary")),
)


def methods(path: pathlib.Path) -> None:
    """Draw all panels, four in a row, and what the red bars mean."""
    bottom = 2 * (HIGH + GAP) + GAP
    page = Canvas(4 * (WIDE + GAP) + GAP, bottom + LEGEND)
    for number, panel in enumerate(PANELS):
        row, column = divmod(number, 4)
        draw(page, panel, GAP + column * (WIDE + GAP), GAP + row * (HIGH + GAP))
    page.stop(GAP + 20, bottom + 7)
    words = "stop gradient: no gradient flows back through here"
    page.text(GAP + 40, bottom + 7, words, 11.5, ha="left", color=QUIET)
    page.save(path)


def draw(page: Canvas, panel: Panel, left: float, top: float) -> None:
    """Draw a panel with its upper left corner at (left, top)."""
    page.group((left, top, WIDE, HIGH), panel.name)
    middle, turn = top + 138, left + 258
    for y, extra, slow in (
        (top + 72, panel.above, False),
        (top + 204, panel.below, panel.slow),
    ):
        name, kind = ("slow copy", GREY) if slow else ("network", BLUE)
        page.box((left + 14, y - 24, 92, 48), name, "", kind, 11.5)
        end, into = left + 106, middle + (34 if y > middle else -34)
        if extra and panel.bypass:
            page.arrow((end, y - 14), (turn, y - 14), (turn, into))
        if extra:
            low, height = (y + 13, 26) if panel.bypass else (y, 48)
            page.arrow((end, low), (left + 126, low))
            title, kind = extra
            area = left + 128, low - height / 2, 98, height
            page.box(area, title, "", kind, 11.5)
            end, y = left + 226, low
        page.arrow((end, y), (turn, y), (turn, into))
    page.box((left + 183, middle - 32, 150, 64), kind=BLACK)
    for shift, words in zip((-9, 12), panel.loss, strict=True):
        page.text(turn, middle + shift, words, 10.5, color="white")
    page.arrow(
        (left + 60, top + 98),
        (left + 60, top + 178),
        dashed=True,
        head=panel.slow,
        color=INK if panel.slow else LINE,
    )
    words = "follows" if panel.slow else "shared"
    page.text(left + 70, middle, words, 10.5, ha="left", color=QUIET)
    if panel.stop:
        page.stop(left + (242 if panel.below else 165), top + 204 + 13 * panel.bypass)
        if panel.bypass:
            page.stop(left + 120, top + 190)
