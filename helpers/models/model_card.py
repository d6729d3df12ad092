"""Model cards: what a network is, how to use it and where it comes from, to be read."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

from helpers import views
from helpers.data import sources
from helpers.data.dataset import unlimited_name

# Keys of the metadata that are told in the text, or are too long for a table.
TOLD = ("classes", "head", "epsilon", "mean", "std", "image_size", "stored_size", "fit")
SQUARES = {  # how an image becomes one, by ``decoding.FITS``
    "crop": "cut out its middle square",
    "squash": "squash it to a square (without cutting it)",
    "pad": "pad it with black to a square",
}
RECIPE = "The recipe is where the settings began; these are those of the training.\n\n"
BALANCED = "; in `balanced` every class counts the same"
NUMBERS = ("knn", "spread", "loss", "top1", "balanced")


def write(
    name: str,
    about: Mapping[str, Any],
    *,
    image_size: int,
    outputs: str,
    measured: Mapping[str, str] | None = None,
) -> str:
    """Write a model card in Markdown.

    Args:
        name: of the network's file.
        about: metadata of the backbone or classifier file.
        image_size: side S in pixels of the images that the network takes.
        outputs: what it maps images to, in words.
        measured: accuracies on test images, by what they are of.

    Returns:
        The card: how to prepare an image, data and recipe, numbers, licence.
    """
    flat = dict(_flatten(about))
    figures = {
        key: value
        for key, value in flat.items()
        if _last(key) in NUMBERS and isinstance(value, numbers.Real)
    }
    made = {key: value for key, value in flat.items() if key not in figures}
    in_turn = BALANCED if any(_last(key) == "balanced" for key in figures) else ""
    parts = [
        f"# {name}",
        f"A network that maps images (B, 3, {image_size}, {image_size}) to {outputs}. "
        "Expect little of it on images unlike those that it has learned from.",
        "## How to prepare an image",
        f"{preparation(about, image_size)}:",
        f"    mean = {list(views.MEAN)}\n    std = {list(views.STD)}",
    ]
    if "classes" in about:
        names = [
            f"{number}. {_cell(text)}" for number, text in enumerate(about["classes"])
        ]
        parts += ["## Classes", "In the order of the outputs:", "\n".join(names)]
    parts += [
        "## Numbers",
        _table({**figures, **(measured or {})})
        or "None were measured: `python -m helpers evaluate` does.",
        "Accuracies are in percent: `knn` is leave-one-out k-NN on the training labels "
        "at the last look while it trained; all others are on the test images"
        f"{in_turn}.",
        "## Data and recipe",
        (RECIPE if any(_last(key) == "recipe" for key in made) else "")
        + (_table(made) or "The file does not say."),
        "## Licence",
        "What may be done with the weights depends on the images that they were "
        f"learned from. {licence(about) or 'Write their licence here: ____'}",
    ]
    return "\n\n".join(parts) + "\n"


def licence(about: Mapping[str, Any]) -> str | None:
    """The terms of all images that weights have seen; None where they are not known."""
    if about.get("licence"):
        return str(about["licence"])
    seen = [about, about.get("pretraining") or {}]
    if any("converted" in one for one in seen):  # of another project: nobody knows
        return None
    names = {unlimited_name(str(one["data"])) for one in seen if one.get("data")}
    names |= {one["init"] for one in seen if one.get("init", "random") != "random"}
    known = {name: source.licence for name, source in sources.SOURCES.items()}
    known["imagenet"] = sources.FROM_IMAGENET
    terms = {known.get(name) for name in names}
    return None if not terms or None in terms else " ".join(sorted(terms))


def preparation(about: Mapping[str, Any], image_size: int) -> str:
    """Say how an image is prepared for a network, up to its mean and deviation."""
    sides = dict.fromkeys((about.get("stored_size", image_size), image_size))
    sizes = " and then to ".join(f"{side} x {side}" for side in sides)
    return (
        "Rotate an image as its EXIF orientation says, convert it to RGB, "
        f"{SQUARES[about.get('fit', 'crop')]}, resize it bilinearly to {sizes} pixels, "
        "divide by 255, then subtract the mean and divide by the standard deviation of "
        "each channel"
    )


def _flatten(about: Mapping[str, Any], before: str = "") -> Any:
    """Yield plain values with the path of their keys; lists as their values."""
    for key, value in about.items():
        if not before and key in (*TOLD, "result"):
            continue
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{before}{key}.")
        elif value not in (None, "", [], {}):
            yield f"{before}{key}", value


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _table(rows: Mapping[str, Any]) -> str:
    lines = [f"| {_cell(key)} | {_cell(value)} |" for key, value in rows.items()]
    return "\n".join(["| what | value |", "|---|---|", *lines]) if lines else ""


def _cell(value: Any) -> str:
    """A value as text that stays within its cell and is no mark-up."""
    if isinstance(value, numbers.Real) and not isinstance(value, (bool, int)):
        value = f"{value:.4g}"
    text = "".join(sign if sign.isprintable() else " " for sign in str(value))
    for sign in "\\`*_|<>[]":
        text = text.replace(sign, f"\\{sign}")
    return text
