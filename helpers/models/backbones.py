"""Backbones: torchvision's networks without their classifier, one interface.

A backbone maps images (B, 3, S, S), float32, to features (B, D). Its parameters keep
torchvision's names, so a state dict made here loads into torchvision and back.

What every network gives is its last feature map, averaged over its places. For VGG and
AlexNet this leaves out the two layers of 4,096 units: they are part of torchvision's
``classifier``, fixed to a map of one size, hold most of the weights (in VGG-16 119 of
138 million), and would be random under convolutions that have learned something.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torchvision
from torch import Tensor, nn

from helpers.models.small_maps import Convolution

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet50w2")
VGGS = tuple(f"vgg{depth}{end}" for depth in (11, 13, 16, 19) for end in ("", "_bn"))
DENSENETS = ("densenet121", "densenet161", "densenet169", "densenet201")
EFFICIENTNETS = tuple(f"efficientnet_b{number}" for number in range(8))
BACKBONES = (*RESNETS, "alexnet", *VGGS, *DENSENETS, *EFFICIENTNETS)
CLASSIFIERS = ("fc.", "classifier.")  # what torchvision's names of the rest begin with
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
WEIGHTS = ("random", "imagenet")
# Smallest sides in pixels. A map must not vanish, nor may a layer of stride 2 be given
# a single place: networks run there, but the gradients that oneDNN then computes in
# bfloat16 are garbage, and convolutions in groups are oneDNN's still.
RESNET_SIDES = {"imagenet": 17, "pool": 9, "small": 5}
OTHER_SIDES = {"alexnet": 63, "vgg": 32, "densenet": 29, "efficientnet": 17}


def build(
    name: str = "resnet18",
    *,
    stem: str = "imagenet",
    weights: str = "random",
    norm: str = "batch",
) -> nn.Module:
    """Build a backbone; its attribute ``feature_dim`` is the width D of its features.

    Args:
        name: one of ``BACKBONES``; ``resnet50w2`` is ResNet-50, every width doubled.
        stem: one of ``STEMS``; how the image enters a ResNet. The others have their own
            and go by ``"imagenet"``.
        weights: ``"random"`` or ``"imagenet"`` (torchvision's, learned with labels).
        norm: ``"batch"`` or, in ResNets, ``"group"``.

    Raises:
        ValueError: on an unknown name, a stem or normalisation the network lacks, or a
            combination that has no ImageNet weights. The backbone itself raises it for
            images below ``smallest_side``.
    """
    check(name, stem=stem, weights=weights, norm=norm)
    pretrained = "IMAGENET1K_V1" if weights == "imagenet" else None
    create = getattr(torchvision.models, name, ResNet50w2)
    if name in RESNETS:
        network = create(norm_layer=NORMS[norm], weights=pretrained)
        network.feature_dim = network.fc.in_features
        network.fc = nn.Identity()
        if stem != "imagenet":
            width = network.conv1.out_channels
            network.conv1 = nn.Conv2d(3, width, 3, stride=1, padding=1, bias=False)
            nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out")
        if stem == "small":
            network.maxpool = nn.Identity()
    else:
        network = create(weights=pretrained)
        network.feature_dim = _last_width(name, network)
        # VGG and AlexNet keep a grid of places; DenseNet averages without a module.
        network.avgpool = nn.AdaptiveAvgPool2d(1)
        network.classifier = nn.Identity()
    for module in network.modules():
        if type(module) is nn.Conv2d:
            module.__class__ = Convolution  # its weights keep their places and names
    network.register_forward_pre_hook(functools.partial(_refuse_small, name, stem))
    return network


def check(
    name: str, *, stem: str = "imagenet", weights: str = "random", norm: str = "batch"
) -> None:
    """Raise the ValueError that ``build`` would raise, without building anything."""
    for what, value, known in (
        ("backbone", name, BACKBONES),
        ("stem", stem, STEMS),
        ("weights", weights, WEIGHTS),
        ("norm", norm, NORMS),
    ):
        if value not in known:
            raise ValueError(
                f"Unknown {what} {value!r}: choose one of {', '.join(known)}."
            )
    if weights == "imagenet" and name == "resnet50w2":
        raise ValueError("There are no ImageNet weights of resnet50w2: take resnet50.")
    if (stem, norm) == ("imagenet", "batch"):
        return
    if name not in RESNETS:
        raise ValueError(
            f"{name} has only stem 'imagenet' and norm 'batch', not {stem!r} and "
            f"{norm!r}: take those, or a ResNet."
        )
    if weights == "imagenet":
        raise ValueError(
            "ImageNet weights fit only stem 'imagenet' with norm 'batch'; "
            "take those, or random weights."
        )


def smallest_side(name: str, stem: str = "imagenet") -> int:
    """Side in pixels of the smallest images a backbone can learn from."""
    if name in RESNETS:
        return RESNET_SIDES[stem]
    return next(side for kind, side in OTHER_SIDES.items() if name.startswith(kind))


def check_side(name: str, stem: str, side: int) -> None:
    """Raise a ValueError for images whose shorter side is below ``smallest_side``."""
    smallest = smallest_side(name, stem)
    if side < smallest:
        raise ValueError(
            f"{name} with stem {stem!r} needs views (and patches) of at least "
            f"{smallest} px, these have {side}: make them larger, or take a ResNet "
            f"with stem 'small', which needs {RESNET_SIDES['small']} px."
        )


def _refuse_small(
    name: str, stem: str, network: nn.Module, inputs: tuple[Tensor, ...]
) -> None:
    check_side(name, stem, min(inputs[0].shape[-2:]))


def _last_width(name: str, network: nn.Module) -> int:
    """Channels of the last feature map."""
    if name in DENSENETS:
        return network.classifier.in_features
    if name in EFFICIENTNETS:
        return network.classifier[-1].in_features
    convolutions = [m for m in network.features if isinstance(m, nn.Conv2d)]
    return convolutions[-1].out_channels


class ResNet50w2(torchvision.models.ResNet):
    """ResNet-50 with every width doubled: 4,096 features, as VISSL's R50w2.

    torchvision's ``wide_resnet50_2`` doubles the width inside its blocks only.
    """

    def __init__(
        self, norm_layer: Callable[[int], nn.Module], weights: None = None
    ) -> None:
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
