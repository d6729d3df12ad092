"""The protocols of the results table, each from a backbone to a record.

Every protocol scores the test split once, after everything has been decided. With
``folds`` it is repeated once an official fold of the labels (STL-10 has ten of 1,000)
instead of once a seed.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from helpers.data.dataset import Dataset
from helpers.evaluation import probes, results
from helpers.models import encoding, heads, nearest_neighbors
from helpers.training import supervised
from helpers.views.settings import ViewSettings


@dataclasses.dataclass(frozen=True)
class Features:
    """A data set as a frozen backbone sees it.

    Attributes:
        train: float32 (N, D), of the labelled images.
        test: float32 (M, D).
        minutes: the encoding took.
    """

    train: Tensor
    test: Tensor
    minutes: float


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a protocol found.

    Attributes:
        record: for the results table.
        scores: of the last repetition.
        classifier: of the last repetition.
        history: of the last repetition's training; empty where there is none.
    """

    record: dict[str, Any]
    scores: probes.Scores
    classifier: Any
    history: list[dict[str, Any]]


def encode(backbone: nn.Module, dataset: Dataset, *, image_size: int) -> Features:
    """Encode the labelled and the test images once, for all frozen protocols."""
    started = time.perf_counter()
    train, test = (
        encoding.encode(backbone, split.images, image_size=image_size)
        for split in (dataset.train, dataset.test)
    )
    return Features(train, test, (time.perf_counter() - started) / 60)


def knn(
    features: Features,
    dataset: Dataset,
    *,
    method: str,
    about: dict[str, Any],
    folds: bool = False,
) -> Outcome:
    """Weighted k-NN on frozen features, k = 20."""

    def fit(index: Tensor, seed: int) -> tuple[Any, list]:
        keys, labels = features.train[index], dataset.train.labels[index]
        return (lambda some: nearest_neighbors.classify(keys, labels, some)), []

    return _frozen("k-NN", fit, features, dataset, method, about, (0,), folds)


def linear_probe(
    features: Features,
    dataset: Dataset,
    *,
    method: str,
    about: dict[str, Any],
    folds: bool = False,
) -> Outcome:
    """A softmax layer on frozen features, its penalty chosen by cross-validation."""

    def fit(index: Tensor, seed: int) -> tuple[Any, list]:
        labels = dataset.train.labels[index]
        return probes.linear_probe(features.train[index], labels, seed=seed), []

    return _frozen("linear probe", fit, features, dataset, method, about, (0,), folds)


def mlp_head(
    features: Features,
    dataset: Dataset,
    *,
    method: str,
    about: dict[str, Any],
    seeds: Sequence[int] = (0, 1, 2),
    settings: supervised.HeadSettings | None = None,
    folds: bool = False,
) -> Outcome:
    """An MLP of 128 hidden units on frozen features: the seeds' classifier."""
    settings = settings or head_settings()

    def fit(index: Tensor, seed: int) -> tuple[Any, list]:
        torch.manual_seed(seed)
        some = features.train[index]
        mean, std = some.mean(dim=0), some.std(dim=0) + 1e-6
        head = heads.MLP(some.shape[1], len(dataset.classes))
        history = supervised.train_on_features(
            head,
            (some - mean) / std,
            dataset.train.labels[index],
            dataclasses.replace(settings, seed=seed),
            label=f"MLP head, {'fold' if folds else 'seed'} {seed}",
        )
        head = head.cpu().eval()

        def classify(some: Tensor) -> Tensor:
            with torch.no_grad():
                return head((some - mean) / std)

        return classify, history

    return _frozen("MLP head", fit, features, dataset, method, about, seeds, folds)


def fine_tune(
    create: Callable[[], nn.Module],
    dataset: Dataset,
    *,
    method: str,
    about: dict[str, Any],
    protocol: str = "fine-tuning",
    settings: supervised.FineTuningSettings | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    folds: bool = False,
) -> Outcome:
    """Train backbone and head together, a fresh backbone a repetition.

    Args:
        create: returns the backbone to start from; called once a repetition.
        dataset: its labels train, its test split scores.
        method: how the backbone was made, for the table.
        about: of the backbone file.
        protocol: name for the table.
        settings: of the training; ``supervised_settings`` by default.
        seeds: of the classifier's training.
        folds: train once an official fold, instead of once a seed.
    """
    settings = settings or supervised_settings()

    def run(index: Tensor, seed: int) -> tuple[Tensor, Any, list]:
        torch.manual_seed(seed)
        classifier = heads.Classifier(create(), len(dataset.classes))
        history = supervised.train_on_images(
            classifier,
            dataset.train[index],
            dataclasses.replace(settings, seed=seed),
            label=f"{protocol}, {method}, {'fold' if folds else 'seed'} {seed}",
        )
        outputs = encoding.outputs(
            classifier, dataset.test.images, image_size=settings.view.size
        )
        return outputs, classifier, history

    return _repeat(protocol, run, dataset, method, about, seeds, folds)


def supervised_settings(
    image_size: int = 48, epochs: int = 30
) -> supervised.FineTuningSettings:
    """Training of backbone and head, from random weights and from pre-trained ones.

    Baseline and fine-tuning share them, so that the start alone explains a difference.
    They were chosen on held-out training labels of photographs (one rate for backbone
    and head) and on drawings that are not the demo's (that rate, the batch).
    """
    return supervised.FineTuningSettings(
        epochs=epochs,
        batch_size=24,
        learning_rate=1e-3,
        view=ViewSettings(size=image_size, scale=(0.3, 1.0), jitter=0.5),
    )


def head_settings(epochs: int = 100) -> supervised.HeadSettings:
    """Training of the MLP head on features."""
    return supervised.HeadSettings(
        epochs=epochs, learning_rate=1e-3, weight_decay=1e-1, warmup_epochs=0
    )


def _frozen(
    protocol: str,
    fit: Callable[[Tensor, int], tuple[Any, list]],
    features: Features,
    *others: Any,
) -> Outcome:
    """Let every fitted classifier score the features of the test images."""

    def run(index: Tensor, seed: int) -> tuple[Tensor, Any, list]:
        classifier, history = fit(index, seed)
        return classifier(features.test), classifier, history

    return _repeat(protocol, run, *others, minutes_before=features.minutes)


def _repeat(
    protocol: str,
    run: Callable[[Tensor, int], tuple[Tensor, Any, list]],
    dataset: Dataset,
    method: str,
    about: dict[str, Any],
    seeds: Sequence[int],
    folds: bool,
    minutes_before: float = 0.0,
) -> Outcome:
    """Once a seed with all labels, or once an official fold with the fold's."""
    if folds and not dataset.folds:
        raise ValueError(
            f"{dataset.name} has no official folds: take stl10 with all its labels."
        )
    chosen = [(torch.arange(dataset.train_count), seed) for seed in seeds]
    if folds:
        chosen = [(fold, number) for number, fold in enumerate(dataset.folds)]
    all_scores, minutes = [], []
    for index, seed in chosen:
        started = time.perf_counter()
        outputs, classifier, history = run(index, seed)
        all_scores.append(probes.score(outputs, dataset.test.labels))
        minutes.append(minutes_before + (time.perf_counter() - started) / 60)
    record = results.record(
        method=method,
        protocol=protocol,
        data=dataset.name,
        labels=len(chosen[0][0]),
        top1=[scores.top1 for scores in all_scores],
        top5=[scores.top5 for scores in all_scores],
        minutes=about.get("minutes", 0.0) + sum(minutes) / len(minutes),
        about=about,
        over="official folds" if folds else "seeds of the classifier",
        folds=len(chosen) if folds else 0,
    )
    return Outcome(record, all_scores[-1], classifier, history)
