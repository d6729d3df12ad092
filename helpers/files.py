"""Files: written whole or not at all, where they lie, and what is wrong with them."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import pathlib
import re
import secrets
import shlex
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import filelock

MOST_NESTED = 50  # lists and dictionaries within each other
# How files begin, in lower case, that often lie in the place of another; what they are,
# and what to do.
MISTAKEN: tuple[tuple[bytes | tuple[bytes, ...], str, str], ...] = (
    (
        b"version https://git-lfs",
        "a pointer of Git LFS",
        "fetch it with git lfs pull",
    ),
    ((b"<!doctype html", b"<html"), "a web page", "download the file that it leads to"),
    (b"\x1f\x8b", "compressed by gzip", "unpack it"),
    (b"bzh", "compressed by bzip2", "unpack it"),
    (b"\xfd7zxz", "compressed by xz", "unpack it"),
    (b"rar!", "a RAR archive", "unpack it"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it"),
    (b"\x89hdf", "an HDF5 file, perhaps of Keras", "weights of PyTorch are needed"),
    (b"\x93numpy", "an array of NumPy", "weights of PyTorch are needed"),
    (
        (b"\x80\x03", b"\x80\x04", b"\x80\x05"),
        "a plain pickle",
        "if you trust its maker, load it and write its tensors with torch.save",
    ),
)
PATIENCE = (0.05, 0.1, 0.2, 0.4, 0.8)  # seconds between attempts to rename a file


def checkpoints_folder(given: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Where runs are kept: ``$STL_CHECKPOINTS`` or ``checkpoints`` unless given."""
    return expand_home(given or os.environ.get("STL_CHECKPOINTS") or "checkpoints")


def data_folder(given: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Where downloads are kept: ``$STL_DATA_ROOT`` or ``data`` unless given."""
    return expand_home(given or os.environ.get("STL_DATA_ROOT") or "data")


def results_folder(given: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Where one's records are kept: ``$STL_RESULTS`` or ``runs/results`` unless given.

    Those in ``results`` came with the project.
    """
    return expand_home(given or os.environ.get("STL_RESULTS") or "runs/results")


def expand_home(path: str | os.PathLike[str]) -> pathlib.Path:
    """A path as a person types it: ``~`` is their home, if there is one."""
    return pathlib.Path(os.path.expanduser(path))


def not_there(kind: str, path: str | os.PathLike[str]) -> str:
    """A sentence for a file or folder that does not exist."""
    advice = "check the path"
    if re.match("[a-z][a-z0-9]+:/", str(path)):  # of two slashes a Path keeps one
        advice = "this is an address, so download what is there and give its path"
    return f"There is no {kind} {printable(path)!r}: {advice}."


def mistaken(path: pathlib.Path) -> tuple[str, str] | None:
    """What a file that could not be read is instead, and what to do, if that shows."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        beginning = file.read(512).lower()
        if not beginning:
            return "empty", "download or copy it again"
        if beginning[4:12] in (b"ftypheic", b"ftypmif1"):
            return "a HEIC image", "it needs `pip install pillow-heif`"
        if beginning[257:262] == b"ustar":
            return "a tar archive", "unpack it"
        for start, what, advice in MISTAKEN:
            if beginning.lstrip().startswith(start):
                return what, advice
    return None


def not_whole(path: pathlib.Path, name: str, kind: str) -> str:
    """A sentence for a file that is not what it should be."""
    found = mistaken(path)
    if found:
        return f"{name} is {found[0]}, not a {kind}: {found[1]}."
    return f"{name} is not a whole {kind}: download or copy it again."


def check_folder(folder: pathlib.Path) -> None:
    """Try to write into a folder, or where it would be made, and leave nothing there.

    Called before long work whose results go there.

    Raises:
        OSError: in one sentence, when nothing can be written.
    """
    place = pathlib.Path(os.path.abspath(folder))
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if place.is_symlink() and not place.exists():
        raise OSError(
            f"Cannot write into {str(folder)!r}: {str(place)!r} is a link to "
            f"{os.readlink(place)!r}, which is not there; bring it back or choose "
            "another folder."
        )
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"tried")
    except OSError as error:
        raise OSError(
            f"Cannot write into {str(folder)!r} ({error.strerror or error}): free some "
            "space or choose another folder."
        ) from error


def write(
    path: pathlib.Path,
    save: Callable[[pathlib.Path], object],
    *,
    with_digest: bool = False,
    make_folder: bool = True,
    empty_old: bool = False,
) -> pathlib.Path:
    """Write a file so that it appears at ``path`` whole or not at all.

    Args:
        path: of the file.
        save: writes the file at the path that it is given, which is not ``path`` yet.
        with_digest: put the content's ``digest`` at the end of the file's name.
        make_folder: make the file's folder if it is missing.
        empty_old: ``remove`` the file that was there, as Google Drive needs it; for a
            moment there is none.

    Returns:
        Where the file is.

    Raises:
        OSError: in one sentence, when the disk is full or the folder is read-only.
    """
    # Containers that share a folder may have processes of the same number.
    beside = path.with_name(f".{os.getpid()}-{secrets.token_hex(3)}-{path.name}")
    before = beside.with_name(f"{beside.name}.before")
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        save(beside)
        with open(beside, "rb+") as file:
            os.fsync(file.fileno())
        if with_digest:
            path = path.with_stem(f"{path.stem}-{digest(beside)}")
        if empty_old and path.exists():
            _replace(path, before)
        _replace(beside, path)
        _flush_folder(path.parent)
    except (OSError, RuntimeError) as error:
        raise OSError(
            f"Cannot write {path.name} into {str(path.parent)!r} ({error}): free some "
            "space or choose another folder, then run again; what was saved is kept."
        ) from error
    finally:  # renamed already, unless something went wrong
        with contextlib.suppress(OSError):
            if not path.exists():
                os.replace(before, path)
        for file in (beside, before):
            with contextlib.suppress(OSError):
                remove(file)
    return path


def _replace(old: pathlib.Path, new: pathlib.Path) -> None:
    """Rename a file; on Windows whoever reads or checks it has to finish first."""
    for seconds in PATIENCE:
        with contextlib.suppress(PermissionError):
            os.replace(old, new)
            return
        time.sleep(seconds)
    os.replace(old, new)


def lock(path: pathlib.Path, timeout: float = -1) -> filelock.BaseFileLock | None:
    """Lock a file for this process, as an operating system does it.

    Args:
        path: of the file, which is made.
        timeout: seconds to wait for whoever has it; -1 waits without end.

    Returns:
        The lock, held; None where there are no locks, as in a read-only folder.

    Raises:
        filelock.Timeout: when another process still has it.
    """
    lock = filelock.FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # filelock's, on its substitute for a lock
            lock.acquire(timeout=timeout)
    except filelock.Timeout:
        if isinstance(lock, filelock.SoftFileLock):
            return None
        raise
    except (OSError, NotImplementedError):
        return None
    if isinstance(lock, filelock.SoftFileLock):  # a mere file would outlive a kill
        lock.release()
        return None
    return lock


def remove(path: pathlib.Path) -> None:
    """Delete a file and its content, unless the content has another name too.

    Google Drive, as Colab mounts it, would keep the content in its bin, which counts
    for the quota; so the file is emptied first. A backup may share it by a link.
    """
    if not path.is_symlink() and path.stat().st_nlink == 1:
        os.truncate(path, 0)
    path.unlink()


def _flush_folder(folder: pathlib.Path) -> None:
    """Let a new name outlive a power cut, where the system offers that for folders."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def remove_unfinished(folder: pathlib.Path) -> None:
    """Remove what killed processes left half written; nobody else may write there.

    A file that was moved out of the way, and whose place is still empty, goes back.
    """
    for file in folder.glob(".*-*"):
        moved = re.fullmatch(r"\.\d+-[0-9a-f]+-(.+)\.before", file.name)
        with contextlib.suppress(OSError):  # a file too many does no harm
            if moved and not file.with_name(moved[1]).exists():
                os.replace(file, file.with_name(moved[1]))
            elif re.match(r"\.\d+-", file.name):
                remove(file)


def digest(path: pathlib.Path) -> str:
    """The first eight hexadecimal digits of a file's SHA-256."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:8]


def parse_json(text: str) -> Any:
    """The value of a JSON text, which may come from anyone.

    Raises:
        ValueError: when it is none, or is nested deeper than anything of this project.
    """
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(text)
        level = [value]
        for _ in range(MOST_NESTED):
            nested = [one for one in level if isinstance(one, dict | list)]
            if not nested:
                return value
            parts = (one.values() if isinstance(one, dict) else one for one in nested)
            level = [*itertools.chain.from_iterable(parts)]
    raise ValueError("It is not JSON that can be read.")


def printable(text: str | os.PathLike[str]) -> str:
    r"""Write out line ends, control characters and stray bytes, such as ``\x1b``.

    Printed as they are, those of a stranger's file could change what a terminal shows.
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in os.fspath(text)
    )


def quoted(path: str | os.PathLike[str]) -> str:
    """A path as it is typed after a command."""
    text = os.fspath(path)
    is_windows = os.name == "nt"
    return printable(
        subprocess.list2cmdline([text]) if is_windows else shlex.quote(text)
    )


def single_line(text: str) -> str:
    """A text without line ends, or what else could change a terminal."""
    return printable(" ".join(text.split()))
