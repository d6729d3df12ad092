"""Archives of images: downloads that fail, and zip files, unpacked once."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import pathlib
import re
import shutil
import urllib.error
import zipfile
import zlib
from collections.abc import Iterator

import filelock
import psutil

from helpers import files, hardware

SOON = 2.0  # seconds in which another process may be ready with its images


@contextlib.contextmanager
def one_at_a_time(root: pathlib.Path) -> Iterator[None]:
    """Let only one process at a time download and unpack into a folder.

    Where nothing can be locked, as in a read-only folder, nothing is waited for.
    """
    try:
        lock = files.lock(root / ".lock", timeout=SOON)
    except filelock.Timeout:
        if hardware.is_first_process():
            print(f"Waiting for a process that is preparing images in {str(root)!r}.")
        lock = files.lock(root / ".lock")
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


@contextlib.contextmanager
def downloading(
    what: str, url: str, folder: str | os.PathLike[str], instead: str
) -> Iterator[None]:
    """Say in a sentence what can be done where a download fails.

    Args:
        what: is downloaded.
        url: of the file.
        folder: in which the file may be put by hand.
        instead: a sentence on what needs no network.

    Raises:
        OSError: with that sentence.
    """
    try:
        yield
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        ConnectionError,
        TimeoutError,
    ) as error:
        name = url.rpartition("/")[2]
        # A whole one would have been taken.
        is_there = pathlib.Path(folder, name).is_file()
        also = f" (the {name} that is there is not whole)" if is_there else ""
        raise OSError(
            f"{what} cannot be downloaded ({getattr(error, 'reason', error)}): connect "
            f"this machine to the network, or put {url} into {str(folder)!r} by "
            f"hand{also}. {instead}"
        ) from error


def check(file: pathlib.Path) -> None:
    """Raise a ValueError for what is no zip, or one that was not copied to its end."""
    if not zipfile.is_zipfile(file):
        what, advice = files.mistaken(file) or ("no whole zip", "copy a zip again")
        raise ValueError(
            f"{str(file)!r} cannot be unpacked (it is {what}): {advice}, and name "
            "a folder, a zip of one, or a table (.csv)."
        )


def unpack(file: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Unpack a zip, or find it unpacked; nothing is written outside the folder.

    Args:
        file: the zip.
        folder: where it gets a folder of its own, named after it and its content.

    Returns:
        Its own folder.

    Raises:
        ValueError: when it is no zip, is damaged, needs a password or does not fit.
        OSError: when it cannot be read or written.
    """
    check(file)
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if "[Content_Types].xml" in archive.namelist():
                raise ValueError(
                    f"{str(file)!r} is a file of an office program: save its table as "
                    "CSV, beside the images."
                )
            lines = [f"{m.filename} {m.file_size} {m.CRC}" for m in members]
            digest = hashlib.sha256("\n".join(lines).encode(errors="replace"))
            name = re.sub(r'[<>:"\\|?*]', "-", file.stem)  # not every system takes them
            place = folder / f"{name}-{digest.hexdigest()[:8]}"
            if place.is_dir():
                return place
            folder.mkdir(parents=True, exist_ok=True)
            _remove_unfinished(folder)
            needed, free = sum(m.file_size for m in members), shutil.disk_usage(folder)
            if needed > free.free:
                raise ValueError(
                    f"{str(file)!r} needs {needed / 1e9:.1f} GB unpacked, more than is "
                    f"free in {str(folder)!r}: free some space or choose another "
                    "folder for data."
                )
            beside = folder / f".{os.getpid()}-{place.name}"
            try:
                for member in members:  # some programs of Windows write cat\1.jpg
                    member.filename = member.filename.replace("\\", "/")
                # It leaves out roots and ".." of names.
                archive.extractall(beside, members)
                beside.rename(place)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
            return place
    # RuntimeError: it needs a password; NotImplementedError: unknown compression;
    # OSError: the disk fails, or a damaged place lies before the file's beginning.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError) as error:
        kind = OSError if isinstance(error, OSError) else ValueError
        why = getattr(error, "strerror", None) or error
        raise kind(
            f"{str(file)!r} cannot be unpacked ({why}): unpack it yourself and give "
            "the folder."
        ) from error


def _remove_unfinished(folder: pathlib.Path) -> None:
    """Remove what killed processes have unpacked in part, which may be gigabytes."""
    for place in folder.glob(".*-*"):
        owner = re.match(r"\.(\d+)-", place.name)
        if owner and not psutil.pid_exists(int(owner[1])):
            shutil.rmtree(place, ignore_errors=True)
