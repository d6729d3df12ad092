"""Data sets by name: ``demo``, ``stl10``, ``imagenette``, ..., ``folder:``."""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib

from helpers import files
from helpers.data import archives, decoding, folder, labels_csv, layout
from helpers.data.dataset import Dataset, limit_labels, limited_name
from helpers.data.sources import SOURCES

# Every name that ``load`` takes, with what it is.
NAMES = {name: source.about for name, source in SOURCES.items()} | {
    "folder:": "your own images: folder:PATH, class folders or just images"
}
LARGEST_SIDE = 10_000  # pixels
NEEDS_NONE = "The demo images need no network."


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
        source: one of ``NAMES``; ``folder:PATH`` for your own images, in folders as
            ``layout`` describes them, in a zip of such folders, or in a table, see
            ``labels_csv``.
        root: where downloads and unpacked zips are kept; ``$STL_DATA_ROOT`` or ``data``
            by default.
        image_size: side in pixels of the images of ``folder:PATH``.
        fit: how long images of ``folder:PATH`` become squares: ``crop`` keeps the
            middle, ``squash`` distorts, ``pad`` fills up with black.
        labels: how many labels per class to keep, such as 20, or which share of them,
            such as ``"10%"``; images without their label count as unlabelled. None
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
    is_folder, path = source.startswith("folder:"), _path_of(source)
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
    elif source in SOURCES:
        try:
            with (
                archives.one_at_a_time(root),
                archives.downloading(source, SOURCES[source].url, root, NEEDS_NONE),
            ):
                dataset = SOURCES[source].load(root)
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
    path = _path_of(source)
    if not source.startswith("folder:"):
        if source not in SOURCES:
            raise ValueError(_unknown(source))
        smallest, name = SOURCES[source].smallest_class, source
    else:
        found = _look_into(source)
        if found is None:
            if labels is not None:
                limited_name(source, labels)  # raises for neither a number nor a share
            return
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
    limited_name(source, labels)


def count(source: str) -> int:
    """Images for pre-training in a folder of one's own; 0 for a zip."""
    found = _look_into(source)
    return len(found.train) + len(found.unlabeled) if found else 0


def _look_into(source: str) -> layout.Layout | None:
    """What is in a folder; None for a zip, which is looked into when it is unpacked."""
    root = files.expand_home(_path_of(source))
    if root.is_file() and not labels_csv.is_table(root):
        archives.check(root)
        return None
    return folder.find(root, layout.LeftOut())


def name_of(source: str, labels: int | str | None = None, seed: int = 0) -> str:
    """The name that a data set will have when it is loaded, at the usual image size."""
    name = source
    if source.startswith("folder:"):
        name = folder.name_of(pathlib.Path(source.removeprefix("folder:")))
    return name if labels is None else limited_name(name, labels, seed)


def _path_of(source: str) -> str:
    """The path after ``folder:``."""
    path = source.removeprefix("folder:")
    if path != source and not path.strip():  # it would mean the current folder
        raise ValueError("Write a path after folder: such as folder:photos.")
    return path


def _unknown(source: str) -> str:
    """A sentence for a source that has no such name."""
    if source and files.expand_home(source).exists():
        return f"{source!r} is a path: write {f'folder:{source}'!r}."
    return f"Unknown data {source!r}: choose one of {', '.join(NAMES)}PATH."
