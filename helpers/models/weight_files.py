"""Backbone files: the weights of one network, with metadata on how they were made.

``backbone.safetensors`` is the only file that one notebook hands to the next: the
backbone alone, without heads, under torchvision's key names.
"""

from __future__ import annotations

import json
import os
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from helpers import files
from helpers.models import backbones

BACKBONE_FILE = "backbone.safetensors"


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
    metadata = {"about": json.dumps(dict(about))}
    files.write(path, lambda p: safetensors.torch.save_file(tensors, p, metadata))


def read_about(path: pathlib.Path) -> dict[str, Any]:
    """Read the metadata of a backbone file; empty when there is none.

    Raises:
        ValueError: when the file is missing or damaged.
    """
    if not path.exists():
        raise ValueError(f"There is no file {str(path)!r}: check the path.")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return json.loads((file.metadata() or {}).get("about", "{}"))
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(
            f"{path.name} is not a whole safetensors file: download or copy it again."
        ) from error


def load_backbone(path: str | os.PathLike[str]) -> tuple[nn.Module, dict[str, Any]]:
    """Build the backbone that a file describes and load the file's weights into it.

    Returns:
        The backbone and its metadata.

    Raises:
        ValueError: when the file is damaged, or anything but the classifier is missing.
    """
    path = pathlib.Path(path)
    about = read_about(path)
    tensors = safetensors.torch.load_file(path)
    name = about.get("backbone", "resnet18")
    kind = {key: about[key] for key in ("stem", "norm") if key in about}
    backbone = backbones.build(name, **kind)
    classifier = backbones.CLASSIFIERS
    tensors = {k: v for k, v in tensors.items() if not k.startswith(classifier)}
    own = backbone.state_dict()
    missing = [k for k in own if k not in tensors or tensors[k].shape != own[k].shape]
    unknown = tensors.keys() - own.keys()
    if missing or unknown:
        raise ValueError(
            f"{path.name} does not fit {name}: "
            f"{len(missing)} weights are missing or of another shape "
            f"({', '.join(missing[:2])}…), "
            f"{len(unknown)} are unknown; nothing was loaded."
        )
    backbone.load_state_dict(tensors)
    return backbone, about


def find_backbones(
    folders: Sequence[pathlib.Path],
) -> list[tuple[pathlib.Path, dict[str, Any]]]:
    """Return every backbone file of the runs in these folders, with its metadata.

    The newest comes first. Damaged files are left out with a warning.
    """
    files = {
        file.resolve(): file
        for folder in folders
        for file in pathlib.Path(folder).glob(f"*/{BACKBONE_FILE}")
    }
    newest = sorted(files.values(), key=lambda f: f.stat().st_mtime, reverse=True)
    found = []
    for file in newest:
        try:
            found.append((file, read_about(file)))
        except ValueError as error:
            warnings.warn(str(error), stacklevel=2)
    return found


def describe(about: Mapping[str, Any]) -> str:
    """Describe a backbone in one line: method, network, data, epochs, k-NN accuracy."""
    if "converted" in about:
        return f"{about['name']}, {about['backbone']}, converted from another project"
    knn = about.get("knn")
    parts = [
        str(about.get("method", "unknown method")),
        str(about.get("backbone", "resnet18")),
        str(about.get("data", "unknown data")),
        f"{about.get('epochs_done', '?')} epochs",
    ]
    if knn is not None:
        parts.append(f"k-NN {knn:.1f} % on its labels")
    return ", ".join(parts)
