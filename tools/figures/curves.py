"""How accuracy grew: of the released backbones on a GPU, and of one run on a CPU."""

from __future__ import annotations

import json
import pathlib

from matplotlib import figure

from helpers import methods
from helpers.figures import charts
from tools.figures.canvas import LINE, QUIET

MEASURED = pathlib.Path(__file__).parents[2] / "benchmarks"


def learning(file: pathlib.Path) -> None:
    """k-NN accuracy against images seen, a line for each method."""
    found = json.loads((MEASURED / "gpu_learning.json").read_text("utf-8"))["tables"]
    slow = json.loads((MEASURED / "long_run.json").read_text("utf-8"))["curve"]
    page = figure.Figure(figsize=(9, 4.5), dpi=100, layout="constrained")
    ax = page.add_subplot()
    (untrained,) = found["gauge"]
    ax.axhline(untrained["knn"], color=LINE, linestyle="--", linewidth=1)
    ax.text(0.01, untrained["knn"] + 1, "random weights", color=QUIET, size=11)
    for name in ("simclr", "byol", "pirl"):
        color = charts.color_of(name)
        rows = [row for row in found["curve"] if row["name"] == name]
        images = [row["images"] / 1e6 for row in rows]
        ax.plot(images, [row["knn"] for row in rows], color=color, marker="o", ms=4)
        last = f"{methods.get(name).__name__} {rows[-1]['knn']:.1f}"
        below = name == "pirl"  # it ends next to BYOL
        ax.annotate(
            last,
            (images[-1], rows[-1]["knn"]),
            (8, -12 if below else 6),
            textcoords="offset points",
            color=color,
            size=12,
        )
    images = [row["images"] / 1e6 for row in slow]
    style = {"color": charts.color_of("simclr"), "linestyle": "--", "marker": "o"}
    ax.plot(images, [row["knn"] for row in slow], ms=4, **style)
    words = f"SimCLR on two CPU cores {slow[-1]['knn']:.1f}"
    ax.text(1.43, 60.5, words, color=style["color"], size=12, ha="right")
    ax.set_xlim(0, 1.45)
    ax.set_xlabel("million images seen")
    ax.set_ylabel("k-NN on training labels (%)")
    ax.grid(axis="y", color=LINE, alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    page.savefig(file, metadata={"Software": None})
