"""Accuracy of a classifier, the linear probe, and heads on standardised features.

The probe's penalty is chosen by cross-validation on the training labels; the test split
is only scored.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import sklearn.linear_model
import sklearn.model_selection
import sklearn.pipeline
import sklearn.preprocessing
import torch
import torchmetrics.functional.classification as metrics
from torch import Tensor, nn

UNBALANCED = 1.5  # times the smallest class, from which accuracy alone misleads


@dataclasses.dataclass(frozen=True)
class Scores:
    """Accuracy of a classifier on a split.

    Attributes:
        top1: images whose class scored highest, in percent.
        top5: images whose class is among the five highest, in percent; None below six
            classes.
        confusion: int64 (C, C); rows are true classes, columns predicted classes.
    """

    top1: float
    top5: float | None
    confusion: Tensor

    @property
    def per_class(self) -> tuple[float, ...]:
        """Share of each class's images that were found, in percent; NaN without any."""
        found, images = self.confusion.diagonal().double(), self.confusion.sum(dim=1)
        return tuple((100 * found / images).tolist())

    @property
    def balanced(self) -> float:
        """Mean of ``per_class``: every class counts the same, however large it is."""
        return float(np.nanmean(self.per_class))

    @property
    def largest_share(self) -> float:
        """Share of the largest class in percent: what always naming it would score."""
        images = self.confusion.sum(dim=1)
        return 100 * images.max().item() / images.sum().item()

    @property
    def is_unbalanced(self) -> bool:
        """Whether some class has many more images than another."""
        images = self.confusion.sum(dim=1)
        return bool(images.max() > UNBALANCED * images.min())

    def describe(self, classes: Sequence[str]) -> str:
        """Say accuracy, balanced accuracy and the share found of every class."""
        largest = classes[int(self.confusion.sum(dim=1).argmax())]
        found = ", ".join(
            f"{name} {share:.1f} %"
            for name, share in zip(classes, self.per_class, strict=True)
            if not math.isnan(share)
        )
        return (
            f"{self.top1:.1f} % of the test images are right, {self.balanced:.1f} % if "
            f"every class counts the same (always answering {largest!r} would score "
            f"{self.largest_share:.1f} %). Recognised per class: {found}."
        )


def score(outputs: Tensor, labels: Tensor) -> Scores:
    """Score outputs (N, C), where larger means likelier, against labels (N,).

    Raises:
        ValueError: when a label has no output.
        FloatingPointError: when an output is NaN.
    """
    outputs, labels = outputs.float().cpu(), labels.cpu()
    if outputs.isnan().any():
        raise FloatingPointError(
            "The classifier's outputs are NaN: train it again with a lower learning "
            "rate."
        )
    count = outputs.shape[1]
    unknown = labels[(labels < 0) | (labels >= count)]
    if len(unknown):
        raise ValueError(
            f"{len(unknown)} test images are of a class that the classifier does not "
            f"know, such as number {int(unknown[0])} of {count}: give it training "
            "images of every class, or leave these test images out."
        )

    top1 = metrics.multiclass_accuracy(
        outputs, labels, num_classes=count, average="micro"
    )
    own = outputs.gather(1, labels[:, None])  # (M, 1)
    # Equal outputs count against it: k-NN gives most classes no vote at all.
    among_five = ((outputs >= own).sum(dim=1) <= 5).float().mean()
    confusion = metrics.multiclass_confusion_matrix(outputs, labels, num_classes=count)
    top5 = 100 * among_five.item() if count > 5 else None
    return Scores(100 * top1.item(), top5, confusion)


def linear_probe(
    features: Tensor,
    labels: Tensor,
    *,
    seed: int = 0,
    inverse_penalty: float | None = None,
) -> LinearProbe:
    """Fit a softmax layer (logistic regression) to standardised features.

    The strength of its L2 penalty is chosen by five-fold cross-validation on these
    labels; then the layer is fitted to all of them.

    Args:
        features: float32 (N, D).
        labels: int64 (N,), with at least two images per class.
        seed: of the split into folds.
        inverse_penalty: scikit-learn's C, where it is not to be chosen; one image per
            class is enough then.

    Raises:
        ValueError: when a class has only one image.
    """
    pipeline = sklearn.pipeline.make_pipeline(
        sklearn.preprocessing.StandardScaler(),
        sklearn.linear_model.LogisticRegression(max_iter=200, tol=1e-3),
    )
    if inverse_penalty is not None:
        pipeline.set_params(logisticregression__C=inverse_penalty)
        return LinearProbe(pipeline.fit(features.numpy(), labels.numpy()), math.nan)
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
        pipeline,
        {"logisticregression__C": [1e-4, 1e-3, 1e-2, 1e-1]},
        cv=folds,
    )
    search.fit(features.numpy(), labels.numpy())
    return LinearProbe(search.best_estimator_, search.best_score_ * 100)


@dataclasses.dataclass(frozen=True)
class LinearProbe:
    """A fitted softmax layer.

    Attributes:
        classifier: pipeline of standardisation and logistic regression.
        validation_top1: mean accuracy on the held-out folds, in percent; NaN where
            the penalty was given.
    """

    classifier: sklearn.pipeline.Pipeline
    validation_top1: float

    def __call__(self, features: Tensor) -> Tensor:
        """Return class probabilities (N, C) for features (N, D)."""
        probabilities = self.classifier.predict_proba(features.numpy())
        return torch.from_numpy(np.asarray(probabilities, dtype=np.float32))

    def head(self) -> FeatureHead:
        """The same classifier as standardisation and a linear layer."""
        scaler, layer = (step for _, step in self.classifier.steps)
        weight, bias = torch.tensor(layer.coef_), torch.tensor(layer.intercept_)
        if len(weight) == 1:  # of two classes it stores the second's advantage alone
            weight = torch.cat([torch.zeros_like(weight), weight])
            bias = torch.cat([torch.zeros_like(bias), bias])
        linear = nn.Linear(weight.shape[1], len(weight))
        linear.load_state_dict({"weight": weight, "bias": bias})
        mean, std = (torch.tensor(x).float() for x in (scaler.mean_, scaler.scale_))
        return FeatureHead(mean, std, linear)


@dataclasses.dataclass(frozen=True)
class FeatureHead:
    """A head on standardised features.

    Attributes:
        mean: (D,), subtracted from the features.
        std: (D,), by which they are divided then.
        head: maps standardised features (N, D) to logits (N, C).
    """

    mean: Tensor
    std: Tensor
    head: nn.Module

    @torch.no_grad()
    def __call__(self, features: Tensor) -> Tensor:
        """Return logits (N, C) for features (N, D)."""
        return self.head((features - self.mean) / self.std)
