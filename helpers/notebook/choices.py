"""The backbones to evaluate: asked once, from a list of those that exist."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from helpers import files, methods
from helpers.models import backbones, conversion, weight_files
from helpers.notebook import colab, questions

NAMES = {"random": "random", "imagenet": "ImageNet labels"}
USUAL_SIZE = 64  # side in pixels of whole images, where nothing else is known


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A backbone to start from.

    Attributes:
        name: for tables, such as ``PIRL``.
        source: ``random``, ``imagenet``, or the path of a backbone file.
        about: metadata of the file; for random and ImageNet weights only the network.
        image_size: side in pixels of the whole images on which it is evaluated.
    """

    name: str
    source: str
    about: dict[str, Any]
    image_size: int

    @property
    def view_size(self) -> int:
        """Side in pixels of the views it was pre-trained on, for fine-tuning; or 48."""
        return self.about.get("image_size", 48)

    @property
    def network(self) -> tuple[str, str]:
        """Names of the backbone and its stem."""
        about = self.about
        return about.get("backbone", "resnet18"), about.get("stem", "imagenet")

    @property
    def is_released(self) -> bool:
        """Whether its file came with the project."""
        return pathlib.Path(self.source).parent == weight_files.RELEASED

    @property
    def line(self) -> str:
        """Describe it in one line of a list."""
        start = "released with the project: " if self.is_released else ""
        return start + weight_files.describe(self.about)

    def create(self) -> nn.Module:
        """Build the backbone and load its weights: a new copy at every call."""
        if self.source in backbones.WEIGHTS:
            name, stem = self.network
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)  # the same random weights at every call
                return backbones.build(name, stem=stem, weights=self.source)
        return weight_files.load_backbone(self.source)[0]


def from_source(
    source: str,
    backbone: str | None = None,
    stem: str | None = None,
    *,
    image_size: int = USUAL_SIZE,
) -> Chosen:
    """Return ``random``, ``imagenet`` or the path of a backbone file as a choice.

    Args:
        source: where the weights come from.
        backbone: network for random or ImageNet weights; ResNet-18 if None.
        stem: stem of that network.
        image_size: side at which to evaluate, in pixels, unless a file names its own.

    Raises:
        ValueError: when there is no such file or network, or a file is given together
            with a network.
    """
    if source not in backbones.WEIGHTS:
        if backbone or stem:
            raise ValueError(
                f"{source} names its own backbone and stem: give those only with "
                "random or imagenet weights."
            )
        return from_file(pathlib.Path(source), image_size=image_size)
    about = {"backbone": backbone or "resnet18", "stem": stem or "imagenet"}
    backbones.check(about["backbone"], stem=about["stem"], weights=source)
    if source != "random":
        about["init"] = source
    return Chosen(NAMES[source], source, about, image_size)


def from_file(path: pathlib.Path, *, image_size: int = USUAL_SIZE) -> Chosen:
    """Return a backbone file as a choice; converts other projects' checkpoints first.

    Raises:
        ValueError: when the file is damaged, or holds no whole ResNet.
    """
    own = path.suffix == ".safetensors" and "backbone" in weight_files.read_about(path)
    if not own:
        path, matched = conversion.backbone_file(path)
        print(matched)
    about = weight_files.read_about(path)
    method = methods.METHODS.get(about.get("method", ""))
    name = method.__name__ if method else about.get("name", path.stem)
    first = about.get("init", "random")
    if first != "random":
        name += f" from {'ImageNet' if first == 'imagenet' else first}"
    name = files.printable(name)
    return Chosen(name, str(path), about, about.get("evaluation_size", image_size))


def first_weights(source: str) -> dict[str, str]:
    """Settings with which pre-training starts from these weights, for ``configure``.

    Args:
        source: ``random``, ``imagenet``, or the path of a backbone file or of another
            project's checkpoint, which is converted.

    Raises:
        ValueError: when there is no such file, or no whole ResNet in it.
    """
    if source in backbones.WEIGHTS:
        return {"init": source}
    if not files.expand_home(source).is_file():
        raise ValueError(
            f"Unknown weights {source!r}: choose one of {', '.join(backbones.WEIGHTS)},"
            " or the path of a file."
        )
    chosen = from_file(files.expand_home(source))
    backbone, stem = chosen.network
    norm = chosen.about.get("norm", "batch")
    return {"init": chosen.source, "backbone": backbone, "stem": stem, "norm": norm}


def ask_first(folders: Sequence[pathlib.Path], name: str = "STL_INIT") -> str:
    """Ask from which weights pre-training starts.

    Args:
        folders: folders with runs, on this machine or on Drive.
        name: environment variable that may hold the answer.

    Returns:
        Their source, for ``first_weights``.
    """
    lines = [
        ("random: learn from nothing", "random", "random"),
        ("ImageNet weights, learned with labels", "imagenet", "imagenet"),
        *((one.line, one.source, one.source) for one in _known(folders)),
        ("a checkpoint (file) of any project with a ResNet", None, "file"),
    ]
    listed = [questions.Choice(*line) for line in lines]
    answer = questions.choose("Which weights first?", listed, 0, name)
    if answer is None:
        path = colab.upload()
        answer = first_weights(str(path))["init"] if path else "random"
    return answer


def ask(
    folders: Sequence[pathlib.Path], data: str, name: str = "STL_WEIGHTS"
) -> list[Chosen]:
    """Ask which backbones to evaluate.

    By default the newest backbone of every method that was pre-trained on these images,
    or, where there is none yet, one that came with the project. The list also
    offers every single file, ImageNet weights, a checkpoint from elsewhere and random
    weights.

    Args:
        folders: folders with runs, on this machine or on Drive.
        data: name of the data set in use.
        name: environment variable that may hold the answer.

    Returns:
        The backbones, after random weights of each of their networks as the accuracy
        to beat.
    """
    found = _known(folders)
    newest: dict[str, Chosen] = {}
    for backbone in found:
        if _same(backbone, data) and not backbone.is_released:
            newest.setdefault(backbone.name, backbone)
    names = ", ".join(newest) or "none yet"
    imagenet = from_source("imagenet")
    lines = [
        (f"all methods trained on these images ({names})", [*newest.values()], "all"),
        *((one.line, [one], one.source) for one in found),
        ("ImageNet weights, learned with labels", [imagenet], "imagenet"),
        ("a checkpoint (file) of any project with a ResNet", None, "file"),
        ("random weights alone", [], "random"),
    ]
    listed = [questions.Choice(*line) for line in lines]
    released = [one for one in found if one.is_released]
    alike = [one for one in released if _same(one, data)] or released
    usual = 0 if newest or not alike else 1 + found.index(alike[0])
    answer = questions.choose("Which backbones?", listed, usual, name)
    if answer is None:
        path = colab.upload()
        answer = [from_file(path)] if path else []
    return [*_random_weights(answer), *answer]


def _same(backbone: Chosen, data: str) -> bool:
    """Whether a backbone has learned from the images of this name."""
    return _images(backbone.about.get("data", "")) == _images(data)


def _images(data: str) -> str:
    """Name of a data set without the side at which a folder's images are kept."""
    return re.sub(r" at \d+ px", "", data)


def _known(folders: Sequence[pathlib.Path]) -> list[Chosen]:
    """One's own backbones, the newest first, then those that came with the project."""
    found = [*weight_files.find_backbones(folders), *weight_files.released()]
    return _usable(path for path, _ in found)


def _usable(paths: Iterable[pathlib.Path]) -> list[Chosen]:
    """Files as choices; those that cannot be used are left out with a warning."""
    found = []
    for path in paths:
        try:
            found.append(from_file(path))
        except (ValueError, OSError) as error:
            warnings.warn(str(error), stacklevel=2)
    return found


def _random_weights(chosen: Sequence[Chosen]) -> list[Chosen]:
    """Random weights of every network that was chosen, at every side of its images."""
    kinds = dict.fromkeys((one.network, one.image_size) for one in chosen)
    kinds = list(kinds) or [(("resnet18", "imagenet"), USUAL_SIZE)]
    networks, sides = ({*column} for column in zip(*kinds, strict=True))
    found = []
    for network, side in kinds:
        random = from_source("random", *network, image_size=side)
        # In one table they need names of their own.
        name = f"random {' '.join(network)}" if len(networks) > 1 else "random"
        name += f" at {side} px" if len(sides) > 1 else ""
        found.append(dataclasses.replace(random, name=name))
    return found
