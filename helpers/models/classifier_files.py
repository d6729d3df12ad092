"""Classifier files: a trained classifier with all it needs to judge a new image.

``classifier.safetensors`` holds the weights of backbone, standardisation and head. Its
metadata name the network, the classes, how an image is prepared, and how the classifier
was made and scored. A file is checked before it is used: it may come from anywhere.
"""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from helpers import files, views
from helpers.data import decoding
from helpers.models import backbones, heads, weight_files
from helpers.views.settings import LARGEST

CLASSIFIER_FILE = "classifier.safetensors"
HEADS = {nn.Linear: "linear", heads.MLP: "mlp"}
NORMALIZATION = {"mean": list(views.MEAN), "std": list(views.STD)}


def on_features(
    backbone: nn.Module, mean: Tensor, std: Tensor, head: nn.Module, classes: int
) -> heads.Classifier:
    """Put a head that was trained on standardised features behind their backbone.

    Args:
        backbone: frozen network whose features (B, D) the head was trained on.
        mean: (D,), subtracted from the features.
        std: (D,), by which they are divided then.
        head: maps standardised features to logits (B, C).
        classes: their number C.
    """
    classifier = heads.Classifier(backbone, classes)
    classifier.standardize.running_mean.copy_(mean)
    classifier.standardize.running_var.copy_(std.double().square())
    classifier.standardize.eps = 1e-30  # as good as none, which torch 2.11 refuses
    classifier.head = head
    return classifier.eval()


def save(
    path: pathlib.Path, classifier: heads.Classifier, about: Mapping[str, Any]
) -> None:
    """Write a classifier file.

    Args:
        path: ``*.safetensors``.
        classifier: backbone, standardisation and head.
        about: metadata in plain types; required are ``network`` (the backbone's name,
            stem and normalisation, as ``backbones.build`` takes them), ``classes``,
            ``image_size`` (side S of the views it was trained on) and ``stored_size``
            (side of the square images from which these were made).

    Raises:
        OSError: in one sentence, when the file cannot be written.
    """
    known = {
        "head": HEADS[type(classifier.head)],
        "epsilon": classifier.standardize.eps,
    }
    weight_files.save_backbone(path, classifier, {**about, **known, **NORMALIZATION})


def load(path: str | os.PathLike[str]) -> tuple[heads.Classifier, dict[str, Any]]:
    """Build the classifier that a file describes and load the file's weights into it.

    Returns:
        The classifier, ready to predict, and the metadata.

    Raises:
        ValueError: when the file is missing, damaged, not a classifier, or was made for
            images that are prepared in another way.
    """
    path = pathlib.Path(path)
    about = read_about(path)
    tensors = safetensors.torch.load_file(path)
    weight_files.check_weights(tensors, path.name)
    network = dict(about["network"])
    backbone = backbones.build(network.pop("backbone"), **network)
    width, classes = backbone.feature_dim, len(about["classes"])
    classifier = heads.Classifier(backbone, classes)
    classifier.standardize.eps = float(about["epsilon"])
    if about["head"] == "mlp":
        classifier.head = heads.MLP(width, classes)
    try:
        classifier.load_state_dict(tensors)
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise ValueError(
            f"{path.name} does not fit the {about['network']['backbone']} that it "
            f"names; nothing was loaded ({first[0].strip()})."
        ) from None
    return classifier.eval(), about


def is_classifier(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a whole safetensors file with a classifier's metadata."""
    try:
        read_about(pathlib.Path(path))
    except ValueError:
        return False
    return True


def read_about(path: pathlib.Path) -> dict[str, Any]:
    """Read and check the metadata of a classifier file.

    Raises:
        ValueError: when they are not those of a classifier.
    """
    if path.exists() and path.suffix != ".safetensors":
        raise ValueError(
            f"{path.name} is not a classifier: choose a .safetensors file."
        )
    about = weight_files.read_about(path)
    if "backbone" in about:
        raise ValueError(
            f"{path.name} is a backbone without a head: make a classifier of it with "
            f"`python -m helpers evaluate --weights {files.quoted(path)}` and your "
            "labelled images."
        )
    about.setdefault("fit", "crop")  # before there was a choice
    wrong = next(
        (key for key, good in CHECKS.items() if not _passes(about, key, good)), ""
    )
    if wrong:
        raise ValueError(
            f"{path.name} is not a classifier of this project (its {wrong!r} is "
            "missing or wrong): choose a file that baseline or evaluate has written."
        )
    network = dict(about["network"])
    try:
        backbones.check(network.pop("backbone"), **network)
    except ValueError as error:
        raise ValueError(f"{path.name} cannot be used. {error}") from None
    for key, expected in NORMALIZATION.items():
        if about[key] != expected:
            raise ValueError(
                f"{path.name} was made for images normalised with {key} {about[key]}, "
                f"and here it is {expected}: predict with the project that made it."
            )
    return about


def describe(about: Mapping[str, Any]) -> str:
    """Describe a classifier in one line: protocol, method, data, accuracy."""
    names = ("protocol", "method", "data")
    words = [str(about[name]) for name in names if name in about]
    count = len(about["classes"])
    if isinstance(about.get("top1"), float):
        words.append(f"{about['top1']:.1f} % of its test images right")
    return f"classifier of {count} classes: {', '.join(words) or 'origin unknown'}"


def _passes(about: Mapping[str, Any], key: str, good: Any) -> bool:
    return key in about and bool(good(about[key]))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


def _is_side(value: Any) -> bool:
    return type(value) is int and 1 <= value <= LARGEST


def _is_color(value: Any) -> bool:
    return isinstance(value, Sequence) and all(type(x) is float for x in value)


CHECKS = {
    "network": lambda value: (
        isinstance(value, dict)
        and "backbone" in value
        and value.keys() <= {"backbone", "stem", "norm"}
        and all(map(_is_text, value.values()))
    ),
    "head": lambda value: value in tuple(HEADS.values()),
    "epsilon": lambda value: type(value) is float and 0 < value < math.inf,
    "classes": lambda value: (
        isinstance(value, list)
        and len(value) > 0
        and all(isinstance(name, str) for name in value)
    ),
    "image_size": _is_side,
    "stored_size": _is_side,
    # A value may be of any kind, and a dictionary takes hashable ones alone.
    "fit": lambda value: value in tuple(decoding.FITS),
    "mean": _is_color,
    "std": _is_color,
}
