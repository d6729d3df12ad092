"""Layouts of checkpoints: where in one a ResNet is, and how its weights are named.

A checkpoint holds a ResNet in dictionaries within dictionaries, under a prefix of its
own, beside heads, slow copies and much else, such as
``state_dict.module.encoder_q.conv1.weight``. Every prefix is tried under which there
are a first convolution and a first block. Shapes identify the ResNet.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from helpers import files
from helpers.models import backbones


@dataclasses.dataclass(frozen=True)
class Kind:
    """A project's checkpoint format: where it keeps the backbone.

    Attributes:
        maker: name of the project.
        prefix: what the full names of the backbone's weights begin with.
        side: of the whole images such backbones are evaluated on, in pixels; None if
            unknown.
    """

    maker: str
    prefix: str
    side: int | None = None


IMAGENET_SIDE = 224  # fits backbones with a 7x7 convolution only
VISSL = "classy_state_dict.base_model.model.trunk."
THIS_PROJECT = Kind("this project's own state", "method.backbone.")
# Formats that are known by name; a ResNet under any other prefix is found as well.
KINDS = (
    THIS_PROJECT,
    Kind("VISSL", f"{VISSL}_feature_blocks.", 224),
    Kind("VISSL", f"{VISSL}base_model._feature_blocks.", 224),  # feature extractor
    Kind("pirl_pytorch", "resnet_module.", 96),
    Kind("the STL-10 BYOL notebooks", "net.backbone.", 96),
    Kind("Lightning: lightly, solo-learn", "state_dict.backbone."),
    Kind("Lightning: lightly, solo-learn", "state_dict.encoder."),
    Kind("torchvision's names", "", IMAGENET_SIDE),
    Kind("torchvision's names", "state_dict.", IMAGENET_SIDE),
    Kind("torchvision's names", "model.", IMAGENET_SIDE),
)
WRAPPERS = {"module", "_orig_mod"}  # names that PyTorch puts in between

# Of several complete networks the one is taken that its authors evaluate. That is the
# teacher in DINO and timm's running average, and elsewhere the network that learns by
# gradient (MoCo's encoder_q, BYOL's online network), not its slow copy.
EVALUATED = {"teacher"}
AVERAGED = "state_dict_ema."
SLOW = {"target", "momentum", "ema", "key", "keys", "k", "m"}

BLOCK = re.compile(r"((?:.*\.)?)(layer1|[234])\.0\.conv1\.weight")
LAYERS = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")
HEADS = re.compile(r"head|proj|pred|proto|queue|bank|class|neck|fc|linear|mlp|decoder")
MOST_NESTED = 10  # dictionaries within each other


class IncompleteError(Exception):
    """Raised with the number of weights that fit no ResNet, and a sentence on them."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a ResNet may be: a state dict, a prefix in it, and how layers are called.

    Attributes:
        state: names of the dictionaries around the weights, each with a dot after it.
        prefix: what the names in that state dict begin with.
        first: name of the first group of blocks: ``layer1``, or the number that it has
            in a Sequential.
    """

    state: str
    prefix: str
    first: str

    @property
    def full(self) -> str:
        """What the full names of the weights begin with."""
        return self.state + self.prefix

    @property
    def caveat(self) -> str:
        """What these weights were learned with and the converted network is not.

        A Sequential of the modules of lightly's own ResNet lacks its functions.
        """
        if self.first != "2":
            return ""
        return "the original has no ReLU before its first block, this one does"

    @property
    def names(self) -> dict[str, str]:
        """Names that the layers have here, and torchvision's."""
        if self.first == "layer1":
            return {layer: layer for layer in LAYERS}
        numbers = [0, 1, *(int(self.first) + group for group in range(4))]
        return dict(zip(map(str, numbers), LAYERS, strict=True))

    def own(self, name: str) -> str:
        """Name of a tensor in torchvision; empty when it is in none of the layers."""
        if not name.startswith(self.prefix):
            return ""
        layer, dot, rest = name.removeprefix(self.prefix).partition(".")
        if layer not in self.names:
            return ""
        # SupContrast and lightly's own ResNet call a block's projection a shortcut.
        rest = re.sub(r"^(\d+\.)shortcut", r"\1downsample", rest)
        return self.names[layer] + dot + rest

    def weights(self, state: Mapping[str, Tensor]) -> dict[str, tuple[str, Tensor]]:
        """The weights in a state dict: name here and tensor, by torchvision's name."""
        found = {}
        for name, tensor in state.items():
            own = self.own(name)
            if own:
                width = state.get(f"{name.rpartition('.')[0]}.weight", tensor).shape
                found[own] = name, _whole_statistic(own, tensor, width)
        return found


def state_dicts(content: Any) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every dictionary that holds tensors, by the names that lead to it."""
    known = {}  # a pickle may hold itself

    def within(value: Any, path: str, nested: int) -> Iterator[tuple[str, Any]]:
        if isinstance(value, nn.Module):  # only from a pickle that was trusted
            value = value.state_dict()
        if isinstance(value, (list, tuple)):
            value = dict(enumerate(value))
        if not isinstance(value, Mapping) or id(value) in known or nested > MOST_NESTED:
            return
        known[id(value)] = value
        tensors = {str(k): v for k, v in value.items() if isinstance(v, Tensor)}
        if tensors:
            yield path, tensors
        for key, inner in value.items():
            yield from within(inner, f"{path}{key}.", nested + 1)

    return within(content, "", 0)


def find(states: Mapping[str, Mapping[str, Tensor]]) -> Iterator[Place]:
    """Every place with a first convolution and a first block of a ResNet."""
    for path, state in states.items():
        firsts: dict[str, str] = {}
        for name in state:
            block = BLOCK.fullmatch(name)
            if block:
                prefix, first = block.groups()
                firsts[prefix] = min(first, firsts.get(prefix, first))
        for prefix, first in firsts.items():
            stem = "conv1" if first == "layer1" else "0"
            convolution = state.get(f"{prefix}{stem}.weight")
            if convolution is not None and convolution.ndim == 4:
                yield Place(path, prefix, first)


def kind_of(place: Place) -> Kind:
    """The format that is known by name; one without a maker if none is."""
    parts = place.full.split(".")
    bare = ".".join(part for part in parts if part not in WRAPPERS)
    known = (kind for kind in KINDS if kind.prefix == bare)
    return next(known, Kind("", place.full))


def rank(place: Place) -> tuple[int, int]:
    """Order in which places are taken: formats known by name, then by their roles."""
    kind = kind_of(place)
    words = set(re.split(r"[._\d]+", place.full.lower()))
    if place.full.startswith(AVERAGED):
        return 0, 0
    if kind in KINDS:
        return 1, KINDS.index(kind)
    role = 2 if words & EVALUATED else 4 if words & SLOW else 3
    return role, place.full.count(".")


def unknown_layers(
    place: Place, state: Mapping[str, Tensor], places: Sequence[Place]
) -> list[str]:
    """Names beside a ResNet's layers that may be layers of it, and not of its heads.

    Convolutions outside of heads and of other networks, and names like ``layer5``.
    """
    inner = [other.prefix for other in places if other.state == place.state]
    inner = [prefix for prefix in inner if len(prefix) > len(place.prefix)]
    found = []
    for name, tensor in state.items():
        mine = name.startswith(place.prefix) and not name.startswith(tuple(inner))
        if mine and not place.own(name):
            rest = name.removeprefix(place.prefix)
            layer = re.match(r"(conv|bn|gn|norm|layer|stem)\d*\.", rest)
            if layer or (tensor.ndim > 2 and not HEADS.search(rest)):
                found.append(name)
    return found


def identify(
    tensors: Mapping[str, Tensor], unknown: list[str], ours: bool
) -> tuple[str, str, str]:
    """Return network, stem and norm whose weights these are; counters may be missing.

    Weights of a GroupNorm do not tell its number of groups: only this project's own
    files are known to have that of ``backbones.NORMS``.

    Args:
        tensors: weights by torchvision's names.
        unknown: from ``unknown_layers``.
        ours: whether they are from a state of this project.

    Raises:
        IncompleteError: when no network has exactly these weights.
    """
    stem = "imagenet" if tensors["conv1.weight"].shape[-1] == 7 else "small"
    norm = "group" if ours and "bn1.running_mean" not in tensors else "batch"
    reports = []
    for network in backbones.RESNETS:
        shapes = _shapes(network, stem, norm)
        missing = [
            name
            for name, shape in shapes.items()
            if (name in tensors and tensors[name].shape != shape)
            or (name not in tensors and not name.endswith(".num_batches_tracked"))
        ]
        strange = [*unknown, *(name for name in tensors if name not in shapes)]
        if not missing and not strange:
            return network, stem, norm
        sentence = (
            f"it is nearest to {network}, but of that {len(missing)} weights are "
            f"missing or of another shape ({listed(missing, 2) or 'none'}), and "
            f"{len(strange)} are unknown ({listed(strange, 2) or 'none'}); its first "
            f"convolution has shape {tuple(tensors['conv1.weight'].shape)}; nothing "
            "was loaded."
        )
        reports.append((len(missing) + len(strange), sentence))
    raise IncompleteError(*min(reports))


def seen(content: Any, states: Mapping[str, Mapping[str, Tensor]]) -> str:
    """What a file holds, for whoever wonders why it was refused."""
    tensors = [(name, t) for state in states.values() for name, t in state.items()]
    if not tensors:
        keys = listed(content, 5) if isinstance(content, Mapping) else ""
        return (
            f"It is a {type(content).__name__} without weights ({keys or 'no keys'})."
        )
    places = [path.rstrip(".") or "the top level" for path in states]
    modules = [".".join(name.split(".")[:-1][:3]) for name, _ in tensors]
    starts = collections.Counter(module for module in modules if module).most_common(4)
    convolutions = [
        f"{name[:60]} {tuple(tensor.shape)}"
        for name, tensor in tensors
        if tensor.ndim == 4
    ]
    return (
        f"It holds {len(tensors)} tensors in {listed(places, 4)}. Their first names: "
        f"{listed((name for name, _ in tensors), 3)}. Commonest beginnings: "
        f"{listed(f'{start} ({count})' for start, count in starts) or 'none'}. First "
        f"convolution: {listed(convolutions[:1]) or 'none'}. Needed are all weights of "
        f"a ResNet, named as in torchvision: {listed(backbones.RESNETS)}."
    )


def where(prefix: str) -> str:
    """The place of a network in its file, as a sentence has it."""
    return f"under {prefix!r}" if prefix else "at the top level"


def listed(names: Iterable[Any], most: int = 8) -> str:
    """The first of several names, in one line."""
    names = [str(name) for name in names]
    shown = [name if len(name) <= 60 else f"{name[:60]}…" for name in names[:most]]
    return files.printable(", ".join(shown + ["…"] * (len(names) > most)))


def _whole_statistic(name: str, tensor: Tensor, width: torch.Size) -> Tensor:
    """The mean of BatchNorm's statistics over parts of a batch.

    lightly's SplitBatchNorm keeps one set a part, and averages them before it is used.
    """
    kept = name.endswith(("running_mean", "running_var"))
    if not kept or tensor.ndim != 1 or len(width) != 1 or not width[0]:
        return tensor
    parts, rest = divmod(len(tensor), width[0])
    return tensor if rest or parts < 2 else tensor.view(parts, -1).mean(dim=0)


@functools.cache
def _shapes(network: str, stem: str, norm: str) -> dict[str, torch.Size]:
    with torch.device("meta"):
        own = backbones.build(network, stem=stem, norm=norm).state_dict()
    return {name: value.shape for name, value in own.items()}
