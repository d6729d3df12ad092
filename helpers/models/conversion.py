"""Conversion of other projects' checkpoints into backbone files.

Checkpoints of the kinds in ``KINDS`` hold a ResNet under their own key names, beside
heads and much else. Its weights are renamed to torchvision's keys, and their shapes
identify the ResNet. A file is refused unless it holds all of that ResNet's weights,
apart from the classifier's. Files are read as data: no code in them is executed.
"""

from __future__ import annotations

import dataclasses
import pathlib
import pickle
import re
from collections.abc import Mapping
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from helpers import files
from helpers.models import backbones, weight_files


@dataclasses.dataclass(frozen=True)
class Kind:
    """A project's checkpoint format: where it keeps the backbone.

    Attributes:
        maker: name of the project.
        path: keys that lead to the state dict in the content of the file.
        prefix: what the backbone's keys begin with.
        side: of the whole images such backbones are evaluated on, in pixels; None if
            unknown.
    """

    maker: str
    path: tuple[str, ...]
    prefix: str
    side: int | None = None


VISSL = ("classy_state_dict", "base_model", "model", "trunk")
KINDS = (
    Kind("VISSL", VISSL, "_feature_blocks.", 224),
    Kind("VISSL", VISSL, "base_model._feature_blocks.", 224),  # feature extractor
    Kind("pirl_pytorch", (), "resnet_module.", 96),
    Kind("the STL-10 BYOL notebooks", ("net",), "backbone.", 96),
    Kind("Lightning (lightly, solo-learn)", ("state_dict",), "backbone."),
    Kind("Lightning (lightly, solo-learn)", ("state_dict",), "encoder."),
    Kind("torchvision", (), "", 224),
)
# The layers of a ResNet that was put into a Sequential have numbers for names.
NUMBERED = {"0": "conv1", "1": "bn1"} | {str(n + 3): f"layer{n}" for n in range(1, 5)}
CLASSIFIER = "fc."


@dataclasses.dataclass(frozen=True)
class Converted:
    """A backbone found in a checkpoint.

    Attributes:
        kind: format of the file.
        network: one of ``backbones.RESNETS``.
        stem: one of ``backbones.STEMS``. A 3x3 convolution counts as ``small``, since
            no file records whether a max-pool follows it.
        tensors: its weights under torchvision's names, without the classifier.
        left: keys of everything else in the file, such as heads.
    """

    kind: Kind
    network: str
    stem: str
    tensors: dict[str, Tensor]
    left: tuple[str, ...]

    def describe(self) -> str:
        """Say in one sentence which weights were taken and which were left out."""
        heads = sorted({name.split(".")[0] for name in self.left})
        rest = f"; left out: {len(self.left)} of {', '.join(heads)}" if heads else ""
        return (
            f"A checkpoint of {self.kind.maker}: its {len(self.tensors)} tensors are a "
            f"whole {self.network} with stem {self.stem!r}{rest}."
        )


def read(path: pathlib.Path, *, allow_unsafe_pickle: bool = False) -> Any:
    """Read the content of a checkpoint.

    Args:
        path: file written by safetensors or by ``torch.save``.
        allow_unsafe_pickle: see ``backbone_file``.

    Raises:
        ValueError: when the file is missing or damaged, or is a pickle that needs more
            than tensors and plain types.
    """
    if not path.is_file():
        raise ValueError(f"There is no file {str(path)!r}: check the path.")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        return torch.load(
            path, map_location="cpu", weights_only=not allow_unsafe_pickle
        )
    except Exception as error:  # damaged pickles raise anything
        needed = re.search(r"GLOBAL (\S+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and needed:
            raise ValueError(
                f"{path.name} was not read: it needs {needed[1]}, which is more than "
                "tensors and plain types, and such a pickle can run any code; if you "
                "trust its maker, convert it with `python -m helpers convert "
                f"--path {path.name} --allow-unsafe-pickle`."
            ) from None
        raise ValueError(
            f"{path.name} is not a whole checkpoint: download or copy it again."
        ) from error


def convert(content: Mapping[str, Any]) -> Converted:
    """Find the backbone in the content of a checkpoint.

    Raises:
        ValueError: when the format is unknown, or the ResNet is not complete.
    """
    for kind in KINDS:
        state = _follow(content, kind.path)
        first = [f"{kind.prefix}{name}.weight" for name in ("conv1", "0")]
        if any(isinstance(state.get(name), Tensor) for name in first):
            break
    else:
        makers = ", ".join(dict.fromkeys(kind.maker for kind in KINDS))
        raise ValueError(f"No ResNet was found: known are the files of {makers}.")
    tensors, left = {}, []
    for name, value in state.items():
        inside = name.removeprefix(kind.prefix) if name.startswith(kind.prefix) else ""
        head, dot, rest = inside.partition(".")
        known = NUMBERED.get(head, head) + dot + rest
        if isinstance(value, Tensor) and known and not known.startswith(CLASSIFIER):
            tensors[known] = value
        else:
            left.append(name)
    network, stem = _identify(tensors)
    return Converted(kind, network, stem, tensors, tuple(left))


def backbone_file(
    path: pathlib.Path,
    folder: pathlib.Path | None = None,
    allow_unsafe_pickle: bool = False,
) -> tuple[pathlib.Path, str]:
    """Convert a checkpoint into a backbone file.

    Args:
        path: the checkpoint.
        folder: folder for runs, in which the file gets its own folder; by default
            $STL_CHECKPOINTS or checkpoints.
        allow_unsafe_pickle: also read pickles that need more than tensors and plain
            types; such a file can run any code of its author on this machine.

    Returns:
        The backbone file, and a sentence about what was taken from the checkpoint.

    Raises:
        ValueError: when the checkpoint cannot be read, or its ResNet is not complete.
    """
    content = read(path, allow_unsafe_pickle=allow_unsafe_pickle)
    try:
        found = convert(content)
    except ValueError as error:
        raise ValueError(f"{path.name} cannot be used. {error}") from None
    backbone = backbones.build(found.network, stem=found.stem)
    backbone.load_state_dict(backbone.state_dict() | found.tensors)
    about = {"name": path.stem, "backbone": found.network, "stem": found.stem}
    about |= {"converted": found.describe()}
    if found.kind.side:
        about["evaluation_size"] = found.kind.side
    name = f"{path.stem}-{files.digest(path)}"
    file = files.checkpoints_folder(folder) / name / weight_files.BACKBONE_FILE
    weight_files.save_backbone(file, backbone, about)
    return file, found.describe()


def _follow(content: Any, path: tuple[str, ...]) -> Mapping[str, Any]:
    for key in path:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content if isinstance(content, Mapping) else {}


def _identify(tensors: dict[str, Tensor]) -> tuple[str, str]:
    """Return network and stem whose weights these are; old files may lack counters."""
    stem = "imagenet" if tensors["conv1.weight"].shape[-1] == 7 else "small"
    reports = []
    for network in backbones.RESNETS:
        with torch.device("meta"):
            own = backbones.build(network, stem=stem).state_dict()
        for name in own.keys() - tensors.keys():
            if name.endswith(".num_batches_tracked"):  # a counter, not a weight
                own.pop(name)
        missing = [
            name
            for name, value in own.items()
            if name not in tensors or tensors[name].shape != value.shape
        ]
        unknown = tensors.keys() - own.keys()
        if not missing and not unknown:
            return network, stem
        report = (
            f"It is nearest to {network}, but of that {len(missing)} weights are "
            f"missing or of another shape ({', '.join(missing[:2])}), and "
            f"{len(unknown)} are unknown; nothing was loaded."
        )
        reports.append((len(missing) + len(unknown), report))
    raise ValueError(min(reports)[1])
