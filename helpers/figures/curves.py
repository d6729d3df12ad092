"""Curves over the epochs of a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import axes, ticker

from helpers.figures.pictures import BLUE, FAINT, WRONG, Figure, styled


def in_notebook() -> bool:
    """Say whether there is a front end that shows figures."""
    try:
        import IPython
    except ImportError:
        return False
    return hasattr(IPython.get_ipython(), "kernel")


class Live:
    """The training curves of a notebook, redrawn in place after every epoch.

    Give its ``update`` to ``pretraining.pretrain`` as ``on_epoch``, or call it with the
    history of a finished run. Outside a notebook it does nothing.

    Args:
        **options: of ``training``.
    """

    def __init__(self, **options: Any) -> None:
        """See the class."""
        self.options = options
        self.handle: Any = None

    def update(self, history: Sequence[dict[str, Any]]) -> None:
        """Show the history so far."""
        if not history or not in_notebook():
            return
        from IPython import display

        bundle = training(history, **self.options).mime_bundle()
        if self.handle is None:
            self.handle = display.display(bundle, raw=True, display_id=True)
        else:
            self.handle.update(bundle, raw=True)


@styled
def training(
    history: Sequence[dict[str, Any]],
    *,
    collapse_level: float = 0.1,
    loss_floor: float | None = None,
) -> Figure:
    """Loss, k-NN accuracy and collapse gauge over the epochs of pre-training.

    Args:
        history: entries with ``epoch``, ``loss``, ``spread`` and sometimes ``knn``.
        collapse_level: the spread below which embeddings count as collapsed.
        loss_floor: the loss of guessing, such as ln N; a dotted line.
    """
    drawing = Figure(figsize=(9, 2.5), layout="constrained")
    loss, knn, spread = drawing.subplots(1, 3)
    _curve(loss, history, "loss", "loss")
    if loss_floor is not None:
        guess = f"guessing, {loss_floor:.2f}"
        loss.axhline(loss_floor, color=FAINT, linestyle=":", label=guess)
        loss.legend(fontsize=8)
    _curve(knn, history, "knn", "k-NN accuracy on the\ntraining labels (%)")
    _curve(spread, history, "spread", "spread of the embeddings")
    spread.axhline(1, color=FAINT, linestyle="--", linewidth=1.2)
    spread.axhspan(0, collapse_level, color=WRONG, alpha=0.18, linewidth=0)
    at_left = spread.get_yaxis_transform()
    for level, word in ((1, "isotropic"), (collapse_level, "collapsed")):
        spread.text(0.02, level + 0.01, word, transform=at_left, fontsize=8)
    spread.set_ylim(0, max([1.2, *(1.1 * entry["spread"] for entry in history)]))
    return drawing


@styled
def supervised_training(history: Sequence[dict[str, Any]]) -> Figure:
    """Training loss and validation accuracy over the epochs of supervised training."""
    drawing = Figure(figsize=(6.4, 2.5), layout="constrained")
    left, right = drawing.subplots(1, 2)
    _curve(left, history, "loss", "training loss")
    _curve(right, history, "validation", "validation top-1 (%)")
    return drawing


def _curve(
    place: axes.Axes, history: Sequence[dict[str, Any]], key: str, label: str
) -> None:
    """Draw the entries that have this value over their epochs."""
    points = [(e["epoch"], e[key]) for e in history if e.get(key) is not None]
    line = np.array(points, dtype=float).reshape(-1, 2).T
    place.plot(*line, color=BLUE, marker="o" if len(points) <= 20 else "", ms=3.5)
    place.set(xlabel="epoch", ylabel=label)
    place.set_xlim(0.5, max([1, *(e["epoch"] for e in history)]) + 0.5)
    place.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True, min_n_ticks=1))
