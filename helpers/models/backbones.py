"""Backbones: torchvision's networks without their classifier, one interface.

A backbone maps images (B, 3, S, S), float32, to features (B, D). Its parameters keep
torchvision's names, so a state dict made here loads into torchvision and back.

The features are the network's last feature map, averaged over its positions. For VGG
and AlexNet this leaves out the two layers of 4,096 units: they belong to torchvision's
``classifier``, fit maps of one size only, hold most of the weights (in VGG-16 119 of
138 million), and would be random behind convolutions that have been trained.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from helpers.data import archives

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet50w2")
VGGS = tuple(f"vgg{depth}{end}" for depth in (11, 13, 16, 19) for end in ("", "_bn"))
DENSENETS = ("densenet121", "densenet161", "densenet169", "densenet201")
EFFICIENTNETS = tuple(f"efficientnet_b{number}" for number in range(8))
BACKBONES = (*RESNETS, "alexnet", *VGGS, *DENSENETS, *EFFICIENTNETS)
CLASSIFIERS = ("fc.", "classifier.")  # how the names of classifier weights begin
STEMS = {
    "imagenet": "7x7 convolution of stride 2, then max-pool: the original",
    "pool": "3x3 convolution of stride 1, then max-pool: for 48 to 96 px",
    "small": "3x3 convolution of stride 1, no max-pool: for 32 px",
}
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    # Independent of the rest of the batch: one process and many agree exactly.
    "group": functools.partial(nn.GroupNorm, 8),
}
WEIGHTS = ("random", "imagenet")
# Smallest sides in pixels. Below them a feature map vanishes, or a layer of stride 2
# gets a map of 1 x 1: networks run there, but oneDNN's gradients in bfloat16 are wrong.
RESNET_SIDES = {"imagenet": 17, "pool": 9, "small": 5}
OTHER_SIDES = {"alexnet": 63, "vgg": 32, "densenet": 29, "efficientnet": 17}


def build(
    name: str = "resnet18",
    *,
    stem: str = "imagenet",
    weights: str = "random",
    norm: str = "batch",
) -> nn.Module:
    """Build a backbone; its attribute ``feature_dim`` is the number of features D.

    Args:
        name: one of ``BACKBONES``; ``resnet50w2`` is ResNet-50 with doubled widths.
        stem: first layers of a ResNet, one of ``STEMS``; other networks have their own,
            which counts as ``"imagenet"``.
        weights: ``"random"`` or ``"imagenet"`` (torchvision's, trained with labels).
        norm: normalisation layers, ``"batch"`` or, in ResNets only, ``"group"``.

    Raises:
        ValueError: on an unknown name, a stem or normalisation that the network does
            not have, or ImageNet weights that do not exist. Called on images below
            ``smallest_side``, the backbone raises it as well.
    """
    check(name, stem=stem, weights=weights, norm=norm)
    pretrained = "IMAGENET1K_V1" if weights == "imagenet" else None
    create = getattr(torchvision.models, name, ResNet50w2)
    if pretrained:
        create = functools.partial(_download, create)
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
        # VGG's and AlexNet's keep a grid; DenseNet has none, as it averages by itself.
        network.avgpool = nn.AdaptiveAvgPool2d(1)
        network.classifier = nn.Identity()
    network.register_forward_pre_hook(functools.partial(_refuse_small, name, stem))
    return network


def _download(create: Callable[..., nn.Module], **options: Any) -> nn.Module:
    """Create a network with ImageNet weights, which may have to be downloaded."""
    name = create.__name__
    url = torchvision.models.get_model_weights(name)[options["weights"]].url
    folder = os.path.join(torch.hub.get_dir(), "checkpoints")
    what = f"The ImageNet weights of {name}"
    with archives.downloading(what, url, folder, "Random weights need none."):
        return create(**options)


def metadata(name: str, stem: str, norm: str) -> dict[str, str]:
    """Metadata that name a network; normalisation only where it is not BatchNorm."""
    named = {"backbone": name, "stem": stem}
    return named if norm == "batch" else named | {"norm": norm}


def named_in(about: Mapping[str, Any]) -> tuple[str, str, str]:
    """Name, stem and normalisation of the network of these metadata."""
    usual = {"backbone": "resnet18", "stem": "imagenet", "norm": "batch"}
    return tuple(about.get(key, value) for key, value in usual.items())


def describe(about: Mapping[str, Any]) -> str:
    """Name the network of these metadata, and what it has unlike torchvision's."""
    name, stem, norm = named_in(about)
    parts = [name] if stem == "imagenet" else [name, f"{stem} stem"]
    return ", ".join([*parts, "GroupNorm"] if norm == "group" else parts)


def check(
    name: str, *, stem: str = "imagenet", weights: str = "random", norm: str = "batch"
) -> None:
    """Check the arguments of ``build`` without building; raise its ValueError."""
    for argument, value, known in (
        ("backbone", name, BACKBONES),
        ("stem", stem, STEMS),
        ("weights", weights, WEIGHTS),
        ("norm", norm, NORMS),
    ):
        if value not in known:
            raise ValueError(
                f"Unknown {argument} {value!r}: choose one of {', '.join(known)}."
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
    """Side in pixels of the smallest images that a backbone can be trained on."""
    if name in RESNETS:
        return RESNET_SIDES[stem]
    return next(side for kind, side in OTHER_SIDES.items() if name.startswith(kind))


def check_side(name: str, stem: str, side: int) -> None:
    """Raise a ValueError when images are smaller than ``smallest_side``.

    Args:
        name: of the backbone.
        stem: of the backbone.
        side: the images' shorter side in pixels.
    """
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
    """Number of channels of the last feature map."""
    if name in DENSENETS:
        return network.classifier.in_features
    if name in EFFICIENTNETS:
        return network.classifier[-1].in_features
    convolutions = [m for m in network.features if isinstance(m, nn.Conv2d)]
    return convolutions[-1].out_channels


class ResNet50w2(torchvision.models.ResNet):
    """ResNet-50 with all widths doubled and 4,096 features, like VISSL's R50w2.

    torchvision's ``wide_resnet50_2`` doubles only the widths inside the blocks.
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
        if planes == 64:  # the first layer: double the stem before it as well
            self.inplanes = 128
            self.conv1 = nn.Conv2d(3, 128, 7, stride=2, padding=3, bias=False)
            self.bn1 = self._norm_layer(128)
        return super()._make_layer(block, 2 * planes, *args, **options)
