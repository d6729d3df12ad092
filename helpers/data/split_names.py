"""Which names of folders and which words of a table mean training, test and the rest.

A folder of a stranger's data set may also be no class at all, but a part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

SPLITS = {
    "train": "train",
    "training": "train",
    "labeled": "train",
    "labelled": "train",
    "test": "test",
    "testing": "test",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "unlabeled": "unlabeled",
    "unlabelled": "unlabeled",
}
# Folders around those of the classes, and folders that hold no class.
AROUND = {"data", "dataset", "image", "images", "imgs", "jpegimages", "photos"}
BESIDE = {"annotation", "annotations", "label", "labels", "mask", "masks", "meta"}
BESIDE |= {"segmentationclass", "segmentationobject", "trimaps"}


def named(names: Sequence[str]) -> dict[str, str]:
    """Which folders are which split, by their names.

    ``training_set``, ``seg_test`` and ``val2017`` are meant only where both kinds are
    there, and no class could be meant: ``bullet train`` beside ``bus`` is one.
    """
    exact = {
        name: SPLITS[name.casefold()] for name in names if name.casefold() in SPLITS
    }
    found = {
        name: SPLITS[word] for name in names for word in words(name) if word in SPLITS
    }
    could_be_classes = exact and len(found) < len(names)
    is_exact = "train" in exact.values() or could_be_classes or not has_both(found)
    return exact if is_exact else found


def has_both(found: dict[str, str]) -> bool:
    """Whether there are images to learn from and images to test on."""
    return "train" in found.values() and bool({"test", "val"} & {*found.values()})


def words(name: str) -> list[str]:
    """Its words in small letters: that of ``trainA`` and ``trainset`` is *train*."""
    found = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    return [re.sub("(?<=..)sets?$", "", word.lower()) for word in found]


def doubtful(classes: Iterable[str]) -> list[str]:
    """Names of classes that are more often those of other parts of a data set."""
    part = re.compile(rf"({'|'.join(SPLITS)})(sets?)?[-_ ]?([A-Z]|\d+)")
    return [
        name
        for name in classes
        if name.casefold() in AROUND | BESIDE or part.fullmatch(name)
    ]
