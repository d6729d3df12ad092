"""Colab and other machines: Google Drive, uploads, downloads, hardware."""

import os
import pathlib
import shutil
import sys

import IPython.display

from helpers.files import expand_home
from helpers.notebook import questions

UPLOADS = pathlib.Path("/content/uploads")
DRIVE_PROJECT = pathlib.Path("/content/drive/MyDrive/self-supervised-stl10")


def in_colab() -> bool:
    """Return whether this is Colab, which imports `google.colab` in every kernel."""
    return "google.colab" in sys.modules


def mirror(where: str) -> pathlib.Path | None:
    """Return the folder on Google Drive to which checkpoints are copied, or None.

    Checkpoints are first written on this machine, because Drive uploads open files
    late. If Drive cannot be mounted, one printed sentence says so.

    Args:
        where: "here" (this machine only) or "drive".
    """
    lost = "the checkpoints stay on this machine"
    if where not in ("here", "drive"):
        raise ValueError(f"where must be 'here' or 'drive', not {where!r}.")
    if where == "here":
        if in_colab():
            print(f"No Drive: {lost} and vanish with this session.")
        return None
    if not in_colab():
        print(f"Google Drive is there only on Colab: {lost}.")
        return None
    try:
        from google.colab import drive

        drive.mount("/content/drive")
        folder = DRIVE_PROJECT / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    except Exception as error:
        print(f"Drive cannot be used ({error!r}): {lost} and vanish with this session.")
        return None


def upload(name: str = "STL_UPLOAD") -> pathlib.Path | None:
    """Return an uploaded file: from the browser on Colab, else by its path; or None."""

    def check(typed: str) -> pathlib.Path | None:
        path = expand_home(typed)
        if typed and not path.is_file():
            raise ValueError(f"There is no file {typed!r}: type its path, or nothing.")
        return path if typed else None

    if os.environ.get(name) or not in_colab():
        return questions.ask(
            "Path of the file (nothing for none)?", None, "", name, check
        )
    try:
        from google.colab import files

        name = next(iter(files.upload()), None)
        if name is None:
            return None
        # It arrives in the current folder, which may be the project on Drive.
        UPLOADS.mkdir(parents=True, exist_ok=True)
        return pathlib.Path(shutil.move(name, UPLOADS / pathlib.Path(name).name))
    except Exception as error:
        print(f"Nothing was uploaded ({error!r}).")
        return None


def download(path: pathlib.Path | str, wanted: bool = False) -> None:
    """Offer a file to the user: a download on Colab if `wanted`, a link elsewhere."""
    if not pathlib.Path(path).is_file():
        print(f"There is no file {path} to download yet.")
    elif not in_colab():
        # A relative path, so that a saved notebook shows no home folder.
        try:
            near = os.path.relpath(path)
        except ValueError:  # on Windows, a folder on another drive
            near = os.fspath(path)
        link = IPython.display.FileLink(near)._repr_html_()
        bundle = {"text/html": link, "text/plain": near}
        IPython.display.display(bundle, raw=True)
    elif not wanted:
        print(f"The file is {path}: call colab.download with wanted=True to get it.")
    else:
        try:
            from google.colab import files

            files.download(str(path))
        except Exception as error:
            print(f"The browser did not take {path} ({error!r}).")


def device_sentence() -> str:
    """Describe the hardware in one sentence; on Colab, say how to get a GPU."""
    import torch

    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        number, name = torch.cuda.device_count(), torch.cuda.get_device_name(0)
        return f"GPU: {number} x {name} with {memory:.0f} GiB."
    if torch.backends.mps.is_available():
        return "GPU: the one of this Apple chip."
    if in_colab():
        return "No GPU: choose Runtime -> Change runtime type -> T4 GPU, then Run all."
    threads = torch.get_num_threads()
    plural = "s" if threads > 1 else ""
    return f"No GPU: {threads} CPU thread{plural}, enough for the demo images."
