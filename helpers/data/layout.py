"""Which files of a folder are images, which of them have labels, and which are tests.

A folder may have ``train/`` and ``test/`` (or ``val/``) with one folder of images per
class, and ``unlabeled/``; or class folders alone; or only images. Names of these three
may be written in any capitalisation.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import os
import pathlib
import unicodedata
from collections.abc import Iterable, Sequence

from helpers import files
from helpers.data import decoding, split_names
from helpers.data.dataset import share_of

# What operating systems and network drives put beside images.
SYSTEM_FOLDERS = {
    "__macosx",
    "lost+found",
    "@eadir",
    "$recycle.bin",
    "system volume information",
}
SYSTEM_FILES = {"thumbs.db", "desktop.ini", "labels.csv"}  # or read as a table
HELD_OUT = 0.2  # of every class, where there is no test folder
LabelledFile = tuple[pathlib.Path, int]


class LeftOut:
    """What lies in a folder and is not used, with the reasons."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.names: dict[str, list[str]] = collections.defaultdict(list)

    def add(self, reason: str, name: str) -> None:
        """Count a file or folder; its name may be shown as an example."""
        self.names[reason].append(name)

    def sentence(self) -> str:
        """All of it in one sentence; empty when nothing was left out."""
        parts = []
        for reason, names in self.names.items():
            examples = list(dict.fromkeys(map(files.printable, names)))
            shown = [name for name in examples[:3] if len(name) < 40] or examples[:1]
            parts.append(f"{len(names):,} {reason} ({', '.join(shown)})")
        return f"Left out: {'; '.join(parts)}." if parts else ""


@dataclasses.dataclass(frozen=True)
class Layout:
    """The images of a folder.

    Attributes:
        root: the folder to which names are relative.
        classes: names of the classes, sorted: their order numbers the labels.
        train: path and label of every labelled image.
        unlabeled: path and -1 of every image without a label.
        test: path and label of every test image.
        is_held_out: the test images were taken from the class folders, because there
            is no folder of test images.
        labels_from: name of the table that gave the labels; empty for class folders.
    """

    root: pathlib.Path
    classes: tuple[str, ...]
    train: list[LabelledFile]
    unlabeled: list[LabelledFile]
    test: list[LabelledFile]
    is_held_out: bool = False
    labels_from: str = ""

    def name(self, item: LabelledFile) -> str:
        """What an image is called, whatever folder it was moved to; with its class."""
        file, label = item
        name = relative_name(file, self.root)  # class folders are in it
        in_table = self.labels_from and label >= 0
        return f"{self.classes[label]}: {name}" if in_table else name


def find(root: pathlib.Path, left_out: LeftOut) -> Layout:
    """Find the images of a folder.

    Without test images of its own, a fifth of each class is held out for the test: the
    same images wherever the folder is, and where images are added, hardly others.

    Args:
        root: the folder. If all it holds is one other folder, that one is taken.
        left_out: takes what is not used.

    Raises:
        ValueError: when there is nothing to learn from, or the test images have classes
            that the training images lack.
    """
    root = innermost(root, left_out)
    splits, others = collections.defaultdict(list), []
    folders = _folders(root, left_out)
    named = split_names.named([folder.name for folder in folders])
    for folder in folders:
        split = named.get(folder.name)
        splits[split].append(folder) if split else others.append(folder)
    _check_no_class_is_a_split(splits, others)
    # Those of a competition have no labels, and then val/ is what can be scored.
    if splits["val"] and not any(_folders(one, LeftOut()) for one in splits["test"]):
        for folder in splits.pop("test", []):
            left_out.add("not used, because it has no class folders", f"{folder.name}/")
    if splits["test"]:
        for folder in splits["val"]:
            left_out.add("not used, because there is test/", f"{folder.name}/")
    tests = splits["test"] or splits["val"]
    loose = _images_in(root, left_out)
    if splits["train"]:
        train, unlabeled = _by_class(splits["train"], left_out)
        for path in [*others, *loose]:
            left_out.add("not used, because they lie beside train/", path.name)
    else:
        others, place = _inside(others, root, left_out)
        if place != root:
            loose += _images_in(place, left_out)
        train = collections.defaultdict(list)
        for folder in others:  # one class may be written in two ways
            train[normal(folder.name)] += image_files(folder, left_out)
        train = {name: files for name, files in train.items() if files}
        unlabeled = loose
        if len(train) < 2 and not tests:  # one folder of images is no class
            unlabeled = [*loose, *(file for files in train.values() for file in files)]
            train = {}
    more = [image_files(folder, left_out) for folder in splits["unlabeled"]]
    unlabeled = [file for files in [*more, unlabeled] for file in files]
    test, loose_tests = _by_class(tests, left_out)
    for file in loose_tests:
        left_out.add(f"in {file.parent.name}/ without a class folder", file.name)
    classes = tuple(sorted(name for name, files in train.items() if files))
    if not classes and test and unlabeled:
        lacks = "has no class folders" if splits["train"] else "is missing"
        left_out.add(f"not used, because train/ {lacks}", f"{tests[0].name}/")
        test = {}
    if not classes and not unlabeled:
        raise ValueError(_nothing_to_learn_from(root, tests, left_out))
    _check_classes(train, test, tests, left_out)
    return divide(root, train, unlabeled, test)


def _check_no_class_is_a_split(
    splits: dict[str | None, list[pathlib.Path]], others: Sequence[pathlib.Path]
) -> None:
    """Raise a ValueError where a folder ``train`` could as well be a class."""
    named = [*splits["train"], *splits["test"], *splits["val"]]
    if len(named) != 1 or any(map(image_files, _folders(named[0], LeftOut()))):
        return
    beside = [one for one in others if image_files(one)]
    if len(beside) == 1 or (beside and splits["train"]):
        raise ValueError(
            f"{str(named[0])!r} has no class folders, but others lie beside it "
            f"({some_names([one.name for one in beside])}): if it is a class itself, "
            "give it another name; if not, move the others away."
        )


def divide(
    root: pathlib.Path,
    train: dict[str, list[pathlib.Path]],
    unlabeled: list[pathlib.Path],
    test: dict[str, list[pathlib.Path]],
    labels_from: str = "",
) -> Layout:
    """Number the classes; hold out a fifth of each where there are no test images.

    Args:
        root: the folder to which names are relative.
        train: images to learn from, by class.
        unlabeled: images without labels.
        test: test images, by class.
        labels_from: name of the table that gave the labels; empty for class folders.
    """
    classes = tuple(sorted(name for name, files in train.items() if files))
    labelled = [(file, n) for n, name in enumerate(classes) for file in train[name]]
    tested = [
        (file, n) for n, name in enumerate(classes) for file in test.get(name, [])
    ]
    is_held_out = bool(classes) and not tested
    if is_held_out:
        held = {file for files in train.values() for file in _held_out(files, root)}
        tested = [item for item in labelled if item[0] in held]
        labelled = [item for item in labelled if item[0] not in held]
    rest = [(file, -1) for file in unlabeled]
    return Layout(root, classes, labelled, rest, tested, is_held_out, labels_from)


def _held_out(files: Sequence[pathlib.Path], root: pathlib.Path) -> list[pathlib.Path]:
    """A fifth of the images of a class, at least one, unless it is the only one.

    A digest of their names chooses, so that one more image moves at most one other.
    """

    def digest(file: pathlib.Path) -> str:
        name = relative_name(file, root).encode(errors="surrogateescape")
        return hashlib.sha256(name).hexdigest()

    return sorted(files, key=digest)[: share_of(len(files), HELD_OUT)]


def image_files(
    folder: pathlib.Path,
    left_out: LeftOut | None = None,
    but: pathlib.Path | None = None,
) -> list[pathlib.Path]:
    """Find every image under a folder, ``but`` one, in the same order on every machine.

    Hidden and system folders are passed over at any depth, and so is what is not a
    file: pipes, devices, links to nothing. A linked folder is like any other, but none
    is entered twice.
    """
    left_out = left_out or LeftOut()
    found, entered = [], set()

    def refuse(error: OSError) -> None:
        left_out.add("that cannot be opened", repr(error.filename))

    for path, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        place = os.path.realpath(path)
        if place in entered:
            folders.clear()
            continue
        entered.add(place)
        folders[:] = [name for name in sorted(folders) if _is_shown(name, left_out)]
        files = [pathlib.Path(path, name) for name in sorted(names)]
        found += [file for file in files if file != but and _is_image(file, left_out)]
    return sorted(found, key=lambda file: relative_name(file, folder).split("/"))


def relative_name(file: pathlib.Path, root: pathlib.Path) -> str:
    """A file's name below a folder, equal for both ways to write an accent."""
    return normal(file.relative_to(root).as_posix())


def normal(name: str) -> str:
    """A name in which accents are written in the composed way."""
    return unicodedata.normalize("NFC", name)


def innermost(root: pathlib.Path, left_out: LeftOut | None = None) -> pathlib.Path:
    """Go down while only one folder in a folder has images, as in images/ and meta/."""
    while True:
        folders = _folders(root, LeftOut())
        having = list(itertools.islice(filter(_has_images, folders), 2))
        inner = having or folders
        if (
            len(inner) != 1
            or inner[0].name.casefold() in split_names.SPLITS
            or _images_in(root, LeftOut())
        ):
            return root
        for folder in folders:
            if folder != inner[0]:
                image_files(folder, left_out)  # says why it has none
        root = inner[0]


def _has_images(folder: pathlib.Path) -> bool:
    """Whether there is an image in a folder, at any depth."""
    soon = (
        _is_image(pathlib.Path(path, name), LeftOut())
        for path, _, names in os.walk(folder)
        for name in names
    )
    return any(soon) or bool(image_files(folder))  # the other way may be a link


def _folders(folder: pathlib.Path, left_out: LeftOut) -> list[pathlib.Path]:
    """The folders in a folder, but for hidden ones and a system's."""
    inside = sorted(path for path in folder.iterdir() if path.is_dir())
    return [path for path in inside if _is_shown(path.name, left_out)]


def _images_in(folder: pathlib.Path, left_out: LeftOut) -> list[pathlib.Path]:
    """The images that lie in a folder itself."""
    inside = sorted(path for path in folder.iterdir() if not path.is_dir())
    found = [path for path in inside if _is_image(path, left_out)]
    return sorted(found, key=lambda path: normal(path.name))


def _by_class(
    places: list[pathlib.Path], left_out: LeftOut
) -> tuple[dict[str, list[pathlib.Path]], list[pathlib.Path]]:
    """The images of every class folder, and those beside the class folders."""
    classes, loose = collections.defaultdict(list), []
    for place in places:
        inside, place = _inside(_folders(place, left_out), place, left_out)
        for folder in inside:
            classes[normal(folder.name)] += image_files(folder, left_out)
        loose += _images_in(place, left_out)
    return dict(classes), loose


def _inside(
    folders: list[pathlib.Path], place: pathlib.Path, left_out: LeftOut
) -> tuple[list[pathlib.Path], pathlib.Path]:
    """The folders of a place, seen through a single one around all; and their place."""
    while len(folders) == 1 and _is_around(folders[0], place):
        place = folders[0]
        folders = _folders(place, left_out)
    return folders, place


def _is_around(folder: pathlib.Path, place: pathlib.Path) -> bool:
    """Whether the only folder in a place is no class, but what all classes lie in."""
    packed_twice = folder.name == place.name
    return packed_twice or folder.name.casefold() in split_names.AROUND


def _is_shown(folder_name: str, left_out: LeftOut) -> bool:
    """Whether a folder is neither hidden nor an operating system's."""
    is_system = folder_name.lower() in SYSTEM_FOLDERS
    if is_system or folder_name.startswith("."):
        kind = "system" if is_system else "hidden"
        left_out.add(f"{kind} folder(s)", folder_name)
        return False
    return True


def _is_image(file: pathlib.Path, left_out: LeftOut) -> bool:
    """Whether it is an image by its name and its kind; its content is not read."""
    ending, is_hidden = file.suffix.lower(), file.name.startswith(".")
    if ending not in decoding.endings():
        if ending in decoding.HEIC and not is_hidden:
            left_out.add("that need `pip install pillow-heif`", ending)
        elif file.name.lower() not in SYSTEM_FILES and not is_hidden:
            left_out.add(
                "with an ending that Pillow does not read", ending or file.name
            )
        return False
    if is_hidden:
        left_out.add("hidden file(s)", file.name)
    elif not file.is_file():
        left_out.add("that are pipes, devices or dead links", file.name)
    else:
        return True
    return False


def _nothing_to_learn_from(
    root: pathlib.Path, tests: list[pathlib.Path], left_out: LeftOut
) -> str:
    also = f" {left_out.sentence()}" if left_out.names else ""
    if tests:
        return (
            f"{str(root)!r} has {tests[0].name}/ but nothing to learn from: it needs a "
            f"folder train/ with a folder of images per class, or unlabeled/.{also}"
        )
    return f"There are no images in {str(root)!r}: check the path.{also}"


def _check_classes(
    train: dict[str, list[pathlib.Path]],
    test: dict[str, list[pathlib.Path]],
    tests: list[pathlib.Path],
    left_out: LeftOut,
) -> None:
    """Check that every class with test images has images to learn from.

    Raises:
        ValueError: with the difference, when one has none.
    """
    tested = {name for name, files in test.items() if files}
    learned = {name for name, files in train.items() if files}
    for name in sorted(train.keys() - learned - tested):
        left_out.add("class folder(s) without images", name)
    if tested - learned:
        # Only these: of a thousand equal names nobody would find the one that differs.
        also = f", and lacks {some_names(learned - tested)}" if learned - tested else ""
        raise ValueError(
            f"{tests[0].name}/ has images of {some_names(tested - learned)}, of which "
            f"train/ has none{also}: class folders must have the same names in both."
        )


def some_names(names: Iterable[str]) -> str:
    """The first three names, and how many more there are."""
    names = sorted(names)
    first = ", ".join(map(repr, names[:3])) or "none"
    return f"{first} and {len(names) - 3} more" if len(names) > 3 else first
