"""Data sets by name: ``demo``, ``stl10``, ``imagenette``, ..., ``folder:``."""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
import os
import pathlib
import warnings
from collections.abc import Callable

import numpy as np
import torch
import torchvision

from helpers import files
from helpers.data import archives, decoding, demo, folder, labels_csv, layout, remarks
from helpers.data.dataset import Dataset, Split, limit_labels, limited_name

SOURCES = {
    "demo": "drawn by code in seconds, nothing to download",
    "demo-tiny": "a handful of those: to see in seconds that everything works",
    "stl10": "STL-10: 2.6 GB download, 100,000 unlabeled images",
    "imagenette": "Imagenette: 95 MB download, 9,469 photographs squashed to 96 px",
    "cifar10": "CIFAR-10: 170 MB download, 32 px",
    "cifar100": "CIFAR-100: 170 MB download, 32 px",
    "folder:": "your own images: folder:PATH, class folders or just images",
}


# What their owners say of the images, for whoever hands on weights learned from them.
FROM_IMAGENET = (
    "The photographs are from ImageNet, whose terms allow only non-commercial research "
    "and teaching."
)
FROM_THE_WEB = "The photographs were collected from the web, without a licence."
DRAWN = "The images were drawn by this project's code: no rights of others."
LICENCES = {
    "demo": DRAWN,
    "demo-tiny": DRAWN,
    "imagenet": FROM_IMAGENET,
    "stl10": FROM_IMAGENET,
    "imagenette": FROM_IMAGENET,
    "cifar10": FROM_THE_WEB,
    "cifar100": FROM_THE_WEB,
}
LARGEST_SIDE = 10_000  # pixels
NEEDS_NONE = "The demo images need no network."
ARCHIVES = {
    "stl10": torchvision.datasets.STL10.url,
    "imagenette": "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz",
    "cifar10": torchvision.datasets.CIFAR10.url,
    "cifar100": torchvision.datasets.CIFAR100.url,
}
IMAGENETTE = {"train": 9_469, "val": 3_925}  # its images


def load(
    source: str = "demo",
    *,
    root: str | os.PathLike[str] | None = None,
    image_size: int = folder.USUAL_SIZE,
    fit: str = "crop",
    labels: int | str | None = None,
    seed: int = 0,
    unlabeled: int | None = None,
    storage: str = "auto",
    workers: int | None = None,
) -> Dataset:
    """Load a data set by name.

    Args:
        source: one of ``SOURCES``; ``folder:PATH`` for your own images, in folders as
            ``layout`` describes them, in a zip of such folders, or in a table, see
            ``labels_csv``.
        root: where downloads and unpacked zips are kept; ``$STL_DATA_ROOT`` or ``data``
            by default.
        image_size: side in pixels of the images of ``folder:PATH``.
        fit: how long images of ``folder:PATH`` become squares: ``crop`` keeps the
            middle, ``squash`` distorts, ``pad`` fills up with black.
        labels: how many labels per class to keep, such as 20, or which share of them,
            such as ``"10%"``; images without their label count as unlabeled. None
            keeps all.
        seed: decides which labels are kept.
        unlabeled: how many unlabeled images to keep, the first ones; None keeps all.
        storage: where the images of ``folder:PATH`` are while they are used:
            ``resident`` in memory, ``stream`` on the disk, or ``auto``: in memory where
            they fit; other sources are always resident.
        workers: processes that decode a stream; None takes one fewer than
            there are cores.

    Raises:
        ValueError: when the source is unknown or its files cannot be used.
    """
    root = files.data_folder(root)
    is_folder, path = source.startswith("folder:"), source.removeprefix("folder:")
    if storage not in folder.STORAGES:
        raise ValueError(
            f"Unknown storage {storage!r}: choose one of {', '.join(folder.STORAGES)}."
        )
    if fit not in decoding.FITS:
        raise ValueError(
            f"Unknown fit {fit!r}: choose one of {', '.join(decoding.FITS)}."
        )
    if not 1 <= image_size <= LARGEST_SIDE:
        raise ValueError(
            f"Images cannot be kept at {image_size} px: choose 1 to {LARGEST_SIDE:,}."
        )
    if storage == "stream" and not is_folder:
        raise ValueError("Only folder:PATH can be streamed: leave storage at 'auto'.")
    if is_folder:
        dataset = folder.load(
            path,
            image_size,
            kept_in=root,
            fit=fit,
            storage=storage,
            workers=workers,
        )
    elif source in LOADERS:
        try:
            url = ARCHIVES.get(source, "")
            with (
                archives.one_at_a_time(root),
                archives.downloading(source, url, root, NEEDS_NONE),
            ):
                dataset = LOADERS[source](root)
        # torchvision's, for incomplete files and folders
        except (RuntimeError, FileNotFoundError) as error:
            raise ValueError(
                f"{source} in {str(root)!r} cannot be used ({error}): delete its files "
                "there and run again."
            ) from error
    else:
        raise ValueError(_unknown(source))
    if labels is not None:
        dataset = limit_labels(dataset, labels, seed)
    if unlabeled is not None:
        kept = dataset.pretraining[: dataset.train_count + unlabeled]
        dataset = dataclasses.replace(dataset, pretraining=kept)
    return dataset


def check(
    source: str, labels: int | str | None = None, *, labelled: bool = False
) -> None:
    """Find out in a moment whether a source can be loaded, before it is.

    Nothing is downloaded, decoded or unpacked.

    Args:
        source: as for ``load``.
        labels: as for ``load``.
        labelled: whether images without any labels are of no use.

    Raises:
        ValueError: what ``load`` would raise, as far as can be known.
    """
    path = source.removeprefix("folder:")
    if not source.startswith("folder:"):
        if source not in LOADERS:
            raise ValueError(_unknown(source))
        smallest, name = SMALLEST_CLASS[source], source
    else:
        root = files.expand_home(path)
        is_zip = root.is_file() and not labels_csv.is_table(root)
        if is_zip:  # it is looked into when it is unpacked
            return
        found = folder.find(root, layout.LeftOut())
        per_class = collections.Counter(label for _, label in found.train)
        smallest, name = min(per_class.values(), default=0), path
    if labelled and not smallest:
        raise ValueError(
            f"{name!r} has no labels: name a folder with one folder per class, or with "
            "a table labels.csv."
        )
    if labels is None:
        return
    if not smallest:
        raise ValueError(f"{name!r} has no labels: answer 'all'.")
    if str(labels).isdecimal() and not 0 < int(labels) <= smallest:
        raise ValueError(
            f"The smallest class of {name!r} has {smallest:,} labelled images: ask for "
            f"1 to {smallest:,} a class, or 'all'."
        )
    limited_name(source, labels)  # raises for what is neither a number nor a share


def name_of(source: str, labels: int | str | None = None, seed: int = 0) -> str:
    """The name that a data set will have when it is loaded, at the usual image size."""
    name = source
    if source.startswith("folder:"):
        name = folder.name_of(pathlib.Path(source.removeprefix("folder:")))
    return name if labels is None else limited_name(name, labels, seed)


def _unknown(source: str) -> str:
    """A sentence for a source that has no such name."""
    if source and files.expand_home(source).exists():
        return f"{source!r} is a path: write {f'folder:{source}'!r}."
    return f"Unknown data {source!r}: choose one of {', '.join(SOURCES)}PATH."


def _load_demo(root: pathlib.Path, name: str, **counts: int) -> Dataset:
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


LOADERS: dict[str, Callable[[pathlib.Path], Dataset]] = {
    "demo": lambda root: _load_demo(
        root, "demo", train=200, unlabeled=2_000, test=1_000
    ),
    "demo-tiny": lambda root: _load_demo(
        root, "demo-tiny", train=40, unlabeled=120, test=60
    ),
    "stl10": _load_stl10,
    "imagenette": _load_imagenette,
    "cifar10": lambda root: _load_cifar("CIFAR10", root),
    "cifar100": lambda root: _load_cifar("CIFAR100", root),
}
# Labelled images of the smallest class, known without looking.
SMALLEST_CLASS = {
    "demo": 20,
    "demo-tiny": 4,
    "stl10": 500,
    "imagenette": 858,
    "cifar10": 5_000,
    "cifar100": 500,
}
