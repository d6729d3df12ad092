"""Images and labels of a data set, and how they are split.

The images for pre-training are one uint8 tensor, or files that are decoded on access,
the labelled ones first; ``train`` and ``unlabeled`` are slices of it, so no image is in
memory twice.
"""

from __future__ import annotations

import dataclasses
import re
import warnings

import torch
from torch import Tensor

from helpers.data import streaming

FEW = 100  # with fewer test images, the summary says how much one counts


@dataclasses.dataclass(frozen=True)
class Split:
    """Images and their labels.

    Attributes:
        images: uint8 (N, 3, H, W), or files that stand for such a tensor.
        labels: int64 (N,), -1 for no label.
    """

    images: streaming.Images
    labels: Tensor

    def __len__(self) -> int:
        """Number of images N."""
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> Split:
        """The images and labels at these indexes; files are not read."""
        images = self.images
        streamed = isinstance(images, streaming.Files)
        chosen = images.select(index) if streamed else images[index]
        return Split(chosen, self.labels[index])

    def sample(self, count: int, seed: int = 0) -> Split:
        """A random sample for a figure: it shows the whole set, not its first images.

        Where every image has a label, the classes take turns, so that each is seen.
        """
        generator = torch.Generator().manual_seed(seed)
        shuffled = torch.randperm(len(self), generator=generator)
        labels = self.labels[shuffled]
        if len(self) and int(labels.min()) >= 0:
            turns = torch.zeros_like(labels)  # this is the class's first, second, ...
            for label in labels.unique():
                members = labels == label
                turns[members] = torch.arange(int(members.sum()))
            shuffled = shuffled[(turns * (int(labels.max()) + 1) + labels).argsort()]
        return self[shuffled[:count]]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set for pre-training and for evaluation.

    Attributes:
        name: of the source, with the number of labels per class where it was limited;
            another choice of labels has another name.
        classes: names of the classes; none where no image has a label.
        pretraining: all images for pre-training: ``train``, then ``unlabeled``.
        train_count: how many of them are in ``train``.
        test: read once, at the end.
        folds: indexes of the training images in each official fold; STL-10 has ten.
        files: digest of the names and contents of the files for pre-training, where
            ``name`` does not identify the images.
        fit: how files became squares, one of ``decoding.FITS``; new photographs are
            prepared in the same way.
        note: how the images were divided, for ``describe``.
    """

    name: str
    classes: tuple[str, ...]
    pretraining: Split
    train_count: int
    test: Split
    folds: tuple[Tensor, ...] = ()
    files: str = ""
    fit: str = "crop"
    note: str = ""

    @property
    def train(self) -> Split:
        """The labelled images."""
        return self.pretraining[: self.train_count]

    @property
    def unlabeled(self) -> Split:
        """The images without labels."""
        return self.pretraining[self.train_count :]

    def describe(self) -> str:
        """Describe the data set in one sentence."""
        side = self.pretraining.images.shape[-1]
        note = f"; {self.note}" if self.note else ""
        if not self.classes:
            count = len(self.pretraining)
            return (
                f"{self.name}: no labels, {side} px; {count:,} unlabelled images{note}"
            )
        count = len(self.test)
        coarse = f" ({100 / count:.1f} % each)" if 0 < count < FEW else ""
        return (
            f"{self.name}: {len(self.classes)} classes, {side} px; "
            f"{self.train_count:,} labelled, {len(self.unlabeled):,} unlabelled, "
            f"{len(self.test):,} test images{coarse}{note}"
        )

    def warn_if_enlarged(self, side: int) -> None:
        """Warn when one's own images are shown larger than they are kept."""
        kept = self.pretraining.images.shape[-1]
        if self.name.startswith("folder:") and side > kept:
            warnings.warn(
                f"{self.name} is kept at {kept} px but shown at {side} px, which only "
                f"enlarges it: load it with image_size={side} (--folder-image-size).",
                stacklevel=3,
            )


def limit_labels(dataset: Dataset, labels: int | str, seed: int = 0) -> Dataset:
    """Keep few labels of every class; the rest of ``train`` moves to ``unlabeled``.

    Args:
        dataset: all of it.
        labels: how many per class, such as ``20``, or which share of each class, such
            as ``"10%"``, rounded to at least one image.
        seed: decides which labels are kept.

    Raises:
        ValueError: when ``labels`` is neither, or a class has fewer labelled images, or
            there are no labels.
    """
    amount, is_share = _amount(labels)
    if not dataset.classes:
        raise ValueError(
            f"{dataset.name} has no labels to choose from: leave out --labels "
            "(labels=None)."
        )
    classes = dataset.train.labels
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(classes), generator=generator)
    kept = []
    for number, name in enumerate(dataset.classes):
        members = shuffled[classes[shuffled] == number]
        share = max(1, round(amount / 100 * len(members)))
        count = share if is_share else int(amount)
        if len(members) < count:
            raise ValueError(
                f"Class {name!r} has {len(members)} labelled images; ask for at most "
                f"{len(members)} labels per class."
            )
        kept.append(members[:count])
    chosen = torch.cat(kept).sort().values
    rest = torch.ones(len(dataset.pretraining), dtype=torch.bool)
    rest[chosen] = False
    order = torch.cat([chosen, rest.nonzero()[:, 0]])
    reordered = dataset.pretraining[order]
    reordered.labels[len(chosen) :] = -1
    return dataclasses.replace(
        dataset,
        name=limited_name(dataset.name, labels, seed),
        pretraining=reordered,
        train_count=len(chosen),
        folds=(),
    )


def limited_name(name: str, labels: int | str, seed: int = 0) -> str:
    """Name of a data set of which only some labels are kept; see ``limit_labels``."""
    amount, is_share = _amount(labels)
    words = f"{amount:g}% of the labels" if is_share else f"{amount:g} labels a class"
    return f"{name}, {words}" + (f", seed {seed}" if seed else "")


def unlimited_name(name: str) -> str:
    """Name of a data set without what ``limited_name`` adds to it."""
    return re.sub(r", [\d.]+(% of the labels| labels a class)(, seed \d+)?$", "", name)


def _amount(labels: int | str) -> tuple[float, bool]:
    """The number in ``labels``, and whether it is a share in percent."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", str(labels).strip())
    amount, is_share = (float(found[1]), bool(found[2])) if found else (0.0, False)
    if amount == 0 or (amount > 100 if is_share else amount % 1):
        raise ValueError(
            f"Unknown number of labels {labels!r}: give a whole number per class, such "
            "as 20, or a share, such as 10%."
        )
    return amount, is_share


def share_of(count: int, share: float, at_least: int = 1) -> int:
    """How many of some images are held out; one is left for training."""
    return min(max(at_least, round(share * count)), count - 1)


def stratified_split(
    labels: Tensor, share: float, seed: int = 0, *, at_least: int = 1
) -> tuple[Tensor, Tensor]:
    """Split images in two parts with the same share of every class.

    Args:
        labels: int64 (N,).
        share: of the images in the second part.
        seed: decides which images they are.
        at_least: images of every class in the second part, as far as one is left for
            the first.

    Returns:
        The indexes of the first and of the second part, sorted.
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=generator)
    first, second = [], []
    for number in labels.unique():
        members = shuffled[labels[shuffled] == number]
        held = share_of(len(members), share, at_least)
        second.append(members[:held])
        first.append(members[held:])
    return torch.cat(first).sort().values, torch.cat(second).sort().values
