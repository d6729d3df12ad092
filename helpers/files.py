"""Files that are written whole or not at all, and the folders they are kept in."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
from collections.abc import Callable


def checkpoints_folder(given: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Where runs are kept: ``$STL_CHECKPOINTS`` or ``checkpoints`` unless given."""
    return pathlib.Path(given or os.environ.get("STL_CHECKPOINTS", "checkpoints"))


def data_folder(given: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Where downloads are kept: ``$STL_DATA_ROOT`` or ``data`` unless given."""
    return pathlib.Path(given or os.environ.get("STL_DATA_ROOT", "data"))


def results_folder(given: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Where one's records are kept: ``$STL_RESULTS`` or ``runs/results`` unless given.

    Those in ``results`` came with the project.
    """
    return pathlib.Path(given or os.environ.get("STL_RESULTS", "runs/results"))


def write(path: pathlib.Path, save: Callable[[pathlib.Path], object]) -> None:
    """Write a file so that it appears at ``path`` whole or not at all.

    Args:
        path: of the file; its folder is made if it is missing.
        save: writes the file at the path that it is given, which is not ``path`` yet.

    Raises:
        OSError: in one sentence, when the disk is full or the folder is read-only.
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


def check_writable(folder: pathlib.Path) -> None:
    """Make a folder if it is missing, and try to write into it.

    Raises:
        OSError: in one sentence, when that is impossible.
    """
    trial = folder / "trial"
    write(trial, lambda path: path.touch())
    trial.unlink()


def digest(path: pathlib.Path) -> str:
    """The first eight hexadecimal digits of a file's SHA-256."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:8]


def printable(text: str | os.PathLike[str]) -> str:
    r"""Write out line ends, control characters and stray bytes, such as ``\x1b``.

    Printed as they are, those of a stranger's file could change what a terminal shows.
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in os.fspath(text)
    )
