"""Results as maps, histograms and bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import axes
from sklearn import manifold
from torch import Tensor
from torch.nn import functional

from helpers.figures import pictures
from helpers.figures.pictures import BLUE, COLORS, INK, Figure, styled

MARKERS = "osD^vPX*<>"  # of classes, for those who do not see their colours


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
    _share(place, before, bins, COLORS[1], label="before pre-training", linestyle="--")
    _share(place, after, bins, BLUE, label="after")
    place.set(xlim=(0, 2), ylabel="images (%)")
    place.set_xlabel("distance of the unit features of an image and of its transform")
    place.legend()
    return drawing


@styled
def bank(age: Tensor, similarity: Tensor) -> Figure:
    """How old the entries of PIRL's memory bank are, and whether images know theirs.

    Args:
        age: updates since an entry moved, int64 (N,).
        similarity: cosine of the features f(v_I) of n images and the entries of the
            same n, (n, n): the diagonal is of their own.
    """
    drawing = Figure(figsize=(8.2, 2.7), layout="constrained")
    left, right = drawing.subplots(1, 2)
    oldest = int(age.max()) + 1
    bins = np.linspace(-0.5, oldest - 0.5, min(oldest, 40) + 1)
    _share(left, age, bins, BLUE)
    left.set(xlabel="age of an entry (steps)", ylabel="entries (%)")
    bins, own = np.linspace(-1, 1, 51), torch.eye(len(similarity), dtype=torch.bool)
    _share(right, similarity.cpu()[~own], bins, COLORS[1], label="of other images")
    _share(right, similarity.cpu()[own], bins, BLUE, label="its own")
    right.set(xlim=(-1, 1), xticks=np.linspace(-1, 1, 5), ylabel="entries (%)")
    right.set_xlabel("similarity of an image's feature to an entry")
    right.legend()
    return drawing


def _share(
    place: axes.Axes, values: Tensor, bins: np.ndarray, color: str, **style: Any
) -> None:
    """Draw a histogram in percent of the values."""
    numbers = values.detach().cpu().float().numpy()
    weights = np.full(len(numbers), 100 / max(1, len(numbers)))
    place.hist(numbers, bins, weights=weights, color=color, alpha=0.3)
    outline = {"color": color, "histtype": "step", "linewidth": 1.6, **style}
    place.hist(numbers, bins, weights=weights, **outline)


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
