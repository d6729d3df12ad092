"""Which backbones to evaluate: asked once, from what is really there."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from helpers import methods
from helpers.models import backbones, conversion, weight_files
from helpers.notebook import colab, questions

NAMES = {"random": "random", "imagenet": "ImageNet labels"}


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A backbone to start from.

    Attributes:
        name: for tables, such as ``PIRL``.
        source: ``random``, ``imagenet``, or the path of a backbone file.
        about: how it was made; of random and ImageNet weights only which network.
    """

    name: str
    source: str
    about: dict[str, Any]

    @property
    def network(self) -> tuple[str, str]:
        """Backbone and stem."""
        return self.about.get("backbone", "resnet18"), self.about.get(
            "stem", "imagenet"
        )

    def create(self) -> nn.Module:
        """Build the backbone and load its weights; a fresh copy at every call."""
        if self.source in backbones.WEIGHTS:
            name, stem = self.network
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)  # the same random weights at every call
                return backbones.build(name, stem=stem, weights=self.source)
        return weight_files.load_backbone(self.source)[0]


def from_source(
    source: str, backbone: str | None = None, stem: str | None = None
) -> Chosen:
    """``random``, ``imagenet`` or the path of a backbone file as a choice.

    Args:
        source: where the weights come from.
        backbone: which network random or ImageNet weights are for; ResNet-18 if None.
        stem: of that network.

    Raises:
        ValueError: when there is no such file or network, or a file is given together
            with a network.
    """
    if source not in backbones.WEIGHTS:
        if backbone or stem:
            raise ValueError(
                f"{source} says itself which backbone and stem it is for: give those "
                "only with random or imagenet weights."
            )
        return from_file(pathlib.Path(source))
    about = {"backbone": backbone or "resnet18", "stem": stem or "imagenet"}
    backbones.check(about["backbone"], stem=about["stem"], weights=source)
    return Chosen(NAMES[source], source, about)


def from_file(path: pathlib.Path) -> Chosen:
    """A backbone file as a choice; a checkpoint of another project becomes one first.

    Raises:
        ValueError: when the file is damaged, or of no kind that ``conversion`` knows.
    """
    own = path.suffix == ".safetensors" and "backbone" in weight_files.read_about(path)
    if not own:
        path, matched = conversion.backbone_file(path)
        print(matched)
    about = weight_files.read_about(path)
    known = methods.METHODS.get(about.get("method", ""))
    name = known.__name__ if known else about.get("name", path.stem)
    if about.get("init") == "imagenet":
        name += " from ImageNet"
    return Chosen(name, str(path), about)


def ask(
    folders: Sequence[pathlib.Path], data: str, name: str = "STL_WEIGHTS"
) -> list[Chosen]:
    """Ask which backbones to evaluate.

    The default is the newest of every method that learned from the same images. The
    list goes on with every single file, ImageNet weights, a checkpoint from elsewhere
    and random weights.

    Args:
        folders: that hold runs: on this machine, on Drive.
        data: name of the data set in use.
        name: of the environment variable that may hold the answer.

    Returns:
        The choices. Before them, as the opponent to beat, random weights of every kind
        of network that is among them.
    """
    found = [from_file(path) for path, _ in weight_files.find_backbones(folders)]
    newest: dict[str, Chosen] = {}
    for one in found:
        if one.about.get("data") == data:
            newest.setdefault(one.name, one)
    listed = [
        questions.Choice(
            f"all methods trained on these images ({', '.join(newest) or 'none yet'})",
            list(newest.values()),
            "all",
        )
    ]
    listed += [
        questions.Choice(weight_files.describe(one.about), [one], one.source)
        for one in found
    ]
    listed += [
        questions.Choice(
            "ImageNet weights, learned with labels",
            [from_source("imagenet")],
            "imagenet",
        ),
        questions.Choice(
            "a checkpoint (file): VISSL PIRL, torchvision, lightly, or a backbone file",
            None,
            "file",
        ),
        questions.Choice("random weights alone", [], "random"),
    ]
    answer = questions.choose("Which backbones?", listed, 0, name)
    if answer is None:
        path = colab.upload()
        answer = [from_file(path)] if path else []
    return [*_opponents(answer), *answer]


def _opponents(answer: Sequence[Chosen]) -> list[Chosen]:
    networks = dict.fromkeys(one.network for one in answer) or [
        ("resnet18", "imagenet")
    ]
    opponents = [from_source("random", *network) for network in networks]
    if len(opponents) == 1:
        return opponents
    # Several in one table need names of their own.
    return [
        dataclasses.replace(one, name=f"random {' '.join(one.network)}")
        for one in opponents
    ]
