"""Export of backbones: as a state dict, as safetensors, or as a network."""

from __future__ import annotations

import copy
import pathlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from helpers import files
from helpers.models import weight_files

FORMATS = {
    ".pth": "a state dict with torchvision's names",
    ".safetensors": "the same, with its metadata",
    ".pt2": "the network itself, by torch.export",
}


def check(path: pathlib.Path) -> None:
    """Raise a ValueError for a file name that ends in none of ``FORMATS``."""
    if path.suffix not in FORMATS:
        raise ValueError(
            f"{path.name} has no known ending: choose one of {', '.join(FORMATS)}."
        )


def export(
    backbone: nn.Module,
    about: Mapping[str, Any],
    path: pathlib.Path,
    *,
    image_size: int,
) -> None:
    """Write a backbone in the format that the file name's extension stands for.

    Args:
        backbone: network from ``backbones.build``.
        about: its metadata, kept in ``.safetensors``.
        path: file to write; see ``FORMATS``.
        image_size: side S in pixels. A ``.pt2`` maps images (B, 3, S, S), normalised as
            in pre-training, to features (B, D) for any B.

    Raises:
        ValueError: for an unknown extension, or an S too small for the backbone.
    """
    check(path)
    if path.suffix == ".safetensors":
        weight_files.save_backbone(path, backbone, about)
    elif path.suffix == ".pth":
        state = {k: v.contiguous() for k, v in backbone.state_dict().items()}
        files.write(path, lambda p: torch.save(state, p))
    else:
        network = copy.deepcopy(backbone).eval()
        network = network.to("cpu", memory_format=torch.contiguous_format)
        images = torch.zeros(2, 3, image_size, image_size)
        any_number = ({0: torch.export.Dim("batch", min=1)},)
        program = torch.export.export(network, (images,), dynamic_shapes=any_number)
        files.write(path, lambda p: torch.export.save(program, p))
