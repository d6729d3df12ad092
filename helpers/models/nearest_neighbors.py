"""Nearest neighbours in feature space: how good are features, without training?"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from helpers.data.dataset import Split
from helpers.models import encoding


def classify(
    features: Tensor,
    labels: Tensor,
    queries: Tensor,
    *,
    k: int = 20,
    temperature: float = 0.1,
    leave_one_out: bool = False,
) -> Tensor:
    """Classify by the weighted votes of the k nearest neighbours, by cosine similarity.

    A neighbour of class c at similarity s adds exp(s / temperature) to the votes for c.
    Source: Wu et al. 2018, arXiv:1805.01978, section 3.4.

    Args:
        features: (N, D), of the labelled images.
        labels: (N,).
        queries: (M, D), to be classified.
        k: number of neighbours that vote; all N where there are fewer.
        temperature: the smaller, the more the nearest neighbours count.
        leave_one_out: the queries are the features, and none votes for itself.

    Returns:
        Votes (M, C).
    """
    keys = functional.normalize(features, dim=1)
    count = int(labels.max()) + 1
    votes = []
    for start in range(0, len(queries), 1_024):
        chunk = functional.normalize(queries[start : start + 1_024], dim=1)
        similarity = chunk @ keys.T  # (m, N)
        if leave_one_out:
            rows = torch.arange(len(chunk))
            similarity[rows, rows + start] = -torch.inf
        neighbors = min(k, len(keys) - leave_one_out)
        nearest, index = similarity.topk(neighbors, dim=1)  # both (m, k)
        weights = (nearest / temperature).exp()
        empty = torch.zeros(len(chunk), count)
        votes.append(empty.scatter_add_(1, labels[index], weights))  # (m, C)
    return torch.cat(votes)


def find(features: Tensor, *, k: int = 8) -> Tensor:
    """Indices (N, k) of each image's k nearest others by cosine, the nearest first."""
    normalized = functional.normalize(features, dim=1)
    similarity = normalized @ normalized.T
    similarity.fill_diagonal_(-torch.inf)
    return similarity.topk(min(k, len(features) - 1), dim=1).indices


def is_informative(labels: Tensor) -> bool:
    """Whether leave-one-out k-NN on these labels (N,) can be right, and can be wrong.

    Of a single class it is always right, and with one image per class never. A label of
    -1 is none.
    """
    counts = labels[labels >= 0].bincount()
    return int((counts > 0).sum()) > 1 and int(counts.max()) > 1


def leave_one_out_accuracy(features: Tensor, labels: Tensor) -> float:
    """Accuracy in percent of k-NN for features (N, D), each found by the others."""
    votes = classify(features, labels, features, leave_one_out=True)
    return 100 * (votes.argmax(dim=1) == labels).float().mean().item()


def evenly_spaced(labelled: Split, max_images: int = 2_000) -> Split:
    """At most ``max_images`` of the images, evenly spaced."""
    return labelled[:: math.ceil(max(1, len(labelled)) / max_images)]


def accuracy(
    backbone: nn.Module, labelled: Split, *, image_size: int, max_images: int = 2_000
) -> float:
    """Leave-one-out k-NN accuracy on training labels in percent: a gauge of progress.

    Only some of them, ``evenly_spaced``, are encoded; the test split is not used.
    """
    some = evenly_spaced(labelled, max_images)
    features = encoding.encode(backbone, some.images, image_size=image_size)
    return leave_one_out_accuracy(features, some.labels)
