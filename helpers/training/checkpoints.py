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
import filecmp
import functools
import json
import pathlib
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from helpers import files
from helpers.models import weight_files

Written = TypeVar("Written")

KEPT_STATES = 2
STATE = re.compile(r"state-(\d{5,})-(?:(\d{6,})-)?[0-9a-f]{8}\.pt$")


@dataclasses.dataclass
class Store:
    """The folder of a run, and a second one for copies.

    Attributes:
        folder: on this machine.
        mirror: outlives the machine, such as a folder on Google Drive, or None. It is
            made once: if it is gone later, it is not made again in the place where a
            drive was, but brought up to date when it is back.
        loaded: the state that ``load_state`` returned, or None.
    """

    folder: pathlib.Path
    mirror: pathlib.Path | None = None
    loaded: pathlib.Path | None = dataclasses.field(default=None, init=False)
    _is_made: bool = dataclasses.field(default=False, init=False)
    _owed: list[str] = dataclasses.field(default_factory=list, init=False)
    _said: set[str] = dataclasses.field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        """A folder is no mirror of itself."""
        if self.mirror and self.mirror.resolve() == self.folder.resolve():
            self.mirror = None

    def begin(self, *, is_owned: bool = True) -> None:
        """Make the mirror and bring it up to date.

        Args:
            is_owned: no other process trains this run: what killed processes left half
                written is removed, here and on the mirror.
        """
        if is_owned:
            for folder in self._folders():
                files.remove_unfinished(folder)
        if self.mirror:
            if self._is_behind():
                names = [weight_files.BACKBONE_FILE, "history.json"]
                names += [file.name for file in _states(self.folder)[:1]]
                self._owed += [name for name in names if not self._is_copied(name)]
            self._catch_up()

    def position(self) -> tuple[int, int] | None:
        """Epochs that are finished and steps of the next one, by the newest state."""
        return max(map(_position, self._states()), default=None)

    def check_replaceable(self) -> None:
        """Check what a run without any state would replace when it begins.

        Raises:
            ValueError: when a finished backbone is there.
        """
        for folder in self._folders():
            file, about = folder / weight_files.BACKBONE_FILE, {}
            with contextlib.suppress(ValueError):  # missing or damaged: nothing is lost
                about = weight_files.read_about(file)
            if "epochs" in about and weight_files.is_finished(about):
                raise ValueError(
                    f"{str(file)!r} is finished, but its states (state-*.pt) are gone: "
                    "use it as it is, or add --no-resume (in Python resume=False) to "
                    "train again from nothing and replace it."
                )

    def save_state(self, state: Mapping[str, Any], epoch: int, step: int = 0) -> None:
        """Write the state; keep it and the one before, delete all others.

        Args:
            state: tensors and plain types.
            epoch: number of epochs that are finished.
            step: number of steps of the next epoch that are done.
        """
        place = f"{epoch:05d}-{step:06d}" if step else f"{epoch:05d}"
        unnamed = self.folder / f"state-{place}.pt"
        file = _with_room(
            self.folder,
            lambda: files.write(
                unnamed, lambda path: torch.save(dict(state), path), with_digest=True
            ),
        )
        self._copy(file.name)
        for folder in self._folders():
            with contextlib.suppress(OSError):
                _keep(folder, file.name)

    def load_state(self) -> dict[str, Any] | None:
        """Load the newest undamaged state, of this machine or the mirror, if any.

        Raises:
            ValueError: when it is whole but not a state that can be read.
            OSError: in one sentence, when a drive cannot be read now.
        """
        left = sorted(self._states(), key=_position, reverse=True)
        while left:
            file = left.pop(0)
            try:
                whole = _is_whole(file)
            except OSError as error:  # it may be read later, so it is not given up
                raise OSError(
                    f"Cannot read {str(file)!r} ({error.strerror or error}): run again "
                    "when it can be read, or delete it to go on without it."
                ) from error
            if whole:
                self.loaded = file
                return _read(file)
            then = "going on from the state before it" if left else "no other is left"
            warnings.warn(f"{file.name} is damaged; {then}.", stacklevel=2)
        return None

    @contextlib.contextmanager
    def restoring(self) -> Iterator[None]:
        """Restore a loaded state within a ``with``.

        Raises:
            ValueError: for whatever goes wrong there: the state is of something else.
        """
        try:
            yield
        except Exception as error:
            reason = files.printable(" ".join(str(error).split())[:200])
            raise ValueError(
                f"{self.loaded or self.folder} does not fit this training ({reason}): "
                "another version may have saved it; remove it, or start again with "
                "--no-resume (in Python resume=False)."
            ) from error

    def clear(self) -> None:
        """Delete all states, so that the run begins again with its first step."""
        for state in self._states():
            try:
                files.remove(state)
            except OSError as error:
                raise OSError(
                    f"Cannot delete {str(state)!r} ({error}): delete it yourself, or "
                    "choose another folder."
                ) from error

    def save_json(self, name: str, content: object) -> None:
        """Write content as JSON into a file of this name."""
        text = json.dumps(content, indent=1)
        _with_room(
            self.folder,
            lambda: files.write(self.folder / name, lambda path: path.write_text(text)),
        )
        self._copy(name)

    def save_backbone(self, backbone: nn.Module, about: Mapping[str, Any]) -> None:
        """Write the backbone file; see ``weight_files.save_backbone``."""
        file = self.backbone_file
        _with_room(
            self.folder, lambda: weight_files.save_backbone(file, backbone, about)
        )
        self._copy(file.name)

    @property
    def backbone_file(self) -> pathlib.Path:
        """The backbone's file in the run's folder."""
        return self.folder / weight_files.BACKBONE_FILE

    def _folders(self) -> list[pathlib.Path]:
        return [self.folder] + ([self.mirror] if self.mirror else [])

    def _states(self) -> list[pathlib.Path]:
        """State files of both folders, each folder's newest first."""
        return [file for folder in self._folders() for file in _states(folder)]

    def _is_behind(self) -> bool:
        """Whether the mirror may lack what is here, and not the other way round."""
        here, there = (map(_position, _states(f)) for f in self._folders())
        return max(here, default=(0, 0)) >= max(there, default=(0, 0))

    def _is_copied(self, name: str) -> bool:
        """Whether the mirror has a file of this folder, byte by byte; or none has."""
        if not (self.folder / name).is_file():
            return True
        if STATE.match(name):  # its name says what is in it
            return (self.mirror / name).is_file()
        with contextlib.suppress(OSError):
            return filecmp.cmp(self.folder / name, self.mirror / name, shallow=False)
        return False

    def _copy(self, name: str) -> None:
        """Copy a file to the mirror, if there is one, or as soon as it can be."""
        if self.mirror:
            self._owed = [other for other in self._owed if other != name] + [name]
            self._catch_up()

    def _catch_up(self) -> None:
        """Copy what the mirror lacks; a problem is said once, and the run goes on."""
        try:
            if not self._is_made:
                self.mirror.mkdir(parents=True, exist_ok=True)
                self._is_made = True
            while self._owed:
                file = self.folder / self._owed[0]
                if file.is_file():  # an older state is not there any more
                    _with_room(self.mirror, functools.partial(_copy, file, self.mirror))
                self._owed.pop(0)
        except OSError as error:
            self._warn(error.__cause__ or error)
            return
        if self._said:
            print(f"The mirror {str(self.mirror)!r} is up to date again.")
            self._said.clear()

    def _warn(self, error: BaseException) -> None:
        reason = str(error)
        if isinstance(error, FileNotFoundError):
            reason = "it is not there any more: was it unmounted, renamed or deleted?"
        kind = str(getattr(error, "errno", None) or type(error))
        if kind not in self._said:
            self._said.add(kind)
            warnings.warn(
                f"No copy was made on the mirror {str(self.mirror)!r} ({reason}). The "
                f"run goes on, all its files are in {str(self.folder)!r}, and the "
                "mirror gets them as soon as it can.",
                stacklevel=2,
            )


def check_history(
    history: Any, most: int, names: Sequence[str] = ("loss", "seconds")
) -> None:
    """Raise an error unless a history has numbers, of so many epochs at most.

    Args:
        history: as it comes from a state.
        most: number of epochs.
        names: of the numbers that every entry has beside ``epoch``, from 1 on.
    """
    if not isinstance(history, list) or len(history) > most:
        raise ValueError(f"its history is not that of {most} epochs")
    for number, entry in enumerate(history, start=1):
        values = [entry[name] for name in ("epoch", *names)] + [*entry.values()]
        if values[0] != number or not all(
            type(value) in (int, float) and abs(float(value)) >= 0 for value in values
        ):
            raise ValueError(f"its history has {str(entry)[:80]} for epoch {number}")


def _with_room(folder: pathlib.Path, write: Callable[[], Written]) -> Written:
    """Write into a folder; without room, in the place of the state before the last.

    The last one stays until the new file is whole.
    """
    try:
        return write()
    except OSError:
        newest, *older = _states(folder) or [None]
        if not older or not _is_whole(newest):
            raise
        for state in older:
            files.remove(state)
        return write()


def _copy(file: pathlib.Path, folder: pathlib.Path) -> None:
    files.write(
        folder / file.name,
        lambda beside: shutil.copyfile(file, beside),
        make_folder=False,
        empty_old=True,
    )


def _is_whole(state: pathlib.Path) -> bool:
    with contextlib.suppress(FileNotFoundError):  # it was removed meanwhile
        return files.digest(state) == state.stem.split("-")[-1]
    return False


def _read(file: pathlib.Path) -> dict[str, Any]:
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles raise anything
        reason = files.printable(str(error).split("\n")[0])
        raise ValueError(
            f"{file} is not a state of tensors and plain types, and is not read "
            f"(weights only: {reason}): remove it, or start again with --no-resume."
        ) from error
    if not isinstance(state, dict):
        raise ValueError(
            f"{file} is not a state of a run: remove it, or start again with "
            "--no-resume."
        )
    return state


def _keep(folder: pathlib.Path, name: str) -> None:
    """Delete what is older than this state and the one before it, or damaged.

    A later state that is whole stays: the run began when it could not be read, or two
    machines share a mirror.
    """
    if not (folder / name).is_file():
        return
    states = _states(folder)
    place = [state.name for state in states].index(name)
    damaged = [state for state in states[:place] if not _is_whole(state)]
    for state in damaged + states[place + KEPT_STATES :]:
        files.remove(state)


def _states(folder: pathlib.Path) -> list[pathlib.Path]:
    """State files, newest first."""
    found = []
    with contextlib.suppress(OSError):  # a drive that has gone
        found = [file for file in folder.iterdir() if STATE.match(file.name)]
    return sorted(found, key=_position, reverse=True)


def _position(state: pathlib.Path) -> tuple[int, int]:
    """Epochs that are finished, and steps of the next one that are done."""
    epoch, step = STATE.match(state.name).groups()
    return int(epoch), int(step or 0)
