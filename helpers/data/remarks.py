"""What is noticed in one's own images while they are read, and what is said of it."""

from __future__ import annotations

import collections
import dataclasses
import filecmp
import pathlib
import re

import numpy as np

from helpers.data import decoding, layout, split_names
from helpers.data.dataset import Split


@dataclasses.dataclass
class Checked:
    """What was noticed while files were decoded.

    Attributes:
        broken: why a file cannot be read, by its path.
        long: path of the first image that is no square.
        deep: path of the first image that was mapped by its range.
        more: path of the first image with a channel that is not used.
        side: the largest side that became a square's, in pixels; see ``decoding``.
        all_flat: every image so far was of a single colour.
        count: of the images that could be read.
    """

    broken: dict[str, str] = dataclasses.field(default_factory=dict)
    long: str = ""
    deep: str = ""
    more: str = ""
    side: int = 0
    all_flat: bool = True
    count: int = 0

    def check(self) -> None:
        """Raise a TypeError if this is no such list, which a file may hold."""
        fields = zip(vars(self).values(), vars(Checked()).values(), strict=True)
        reasons = self.broken.values() if isinstance(self.broken, dict) else [None]
        if any(type(value) is not type(usual) for value, usual in fields) or not all(
            isinstance(reason, str) for reason in reasons
        ):
            raise TypeError("a list of checked files has fields of other types")

    def add(self, file: pathlib.Path, decoded: decoding.Decoded) -> None:
        """Note what is special about a file."""
        if decoded.pixels is None:
            self.broken[str(file)] = decoded.reason
            return
        self.count += 1
        self.side = max(self.side, decoded.side)
        if decoded.is_long:
            self.long = self.long or str(file)
        if decoded.is_deep:
            self.deep = self.deep or str(file)
        if decoded.has_more:
            self.more = self.more or str(file)
        if self.all_flat:
            self.all_flat = bool((decoded.pixels == decoded.pixels[:, :1, :1]).all())


def sentences(
    checked: Checked,
    found: layout.Layout,
    test: Split,
    contents: list[str],
    image_size: int,
) -> list[str]:
    """Say in a sentence each what a user would want to know about the images.

    Args:
        checked: what was noticed.
        found: the files.
        test: the test images.
        contents: what tells the files apart: training, unlabelled and test images.
        image_size: side in pixels at which all of them are kept.
    """
    said = []
    doubtful = split_names.doubtful(found.classes)
    if doubtful and not found.labels_from:
        said.append(
            f"{layout.some_names(doubtful)} were taken as classes, which such folders "
            "seldom are: if they are not, name the folder that holds those of the "
            "classes alone."
        )
    shared = shared_folders(found)
    if shared:
        said.append(
            "Several class folders hold folders of the same names, "
            f"{layout.some_names(shared)}, which are not taken as splits or classes: "
            "if they are, put train/ and test/ first, with a folder per class in each."
        )
    masks = _masks(found)
    if masks:
        said.append(
            f"{len(masks):,} image(s) are named like the mask of another, such as "
            f"{masks[0]!r}: if they are masks, keep them in another folder."
        )
    counts = np.bincount(test.labels, minlength=len(found.classes))
    untested = {name for name, n in zip(found.classes, counts, strict=True) if not n}
    if untested:
        said.append(
            f"Classes without test images, which are learned but never tested: "
            f"{layout.some_names(untested)}."
        )
    if checked.deep:
        said.append(
            f"Images such as {checked.deep!r} have values of more than 8 bits: each is "
            "mapped from the range of its own values to 0-255."
        )
    if checked.more:
        said.append(
            f"Images such as {checked.more!r} have a further channel: what is "
            "transparent becomes white, and any other, such as infrared, is not used."
        )
    if checked.count and checked.all_flat:
        said.append(
            "Every image is of a single colour: check that the files hold what they "
            "should."
        )
    if 0 < checked.side < image_size:
        said.append(
            f"No image is larger than {checked.side} px, so all are enlarged to "
            f"{image_size} px, which adds no detail."
        )
    copies = _copies(found, contents, checked)
    if copies:
        said.append(
            f"{len(copies):,} test image(s) are also training images, such as "
            f"{copies[0]!r}: accuracy on them says nothing about new images."
        )
    return said


def shared_folders(found: layout.Layout) -> list[str]:
    """Names of folders that are in the folders of several classes."""
    holders = collections.defaultdict(set)
    for item in () if found.labels_from else [*found.train, *found.test]:
        *above, _ = layout.relative_name(item[0], found.root).split("/")
        name = found.classes[item[1]]
        below = above[above.index(name) + 1 :] if name in above else []
        if below:
            holders[below[0]].add(name)
    return sorted(name for name, classes in holders.items() if len(classes) > 1)


def _masks(found: layout.Layout) -> list[str]:
    """Paths of images called ``x_mask`` beside an image ``x``."""
    every = [file for file, _ in [*found.train, *found.unlabeled, *found.test]]
    there = {(file.parent, file.stem.casefold()) for file in every}
    return [
        str(file)
        for file in every
        if (name := re.fullmatch(r"(.+?)[-_ ]?mask([-_ ]?\d+)?", file.stem.casefold()))
        and (file.parent, name[1]) in there
    ]


def _copies(found: layout.Layout, contents: list[str], checked: Checked) -> list[str]:
    """Paths of the test images that are training images with labels, byte for byte."""
    train = {}
    for (file, _), content in zip(found.train, contents, strict=False):
        train.setdefault(content, file)
    start = len(found.train) + len(found.unlabeled)
    return [
        str(file)
        for (file, _), content in zip(found.test, contents[start:], strict=True)
        if content in train
        and str(file) not in checked.broken
        and filecmp.cmp(file, train[content], shallow=False)
    ]
