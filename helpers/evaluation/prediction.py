"""Classes of new images, by a classifier from a file."""

from __future__ import annotations

import csv
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from helpers import files
from helpers.data import streaming
from helpers.evaluation import embedding
from helpers.figures import pictures
from helpers.models import classifier_files, encoding

SHOWN = 3  # classes said of an image, the likeliest first


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a classifier says of some images.

    Attributes:
        classes: names of the C classes.
        images: paths and features of those that could be read, and the others' paths.
        probabilities: float32 (N, C), rows add up to 1.
    """

    classes: Sequence[str]
    images: embedding.Embedding
    probabilities: Tensor

    def best(self) -> Iterator[tuple[str, list[tuple[str, float]]]]:
        """Yield every path with its likeliest classes and their probabilities."""
        count = min(SHOWN, len(self.classes))
        # Stable: where classes are equally likely, the first is named everywhere.
        ranked = self.probabilities.sort(dim=1, descending=True, stable=True)
        rows = ranked.values[:, :count].tolist(), ranked.indices[:, :count].tolist()
        for path, values, numbers in zip(self.images.paths, *rows, strict=True):
            names = [self.classes[number] for number in numbers]
            yield str(path), list(zip(names, values, strict=True))

    def lines(self) -> list[str]:
        """One line per image: its path and its likeliest classes."""
        found = []
        for path, best in self.best():
            said = (f"{files.printable(name)} {100 * p:.1f} %" for name, p in best)
            found.append(f"{files.printable(path)}: {', '.join(said)}")
        return found

    def save(self, path: pathlib.Path) -> None:
        """Write a CSV file with a row per image: file, class, probability, the next.

        Raises:
            OSError: in one sentence, when the file cannot be written.
        """
        columns = ["file", "class", "probability"]
        for place in range(2, min(SHOWN, len(self.classes)) + 1):
            columns += [f"class_{place}", f"probability_{place}"]

        def write(beside: pathlib.Path) -> None:
            # Names of files may have any bytes: they come back as they were.
            with open(
                beside, "w", newline="", encoding="utf-8", errors="surrogateescape"
            ) as file:
                table = csv.writer(file)
                table.writerow(columns)
                for name, best in self.best():
                    pairs = ((said, f"{p:.6f}") for said, p in best)
                    table.writerow([name, *(value for pair in pairs for value in pair)])

        files.write(path, write)


def check(path: pathlib.Path) -> None:
    """Raise a ValueError for a file that does not end in ``.csv``."""
    if path.suffix != ".csv":
        raise ValueError(
            f"{path.name} has no known ending: choose one that ends in .csv."
        )


def predict(
    weights: str | os.PathLike[str], places: Sequence[str | os.PathLike[str]]
) -> Predictions:
    """Predict the classes of images in files and folders.

    Images are read, resized and normalised as those by which the classifier was scored.

    Args:
        weights: path of a classifier file.
        places: images and folders of images.

    Raises:
        ValueError: when the file is not a classifier, there are no images, or none of
            them can be read.
    """
    classifier, about = classifier_files.load(weights)
    paths = embedding.find(places)
    images = embedding.embed(classifier.backbone, paths, **prepared(about))
    with torch.no_grad():  # in float32 on the CPU, as heads of frozen features were
        logits = classifier.head(classifier.standardize(images.features))
    return Predictions(about["classes"], images, logits.softmax(dim=1))


def neighbors_figure(
    weights: str | os.PathLike[str], photo: pathlib.Path, images: streaming.Images
) -> pictures.Figure:
    """Draw a photo beside the images that are most like it to a classifier's backbone.

    Args:
        weights: path of the classifier file.
        photo: path of the photo.
        images: uint8 (N, 3, H, W) to choose from, such as those it was trained on.

    Raises:
        ValueError: when the file is not a classifier, or the photo cannot be read.
    """
    classifier, about = classifier_files.load(weights)
    backbone, how = classifier.backbone, prepared(about)
    query = embedding.embed(backbone, [photo], **how)
    side = about["image_size"]
    features = encoding.encode(backbone, images, image_size=side)
    cosines, index = embedding.nearest(features, query.features[0])
    stored = embedding.read([photo], images.shape[-1], about["fit"])[0]
    return embedding.neighbors_figure(stored, images[index].cpu(), cosines)


def prepared(about: dict[str, Any]) -> dict[str, Any]:
    """How the images of a network were prepared, for ``embedding.embed``.

    Args:
        about: metadata of its file; those of older backbones say less.
    """
    keys = ("image_size", "stored_size", "fit")
    return {key: about[key] for key in keys if key in about}
