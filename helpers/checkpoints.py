"""Files of a run: the state to go on from, and the backbone to hand on.

``<folder>/state-00007-1a2b3c4d.pt`` everything needed to go on after epoch 7; the name
                                   ends with the first digits of the file's SHA-256
``<folder>/backbone.safetensors``  the backbone alone, torchvision's key names; how it
                                   was made is in the file's metadata
``<folder>/history.json``          one entry an epoch, for figures and people

Every file is written beside its place, flushed and renamed, so that it is whole or not
there. A mirror (Google Drive) gets a copy of each closed file in the same way.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from helpers import backbones

BACKBONE_FILE = "backbone.safetensors"
KEPT_STATES = 2


def folder(given: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Where runs are kept: ``$STL_CHECKPOINTS`` or ``checkpoints`` unless given."""
    return pathlib.Path(given or os.environ.get("STL_CHECKPOINTS", "checkpoints"))


def write(path: pathlib.Path, save: Callable[[pathlib.Path], object]) -> None:
    """Let ``save`` write a file that appears at ``path`` whole or not at all.

    Raises:
        OSError: with one sentence when the disk is full or the folder is read-only.
    """
    beside = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save(beside)
        with open(beside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    except (OSError, RuntimeError) as error:
        raise OSError(
            f"Cannot write {path.name} into {str(path.parent)!r} ({error}): free some "
            "space or choose another folder, then run again; what was saved is kept."
        ) from error
    finally:  # renamed already, unless something went wrong
        with contextlib.suppress(OSError):
            beside.unlink()


@dataclasses.dataclass(frozen=True)
class Store:
    """Where a run keeps its files.

    Attributes:
        folder: on this machine.
        mirror: a second folder that outlives the machine, or None.
    """

    folder: pathlib.Path
    mirror: pathlib.Path | None = None

    def save_state(self, state: Mapping[str, Any], epoch: int) -> None:
        """Write the state after ``epoch``; the last two stay, older ones go."""
        unnamed = self.folder / "state.tmp"
        write(unnamed, lambda path: torch.save(dict(state), path))
        final = self.folder / f"state-{epoch:05d}-{digest(unnamed)}.pt"
        os.replace(unnamed, final)
        self._copy(final)
        for folder in self._folders():
            with contextlib.suppress(OSError):  # one file too many harms nobody
                for old in _states(folder)[KEPT_STATES:]:
                    old.unlink()

    def load_state(self) -> dict[str, Any] | None:
        """The newest state that is undamaged, on this machine or in the mirror."""
        found = [file for folder in self._folders() for file in _states(folder)]
        for file in sorted(found, key=lambda file: file.name[:11], reverse=True):
            if digest(file) == file.stem.split("-")[-1]:
                return torch.load(file, map_location="cpu", weights_only=True)
            warnings.warn(
                f"{file.name} is damaged; going on from the state before it.",
                stacklevel=2,
            )
        return None

    def clear(self) -> None:
        """Remove all states, so that the next run begins with its first step."""
        for folder in self._folders():
            for state in _states(folder):
                state.unlink()

    def save_json(self, name: str, content: object) -> None:
        """Write ``content`` as JSON."""
        text = json.dumps(content, indent=1)
        write(self.folder / name, lambda path: path.write_text(text))
        self._copy(self.folder / name)

    def load_json(self, name: str) -> Any:
        """Read JSON written by ``save_json``; None when there is none."""
        for folder in self._folders():
            if (folder / name).exists():
                return json.loads((folder / name).read_text())
        return None

    def save_backbone(self, backbone: nn.Module, about: Mapping[str, Any]) -> None:
        """Write the backbone file; see the function ``save_backbone``."""
        save_backbone(self.folder / BACKBONE_FILE, backbone, about)
        self._copy(self.folder / BACKBONE_FILE)

    def _folders(self) -> list[pathlib.Path]:
        return [self.folder] + ([self.mirror] if self.mirror else [])

    def _copy(self, file: pathlib.Path) -> None:
        if self.mirror:
            try:
                write(self.mirror / file.name, lambda path: shutil.copyfile(file, path))
            except OSError as error:  # the run goes on: this machine has the file
                warnings.warn(f"No copy was made: {error}", stacklevel=2)


def save_backbone(
    path: pathlib.Path, backbone: nn.Module, about: Mapping[str, Any]
) -> None:
    """Write a backbone with torchvision's key names, no prefix, no heads.

    Args:
        path: of the file, ``*.safetensors``.
        backbone: made by ``backbones.build``.
        about: how it was made, plain types; needs ``backbone`` and ``stem``.
    """
    # Own storage for every tensor, row-major: the format knows no other order.
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in backbone.state_dict().items()
    }
    metadata = {"about": json.dumps(dict(about))}
    write(path, lambda p: safetensors.torch.save_file(tensors, p, metadata))


def read_about(path: pathlib.Path) -> dict[str, Any]:
    """How the backbone in this file was made; empty when the file does not say.

    Raises:
        ValueError: when the file is missing or not a whole safetensors file.
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
    """Build the backbone a file describes and fill it with the file's weights.

    Returns:
        The backbone and how it was made.

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
    """Every backbone file in runs under these folders, newest first, with its about."""
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
    """One line about a backbone, for lists people choose from."""
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


def _states(folder: pathlib.Path) -> list[pathlib.Path]:
    """State files, newest first."""
    return sorted(folder.glob("state-?????-*.pt"), reverse=True)


def digest(path: pathlib.Path) -> str:
    """The first digits of a file's SHA-256."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:8]
