"""Files of a run: states to resume from, the backbone, and the history.

``<folder>/state-00007-1a2b3c4d.pt``         everything needed to resume after epoch 7;
                                           the name ends with the first digits of the
                                           file's SHA-256
``<folder>/state-00007-000123-1a2b3c4d.pt``  the same after 123 steps of the next epoch
``<folder>/backbone.safetensors``            the backbone alone, torchvision's key
                                           names; its metadata say how it was made
``<folder>/history.json``                    one entry per epoch, for figures and people

Every file is written under another name, flushed and renamed, so that it is either
complete or absent. A mirror (Google Drive) gets a copy of each file in the same way.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shutil
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from helpers import files
from helpers.models import weight_files

KEPT_STATES = 2
STATE = re.compile(r"state-(\d{5,})-(?:(\d{6,})-)?[0-9a-f]{8}\.pt$")


@dataclasses.dataclass(frozen=True)
class Store:
    """The folder of a run, and a second one for copies.

    Attributes:
        folder: on this machine.
        mirror: outlives the machine, such as a folder on Google Drive, or None.
    """

    folder: pathlib.Path
    mirror: pathlib.Path | None = None

    def save_state(self, state: Mapping[str, Any], epoch: int, step: int = 0) -> None:
        """Write the state; keep the last two, delete older ones.

        Args:
            state: tensors and plain types.
            epoch: number of epochs that are finished.
            step: number of steps of the next epoch that are done.
        """
        unnamed = self.folder / "state.tmp"
        files.write(unnamed, lambda path: torch.save(dict(state), path))
        place = f"{epoch:05d}-{step:06d}" if step else f"{epoch:05d}"
        final = self.folder / f"state-{place}-{files.digest(unnamed)}.pt"
        os.replace(unnamed, final)
        self._copy(final)
        for folder in self._folders():
            with contextlib.suppress(OSError):  # a file too many does no harm
                for old in _states(folder)[KEPT_STATES:]:
                    old.unlink()

    def load_state(self) -> dict[str, Any] | None:
        """Load the newest undamaged state, of this machine or the mirror, if any."""
        found = [file for folder in self._folders() for file in _states(folder)]
        for file in sorted(found, key=_position, reverse=True):
            if files.digest(file) == file.stem.split("-")[-1]:
                return torch.load(file, map_location="cpu", weights_only=True)
            warnings.warn(
                f"{file.name} is damaged; going on from the state before it.",
                stacklevel=2,
            )
        return None

    def clear(self) -> None:
        """Delete all states, so that the run begins again with its first step."""
        for folder in self._folders():
            for state in _states(folder):
                state.unlink()

    def save_json(self, name: str, content: object) -> None:
        """Write content as JSON into a file of this name."""
        text = json.dumps(content, indent=1)
        files.write(self.folder / name, lambda path: path.write_text(text))
        self._copy(self.folder / name)

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
    found = [file for file in folder.glob("state-*.pt") if STATE.match(file.name)]
    return sorted(found, key=_position, reverse=True)


def _position(state: pathlib.Path) -> tuple[int, int]:
    """Epochs that are finished, and steps of the next one that are done."""
    epoch, step = STATE.match(state.name).groups()
    return int(epoch), int(step or 0)
