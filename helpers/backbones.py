"""Backbones: torchvision's networks without their classifier, one interface.

A backbone maps images (B, 3, S, S), float32, to features (B, D). Its parameters keep
torchvision's names, so a state dict made here loads into torchvision and back.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torchvision
from torch import nn

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet50w2")
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
        name: one of ``RESNETS``; ``resnet50w2`` is ResNet-50 with every width doubled.
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
    if weights == "imagenet" and name == "resnet50w2":
        raise ValueError("There are no ImageNet weights of resnet50w2: take resnet50.")
    pretrained = "IMAGENET1K_V1" if weights == "imagenet" else None
    if name == "resnet50w2":
        network = ResNet50w2(norm_layer=NORMS[norm])
    else:
        create = getattr(torchvision.models, name)
        network = create(weights=pretrained, norm_layer=NORMS[norm])
    network.feature_dim = network.fc.in_features
    network.fc = nn.Identity()
    if stem != "imagenet":
        width = network.conv1.out_channels
        network.conv1 = nn.Conv2d(3, width, 3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out")
    if stem == "small":
        network.maxpool = nn.Identity()
    return network


def least_side(stem: str) -> int:
    """Side in pixels below which a ResNet's last layers see a single pixel.

    Their convolutions of stride 2 then have nothing to stride over, and in bfloat16
    their gradients on a CPU are wrong.
    """
    return {"imagenet": 17, "pool": 9, "small": 5}.get(stem, 1)


class ResNet50w2(torchvision.models.ResNet):
    """ResNet-50 with every width doubled: 4,096 features, as VISSL's R50w2.

    torchvision's ``wide_resnet50_2`` doubles the width inside its blocks only.
    """

    def __init__(self, norm_layer: Callable[[int], nn.Module]) -> None:
        """See the class."""
        blocks = torchvision.models.resnet.Bottleneck
        super().__init__(blocks, [3, 4, 6, 3], norm_layer=norm_layer)
        self.fc = nn.Linear(2 * self.fc.in_features, 1_000)

    def _make_layer(
        self, block: type[nn.Module], planes: int, *args: Any, **options: Any
    ) -> nn.Sequential:
        if planes == 64:  # the first one: the stem before it is doubled here
            self.inplanes = 128
            self.conv1 = nn.Conv2d(3, 128, 7, stride=2, padding=3, bias=False)
            self.bn1 = self._norm_layer(128)
        return super()._make_layer(block, 2 * planes, *args, **options)


def _check(what: str, value: str, known: object) -> None:
    if value not in known:  # type: ignore[operator]
        raise ValueError(f"Unknown {what} {value!r}: choose one of {', '.join(known)}.")
