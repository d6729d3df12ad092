"""The form every data set has here: images and labels, and how they are divided.

All images that may be learned from without labels lie in one uint8 tensor, or in files
that are read when they are needed, the labelled ones first; ``train`` and ``unlabeled``
are windows into them, so nothing is held twice.
"""

from __future__ import annotations

import dataclasses
import re

import torch
from torch import Tensor

from helpers.data import streaming


@dataclasses.dataclass(frozen=True)
class Split:
    """Images and their labels.

    Attributes:
        images: uint8 (N, 3, H, W), or the files that hold them.
        labels: int64 (N,), -1 where there is none.
    """

    images: streaming.Images
    labels: Tensor

    def __len__(self) -> int:
        """Number of images N."""
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> Split:
        """The images with these numbers; those on the disk stay there."""
        images = self.images
        on_disk = isinstance(images, streaming.Files)
        chosen = images.select(index) if on_disk else images[index]
        return Split(chosen, self.labels[index])


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set for pre-training and for evaluation.

    Attributes:
        name: as it was asked for, with the labels a class where they were limited;
            other labels have another name.
        classes: names of the classes.
        pretraining: every image to learn from: ``train``, then ``unlabeled``.
        train_count: how many of those have labels for training.
        test: read once, at the end.
        folds: numbers of the training images in each official fold; STL-10 has ten.
        files: digest of the files' names, where the name does not say which they are.
    """

    name: str
    classes: tuple[str, ...]
    pretraining: Split
    train_count: int
    test: Split
    folds: tuple[Tensor, ...] = ()
    files: str = ""

    @property
    def train(self) -> Split:
        """The labelled images."""
        return self.pretraining[: self.train_count]

    @property
    def unlabeled(self) -> Split:
        """The images without labels."""
        return self.pretraining[self.train_count :]

    def describe(self) -> str:
        """One sentence for people."""
        side = self.test.images.shape[-1]
        return (
            f"{self.name}: {len(self.classes)} classes, {side} px; "
            f"{self.train_count:,} labelled, {len(self.unlabeled):,} unlabeled, "
            f"{len(self.test):,} test images"
        )


def limit_labels(dataset: Dataset, labels: int | str, seed: int = 0) -> Dataset:
    """Keep few labels of every class; the rest of ``train`` moves to ``unlabeled``.

    Args:
        dataset: to be limited.
        labels: so many of every class, such as ``20``, or a share of every class, such
            as ``"10%"``, rounded and at least one image.
        seed: decides which.

    Raises:
        ValueError: when it is neither, or a class has fewer labelled images.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", str(labels).strip())
    amount, percent = (float(found[1]), found[2]) if found else (0.0, "")
    if amount == 0 or (amount > 100 if percent else amount % 1):
        raise ValueError(
            f"Unknown number of labels {labels!r}: give a whole number a class, such "
            "as 20, or a share, such as 10%."
        )
    numbers = dataset.train.labels
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(numbers), generator=generator)
    kept = []
    for number, name in enumerate(dataset.classes):
        members = shuffled[numbers[shuffled] == number]
        share = max(1, round(amount / 100 * len(members)))
        count = share if percent else int(amount)
        if len(members) < count:
            raise ValueError(
                f"Class {name!r} has {len(members)} labelled images; ask for at most "
                f"{len(members)} labels a class."
            )
        kept.append(members[:count])
    chosen = torch.cat(kept).sort().values
    rest = torch.ones(len(dataset.pretraining), dtype=torch.bool)
    rest[chosen] = False
    order = torch.cat([chosen, rest.nonzero()[:, 0]])
    reordered = dataset.pretraining[order]
    reordered.labels[len(chosen) :] = -1
    words = f"{amount:g}% of the labels" if percent else f"{amount:g} labels a class"
    words += f", seed {seed}" if seed else ""
    return dataclasses.replace(
        dataset,
        name=f"{dataset.name}, {words}",
        pretraining=reordered,
        train_count=len(chosen),
        folds=(),
    )


def stratified_split(
    labels: Tensor, share: float, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Split image numbers in two, each class alike: (1 - share of them, share of them).

    Every class with at least two images has at least one image in both parts.
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=generator)
    first, second = [], []
    for number in labels.unique():
        members = shuffled[labels[shuffled] == number]
        held = min(max(1, round(share * len(members))), len(members) - 1)
        second.append(members[:held])
        first.append(members[held:])
    return torch.cat(first).sort().values, torch.cat(second).sort().values
