"""Charts of results: confusion, t-SNE, histograms, bars."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import axes
from sklearn import manifold
from torch import Tensor
from torch.nn import functional

from helpers.figures import pictures
from helpers.figures.pictures import BLUE, COLORS, INK, Figure, styled

MARKERS = "osD^vPX*<>"  # of the classes, for readers who cannot tell colours apart


@styled
def confusion(matrix: Tensor | np.ndarray, classes: Sequence[str]) -> Figure:
    """Draw how often a class is taken for another, in percent of its images.

    Args:
        matrix: counts (C, C), true classes in rows, predicted ones in columns.
        classes: C names.
    """
    counts = torch.as_tensor(matrix).cpu().double().numpy()
    percent = 100 * counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    side = min(max(3.0, 1.3 + 0.45 * len(classes)), 9.0)
    fig = Figure(figsize=(side + 0.1, side), layout="constrained")
    ax = fig.subplots()
    ax.grid(False)
    ax.spines[:].set_visible(False)
    image = ax.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    names = list(map(pictures.short, classes))
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(range(len(classes)), names, **slanted)
    ax.set_yticks(range(len(classes)), names)
    ax.set(xlabel="predicted class", ylabel="true class (a row is 100 %)")
    ax.tick_params(length=0)
    if len(classes) > 20:  # numbers would not be legible
        fig.colorbar(image, ax=ax, shrink=0.7, label="% of the true class")
    else:
        for (row, column), value in np.ndenumerate(percent):
            color = "white" if value > 55 else INK if value >= 0.5 else "#BBBBBB"
            style = {"ha": "center", "va": "center", "size": 8, "color": color}
            ax.text(column, row, f"{value:.0f}", **style)
    return fig


@styled
def tsne(
    features: Mapping[str, Tensor],
    labels: Tensor,
    classes: Sequence[str],
    seed: int = 0,
) -> Figure:
    """Draw t-SNE maps: points near each other are similar, far distances mean little.

    Args:
        features: from a network's name to its features of the same images, float
            (N, D), N at least 5; at most 500 of them are drawn.
        labels: int64 (N,).
        classes: names of the classes.
        seed: of the choice of points and of t-SNE.

    Raises:
        ValueError: for fewer than 5 images, or features that are all the same.
    """
    if len(labels) < 5:
        raise ValueError(f"A t-SNE map needs at least 5 images, not {len(labels)}.")
    for name, rows in features.items():  # scikit-learn would crash the process
        if bool((rows == rows[0]).all()):
            raise ValueError(f"All features of {name} are the same: there is no map.")
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(labels), generator=generator)[:500]
    label_of = labels.cpu()[chosen].numpy()
    perplexity = min(30.0, (len(chosen) - 1) / 3)
    fig = Figure(figsize=(4.2 * len(features) + 1.8, 4.2), layout="constrained")
    for ax, (name, rows) in zip(
        fig.subplots(1, len(features), squeeze=False)[0], features.items(), strict=True
    ):
        unit = functional.normalize(rows[chosen.to(rows.device)].float(), dim=1)
        method = manifold.TSNE(perplexity=perplexity, init="pca", random_state=seed)
        points = method.fit_transform(unit.detach().cpu().numpy())
        ax.set(xticks=[], yticks=[], title=pictures.short(name))
        for label in sorted(set(label_of.tolist())):
            x, y = points[label_of == label].T
            ax.scatter(
                x,
                y,
                s=18,
                color=COLORS[label % len(COLORS)],
                marker=MARKERS[(label + label // len(COLORS)) % len(MARKERS)],
                label=pictures.name_of(label, classes),
                linewidths=0,
            )
    handles, names = ax.get_legend_handles_labels()
    fig.legend(handles, names, loc="outside right upper", ncols=1 + len(classes) // 21)
    return fig


@styled
def distances(before: Tensor, after: Tensor) -> Figure:
    """Draw how far PIRL's f(v_I) is from its g(v_It), as in the paper's figure 4.

    Args:
        before: |f/|f| - g/|g|| before pre-training, float (N,), in [0, 2].
        after: the same after pre-training.
    """
    fig = Figure(figsize=(5.4, 2.7), layout="constrained")
    ax = fig.subplots()
    bins = np.linspace(0, 2, 51)
    _histogram(ax, before, bins, COLORS[1], label="before pre-training", linestyle="--")
    _histogram(ax, after, bins, BLUE, label="after")
    ax.set(xlim=(0, 2), ylabel="images (%)")
    ax.set_xlabel("distance of the unit features of an image and of its transform")
    ax.legend()
    return fig


@styled
def bank(age: Tensor, similarity: Tensor) -> Figure:
    """Draw the ages of PIRL's memory bank, and how similar images are to its entries.

    Args:
        age: steps since each entry was updated, int64 (N,).
        similarity: cosines of the features f(v_I) of n images (rows) and their entries
            (columns), (n, n): an image's own entry is on the diagonal.
    """
    fig = Figure(figsize=(8.2, 2.7), layout="constrained")
    left, right = fig.subplots(1, 2)
    count = int(age.max()) + 1
    width = math.ceil(count / 40)  # whole steps, or some bars would hold more of them
    ends = np.arange(0, count + width, width) - 0.5
    _histogram(left, age, ends, BLUE)
    left.set(xlabel="age of an entry (steps)", ylabel="entries (%)")
    bins, own = np.linspace(-1, 1, 51), torch.eye(len(similarity), dtype=torch.bool)
    _histogram(right, similarity.cpu()[~own], bins, COLORS[1], label="of other images")
    _histogram(right, similarity.cpu()[own], bins, BLUE, label="its own")
    right.set(xlim=(-1, 1), xticks=np.linspace(-1, 1, 5), ylabel="entries (%)")
    right.set_xlabel("similarity of an image's feature to an entry")
    right.legend()
    return fig


def _histogram(
    ax: axes.Axes, values: Tensor, bins: np.ndarray, color: str, **style: Any
) -> None:
    """Draw a histogram in percent of the values."""
    numbers = values.detach().cpu().float().numpy()
    weights = np.full(len(numbers), 100 / max(1, len(numbers)))
    ax.hist(numbers, bins, weights=weights, color=color, alpha=0.3)
    outline = {"color": color, "histtype": "step", "linewidth": 1.6, **style}
    ax.hist(numbers, bins, weights=weights, **outline)


@styled
def label_efficiency(curves: Mapping[str, Mapping[int, float]]) -> Figure:
    """Draw test accuracy against the number of labels.

    Args:
        curves: from a way to use labels to its top-1 accuracy in percent, by the number
            of labels per class.
    """
    fig = Figure(figsize=(5.6, 3.2), layout="constrained")
    ax = fig.subplots()
    for number, (name, points) in enumerate(curves.items()):
        style = {"marker": MARKERS[number], "color": COLORS[number % len(COLORS)]}
        ax.plot(list(points), list(points.values()), label=name, **style)
    amounts = sorted({amount for points in curves.values() for amount in points})
    ax.set_xscale("log")
    ax.set_xticks(amounts, [f"{amount:,}" for amount in amounts])
    ax.minorticks_off()
    ax.set(xlabel="labels per class", ylabel="top-1 accuracy on the test set (%)")
    ax.legend()
    return fig


def color_of(method: str) -> str:
    """The colour of a method, the same in every figure."""
    key = re.sub(r"[^a-z]", "", method.lower())
    known = ("pirl", "byol", "simclr", "swav", "moco", "dino")
    known += ("random", "simsiam", "barlowtwins", "vicreg", "supcon")
    found = next((n for n, name in enumerate(known) if key.startswith(name)), None)
    return pictures.FAINT if found is None else (*COLORS, INK)[found]


@styled
def comparison(records: Sequence[dict[str, Any]]) -> Figure:
    """Draw the test accuracy of all runs as bars, grouped by protocol.

    Bars of one method are told apart by the epochs of pre-training (*after*), and bars
    that would still have the same name by those of training (*in*), or by the side of
    the images.

    Args:
        records: with ``method``, ``protocol``, ``top1_mean``, ``top1_std`` (percent)
            and ``seeds``, and optionally what else ``results.save`` takes.
    """
    networks = {str(record.get("backbone")) for record in records}
    # Of "resnet18" and "resnet18, pool stem" the bars need to show the stem alone, and
    # of a single network nothing.
    of_all = f"{min(networks, key=len, default='')}, "
    of_all = of_all if all(f"{one}, ".startswith(of_all) for one in networks) else ""
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_fold = f", {record['folds']} folds" if record.get("folds") else ""
        groups.setdefault(record["protocol"] + by_fold, []).append(record)
    height = 0.8 + 0.27 * len(records) + 0.36 * len(groups)
    fig = Figure(figsize=(7, height), layout="constrained")
    ax = fig.subplots()
    y, ticks = 0.0, {}
    for protocol, members in groups.items():
        ax.text(0.5, y, protocol, weight="bold", va="center")
        y += 1
        members.sort(key=lambda record: -record["top1_mean"])
        names = _told_apart(members, of_all)
        for name, record in zip(names, members, strict=True):
            mean, color = record["top1_mean"], color_of(record["method"])
            repeated = record.get("seeds", 1) > 1  # a single run has no deviation
            std = record["top1_std"] if repeated else None
            ax.barh(y, mean, 0.72, xerr=std, color=color, ecolor=INK, capsize=2)
            text = f"{mean:.1f}" + (f" ± {std:.1f}" if repeated else "")
            ax.text(mean + (std or 0) + 1, y, text, va="center", fontsize=8.5)
            ticks[y] = pictures.short(name, 56)
            y += 1
        y += 0.35
    ax.set_yticks(list(ticks), list(ticks.values()))
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    ax.set(xlim=(0, 108), ylim=(y - 0.6, -0.6), xticks=range(0, 101, 20))
    ax.set_xlabel("top-1 accuracy on the test set (%)")
    return fig


def _told_apart(records: Sequence[Mapping[str, Any]], of_all: str) -> list[str]:
    """Names of bars: method, network without ``of_all``, and what tells them apart."""
    methods = [record["method"] for record in records]
    networks = [f"{one.get('backbone')}, ".removeprefix(of_all) for one in records]
    names = [
        f"{method}, {network}".removesuffix(", ")
        for method, network in zip(methods, networks, strict=True)
    ]
    for text, value_of, of_method in (
        # Of another network as well, or it would pass for the cause.
        ("after {} epochs", lambda record: record.get("pretraining_epochs"), True),
        (
            "in {} epochs",
            lambda record: (record.get("settings") or {}).get("epochs"),
            False,
        ),
        ("{} px", lambda record: record.get("image_size"), False),
    ):
        values = [value_of(record) for record in records]
        keys = methods if of_method else names
        told: dict[str, set[Any]] = {}
        for key, value in zip(keys, values, strict=True):
            told.setdefault(key, set()).add(value)
        names = [
            name
            if len(told[key]) == 1 or value is None
            else f"{name}, {text.format(value)}"
            for name, key, value in zip(names, keys, values, strict=True)
        ]
    return names
