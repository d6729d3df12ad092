"""Your own images: found in a folder or a zip, checked, and read or streamed.

Which files they are, ``layout`` decides; how one file becomes pixels, ``decoding``.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import PIL
import torch
import tqdm

from helpers import files, hardware
from helpers.data import archives, decoding, labels_csv, layout, remarks, streaming
from helpers.data.dataset import Dataset, Split
from helpers.data.layout import LabelledFile

USUAL_SIZE = 96  # STL-10's
STORAGES = ("auto", "resident", "stream")
SAMPLE = 100  # of the streamed images without labels, looked at for what is special
LIST = "2"  # version of the lists of files that were checked
PIECE = 4_096  # bytes at a time of a file's content that go into its digest


def load(
    path: str,
    image_size: int,
    *,
    kept_in: pathlib.Path,
    fit: str = "crop",
    storage: str = "auto",
    workers: int | None = None,
) -> Dataset:
    """Read a folder of images, or only check its files and decode them on access.

    Files with a label that cannot be read are left out. For one without a label the
    next image that can be read stands in: streamed ones are too many to be tried first,
    and a run has to be the same wherever its images are kept.

    Args:
        path: of a folder, see ``layout``, or of a zip of such a folder, or of a table
            of images, see ``labels_csv``.
        image_size: side of the images in pixels.
        kept_in: folder for unpacked zips and for lists of files that were checked.
        fit: how an image becomes a square, one of ``decoding.FITS``.
        storage: ``resident`` in memory, ``stream`` from the files while they are used,
            or ``auto``: resident where they fill less than half of the free memory.
        workers: processes that decode a stream; None takes one fewer than
            there are cores.

    Raises:
        ValueError: when there is nothing to learn from, no image of a class can be
            read, or test images have classes that training images lack.
    """
    root = given = files.expand_home(path)
    if root.is_file() and not labels_csv.is_table(root):
        with archives.one_at_a_time(kept_in):
            root = archives.unpack(root, kept_in / "unpacked")
    left_out = layout.LeftOut()
    found = find(root, left_out)
    pretraining, test = found.train + found.unlabeled, found.test
    if storage == "auto":
        needed = 3 * image_size**2 * len(pretraining + test)
        storage = "resident" if needed < hardware.free_memory() / 2 else "stream"
    contents = _contents(pretraining + test)
    checked = remarks.Checked()
    if storage == "resident":
        splits = [
            read(pretraining, image_size, "reading images for training", checked, fit),
            read(test, image_size, "reading test images", checked, fit),
        ]
    else:
        labelled = found.train + test
        known = contents[: len(found.train)] + contents[len(pretraining) :]
        key = [LIST, PIL.__version__, image_size, fit, *map(str, labelled), *known]
        list_file = kept_in / "checked" / f"{_digest(key)}.json"
        with archives.one_at_a_time(kept_in):
            checked = _check(labelled, image_size, fit, list_file)
        _look_at_some(found.unlabeled, image_size, fit, checked)
        workers = hardware.workers() if workers is None else workers
        splits = [
            _stream(part, image_size, workers, checked, fit, list_file)
            for part in (pretraining, test)
        ]
    unlabeled = {str(file) for file, _ in found.unlabeled}
    for file, reason in checked.broken.items():
        why = "that cannot be read"
        why += ", for which the next image stands in" if file in unlabeled else ""
        left_out.add(why, f"{file!r}: {reason}")
    _check_classes(found, splits[0], checked)
    said = remarks.sentences(checked, found, splits[1], contents, image_size)
    for sentence in filter(None, [left_out.sentence(), *said]):
        warnings.warn(sentence, stacklevel=2)
    names = [found.name(item) for item in pretraining]
    cut = [] if fit == "crop" else [fit]
    size = "" if image_size == USUAL_SIZE else f" at {image_size} px"
    notes = [decoding.FITS[fit]] if checked.long else []
    if found.is_held_out:
        share = f"{layout.HELD_OUT:.0%} of each class"
        notes.insert(0, f"{share} are held out as test images")
    if found.labels_from:
        notes.append(f"labels from {files.printable(found.labels_from)}")
    return Dataset(
        name=name_of(given) + size,
        classes=found.classes,
        pretraining=splits[0],
        train_count=int((splits[0].labels >= 0).sum()),
        test=splits[1],
        files=_digest([*names, *contents[: len(names)], *cut]),
        fit=fit,
        note="; ".join(notes),
    )


def find(root: pathlib.Path, left_out: layout.LeftOut) -> layout.Layout:
    """Find the images of a folder, or of a table in it, or of a table.

    Raises:
        ValueError: when there is neither, or nothing to learn from.
    """
    is_table = labels_csv.is_table(root) and root.is_file()
    if not is_table and not root.is_dir():
        raise ValueError(files.not_there("folder", root))
    table = root if is_table else labels_csv.beside(root, left_out)
    if table is None:
        return layout.find(root, left_out)
    noticed = layout.LeftOut()
    try:
        found = labels_csv.find(table, noticed)
    except labels_csv.NothingNamedError as error:
        # A table of something else, such as the names of the classes?
        noticed, found = layout.LeftOut(), None
        with contextlib.suppress(ValueError):
            found = None if is_table else layout.find(root, noticed)
        if found is None or not found.classes:
            raise ValueError(str(error)) from None
        noticed.add("not used, because it names none of the images", table.name)
    left_out.names |= noticed.names
    return found


def name_of(path: pathlib.Path) -> str:
    """Name of the data set made from a folder or zip: that of the folder."""
    there = pathlib.Path(os.path.abspath(files.expand_home(path)))  # "." has no name
    if labels_csv.is_table(there):
        there = there.parent
    name = there.stem if there.is_file() else there.name
    return f"folder:{name or 'images'}"


def read(
    items: Sequence[LabelledFile],
    image_size: int,
    words: str,
    checked: remarks.Checked,
    fit: str = "crop",
) -> Split:
    """Decode images with several threads.

    Those with a label that cannot be read are left out; for those without one the next
    image stands in, as in ``streaming.Files``.

    Args:
        items: path and label of every image.
        image_size: side in pixels.
        words: shown beside the progress bar.
        checked: takes what is noticed, such as the files that cannot be read.
        fit: how an image becomes a square, one of ``decoding.FITS``.

    Raises:
        ValueError: when none of them can be read.
    """
    images = torch.empty(len(items), 3, image_size, image_size, dtype=torch.uint8)
    good = torch.zeros(len(items), dtype=torch.bool)
    decoded = _examined(items, image_size, words, fit)
    for number, ((file, _), image) in enumerate(zip(items, decoded, strict=True)):
        checked.add(file, image)
        if image.pixels is not None:
            images[number] = torch.from_numpy(image.pixels)
            good[number] = True
    labels = torch.tensor([label for _, label in items], dtype=torch.int64)
    _check_some_left(items, int(good.sum()), checked)
    if not good.all():
        kept = good | (labels < 0)
        if not kept.all():  # a copy
            images, labels, good = images[kept], labels[kept], good[kept]
        readable = good.nonzero()[:, 0]
        broken = (~good).nonzero()[:, 0]
        after = torch.searchsorted(readable, broken) % len(readable)
        images[broken] = images[readable[after]]
    return Split(images, labels)


def _stream(
    items: Sequence[LabelledFile],
    image_size: int,
    workers: int,
    checked: remarks.Checked,
    fit: str,
    list_file: pathlib.Path,
) -> Split:
    """Files to be decoded on access, without the labelled ones that are broken."""
    good = [item for item in items if str(item[0]) not in checked.broken]
    _check_some_left(items, len(good), checked)
    labels = torch.tensor([label for _, label in good], dtype=torch.int64)
    paths, labelled = [file for file, _ in good], int((labels >= 0).sum())
    images = streaming.Files(paths, image_size, workers, labelled, fit, list_file)
    return Split(images, labels)


def _check(
    items: Sequence[LabelledFile], image_size: int, fit: str, list_file: pathlib.Path
) -> remarks.Checked:
    """Decode files once, and keep the outcome for the next time.

    Those that could not be read are tried again: a disk or the memory may have failed.
    """
    try:
        checked = remarks.Checked(**files.parse_json(list_file.read_text("utf-8")))
        checked.check()
        items = [item for item in items if str(item[0]) in checked.broken]
        was_broken, checked.broken = checked.broken, {}
    except (OSError, ValueError, TypeError):  # none yet, or a damaged one
        checked, was_broken = remarks.Checked(), None
    decoded = _examined(items, image_size, "checking images with labels", fit)
    for (file, _), image in zip(items, decoded, strict=True):
        checked.add(file, image)
    if checked.broken == was_broken:
        return checked
    text = json.dumps(dataclasses.asdict(checked))
    try:
        files.write(list_file, lambda beside: beside.write_text(text, "utf-8"))
    except OSError as error:  # it is only looked at again the next time
        warnings.warn(str(error), stacklevel=2)
    return checked


def _look_at_some(
    items: Sequence[LabelledFile], image_size: int, fit: str, checked: remarks.Checked
) -> None:
    """Notice what is special about a few streamed images; broken ones are not left out.

    They are said, and another image stands in for them, when they are used.
    """
    some = items[:: max(1, len(items) // SAMPLE)]
    decoded = _examined(some, image_size, "", fit)
    for (file, _), image in zip(some, decoded, strict=True):
        if image.pixels is not None:
            checked.add(file, image)
    if len(some) < len(items):  # the others may be larger
        checked.side = max(checked.side, image_size)


def _examined(
    items: Sequence[LabelledFile], image_size: int, words: str, fit: str = "crop"
) -> Iterator[decoding.Decoded]:
    return _in_threads(
        lambda item: decoding.examine(item[0], image_size, fit), items, words
    )


def _in_threads(
    work: Callable[[Any], Any], items: Sequence[Any], words: str
) -> Iterator[Any]:
    """Yield what ``work`` makes of every item, in order, with a bar for many items."""
    shown = {"total": len(items), "desc": words, "leave": False, "file": sys.stdout}
    bar = tqdm.tqdm(**shown, disable=len(items) < 2_000)  # done before a bar is seen
    with bar, concurrent.futures.ThreadPoolExecutor() as pool:
        for start in range(0, len(items), 1_000):  # a pool takes all it is given
            for made in pool.map(work, items[start : start + 1_000]):
                yield made
                bar.update()


def _contents(items: Sequence[LabelledFile]) -> list[str]:
    """What tells the contents of files apart: their sizes and a digest of some bytes.

    The bytes are 4 kB at the start, in the middle and at the end, so that folders of
    millions of files are known in minutes, wherever they were moved or copied to.
    """

    def content(item: LabelledFile) -> str:
        try:
            size = os.stat(item[0]).st_size
            with open(item[0], "rb") as file:
                pieces = []
                for start in (0, (size - PIECE) // 2, size - PIECE):
                    file.seek(max(0, start))
                    pieces.append(file.read(PIECE))
        except (PermissionError, FileNotFoundError):
            return "unreadable"
        except OSError as error:  # a drive fails: the run would not be found again
            raise ValueError(
                f"{str(item[0])!r} cannot be read now ({error.strerror or error}): "
                "bring back its drive, or remove the file, and run again."
            ) from error
        return f"{size} {hashlib.sha256(b''.join(pieces)).hexdigest()}"

    return list(_in_threads(content, items, "telling files apart"))


def _digest(parts: Sequence[Any]) -> str:
    text = "\n".join(map(str, parts))
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def _check_some_left(
    items: Sequence[LabelledFile], count: int, checked: remarks.Checked
) -> None:
    if items and not count:
        file = str(items[0][0])
        raise ValueError(
            f"None of the images in {os.path.dirname(file)!r} can be read: check that "
            f"they are images; {file!r}: {checked.broken[file]}."
        )


def _check_classes(
    found: layout.Layout, train: Split, checked: remarks.Checked
) -> None:
    """Check that every class still has an image to learn from.

    Raises:
        ValueError: naming a class that has none.
    """
    left = train.labels[train.labels >= 0].bincount(minlength=len(found.classes))
    for label, name in enumerate(found.classes):
        if not left[label]:
            file = next(str(file) for file, of in found.train if of == label)
            raise ValueError(
                f"No training image of class {name!r} can be read: replace them or "
                f"delete the class; {file!r}: {checked.broken[file]}."
            )
