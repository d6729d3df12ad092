"""The data sets that have a name: where their images are from, and how to read them."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import pathlib
import warnings
from collections.abc import Callable

import numpy as np
import torch
import torchvision

from helpers import files
from helpers.data import demo, folder, remarks
from helpers.data.dataset import Dataset, Split

# What their owners say of the images, for whoever hands on weights learned from them.
FROM_IMAGENET = (
    "The photographs are from ImageNet, whose terms allow only non-commercial research "
    "and teaching."
)
FROM_THE_WEB = "The photographs were collected from the web, without a licence."
DRAWN = "The images were drawn by this project's code: no rights of others."
IMAGENETTE = {"train": 9_469, "val": 3_925}  # its images


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set that has a name.

    Attributes:
        about: what it is, in one line of a list.
        load: read its images from a folder; those that are not there are downloaded or
            drawn first.
        smallest_class: labelled images of its smallest class, known without looking.
        licence: what its owners say of the images.
        url: address of its archive, if there is one.
    """

    about: str
    load: Callable[[pathlib.Path], Dataset]
    smallest_class: int
    licence: str
    url: str = ""


def _load_demo(name: str, root: pathlib.Path, **counts: int) -> Dataset:
    """Draw the demo images, or load them where they have been drawn before."""
    parts = {}
    for split, count in counts.items():
        # The version of the drawing code is in the name: new drawings, new files.
        file = root / f"demo-{demo.VERSION}" / f"{split}-{count}.npz"
        parts[split] = _drawn_before(file) or _draw(file, split, count)
    train, unlabeled, test = parts["train"], parts["unlabeled"], parts["test"]
    images = torch.from_numpy(np.concatenate([train[0], unlabeled[0]]))
    labels = torch.full((len(images),), -1)
    labels[: counts["train"]] = torch.from_numpy(train[1])
    return Dataset(
        name=name,
        classes=demo.CLASSES,
        pretraining=Split(images, labels),
        train_count=counts["train"],
        test=Split(torch.from_numpy(test[0]), torch.from_numpy(test[1])),
    )


def _draw(file: pathlib.Path, split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the images of a split, and keep them in a file."""
    arrays = demo.draw(split, count)
    images, labels = arrays
    save = functools.partial(
        np.savez, images=images, labels=labels, digest=_digest(*arrays)
    )
    files.write(file, save)
    return arrays


def _drawn_before(file: pathlib.Path) -> tuple[np.ndarray, np.ndarray] | None:
    """The images in a file; None when there is none, or it is not as it was written."""
    if not file.exists():
        return None
    try:
        with np.load(file) as stored:
            arrays = stored["images"], stored["labels"]
            if str(stored["digest"]) == _digest(*arrays):
                return arrays
    except Exception:  # a damaged zip raises nearly anything
        pass
    warnings.warn(f"{file} is not whole: it is drawn again.", stacklevel=2)
    return None


def _digest(*arrays: np.ndarray) -> str:
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.dtype} {array.shape}".encode())
        total.update(np.ascontiguousarray(array))
    return total.hexdigest()


def _load_stl10(root: pathlib.Path) -> Dataset:
    """Download and check STL-10 with torchvision, but read its images only once."""
    test = torchvision.datasets.STL10(root, split="test", download=True)
    base = pathlib.Path(test.root) / test.base_folder
    size = 3 * 96 * 96  # bytes of an image
    sources = [base / "train_X.bin", base / "unlabeled_X.bin"]
    counts = [file.stat().st_size // size for file in sources]
    images = torch.empty(sum(counts), 3, 96, 96, dtype=torch.uint8)
    start = 0
    for file, count in zip(sources, counts, strict=True):
        stored = np.memmap(file, np.uint8, "r", shape=(count, 3, 96, 96))
        for first in range(0, count, 1_000):  # in parts: no image is in memory twice
            # The files store pixels column by column.
            part = stored[first : first + 1_000].transpose(0, 1, 3, 2)
            pixels = torch.from_numpy(np.ascontiguousarray(part))
            images[start + first : start + first + len(part)] = pixels
        start += count
    labels = torch.full((len(images),), -1)
    numbers = np.fromfile(base / "train_y.bin", np.uint8).astype(np.int64) - 1
    labels[: counts[0]] = torch.from_numpy(numbers)
    folds = (base / "fold_indices.txt").read_text().splitlines()
    return Dataset(
        name="stl10",
        classes=tuple(test.classes),
        pretraining=Split(images, labels),
        train_count=counts[0],
        test=Split(
            torch.from_numpy(np.ascontiguousarray(test.data)),
            torch.from_numpy(test.labels.astype(np.int64)),
        ),
        folds=tuple(torch.tensor([int(n) for n in line.split()]) for line in folds),
    )


def _load_imagenette(root: pathlib.Path) -> Dataset:
    """Download and check Imagenette with torchvision; its photographs become squares.

    They have many shapes, with a shorter side of 160 px; at 96 x 96 they are as large
    as STL-10's.
    """
    parts, checked = [], remarks.Checked()
    for split, words in (("train", "reading images"), ("val", "reading test images")):
        part = torchvision.datasets.Imagenette(root, split, "160px", download=True)
        items = [(pathlib.Path(path), label) for path, label in part._samples]
        if len(items) != IMAGENETTE[split]:  # torchvision looks for the folder alone
            raise RuntimeError(
                f"{split} has {len(items):,} images and not {IMAGENETTE[split]:,}"
            )
        parts.append(folder.read(items, folder.USUAL_SIZE, words, checked, "squash"))
    if checked.broken:
        raise RuntimeError(f"{min(checked.broken)} cannot be read")
    return Dataset(
        name="imagenette",
        classes=tuple(names[0] for names in part.classes),
        pretraining=parts[0],
        train_count=len(parts[0]),
        test=parts[1],
        fit="squash",
    )


def _load_cifar(name: str, root: pathlib.Path) -> Dataset:
    """Load CIFAR with torchvision; all its training images are labelled."""
    create = getattr(torchvision.datasets, name)
    parts = []
    for is_train in (True, False):
        part = create(root, train=is_train, download=True)
        images = torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous()
        parts.append(Split(images, torch.tensor(part.targets)))
    return Dataset(
        name=name.lower(),
        classes=tuple(part.classes),
        pretraining=parts[0],
        train_count=len(parts[0]),
        test=parts[1],
    )


SOURCES = {
    "demo": Source(
        "drawn by code in seconds, nothing to download",
        functools.partial(_load_demo, "demo", train=200, unlabeled=2_000, test=1_000),
        smallest_class=20,
        licence=DRAWN,
    ),
    "demo-tiny": Source(
        "a handful of those: to see in seconds that everything works",
        functools.partial(_load_demo, "demo-tiny", train=40, unlabeled=120, test=60),
        smallest_class=4,
        licence=DRAWN,
    ),
    "stl10": Source(
        "STL-10: 2.6 GB download, 100,000 unlabelled images",
        _load_stl10,
        smallest_class=500,
        licence=FROM_IMAGENET,
        url=torchvision.datasets.STL10.url,
    ),
    "imagenette": Source(
        "Imagenette: 95 MB download, 9,469 photographs squashed to 96 px",
        _load_imagenette,
        smallest_class=858,
        licence=FROM_IMAGENET,
        url="https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz",
    ),
    "cifar10": Source(
        "CIFAR-10: 170 MB download, 32 px",
        functools.partial(_load_cifar, "CIFAR10"),
        smallest_class=5_000,
        licence=FROM_THE_WEB,
        url=torchvision.datasets.CIFAR10.url,
    ),
    "cifar100": Source(
        "CIFAR-100: 170 MB download, 32 px",
        functools.partial(_load_cifar, "CIFAR100"),
        smallest_class=500,
        licence=FROM_THE_WEB,
        url=torchvision.datasets.CIFAR100.url,
    ),
}
