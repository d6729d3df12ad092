"""Export of networks: weights alone, or a network that runs without this project."""

from __future__ import annotations

import copy
import importlib.util
import json
import pathlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from helpers import files, views
from helpers.models import classifier_files, heads, small_maps, weight_files

FORMATS = {
    ".pth": "a state dict with torchvision's names, in a classifier after 'backbone.'",
    ".safetensors": "the weights with their metadata",
    ".pt2": "the network itself, by torch.export",
    ".onnx": "the network itself, for ONNX",
    ".ts": "the network itself, for TorchScript",
    ".torchscript": "the network itself, for TorchScript",
}
ONNX = ("onnx", "onnxscript")  # packages, not needed for anything else


def check(path: pathlib.Path) -> None:
    """Raise a ValueError for a file that cannot be written in any of ``FORMATS``."""
    if path.suffix not in FORMATS:
        raise ValueError(
            f"{path.name} has no known ending: choose one of {', '.join(FORMATS)}."
        )
    lacking = [name for name in ONNX if importlib.util.find_spec(name) is None]
    if path.suffix == ".onnx" and lacking:
        raise ValueError(
            f"{path.name} needs {' and '.join(lacking)}: pip install "
            f"{' '.join(lacking)}, or choose another of {', '.join(FORMATS)}."
        )


def export(
    network: nn.Module,
    about: Mapping[str, Any],
    path: pathlib.Path,
    *,
    image_size: int,
) -> None:
    """Write a network in the format that the file name's extension stands for.

    A network in a file maps images (B, 3, S, S), normalised as in pre-training, to
    features (B, D), or a classifier's to logits (B, C), for any B. S, mean and standard
    deviation are in the file wherever the format has a place for them.

    Args:
        network: from ``backbones.build``, or a classifier.
        about: its metadata.
        path: file to write; see ``FORMATS``.
        image_size: side S in pixels.

    Raises:
        ValueError: for an unknown extension, a package that is not installed, or an S
            too small for the backbone.
    """
    check(path)
    # Weights that were kept in half precision are float32 once they are loaded.
    about = {key: value for key, value in about.items() if key != "dtype"}
    normalized = {"mean": views.MEAN, "std": views.STD}
    if path.suffix == ".safetensors":
        if isinstance(network, heads.Classifier):
            made = {**about, "image_size": image_size}
            classifier_files.save(path, network, made)
        else:  # its image_size is that of the views in pre-training
            made = {**about, **normalized, "evaluation_size": image_size}
            weight_files.save_backbone(path, network, made)
    elif path.suffix == ".pth":
        state = {k: v.contiguous() for k, v in network.state_dict().items()}
        files.write(path, lambda p: torch.save(state, p))
    else:
        network = copy.deepcopy(network).eval()
        network = network.to("cpu", memory_format=torch.contiguous_format)
        images = torch.zeros(2, 3, image_size, image_size)
        with torch.no_grad():
            network(images)  # too small a side is refused here
        told = json.dumps({**about, **normalized, "image_size": image_size})
        with warnings.catch_warnings():  # on how torch will do it in later versions
            warnings.simplefilter("ignore")
            files.write(path, WRITERS[path.suffix](plain(network), images, told))


def plain(network: nn.Module) -> nn.Module:
    """Take off, in place, what only this project needs: the network stays the same."""
    small_maps.undo(network)
    for module in network.modules():
        module._forward_pre_hooks.clear()  # backbones refuse small images by one
    return network


def _pt2(
    network: nn.Module, images: torch.Tensor, told: str
) -> Callable[[pathlib.Path], None]:
    any_number = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(network, (images,), dynamic_shapes=any_number)
    extra = {"about.json": told}
    return lambda path: torch.export.save(program, path, extra_files=extra)


def _torchscript(
    network: nn.Module, images: torch.Tensor, told: str
) -> Callable[[pathlib.Path], None]:
    with torch.no_grad():
        traced = torch.jit.trace(network, images)
    extra = {"about.json": told}
    return lambda path: torch.jit.save(traced, str(path), _extra_files=extra)


def _onnx(
    network: nn.Module, images: torch.Tensor, told: str
) -> Callable[[pathlib.Path], None]:
    any_number = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.onnx.export(
        network,
        (images,),
        input_names=["images"],
        output_names=["outputs"],
        dynamic_shapes=any_number,
        dynamo=True,
        verbose=False,
    )
    program.model.metadata_props["about"] = told
    return lambda path: program.save(str(path), external_data=False)


WRITERS = {
    ".pt2": _pt2,
    ".onnx": _onnx,
    ".ts": _torchscript,
    ".torchscript": _torchscript,
}
