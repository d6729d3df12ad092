"""k-NN: how good are features, without training anything?"""

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
    """Weighted votes of the k nearest neighbours by cosine similarity s.

    A neighbour of class c adds exp(s / temperature) to c's vote.
    Source: Wu et al. 2018, arXiv:1805.01978, section 3.4.

    Args:
        features: (N, D), of the labelled images.
        labels: (N,).
        queries: (M, D), to be classified.
        k: neighbours asked; all of them where there are fewer.
        temperature: small values trust near neighbours more.
        leave_one_out: the queries are the features; none may be its own neighbour.

    Returns:
        Votes (M, C).
    """
    keys = functional.normalize(features, dim=1)
    count = int(labels.max()) + 1
    votes = []
    for start in range(0, len(queries), 1_024):
        some = functional.normalize(queries[start : start + 1_024], dim=1)
        similarity = some @ keys.T
        if leave_one_out:
            rows = torch.arange(len(some))
            similarity[rows, rows + start] = -torch.inf
        k_here = min(k, len(keys) - leave_one_out)
        nearest, index = similarity.topk(k_here, dim=1)
        weights = (nearest / temperature).exp()
        empty = torch.zeros(len(some), count)
        votes.append(empty.scatter_add_(1, labels[index], weights))
    return torch.cat(votes)


def find(features: Tensor, *, k: int = 8) -> Tensor:
    """Numbers of every image's k nearest others by cosine, nearest first: (N, k)."""
    normalized = functional.normalize(features, dim=1)
    similarity = normalized @ normalized.T
    similarity.fill_diagonal_(-torch.inf)
    return similarity.topk(min(k, len(features) - 1), dim=1).indices


def accuracy(
    backbone: nn.Module, labelled: Split, *, image_size: int, max_images: int = 2_000
) -> float:
    """Leave-one-out k-NN accuracy on training labels in percent: a gauge of progress.

    It costs one pass over at most ``max_images`` images; the test split is never read.
    """
    stride = math.ceil(len(labelled) / max_images)
    some = labelled[::stride]
    features = encoding.encode(backbone, some.images, image_size=image_size)
    votes = classify(features, some.labels, features, leave_one_out=True)
    return 100 * (votes.argmax(dim=1) == some.labels).float().mean().item()
