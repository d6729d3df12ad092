"""One process owns a run: another one that wants to train it too is refused.

The owner holds a lock of the operating system on ``.lock`` in the run's folder, which
ends with the process however it ends. Who it is stands in ``.owner``, for people.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import pathlib
import platform
from collections.abc import Iterator

import filelock

from helpers import files

PATIENCE = 20.0  # seconds until the workers of a killed process have noticed


@contextlib.contextmanager
def own(folder: pathlib.Path) -> Iterator[bool]:
    """Own a run's folder within a ``with``; yields whether that could be made sure.

    It cannot where the folder is read-only or its file system knows no locks, as those
    of some network drives: there a second process is not noticed.

    Raises:
        ValueError: that names the process which owns the run, and since when.
    """
    lock = _lock(folder)
    owner = folder / ".owner"
    if lock is not None:
        now = datetime.datetime.now().astimezone()
        about = {
            "process": os.getpid(),
            "machine": platform.node(),
            "since": now.isoformat(sep=" ", timespec="seconds"),
        }
        with contextlib.suppress(OSError):  # a full disk is for others to report
            files.write(owner, lambda path: path.write_text(json.dumps(about)))
    try:
        yield lock is not None
    finally:
        if lock is not None:
            with contextlib.suppress(OSError):
                owner.unlink()
            lock.release()


def _lock(folder: pathlib.Path) -> filelock.BaseFileLock | None:
    """The lock, held; None where there are no locks."""
    try:
        patience = 0 if _is_running(folder) else PATIENCE
        return files.lock(folder / ".lock", patience)
    except filelock.Timeout:
        raise ValueError(
            f"This run is already being trained by {_describe(folder)}: wait for it, "
            "stop it, or change a setting to start another run."
        ) from None


def _about(folder: pathlib.Path) -> dict[str, object]:
    """What the owner has written; empty where that cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        about = files.parse_json((folder / ".owner").read_text("utf-8"))
        if isinstance(about, dict):
            return about
    return {}


def _describe(folder: pathlib.Path) -> str:
    about = _about(folder)
    if not about:
        return "another process"
    told = (about.get(name) for name in ("process", "machine", "since"))
    process, machine, since = (files.printable(str(one)) for one in told)
    return f"process {process} on {machine} since {since}"


def _is_running(folder: pathlib.Path) -> bool:
    """Whether the owner lives; True where that is not known."""
    about = _about(folder)
    process = about.get("process")
    if about.get("machine") != platform.node() or not isinstance(process, int):
        return True
    if os.name == "nt":  # there, os.kill would interrupt the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
