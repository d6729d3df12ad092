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
import json
import os
import pathlib
import shutil
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from helpers import files
from helpers.models import weight_files

KEPT_STATES = 2


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
        files.write(unnamed, lambda path: torch.save(dict(state), path))
        final = self.folder / f"state-{epoch:05d}-{files.digest(unnamed)}.pt"
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
            if files.digest(file) == file.stem.split("-")[-1]:
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
        files.write(self.folder / name, lambda path: path.write_text(text))
        self._copy(self.folder / name)

    def load_json(self, name: str) -> Any:
        """Read JSON written by ``save_json``; None when there is none."""
        for folder in self._folders():
            if (folder / name).exists():
                return json.loads((folder / name).read_text())
        return None

    def save_backbone(self, backbone: nn.Module, about: Mapping[str, Any]) -> None:
        """Write the backbone file; see ``weight_files.save_backbone``."""
        weight_files.save_backbone(
            self.folder / weight_files.BACKBONE_FILE, backbone, about
        )
        self._copy(self.folder / weight_files.BACKBONE_FILE)

    def _folders(self) -> list[pathlib.Path]:
        return [self.folder] + ([self.mirror] if self.mirror else [])

    def _copy(self, file: pathlib.Path) -> None:
        if self.mirror:
            try:
                files.write(
                    self.mirror / file.name, lambda path: shutil.copyfile(file, path)
                )
            except OSError as error:  # the run goes on: this machine has the file
                warnings.warn(f"No copy was made: {error}", stacklevel=2)


def _states(folder: pathlib.Path) -> list[pathlib.Path]:
    """State files, newest first."""
    return sorted(folder.glob("state-?????-*.pt"), reverse=True)
