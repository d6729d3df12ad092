"""Backbone files: the weights of one network, with metadata on how they were made.

``backbone.safetensors`` is the only file that one notebook hands to the next: the
backbone alone, without heads, under torchvision's key names.
"""

from __future__ import annotations

import json
import os
import pathlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from helpers import files
from helpers.data import decoding
from helpers.models import backbones

BACKBONE_FILE = "backbone.safetensors"
RELEASED = pathlib.Path(__file__).resolve().parents[2] / "weights"  # with the project
# What the metadata may hold: names are text of at most so many characters, numbers lie
# between two limits. Fields that are not listed may hold anything.
LONGEST_NAME = 1_000
NAMES = (
    "backbone",
    "stem",
    "norm",
    "method",
    "recipe",
    "init",
    "data",
    "name",
    "converted",
    "hardware",
)
COUNTS = {  # whole numbers
    "epochs": (0, 10**9),
    "epochs_done": (0, 10**9),
    "images": (0, 10**15),
    "batch_size": (1, 10**9),
    "processes": (1, 10**6),
    "image_size": (1, 10_000),  # sides in pixels
    "evaluation_size": (1, 10_000),
    "stored_size": (1, 10_000),
}
AMOUNTS = {"knn": (0.0, 100.0), "minutes": (0.0, 1e9)}


def save_backbone(
    path: pathlib.Path, backbone: nn.Module, about: Mapping[str, Any]
) -> None:
    """Write a backbone file.

    Args:
        path: ``*.safetensors``.
        backbone: network from ``backbones.build``.
        about: metadata in plain types; ``backbone`` and ``stem`` are required.
    """
    # safetensors stores row-major tensors that share no memory.
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in backbone.state_dict().items()
    }
    _write(path, tensors, about)


def save_half(
    source: pathlib.Path, target: pathlib.Path, more: Mapping[str, Any] | None = None
) -> None:
    """Write a backbone file again with its weights in float16, in half the space.

    Args:
        source: the file.
        target: the new one.
        more: entries that its metadata gets too.

    Raises:
        ValueError: see ``load_backbone``; or when a weight is too large for float16.
    """
    backbone, about = load_backbone(source)
    halved = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in backbone.state_dict().items()
    }
    check_weights(halved, f"{source} in float16")
    _write(target, halved, {**about, "dtype": "float16", **(more or {})})


def read_about(path: pathlib.Path) -> dict[str, Any]:
    """Read the metadata of a backbone file; empty when there is none.

    A file may come from anyone. Its metadata is checked here, once, so that all other
    code can rely on it.

    Raises:
        ValueError: when the file is missing, damaged or not readable, or when a field
            of the metadata is of another type or size than it can be.
    """
    check_file(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("about", "{}")
    except PermissionError:
        raise ValueError(
            f"{path} cannot be read: ask its owner for the right to."
        ) from None
    except (safetensors.SafetensorError, OSError) as error:
        said = files.not_whole(path, str(path), "safetensors file")
        raise ValueError(said) from error
    try:
        about = files.parse_json(text)
        _check_about(about)
    except ValueError as error:
        raise ValueError(
            f"{path} has metadata that cannot be right. {files.printable(str(error))} "
            "Get the file again, or remove it."
        ) from None
    return about


def check_file(path: pathlib.Path) -> None:
    """Raise a ValueError where there is no file, or a folder in its place."""
    if path.is_dir():
        raise ValueError(
            f"{str(path)!r} is a folder: name a file in it, such as {BACKBONE_FILE}."
        )
    if not path.is_file():
        raise ValueError(files.not_there("file", path))


def check_weights(tensors: Mapping[str, Tensor], file: str) -> None:
    """Refuse weights that no network can compute with.

    Args:
        tensors: weights by name.
        file: name of the file that they come from.

    Raises:
        ValueError: for the first tensor that is sparse, without numbers, of a type
            other than floating point (counters may be integers), not finite, or a
            negative variance.
    """
    for name, tensor in tensors.items():
        fault = _fault(name, tensor)
        if fault:
            raise ValueError(
                f"{file} cannot be used: its tensor {files.printable(name)!r} {fault}; "
                "take an earlier checkpoint, or another one."
            )


def load_backbone(path: str | os.PathLike[str]) -> tuple[nn.Module, dict[str, Any]]:
    """Build the backbone that a file describes and load the file's weights into it.

    Returns:
        The backbone and its metadata.

    Raises:
        ValueError: when the file is damaged, anything but the classifier is missing, or
            the weights are not numbers to compute with.
    """
    path = pathlib.Path(path)
    about = read_about(path)
    tensors = safetensors.torch.load_file(path)
    name, stem, norm = backbones.named_in(about)
    backbone = backbones.build(name, stem=stem, norm=norm)
    classifier = backbones.CLASSIFIERS
    tensors = {k: v for k, v in tensors.items() if not k.startswith(classifier)}
    own = backbone.state_dict()
    missing = [k for k in own if k not in tensors or tensors[k].shape != own[k].shape]
    unknown = tensors.keys() - own.keys()
    if missing or unknown:
        raise ValueError(
            f"{path} does not fit {name}: "
            f"{len(missing)} weights are missing or of another shape "
            f"({', '.join(missing[:2])}…), "
            f"{len(unknown)} are unknown; nothing was loaded."
        )
    check_weights(tensors, str(path))
    backbone.load_state_dict(tensors)
    return backbone, about


def build(name: str, *, stem: str, norm: str, weights: str = "random") -> nn.Module:
    """Build a backbone with the weights from which a training starts.

    Args:
        name: see ``backbones.build``.
        stem: likewise; ``pool`` and ``small`` have the same weights.
        norm: likewise.
        weights: ``random``, ``imagenet`` or the path of a backbone file.

    Raises:
        ValueError: see ``check_first``.
    """
    check_first(weights, name, stem=stem, norm=norm)
    if weights in backbones.WEIGHTS:
        return backbones.build(name, stem=stem, weights=weights, norm=norm)
    backbone = backbones.build(name, stem=stem, norm=norm)
    backbone.load_state_dict(load_backbone(weights)[0].state_dict())
    return backbone


def check_first(weights: str, name: str, *, stem: str, norm: str) -> None:
    """Check whether a training of a backbone can start from these weights.

    Raises:
        ValueError: when they are unknown, damaged, or those of another network.
    """
    is_file = weights not in backbones.WEIGHTS
    backbones.check(
        name, stem=stem, weights="random" if is_file else weights, norm=norm
    )
    if not is_file:
        return
    path = pathlib.Path(weights)
    if not path.is_file():
        raise ValueError(
            f"Unknown weights {weights!r}: choose one of "
            f"{', '.join(backbones.WEIGHTS)}, or the path of a backbone file."
        )
    about = read_about(path)
    if "backbone" not in about:
        raise ValueError(
            f"{weights!r} is no backbone file: make one of it with `python -m helpers "
            f"convert --path {files.quoted(weights)}`."
        )
    own = dict(
        zip(("backbone", "stem", "norm"), backbones.named_in(about), strict=True)
    )
    asked = {"backbone": name, "stem": stem, "norm": norm}
    if {own["stem"], stem} == {"small", "pool"}:  # they have the same weights
        asked["stem"] = own["stem"]
    if own != asked:
        words = [" ".join(f"--{key} {one[key]}" for key in own) for one in (own, asked)]
        raise ValueError(
            f"{weights!r} cannot be the start: it has {words[0]}, and {words[1]} was "
            "asked for; leave those out to take the file's (in Python give "
            "**starting_points.pretraining_settings(path))."
        )


def identify(weights: str) -> str:
    """What identifies the weights that a training starts from, wherever they lie."""
    if weights in backbones.WEIGHTS:
        return weights
    path = pathlib.Path(weights)
    about = read_about(path)
    label = about.get("name") or about.get("method") or path.stem
    return f"{files.printable(label)} {files.digest(path)}"


def find_backbones(
    folders: Sequence[str | os.PathLike[str]],
) -> list[tuple[pathlib.Path, dict[str, Any]]]:
    """Return every backbone file of the runs in these folders; see ``find``."""
    return find(folders, BACKBONE_FILE, read_about)


def released() -> list[tuple[pathlib.Path, dict[str, Any]]]:
    """Return the backbones that came with the project, the best k-NN accuracy first."""
    found = _readable(sorted(RELEASED.glob("*.safetensors")), read_about)
    return sorted(found, key=lambda one: -(one[1].get("knn") or 0))


def find(
    folders: Sequence[str | os.PathLike[str]],
    name: str,
    read: Callable[[pathlib.Path], dict[str, Any]],
) -> list[tuple[pathlib.Path, dict[str, Any]]]:
    """Return the files of a name in the runs of some folders, with their metadata.

    The newest comes first. Files that cannot be used are left out with a warning.

    Args:
        folders: with runs; of a run and its copies, the one with the most epochs, and
            of equal ones that in the earlier folder.
        name: of the files.
        read: reads the metadata of one.
    """
    files = [
        file
        for folder in dict.fromkeys(map(pathlib.Path, folders))
        for file in folder.glob(f"*/{name}")
        if file.is_file()  # no dangling link, nor a pipe that would be waited for
    ]
    of_runs: dict[str, tuple[pathlib.Path, dict[str, Any]]] = {}
    for file, about in _readable(files, read):
        known = of_runs.setdefault(file.parent.name, (file, about))
        if about.get("epochs_done", 0) > known[1].get("epochs_done", 0):
            of_runs[file.parent.name] = file, about
    return sorted(of_runs.values(), key=lambda one: -one[0].stat().st_mtime)


def is_finished(about: Mapping[str, Any]) -> bool:
    """Whether pre-training was not stopped on the way, as far as a file's data say."""
    return about.get("epochs_done", 0) >= about.get("epochs", 0)


def describe(about: Mapping[str, Any]) -> str:
    """Describe a backbone in one line: method, network, data, epochs, k-NN accuracy."""
    network = about.get("backbone", "resnet18")
    if "converted" in about:
        name = about.get("name", "unnamed")
        return files.printable(f"{name}, {network}, converted from a checkpoint")
    knn, first = about.get("knn"), about.get("init", "random")
    start = f" from {first}" if first != "random" else ""
    of_all = "" if is_finished(about) else f" of {about['epochs']}"
    parts = [
        about.get("method", "unknown method") + start,
        network,
        about.get("data", "unknown data"),
        f"{about.get('epochs_done', '?')}{of_all} epochs",
    ]
    if knn is not None:
        parts.append(f"k-NN {knn:.1f} % on the training labels")
    return files.printable(", ".join(parts))


def _write(
    path: pathlib.Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]
) -> None:
    metadata = {"about": json.dumps(dict(about))}
    content = safetensors.torch.save(dict(tensors), metadata)
    # Unlike safetensors' own, a file written this way can be read by others too.
    files.write(path, lambda beside: beside.write_bytes(content))


def _readable(
    paths: Sequence[pathlib.Path], read: Callable[[pathlib.Path], dict[str, Any]]
) -> list[tuple[pathlib.Path, dict[str, Any]]]:
    """Those files that can be read, with their metadata; a warning for each other."""
    found = []
    for file in paths:
        try:
            found.append((file, read(file)))
        except ValueError as error:
            warnings.warn(str(error), stacklevel=3)
    return found


def _check_about(about: Any) -> None:
    """Raise a ValueError for metadata that other code could stumble over."""
    if not isinstance(about, dict):
        raise ValueError(f"It is {_shown(about)} where named fields are expected.")
    for name in NAMES:
        value = about.get(name, "")
        if not isinstance(value, str) or len(value) > LONGEST_NAME:
            raise ValueError(f"Its {name} is {_shown(value)}, which is no name.")
    for limits, kinds, kind in (
        (COUNTS, int, "a whole number"),
        (AMOUNTS, (int, float), "a number"),
    ):
        for name, (least, most) in limits.items():
            value = about.get(name, least)
            if value is None and name == "knn":  # never measured
                continue
            known = isinstance(value, kinds) and not isinstance(value, bool)
            if not known or not least <= value <= most:  # NaN is refused as well
                raise ValueError(
                    f"Its {name} is {_shown(value)}, not {kind} from {least:,} to "
                    f"{most:,}."
                )
    if about.get("fit", "crop") not in [*decoding.FITS]:
        raise ValueError(
            f"Its fit is {_shown(about['fit'])}, not one of {', '.join(decoding.FITS)}."
        )
    network, stem, norm = backbones.named_in(about)
    backbones.check(network, stem=stem, norm=norm)


def _shown(value: Any) -> str:
    """A value as it stands in the metadata, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _fault(name: str, tensor: Tensor) -> str | None:
    """What is wrong with a tensor of weights; None if nothing is."""
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        return "is sparse, quantized or without numbers"
    counter = name.endswith("num_batches_tracked")
    whole = not tensor.is_complex() and tensor.dtype != torch.bool
    if not tensor.is_floating_point() and not (counter and whole):
        return f"is of type {str(tensor.dtype).removeprefix('torch.')}"
    if not tensor.float().isfinite().all():
        return "holds NaN or infinity"
    if not tensor.float().norm().isfinite():  # nor could training go on from them
        return "holds numbers that are too large to compute with"
    if name.endswith("running_var") and (tensor.float() < 0).any():
        return "holds a negative variance"
    return None
