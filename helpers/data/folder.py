"""Your own images: class folders ``train/``, ``test/`` and maybe ``unlabeled/``.

Images of any size and mode (greyscale, palette, CMYK, with transparency) become square
RGB images: the shorter side is resized and the middle of the longer one is kept.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
import pathlib
import warnings

import torch
import tqdm

from helpers import hardware
from helpers.data import streaming
from helpers.data.dataset import Dataset, Split

USUAL_SIZE = 96  # STL-10's
STORAGES = ("auto", "resident", "stream")
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm")


def load(
    path: str, image_size: int, *, storage: str = "auto", workers: int | None = None
) -> Dataset:
    """Read a folder of images, or only find its files and decode them on access.

    Args:
        path: of a folder with ``train/<class>/*``, ``test/<class>/*`` and maybe
            ``unlabeled/``, whose images may be in subfolders.
        image_size: side of the images in pixels.
        storage: ``resident`` in memory, ``stream`` from the files while they are used,
            or ``auto``: resident where they fill less than half of the free memory.
        workers: processes that decode a stream; None takes one per core.

    Raises:
        ValueError: when a folder is missing or empty, or train and test disagree.
    """
    root = pathlib.Path(path).expanduser()
    if not root.is_dir():
        raise ValueError(
            f"There is no folder {path!r}: check the path after 'folder:'."
        )
    classes = class_names(root, "train")
    if class_names(root, "test") != classes:
        raise ValueError(
            f"train/ and test/ in {path!r} must have the same class folders; "
            f"train/ has {', '.join(classes)}."
        )
    train = _labelled_files(root / "train", classes)
    test = _labelled_files(root / "test", classes)
    extra = [(file, -1) for file in image_files(root / "unlabeled")]
    if storage == "auto":
        needed = 3 * image_size**2 * len(train + extra + test)
        storage = "resident" if needed < hardware.free_memory() / 2 else "stream"

    workers = hardware.workers() if workers is None else workers

    def split(files: list[tuple[pathlib.Path, int]], words: str) -> Split:
        if storage == "resident":
            return read(files, image_size, words)
        paths = [path for path, _ in files]
        labels = torch.tensor([label for _, label in files])
        return Split(streaming.Files(paths, image_size, workers), labels)

    size = "" if image_size == USUAL_SIZE else f" at {image_size} px"
    names = [file.relative_to(root).as_posix() for file, _ in train + extra]
    pretraining = split(train + extra, "reading images for training")
    return Dataset(
        name=f"folder:{root.name}{size}",
        classes=classes,
        pretraining=pretraining,
        train_count=int((pretraining.labels >= 0).sum()),
        test=split(test, "reading test images"),
        files=hashlib.sha256("\n".join(names).encode()).hexdigest(),
    )


def class_names(root: pathlib.Path, split: str) -> tuple[str, ...]:
    """Names of the class folders, sorted: their order numbers the labels.

    Raises:
        ValueError: when there are no class folders.
    """
    folder = root / split
    names = (
        sorted(f.name for f in folder.iterdir() if f.is_dir() and _is_shown(f))
        if folder.is_dir()
        else []
    )
    if not names:
        raise ValueError(
            f"{str(root)!r} needs a folder {split}/ with a folder of images per class."
        )
    return tuple(names)


def image_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Find every image under a folder, in the same order on every machine."""
    if not folder.is_dir():
        return []
    found = (
        pathlib.Path(path, name) for path, _, names in os.walk(folder) for name in names
    )
    return sorted(f for f in found if f.suffix.lower() in ENDINGS and _is_shown(f))


def read(files: list[tuple[pathlib.Path, int]], image_size: int, words: str) -> Split:
    """Decode images with several threads, leaving out those that cannot be read.

    Args:
        files: path and label of every image.
        image_size: side in pixels.
        words: shown beside the progress bar.

    Returns:
        The images that could be read; a warning names the others.
    """
    images = torch.empty(len(files), 3, image_size, image_size, dtype=torch.uint8)
    good = torch.zeros(len(files), dtype=torch.bool)
    broken = []
    with concurrent.futures.ThreadPoolExecutor() as pool:
        decoded = pool.map(lambda item: streaming.decode(item[0], image_size), files)
        total, small = len(files), len(files) < 2_000  # read before a bar is seen
        bar = tqdm.tqdm(decoded, desc=words, total=total, leave=False, disable=small)
        for number, image in enumerate(bar):
            if image is None:
                broken.append(files[number][0])
            else:
                images[number] = torch.from_numpy(image)
                good[number] = True
    labels = torch.tensor([label for _, label in files])
    if broken:
        warnings.warn(
            f"Left out {len(broken)} image(s) that cannot be read, such as "
            f"{str(broken[0])!r}: replace or delete them.",
            stacklevel=2,
        )
        images, labels = images[good], labels[good]
    if len(labels) == 0:
        raise ValueError("None of the images can be read: check that they are images.")
    return Split(images, labels)


def _is_shown(file: pathlib.Path) -> bool:
    """Whether it is not a hidden file, such as operating systems add to folders."""
    return not file.name.startswith(".")


def _labelled_files(
    folder: pathlib.Path, classes: tuple[str, ...]
) -> list[tuple[pathlib.Path, int]]:
    files = []
    for label, name in enumerate(classes):
        members = image_files(folder / name)
        if not members:
            raise ValueError(f"The class folder {str(folder / name)!r} has no images.")
        files += [(file, label) for file in members]
    return files
