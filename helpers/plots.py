"""Every figure the notebooks show: results as curves, maps and bars.

Those made of pictures are in ``pictures``; they can be called from here too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import axes, ticker
from sklearn import manifold
from torch import Tensor
from torch.nn import functional

from helpers import notebook, pictures
from helpers.pictures import BLUE, COLORS, FAINT, INK, Figure, styled

MARKERS = "osD^vPX*<>"  # of classes, for those who do not see their colours
class_examples = pictures.class_examples
image_grid = pictures.image_grid
jigsaw = pictures.jigsaw
neighbors = pictures.neighbors
view_rows = pictures.view_rows


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
        if not history or not notebook.in_notebook():
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
    spread.axhspan(0, collapse_level, color=pictures.WRONG, alpha=0.18, linewidth=0)
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


@styled
def confusion(matrix: Tensor | np.ndarray, classes: Sequence[str]) -> Figure:
    """How often each class is taken for which, in percent of its images.

    Args:
        matrix: int (C, C), true classes in rows, predictions in columns.
        classes: C names.
    """
    counts = torch.as_tensor(matrix).cpu().double().numpy()
    percent = 100 * counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    side = min(max(3.0, 1.3 + 0.45 * len(classes)), 9.0)
    drawing = Figure(figsize=(side + 0.1, side), layout="constrained")
    place = drawing.subplots()
    place.grid(False)
    place.spines[:].set_visible(False)
    shown = place.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    place.set_xticks(range(len(classes)), classes, **slanted)
    place.set_yticks(range(len(classes)), classes)
    place.set(xlabel="predicted class", ylabel="true class (a row is 100 %)")
    place.tick_params(length=0)
    if len(classes) > 20:  # numbers would not be legible
        drawing.colorbar(shown, ax=place, shrink=0.7, label="% of the true class")
    else:
        for (row, column), value in np.ndenumerate(percent):
            color = "white" if value > 55 else INK if value >= 0.5 else "#BBBBBB"
            style = {"ha": "center", "va": "center", "size": 8, "color": color}
            place.text(column, row, f"{value:.0f}", **style)
    return drawing


@styled
def tsne(
    features: Tensor, labels: Tensor, classes: Sequence[str], seed: int = 0
) -> Figure:
    """A map of the features: near points are similar, far distances mean little.

    Args:
        features: float (N, D), N at least 5; of more than 1,000, 1,000 are drawn.
        labels: int64 (N,).
        classes: names of the classes.
        seed: of the choice of points and of t-SNE.

    Raises:
        ValueError: for fewer than 5 features.
    """
    if len(features) < 5:
        raise ValueError(f"t-SNE of {len(features)} features: give at least 5.")
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(features), generator=generator)[:1000]
    unit = functional.normalize(features[chosen.to(features.device)].float(), dim=1)
    perplexity = min(30.0, (len(chosen) - 1) / 3)
    method = manifold.TSNE(perplexity=perplexity, init="pca", random_state=seed)
    points = method.fit_transform(unit.detach().cpu().numpy())
    kinds = labels.cpu()[chosen].numpy()
    drawing = Figure(figsize=(6.6, 4.6), layout="constrained")
    place = drawing.subplots()
    place.set(xticks=[], yticks=[], xlabel="t-SNE 1", ylabel="t-SNE 2")
    for number in sorted(set(kinds.tolist())):
        x, y = points[kinds == number].T
        place.scatter(
            *(x, y, 20, COLORS[number % len(COLORS)]),
            marker=MARKERS[(number + number // len(COLORS)) % len(MARKERS)],
            label=pictures.name_of(number, classes),
            linewidths=0,
        )
    drawing.legend(loc="outside right upper", ncols=math.ceil(len(classes) / 20))
    return drawing


@styled
def distances(before: Tensor, after: Tensor) -> Figure:
    """How far f(v_I) is from g(v_It), image by image, as in figure 4 of PIRL.

    Args:
        before: |f/|f| - g/|g|| before pre-training, float (N,), in [0, 2].
        after: and after it.
    """
    drawing = Figure(figsize=(5.4, 2.7), layout="constrained")
    place = drawing.subplots()
    bins = np.linspace(0, 2, 51)
    pairs = (
        (before, COLORS[1], {"label": "before pre-training", "linestyle": "--"}),
        (after, BLUE, {"label": "after"}),
    )
    for values, color, style in pairs:
        numbers = values.detach().cpu().float().numpy()
        weights = np.full(len(numbers), 100 / max(1, len(numbers)))
        place.hist(numbers, bins, weights=weights, color=color, alpha=0.3)
        style = {"color": color, "histtype": "step", "linewidth": 1.6, **style}
        place.hist(numbers, bins, weights=weights, **style)
    place.set(xlim=(0, 2), ylabel="images (%)")
    place.set_xlabel("distance of the unit features of an image and of its jigsaw")
    place.legend()
    return drawing


@styled
def comparison(records: Sequence[dict[str, Any]]) -> Figure:
    """Test accuracy of all runs, a bar each, in groups of one protocol.

    Args:
        records: with ``method``, ``protocol``, ``top1_mean`` and ``top1_std`` (percent;
            None where there was one seed); ``backbone`` and ``folds`` may be there.
    """
    networks = {record.get("backbone") for record in records}
    methods = list(dict.fromkeys(record["method"] for record in records))
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_fold = f", {record['folds']} folds" if record.get("folds") else ""
        groups.setdefault(record["protocol"] + by_fold, []).append(record)
    height = 0.8 + 0.27 * len(records) + 0.36 * len(groups)
    drawing = Figure(figsize=(7, height), layout="constrained")
    place = drawing.subplots()
    y, ticks = 0.0, []
    for protocol, members in groups.items():
        place.text(0.5, y, protocol, weight="bold", va="center")
        y += 1
        for record in sorted(members, key=lambda one: -one["top1_mean"]):
            mean, std = record["top1_mean"], record["top1_std"]
            color = COLORS[methods.index(record["method"]) % len(COLORS)]
            place.barh(y, mean, 0.72, xerr=std, color=color, ecolor=INK, capsize=2)
            text = f"{mean:.1f}" + (f" ± {std:.1f}" if std else "")
            place.text(mean + (std or 0) + 1, y, text, va="center", fontsize=8.5)
            network = f", {record.get('backbone')}" if len(networks) > 1 else ""
            ticks.append((y, record["method"] + network))
            y += 1
        y += 0.35
    place.set_yticks([at for at, _ in ticks], [name for _, name in ticks])
    place.tick_params(axis="y", length=0)
    place.grid(axis="y", visible=False)
    place.set(xlim=(0, 108), ylim=(y - 0.6, -0.6), xticks=range(0, 101, 20))
    place.set_xlabel("top-1 accuracy on the test set (%)")
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
