"""Backbones: torchvision's networks without their classifier, one interface.

A backbone maps images (B, 3, S, S), float32, to features (B, D). Its parameters keep
torchvision's names, so a state dict made here loads into torchvision and back.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torchvision
from torch import nn

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
STEMS = {
    "imagenet": "7x7 convolution of stride 2, then max-pool: the original",
    "pool": "3x3 convolution of stride 1, then max-pool: for 48 to 96 px",
    "small": "3x3 convolution of stride 1, no max-pool: for 32 px",
}
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    # Knows nothing of the rest of the batch: one process and many agree exactly.
    "group": functools.partial(nn.GroupNorm, 8),
}


def build(
    name: str = "resnet18",
    *,
    stem: str = "imagenet",
    weights: str = "random",
    norm: str = "batch",
) -> nn.Module:
    """Build a backbone; its attribute ``feature_dim`` is the width D of its features.

    Args:
        name: one of ``RESNETS``.
        stem: one of ``STEMS``; how the image enters the network.
        weights: ``"random"`` or ``"imagenet"`` (torchvision's, learned with labels).
        norm: ``"batch"`` or ``"group"``.

    Raises:
        ValueError: on an unknown name, or a combination that has no ImageNet weights.
    """
    _check("backbone", name, RESNETS)
    _check("stem", stem, STEMS)
    _check("weights", weights, ("random", "imagenet"))
    _check("norm", norm, NORMS)
    if weights == "imagenet" and (stem != "imagenet" or norm != "batch"):
        raise ValueError(
            "ImageNet weights fit only stem 'imagenet' with norm 'batch'; "
            "take those, or random weights."
        )
    pretrained = "IMAGENET1K_V1" if weights == "imagenet" else None
    create = getattr(torchvision.models, name)
    network = create(weights=pretrained, norm_layer=NORMS[norm])
    network.feature_dim = network.fc.in_features
    network.fc = nn.Identity()
    if stem != "imagenet":
        network.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out")
    if stem == "small":
        network.maxpool = nn.Identity()
    return network


def _check(what: str, value: str, known: object) -> None:
    if value not in known:  # type: ignore[operator]
        raise ValueError(f"Unknown {what} {value!r}: choose one of {', '.join(known)}.")
