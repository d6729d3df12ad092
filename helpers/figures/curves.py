"""Training curves: loss, accuracy and collapse gauge over the epochs."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib import axes, ticker

from helpers.figures.pictures import BLUE, FAINT, WRONG, Figure, styled


def in_notebook() -> bool:
    """Whether this code runs in a notebook, which can show figures."""
    ipython = sys.modules.get("IPython")  # a notebook has imported it already
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class Live:
    """Training curves that are redrawn below a notebook's cell after every epoch.

    Pass its ``update`` as ``on_epoch``, or call it with the history of a finished run.
    Outside a notebook it does nothing.

    Args:
        draw: ``training`` or ``supervised_training``.
        **options: further arguments of ``draw``.
    """

    def __init__(
        self, draw: Callable[..., Figure] | None = None, **options: Any
    ) -> None:
        """See the class."""
        self.draw = functools.partial(draw or training, **options)
        self.handle: Any = None
        if in_notebook():
            from IPython import display

            # Its place is above the progress bar, which is printed later.
            self.handle = display.display({"text/plain": ""}, raw=True, display_id=True)

    def update(self, history: Sequence[dict[str, Any]]) -> None:
        """Redraw the curves with the history so far."""
        if history and self.handle is not None:
            self.handle.update(self.draw(history).mime_bundle(), raw=True)


@styled
def training(
    history: Sequence[dict[str, Any]],
    *,
    collapse_level: float = 0.1,
    guessing: float | None = None,
) -> Figure:
    """Draw loss, k-NN accuracy and collapse gauge over the epochs of pre-training.

    Args:
        history: one entry per epoch, with ``epoch``, ``loss``, ``spread`` and sometimes
            ``knn`` (percent).
        collapse_level: the spread below which embeddings count as collapsed.
        guessing: the loss of guessing, such as ln N, drawn as a dotted line.
    """
    fig = Figure(figsize=(9, 2.5), layout="constrained")
    loss, knn, spread = fig.subplots(1, 3)
    _curve(loss, history, "loss", "loss")
    if guessing is not None:
        guess = f"guessing, {guessing:.2f}"
        loss.axhline(guessing, color=FAINT, linestyle=":", label=guess)
        loss.legend(fontsize=8)
    _curve(knn, history, "knn", "k-NN accuracy on the\ntraining labels (%)")
    _curve(spread, history, "spread", "spread of the embeddings")
    spread.axhline(1, color=FAINT, linestyle="--", linewidth=1.2)
    spread.axhspan(0, collapse_level, color=WRONG, alpha=0.18, linewidth=0)
    at_left = spread.get_yaxis_transform()
    # The curve itself is often at 1.
    for height, word in (
        (1.06, "all directions"),
        (collapse_level + 0.01, "collapsed"),
    ):
        spread.text(0.02, height, word, transform=at_left, fontsize=8)
    highest = max((entry["spread"] for entry in history), default=0)
    spread.set_ylim(0, max(1.2, 1.1 * highest))
    return fig


@styled
def supervised_training(history: Sequence[dict[str, Any]]) -> Figure:
    """Draw training loss and validation accuracy over the epochs."""
    fig = Figure(figsize=(6.4, 2.5), layout="constrained")
    left, right = fig.subplots(1, 2)
    _curve(left, history, "loss", "training loss")
    _curve(right, history, "validation", "validation top-1 (%)")
    return fig


def _curve(
    ax: axes.Axes, history: Sequence[dict[str, Any]], key: str, label: str
) -> None:
    """Draw a value over the epochs of the entries that have it."""
    known = [entry for entry in history if entry.get(key) is not None]
    epochs, values = ([entry[name] for entry in known] for name in ("epoch", key))
    ax.plot(epochs, values, color=BLUE, marker="o" if len(known) <= 20 else "", ms=3.5)
    ax.set(xlabel="epoch", ylabel=label)
    ax.set_xlim(0.5, max((entry["epoch"] for entry in history), default=1) + 0.5)
    ax.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True, min_n_ticks=1))
