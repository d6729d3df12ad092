"""Looks at what a backbone has learned: random weights beside the trained ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from torch import Tensor, nn

from helpers.data.dataset import Dataset, Split
from helpers.figures import charts, pictures
from helpers.models import encoding, nearest_neighbors

IMAGES = 1_000  # labelled images that are looked at


@dataclasses.dataclass(frozen=True)
class Inspection:
    """The same labelled images under several networks.

    Attributes:
        networks: by name, such as ``random`` and ``trained``.
        sample: labelled images, all classes in turn.
        classes: their names.
        features: of the sample by each network, float32 (N, D).
    """

    networks: Mapping[str, nn.Module]
    sample: Split
    classes: tuple[str, ...]
    features: Mapping[str, Tensor]

    def filters(self) -> pictures.Figure:
        """Draw the filters of the first layer."""
        return pictures.filters(self.networks)

    def neighbors(self, queries: int = 6, k: int = 4) -> pictures.Figure:
        """Draw images, each of another class, and their nearest neighbours."""
        found = {}
        for name, features in self.features.items():
            nearest = nearest_neighbors.find(features, k=k)[:queries]  # (Q, k)
            found[name] = self.sample[nearest.flatten()]
        return pictures.neighbors(self.sample[:queries], found, self.classes)

    def maps(self) -> pictures.Figure:
        """Draw a t-SNE map of the features of each network, or why there is none."""
        try:
            return charts.tsne(self.features, self.sample.labels, self.classes)
        except ValueError as error:  # too few images: the notebook goes on
            figure = pictures.Figure(figsize=(6, 0.5))
            figure.text(0, 0.3, str(error))
            return figure

    def accuracies(self) -> dict[str, float]:
        """Leave-one-out k-NN accuracy on the sample's labels in percent.

        Nothing where these labels allow a single answer.
        """
        labels = self.sample.labels
        if not nearest_neighbors.is_informative(labels):
            return {}
        score = nearest_neighbors.leave_one_out_accuracy
        return {name: score(one, labels) for name, one in self.features.items()}


def inspect(
    networks: Mapping[str, nn.Module], dataset: Dataset, *, image_size: int
) -> Inspection:
    """Compute the features of at most 1,000 labelled images by every network.

    Args:
        networks: by name; each maps (B, 3, S, S) to (B, D).
        dataset: whose training images are looked at; those without labels if there are
            no others.
        image_size: side S of the whole images, in pixels.
    """
    sample = (dataset.train if dataset.train_count else dataset.pretraining).sample(
        IMAGES
    )
    features = {
        name: encoding.encode(network, sample.images, image_size=image_size)
        for name, network in networks.items()
    }
    return Inspection(networks, sample, dataset.classes, features)
