"""The backbones to evaluate: asked once, from a list of those that exist."""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from helpers import methods
from helpers.data.dataset import unlimited_name
from helpers.models import backbones, weight_files
from helpers.notebook import colab, questions
from helpers.training import starting_points
from helpers.training.starting_points import StartingPoint

IMAGENET = "ImageNet weights, learned with labels, also those of Imagenette and STL-10"


def ask_init(folders: Sequence[pathlib.Path], name: str = "STL_INIT") -> str:
    """Ask from which weights pre-training starts.

    Args:
        folders: folders with runs, on this machine or on Drive.
        name: environment variable that may hold the answer.

    Returns:
        Their source, for ``starting_points``.
    """
    lines = [
        ("random weights: start from scratch", "random", "random"),
        (IMAGENET, "imagenet", "imagenet"),
        *((one.line, one.source, one.source) for one in _known(folders)),
        ("a ResNet checkpoint (file) from another project", None, "file"),
    ]
    listed = [questions.Choice(*line) for line in lines]
    answer = _chosen("Which weights should training start from?", listed, 0, name)
    return answer.source if isinstance(answer, StartingPoint) else answer


def ask(
    folders: Sequence[pathlib.Path], data: str, name: str = "STL_WEIGHTS"
) -> list[StartingPoint]:
    """Ask which backbones to evaluate.

    By default the newest backbone of every method that was pre-trained on these images,
    a finished one if there is any, or, where there is none yet, one that came with the
    project. The list also offers every single file, ImageNet weights, a checkpoint
    from elsewhere and random weights.

    Args:
        folders: folders with runs, on this machine or on Drive.
        data: name of the data set in use.
        name: environment variable that may hold the answer.

    Returns:
        The backbones, after random weights of each of their networks as the accuracy
        to beat.
    """
    known = _known(folders)
    newest: dict[str, StartingPoint] = {}
    # The newest finished one, or the newest if none of the method has been finished.
    for backbone in sorted(known, key=_is_unfinished):
        if _same(backbone, data) and not backbone.is_released:
            newest.setdefault(backbone.name, backbone)
    names = ", ".join(newest)
    imagenet = starting_points.from_source("imagenet")
    every = f"all methods trained on these images ({names})"
    lines = [
        *([(every, [*newest.values()], "all")] if newest else []),
        *((one.line, [one], one.source) for one in known),
        (IMAGENET, [imagenet], "imagenet"),
        ("a ResNet checkpoint (file) from another project", None, "file"),
        ("only random weights, for comparison", [], "random"),
    ]
    listed = [questions.Choice(*line) for line in lines]
    released = [one for one in known if one.is_released]
    alike = [one for one in released if _same(one, data)] or released
    usual = 0
    if not newest:
        usual = known.index(alike[0]) if alike else len(listed) - 1
    answer = _chosen("Which backbones?", listed, usual, name, several=True)
    if isinstance(answer, StartingPoint):
        answer = [answer]
    answer = list({one.source: one for one in answer}.values())
    random = _random_weights(answer)
    taken = {one.name for one in random}  # a file may be called so too
    found, count = list(random), collections.Counter()
    for one in answer:
        name = f"{one.name} (file)" if one.name in taken else one.name
        count[name] += 1
        if count[name] > 1:  # another run of the same method
            name = f"{name} ({count[name]})"
        found.append(dataclasses.replace(one, name=name))
    return found


def _chosen(
    question: str,
    listed: Sequence[questions.Choice],
    usual: int,
    name: str,
    several: bool = False,
) -> Any:
    """Ask for a line; without the file that a line asks for, the question comes again.

    Returns:
        The value of the line, or the starting point made of a file.
    """
    while True:
        answer = questions.choose(question, listed, usual, name, several)
        if answer is None:
            answer = _uploaded()
        if answer is not None:
            return answer
        if os.environ.get(name):
            raise ValueError(f"{name} asks for a file: give its path in STL_UPLOAD.")
        print("No file was given: choose again.")


def _uploaded() -> StartingPoint | None:
    """A checkpoint from elsewhere, or None; one that cannot be used is asked again."""
    while True:
        path = colab.upload()
        try:
            return starting_points.from_file(path) if path else None
        except ValueError as error:
            if os.environ.get("STL_UPLOAD"):
                raise
            print(error)


def _is_unfinished(backbone: StartingPoint) -> bool:
    return not weight_files.is_finished(backbone.about)


def _same(backbone: StartingPoint, data: str) -> bool:
    """Whether a backbone has learned from these images, and from no other labels."""
    learned = backbone.about.get("data", "")
    method = methods.METHODS.get(backbone.about.get("method", ""))
    if not (method and method.needs_labels):
        learned, data = unlimited_name(learned), unlimited_name(data)
    return _images(learned) == _images(data)


def _images(data: str) -> str:
    """Name of a data set without the side at which a folder's images are kept."""
    return re.sub(r" at \d+ px", "", data)


def _known(folders: Sequence[pathlib.Path]) -> list[StartingPoint]:
    """One's own backbones, the newest first, then those that came with the project."""
    found = [*weight_files.find_backbones(folders), *weight_files.released()]
    return _usable(path for path, _ in found)


def _usable(paths: Iterable[pathlib.Path]) -> list[StartingPoint]:
    """Files as choices; those that cannot be used are left out with a warning."""
    found = []
    for path in paths:
        try:
            found.append(starting_points.from_file(path))
        except (ValueError, OSError) as error:
            warnings.warn(str(error), stacklevel=2)
    return found


def _random_weights(chosen: Sequence[StartingPoint]) -> list[StartingPoint]:
    """Random weights of every network that was chosen, at every side of its images."""
    kinds = dict.fromkeys((one.network, one.image_size) for one in chosen)
    usual = ("resnet18", "imagenet", "batch"), starting_points.USUAL_SIZE
    kinds = list(kinds) or [usual]
    networks, sides = ({*column} for column in zip(*kinds, strict=True))
    found = []
    for network, side in kinds:
        random = starting_points.from_source("random", *network, image_size=side)
        # In one table they need names of their own.
        kind = f"random {backbones.describe(random.about)}"
        name = kind if len(networks) > 1 else "random"
        name += f" at {side} px" if len(sides) > 1 else ""
        found.append(dataclasses.replace(random, name=name))
    return found
