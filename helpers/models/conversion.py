"""Conversion of other projects' checkpoints into backbone files.

``layouts`` finds the ResNet in a checkpoint; here the file is read and its weights are
written under torchvision's names. A file is refused unless it holds all of a ResNet's
weights, apart from the classifier's. Files are read as data: no code in them is
executed.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import pickle
import re
import zipfile
from collections.abc import Mapping
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from helpers import files
from helpers.models import backbones, classifier_files, layouts, weight_files

NOT_IN_A_FILE = (
    " Images will be normalised with the mean and deviation of ImageNet: if its "
    "authors did otherwise, expect less of it."
)
NO_POOL = " No file tells whether a max-pool follows the first layer: none was assumed."
# A file of each kind that torch.export has written.
EXPORTED = ("models/model.json", "serialized_exported_program.json")
MOST_UNPACKED = 4  # times a file's size; torch.save does not compress at all


@dataclasses.dataclass(frozen=True)
class Converted:
    """A backbone found in a checkpoint.

    Attributes:
        kind: format of the file.
        prefix: what the full names of the weights begin with.
        network: one of ``backbones.RESNETS``.
        stem: one of ``backbones.STEMS``. A 3x3 convolution counts as ``small``, since
            no file records whether a max-pool follows it.
        norm: one of ``backbones.NORMS``; ``group`` in this project's own files only.
        tensors: its weights under torchvision's names, without the classifier.
        left: full names of all other tensors in the file, such as heads.
        others: prefixes of other complete networks in the file.
        caveat: in what the network differs from the original; empty if in nothing.
    """

    kind: layouts.Kind
    prefix: str
    network: str
    stem: str
    norm: str
    tensors: dict[str, Tensor]
    left: tuple[str, ...]
    others: tuple[str, ...]
    caveat: str = ""

    @property
    def side(self) -> int | None:
        """Side in pixels of the whole images to evaluate on; None if unknown."""
        if self.stem != "imagenet":
            return None if self.kind.side == layouts.IMAGENET_SIDE else self.kind.side
        deep = self.network not in ("resnet18", "resnet34")  # they come from ImageNet
        return self.kind.side or (layouts.IMAGENET_SIDE if deep else None)

    def describe(self) -> str:
        """Say in a sentence which weights were taken and which were left out."""
        maker = f" ({self.kind.maker})" if self.kind.maker else ""
        heads = dict.fromkeys(_branch(name, self.prefix) for name in self.left)
        others = f"; as whole, but not taken: {layouts.listed(self.others)}"
        rest = f"; left out: {len(self.left)} of {layouts.listed(heads)}"
        return files.printable(
            f"The {len(self.tensors)} tensors {layouts.where(self.prefix)}{maker} are "
            f"a whole {self.network} with stem {self.stem!r}"
            f"{others if self.others else ''}{rest if heads else ''}"
            f"{f'; {self.caveat}' if self.caveat else ''}."
        )


def read(path: pathlib.Path, *, allow_unsafe_pickle: bool = False) -> Any:
    """Read the content of a checkpoint.

    Args:
        path: file written by safetensors or by ``torch.save``.
        allow_unsafe_pickle: see ``backbone_file``.

    Raises:
        ValueError: when the file is missing or damaged or of another kind, unpacks to
            much more than its size, or is a pickle that needs more than tensors, plain
            types and ``argparse.Namespace``.
    """
    weight_files.check_file(path)
    try:
        if _is_safetensors(path):
            return safetensors.torch.load_file(path)
        _check_archive(path)
        # A Namespace is nothing but names and values: many keep their flags in one.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(
                path, map_location="cpu", weights_only=not allow_unsafe_pickle
            )
    except _OtherKindError as error:
        raise ValueError(f"{path.name} {error}") from None
    except Exception as error:  # damaged pickles raise anything
        needed = re.search(r"GLOBAL (\S+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and needed:
            raise ValueError(
                f"{path.name} was not read: it needs {files.printable(needed[1])}, "
                "which is more than tensors and plain types, and such a pickle can run "
                "any code; if you trust its maker, convert it with `python -m helpers "
                f"convert --path {files.quoted(path)} --allow-unsafe-pickle`."
            ) from None
        if allow_unsafe_pickle and isinstance(error, (ImportError, AttributeError)):
            raise ValueError(
                f"{path.name} was not read: its pickle needs what is not installed "
                f"({files.printable(str(error))}): install it, or save the network's "
                "state_dict() where it is."
            ) from None
        kind = "checkpoint of torch.save or safetensors"
        raise ValueError(files.not_whole(path, path.name, kind)) from error


def convert(content: Any) -> Converted:
    """Find the backbone in the content of a checkpoint.

    Raises:
        ValueError: when there is no ResNet, or none that is complete.
    """
    states = dict(layouts.state_dicts(content))
    told = content.get("network") if isinstance(content, Mapping) else None
    final = told.get("final") if isinstance(told, Mapping) else None
    result = f"method.{final}."  # of a run of this project, such as DINO's teacher
    places = sorted(layouts.find(states), key=layouts.rank)
    places.sort(key=lambda place: place.full != result)
    found, reports = [], []
    for place in places:
        state, kind = states[place.state], layouts.kind_of(place)
        weights = place.weights(state)
        tensors = {own: tensor for own, (_, tensor) in weights.items()}
        unknown = layouts.unknown_layers(place, state, places)
        if place.full == result:
            kind = dataclasses.replace(layouts.THIS_PROJECT, prefix=place.full)
        ours = kind.maker == layouts.THIS_PROJECT.maker
        try:
            network = layouts.identify(tensors, unknown, ours)
        except layouts.IncompleteError as error:
            count, sentence = error.args
            where = layouts.where(place.full)
            reports.append((count, f"There is a ResNet {where}: {sentence}"))
            continue
        taken = {place.state + name for name, _ in weights.values()}
        found.append((kind, place, network, tensors, taken))
    if not found and reports:
        raise ValueError(min(reports)[1])
    if not found:
        raise ValueError(f"No ResNet was found. {layouts.seen(content, states)}")
    kind, place, network, tensors, taken = found[0]
    names = [path + name for path, state in states.items() for name in state]
    left = tuple(name for name in names if name not in taken)
    others = tuple(other.full for _, other, *_ in found[1:])
    return Converted(kind, place.full, *network, tensors, left, others, place.caveat)


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
        ValueError: when the checkpoint cannot be read, its ResNet is not complete, or
            its weights are not numbers to compute with.
    """
    if _is_ours(path):
        return path, f"{files.printable(path)} is a backbone file: use it as it is."
    if classifier_files.is_classifier(path):
        backbone, about, said = _of_classifier(path)
    else:
        backbone, about, said = _of_checkpoint(path, allow_unsafe_pickle)
    about |= {"name": path.stem, "converted": said}
    name = f"{path.stem}-{files.digest(path)}"
    file = files.checkpoints_folder(folder) / name / weight_files.BACKBONE_FILE
    weight_files.save_backbone(file, backbone, about)
    return file, said


def _is_ours(path: pathlib.Path) -> bool:
    """Whether it is a backbone file of this project, which says all about itself."""
    try:
        return "backbone" in weight_files.read_about(path)
    except ValueError:  # of another kind
        return False


def _of_classifier(path: pathlib.Path) -> tuple[nn.Module, dict[str, Any], str]:
    """The backbone of one of this project's classifiers, its metadata, a sentence."""
    classifier, said = classifier_files.load(path)
    prepared = {key: said[key] for key in ("stored_size", "fit") if key in said}
    network = backbones.metadata(*backbones.named_in(said["network"]))
    about = {**network, "evaluation_size": said["image_size"], **prepared}
    sentence = (
        f"This is a classifier of this project: its backbone, a {about['backbone']} "
        f"with stem {about['stem']!r}, was taken; the head was left out."
    )
    return classifier.backbone, about, sentence


def _of_checkpoint(
    path: pathlib.Path, allow_unsafe_pickle: bool
) -> tuple[nn.Module, dict[str, Any], str]:
    """The ResNet of any checkpoint, its metadata, and what was taken."""
    content = read(path, allow_unsafe_pickle=allow_unsafe_pickle)
    try:
        found = convert(content)
    except ValueError as error:
        raise ValueError(f"{path.name} cannot be used. {error}") from None
    weight_files.check_weights(found.tensors, path.name)
    about = {"backbone": found.network, "stem": found.stem, "norm": found.norm}
    if found.side:
        about["evaluation_size"] = found.side
    is_ours = found.kind.maker == layouts.THIS_PROJECT.maker
    if is_ours:
        for told in (_beside(path), content.get("network")):
            about |= _of_same_weights(told, about)
        found = dataclasses.replace(found, stem=about["stem"])
    kind = {"stem": about["stem"], "norm": about["norm"]}
    backbone = backbones.build(found.network, **kind)
    backbone.load_state_dict(backbone.state_dict() | found.tensors)
    weight_files.check_weights(backbone.state_dict(), path.name)  # now in float32
    notes = "" if is_ours else NOT_IN_A_FILE
    if notes and found.stem == "small":
        notes += NO_POOL
    return backbone, about, found.describe() + notes


class _OtherKindError(Exception):
    """Says which kind of file it is instead of a checkpoint, and what to do."""


def _is_safetensors(path: pathlib.Path) -> bool:
    """Whether a file begins like one of safetensors, which may have any ending."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")  # of the names, as JSON
        return length <= path.stat().st_size - 8 and file.read(1) == b"{"


def _check_archive(path: pathlib.Path) -> None:
    """Refuse zip archives that torch.save has not written, before they are unpacked."""
    with open(path, "rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    names = [entry.filename.partition("/")[2] for entry in entries]
    unpacked = sum(entry.file_size for entry in entries)
    size = path.stat().st_size
    if unpacked > MOST_UNPACKED * size:
        raise _OtherKindError(
            f"was not read: its {size / 1e6:,.1f} MB would unpack to "
            f"{unpacked / 1e6:,.0f} MB, and torch.save does not compress; get the file "
            "from its maker."
        )
    program = None
    if "constants.pkl" in names:
        program = "a TorchScript program", f"torch.jit.load({str(path)!r}).state_dict()"
    elif any(entry.filename.endswith(EXPORTED) for entry in entries):
        program = "a program", f"torch.export.load({str(path)!r}).state_dict"
    if program:
        raise _OtherKindError(
            f"is {program[0]}, not a file of weights: where you trust its maker, write "
            f"them with `torch.save({program[1]}, 'weights.pt')` and convert that file."
        )
    if "data.pkl" not in names:
        raise _OtherKindError(
            "is a zip archive without a checkpoint of torch.save: unpack it, and "
            "convert the file inside."
        )


def _beside(path: pathlib.Path) -> dict[str, Any]:
    """What the backbone file of the same run says; states once did not say it."""
    try:
        return weight_files.read_about(path.with_name(weight_files.BACKBONE_FILE))
    except ValueError:
        return {}


def _of_same_weights(told: Any, about: Mapping[str, Any]) -> dict[str, Any]:
    """Of what is told of a network, that which its weights do not tell."""
    told = told if isinstance(told, Mapping) else {}
    same = told.get("backbone") == about["backbone"]
    same &= (told.get("stem") == "imagenet") == (about["stem"] == "imagenet")
    same &= str(told.get("stem")) in backbones.STEMS
    names = ("stem", "image_size", "evaluation_size", "data") if same else ()
    return {name: told[name] for name in names if name in told}


def _branch(name: str, prefix: str) -> str:
    """The part of a name with which it leaves the way to the backbone."""
    parts, way = name.split("."), prefix.split(".")
    branches = (part for part, other in zip(parts, way, strict=False) if part != other)
    return next(branches, name)
