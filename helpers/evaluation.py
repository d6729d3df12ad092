"""How good is a backbone? Features once, then k-NN and a linear probe on them.

The backbone is frozen: no gradients, and ``eval()``, so BatchNorm keeps its statistics.
Images are normalised as in pre-training. Settings are chosen on the training labels by
cross-validation; the test split is only ever scored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sklearn.linear_model
import sklearn.model_selection
import sklearn.pipeline
import sklearn.preprocessing
import torch
import torchmetrics.functional.classification as metrics
from torch import Tensor, nn
from torch.nn import functional

from helpers import hardware, streaming, views
from helpers.splits import Split

COLLAPSED = 0.1  # of the spread that isotropic embeddings have


@dataclasses.dataclass(frozen=True)
class Scores:
    """What a classifier scored on a split.

    Attributes:
        top1: share of images whose class came first, in percent.
        top5: whose class was among the first five, in percent; None below six classes.
        confusion: int64 (C, C), rows are true classes, columns predicted ones.
    """

    top1: float
    top5: float | None
    confusion: Tensor


def score(outputs: Tensor, labels: Tensor) -> Scores:
    """Score class outputs (N, C), larger is likelier, against labels (N,)."""
    outputs, labels = outputs.float().cpu(), labels.cpu()
    count = outputs.shape[1]

    def accuracy(k: int) -> float:
        share = metrics.multiclass_accuracy(
            outputs, labels, num_classes=count, top_k=k, average="micro"
        )
        return 100 * share.item()

    confusion = metrics.multiclass_confusion_matrix(outputs, labels, num_classes=count)
    return Scores(accuracy(1), accuracy(5) if count > 5 else None, confusion)


@torch.no_grad()
def encode(
    backbone: nn.Module,
    images: streaming.Images,
    *,
    image_size: int,
    batch_size: int = 256,
) -> Tensor:
    """Features of whole images under a frozen backbone.

    Args:
        backbone: maps (B, 3, S, S) to (B, D); left in the mode it came in.
        images: uint8 (N, 3, H, W), on any device or in files.
        image_size: side S the images are resized to.
        batch_size: images at a time.

    Returns:
        float32 (N, D) on the CPU.
    """
    was_training = backbone.training
    hardware.place(backbone).eval()
    features = []
    numbers = torch.arange(len(images)).split(batch_size)
    for some, _ in streaming.batches(images, numbers, hardware.device()):
        view = views.whole_view(some, image_size)
        with hardware.autocast():
            features.append(backbone(view).float())
    backbone.train(was_training)
    return torch.cat(features).cpu()


def knn(
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


def neighbors(features: Tensor, *, k: int = 8) -> Tensor:
    """Numbers of every image's k nearest others by cosine, nearest first: (N, k)."""
    normalized = functional.normalize(features, dim=1)
    similarity = normalized @ normalized.T
    similarity.fill_diagonal_(-torch.inf)
    return similarity.topk(min(k, len(features) - 1), dim=1).indices


def linear_probe(features: Tensor, labels: Tensor, *, seed: int = 0) -> LinearProbe:
    """Fit a softmax layer on standardised features.

    The strength of its L2 penalty is chosen by five-fold cross-validation on these
    labels, then the layer is fitted to all of them.

    Args:
        features: (N, D).
        labels: (N,), at least two images a class.
        seed: of the folds.

    Raises:
        ValueError: when a class has one image only.
    """
    smallest = int(labels.bincount().min())
    if smallest < 2:
        raise ValueError(
            "A linear probe needs two labelled images of every class, to choose its "
            "penalty: ask for more labels, or leave it out."
        )
    folds = sklearn.model_selection.StratifiedKFold(
        n_splits=min(5, max(2, smallest)), shuffle=True, random_state=seed
    )
    search = sklearn.model_selection.GridSearchCV(
        sklearn.pipeline.make_pipeline(
            sklearn.preprocessing.StandardScaler(),
            sklearn.linear_model.LogisticRegression(max_iter=200, tol=1e-3),
        ),
        {"logisticregression__C": [1e-4, 1e-3, 1e-2, 1e-1]},
        cv=folds,
    )
    search.fit(features.numpy(), labels.numpy())
    return LinearProbe(search.best_estimator_, search.best_score_ * 100)


@dataclasses.dataclass(frozen=True)
class LinearProbe:
    """A fitted softmax layer.

    Attributes:
        classifier: scikit-learn's.
        validation_top1: mean accuracy over the held-out folds, in percent.
    """

    classifier: sklearn.pipeline.Pipeline
    validation_top1: float

    def __call__(self, features: Tensor) -> Tensor:
        """Class probabilities (N, C) of features (N, D)."""
        probabilities = self.classifier.predict_proba(features.numpy())
        return torch.from_numpy(np.asarray(probabilities, dtype=np.float32))


def monitor(
    backbone: nn.Module, labelled: Split, *, image_size: int, most: int = 2_000
) -> float:
    """Leave-one-out k-NN accuracy on training labels in percent: a gauge of progress.

    It costs one pass over at most ``most`` images and never touches the test split.
    """
    some = labelled[:: -(-len(labelled) // most)]
    features = encode(backbone, some.images, image_size=image_size)
    votes = knn(features, some.labels, features, leave_one_out=True)
    return 100 * (votes.argmax(dim=1) == some.labels).float().mean().item()


def spread(embedding: Tensor) -> Tensor:
    """How spread out embeddings (B, d) are: 1 is isotropic, 0 is collapsed.

    The standard deviation of every coordinate of the normalised embedding, mean over
    the coordinates, times √d. Source: Chen & He 2021, arXiv:2011.10566, section 4.1.
    """
    normalized = functional.normalize(embedding.float(), dim=1)
    return normalized.std(dim=0).mean() * embedding.shape[1] ** 0.5


def is_collapsed(history: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the embeddings of the last epoch hardly differ from each other."""
    return bool(history) and history[-1]["spread"] < COLLAPSED
