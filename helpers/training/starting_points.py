"""Where a training or an evaluation starts: random weights, ImageNet's, or a file."""

from __future__ import annotations

import copy
import dataclasses
import functools
import pathlib
from typing import Any

import torch
from torch import nn

from helpers import files, methods
from helpers.models import backbones, conversion, weight_files

NAMES = {"random": "random", "imagenet": "ImageNet labels"}
USUAL_SIZE = 64  # side in pixels of whole images, where nothing else is known


@dataclasses.dataclass(frozen=True)
class StartingPoint:
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
    def network(self) -> tuple[str, str, str]:
        """Names of the backbone, its stem and its normalisation."""
        return backbones.named_in(self.about)

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
            name, stem, norm = self.network
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)  # the same random weights at every call
                return backbones.build(name, stem=stem, weights=self.source, norm=norm)
        return copy.deepcopy(self._of_file)

    @functools.cached_property
    def _of_file(self) -> nn.Module:
        """The file's backbone, read once: a training may write the file anew."""
        backbone, about = weight_files.load_backbone(self.source)
        if str(about) != str(self.about):  # where NaN equals NaN
            raise ValueError(
                f"{self.source} was written anew after it was chosen, probably by a "
                "training that still runs: run this again."
            )
        return backbone


def from_source(
    source: str,
    backbone: str | None = None,
    stem: str | None = None,
    norm: str | None = None,
    *,
    image_size: int = USUAL_SIZE,
) -> StartingPoint:
    """Find the starting point that a name or a path stands for.

    Args:
        source: ``random``, ``imagenet``, or the path of a backbone file or of another
            project's checkpoint, which is converted.
        backbone: network for random or ImageNet weights; ResNet-18 if None.
        stem: stem of that network.
        norm: its normalisation, ``"batch"`` or ``"group"``; BatchNorm if None.
        image_size: side at which to evaluate, in pixels, unless a file names its own.

    Raises:
        ValueError: when there is no such file or network, or a file is given together
            with a network.
    """
    if source not in backbones.WEIGHTS:
        if backbone or stem or norm:
            raise ValueError(
                f"{source} names its own backbone and stem: give those only with "
                "random or imagenet weights."
            )
        return from_file(pathlib.Path(source), image_size=image_size)
    network = backbone or "resnet18", stem or "imagenet", norm or "batch"
    backbones.check(network[0], stem=network[1], norm=network[2], weights=source)
    about = backbones.metadata(*network)
    if source != "random":
        about["init"] = source
    return StartingPoint(NAMES[source], source, about, image_size)


def from_file(path: pathlib.Path, *, image_size: int = USUAL_SIZE) -> StartingPoint:
    """Start from a backbone file; another project's checkpoint is converted first.

    Raises:
        ValueError: when the file is damaged, or holds no whole ResNet.
    """
    path = _backbone_file(path)
    about = weight_files.read_about(path)
    method = methods.METHODS.get(about.get("method", ""))
    name = method.__name__ if method else about.get("name", path.stem)
    first = about.get("init", "random")
    if first != "random":
        name += f" from {'ImageNet' if first == 'imagenet' else first}"
    name = files.printable(name)
    side = about.get("evaluation_size", image_size)
    return StartingPoint(name, str(path), about, side)


def _backbone_file(path: pathlib.Path) -> pathlib.Path:
    """The file itself, or the one that another project's checkpoint becomes."""
    if path.suffix == ".safetensors" and "backbone" in weight_files.read_about(path):
        return path
    path, matched = conversion.backbone_file(path)
    print(matched)
    return path


def pretraining_settings(source: str) -> dict[str, str]:
    """Settings with which pre-training starts from these weights, for ``configure``.

    Args:
        source: as for ``from_source``.

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
    path = _backbone_file(files.expand_home(source))
    backbone, stem, norm = backbones.named_in(weight_files.read_about(path))
    return {"init": str(path), "backbone": backbone, "stem": stem, "norm": norm}
