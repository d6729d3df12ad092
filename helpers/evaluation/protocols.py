"""The protocols of the results table, each from a backbone to a record.

Each protocol scores the test split once per repetition, after all training is done, and
chooses nothing on it.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from helpers.data.dataset import Dataset
from helpers.evaluation import probes, results
from helpers.models import (
    backbones,
    classifier_files,
    encoding,
    heads,
    nearest_neighbors,
)
from helpers.training import supervised
from helpers.views.settings import ViewSettings


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A backbone, the data set it is evaluated on, and the repetitions.

    Attributes:
        dataset: its labelled images train the classifier, its test split scores it.
        method: how the backbone was made, for the table, such as ``PIRL``.
        about: metadata of the backbone file; empty for random weights.
        seeds: of the classifier; each seed is one repetition on all labels.
        folds: repeat over the official folds of the labels instead (STL-10 has ten
            of 1,000); the number of a fold is its seed.

    Raises:
        ValueError: for ``folds`` of a data set that has none, or one without labels or
            without test images.
    """

    dataset: Dataset
    method: str
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seeds: Sequence[int] = (0, 1, 2)
    folds: bool = False

    def __post_init__(self) -> None:
        """Check that there are labels, test images, and folds to repeat over."""
        if not self.dataset.train_count or not len(self.dataset.test):
            lacks = "test images" if self.dataset.train_count else "labels"
            raise ValueError(
                f"{self.dataset.name} has no {lacks}, so nothing can be scored: put "
                "images into a folder per class."
            )
        if self.folds and not self.dataset.folds:
            raise ValueError(
                f"{self.dataset.name} has no official folds: take stl10 with all its "
                "labels."
            )

    def once(self) -> Experiment:
        """The same experiment with one seed, for protocols that need no more."""
        return dataclasses.replace(self, seeds=(0,))

    def repetitions(self) -> list[Repetition]:
        """One repetition per seed, or one per official fold."""
        if self.folds:
            folds = enumerate(self.dataset.folds)
            return [Repetition(fold, seed, f"fold {seed}") for seed, fold in folds]
        index = torch.arange(self.dataset.train_count)
        return [Repetition(index, seed, f"seed {seed}") for seed in self.seeds]


class Repetition(NamedTuple):
    """One training run of an experiment."""

    index: Tensor  # int64 (L,), which of the labelled images it learns from
    seed: int  # of everything random in it
    name: str  # beside its progress bar: "seed 0" or "fold 3"


@dataclasses.dataclass(frozen=True)
class Features:
    """The features that a frozen backbone computes from a data set.

    Attributes:
        train: float32 (N, D), of the labelled images.
        test: float32 (M, D), of the test images.
        minutes: time that computing them took.
        backbone: the network that computed them.
        image_size: side of the whole images that it saw, in pixels.
    """

    train: Tensor
    test: Tensor
    minutes: float
    backbone: nn.Module
    image_size: int


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a protocol.

    Attributes:
        record: for the results table, over all repetitions.
        scores: of the last repetition.
        outputs: of the last repetition for the test images, (M, C).
        classifier: of the last repetition.
        history: training curve of the last repetition; empty for k-NN and the probe.
        network: of the last repetition, from images to logits; None for k-NN.
        about: what a classifier file says of it.
    """

    record: dict[str, Any]
    scores: probes.Scores
    outputs: Tensor
    classifier: Any
    history: list[dict[str, Any]]
    network: heads.Classifier | None
    about: dict[str, Any]

    def save_classifier(self, path: pathlib.Path | None = None) -> pathlib.Path:
        """Write the last repetition's classifier to a file.

        It is the last because choosing the best would be choosing on the test images.

        Args:
            path: of the file; by default one in the folder for runs, named after all
                that the classifier depends on.

        Returns:
            Where it is.

        Raises:
            ValueError: for k-NN, which has no weights.
            OSError: in one sentence, when the file cannot be written.
        """
        if self.network is None:
            raise ValueError(
                "k-NN has no weights to save: save the classifier of a linear probe, "
                "an MLP head or fine-tuning."
            )
        path = path or classifier_files.usual_path(self.about)
        classifier_files.save(path, self.network, self.about)
        return path


def encode(backbone: nn.Module, dataset: Dataset, *, image_size: int) -> Features:
    """Compute the features of labelled and test images once, for all frozen protocols.

    The backbone sees whole images, ``image_size`` pixels a side.
    """
    started = time.perf_counter()
    dataset.warn_if_enlarged(image_size)
    train, test = (
        encoding.encode(backbone, split.images, image_size=image_size)
        for split in (dataset.train, dataset.test)
    )
    minutes = (time.perf_counter() - started) / 60
    return Features(train, test, minutes, backbone, image_size)


def knn(features: Features, experiment: Experiment) -> Outcome:
    """Weighted k-NN, k = 20, on frozen features; once, because nothing is random."""

    def fit(run: Repetition) -> tuple[Callable, list]:
        train = features.train[run.index], experiment.dataset.train.labels[run.index]
        return functools.partial(nearest_neighbors.classify, *train), []

    return _on_features("k-NN", fit, features, experiment.once())


def linear_probe(features: Features, experiment: Experiment) -> Outcome:
    """Softmax layer on frozen features, its L2 penalty chosen by cross-validation."""

    def fit(run: Repetition) -> tuple[Callable, list]:
        train = features.train[run.index], experiment.dataset.train.labels[run.index]
        return probes.linear_probe(*train, seed=run.seed), []

    return _on_features("linear probe", fit, features, experiment.once())


def mlp_head(
    features: Features,
    experiment: Experiment,
    settings: supervised.HeadSettings | None = None,
) -> Outcome:
    """Two-layer classifier on frozen features, which it sees standardised."""
    settings, dataset = settings or head_settings(), experiment.dataset

    def fit(run: Repetition) -> tuple[Callable, list]:
        torch.manual_seed(run.seed)
        train = features.train[run.index]
        mean, std = train.mean(dim=0), train.std(dim=0) + 1e-6
        head = heads.MLP(train.shape[1], len(dataset.classes))
        history = supervised.train_on_features(
            head,
            (train - mean) / std,
            dataset.train.labels[run.index],
            dataclasses.replace(settings, seed=run.seed),
            label=f"MLP head, {run.name}",
        )
        return probes.FeatureHead(mean, std, head.cpu().eval()), history

    return _on_features("MLP head", fit, features, experiment, settings)


def fine_tune(
    create: Callable[[], nn.Module],
    experiment: Experiment,
    settings: supervised.FineTuningSettings | None = None,
    *,
    protocol: str = "fine-tuning",
) -> Outcome:
    """Train backbone and head together, from a fresh backbone in every repetition.

    Args:
        create: returns the backbone to start from; called once per repetition.
        experiment: the data set, and how the backbone was made.
        settings: of the training; ``supervised_settings()`` by default.
        protocol: name in the table.
    """
    settings, dataset = settings or supervised_settings(), experiment.dataset

    def fit(run: Repetition) -> tuple[nn.Module, list]:
        torch.manual_seed(run.seed)
        classifier = heads.Classifier(create(), len(dataset.classes))
        history = supervised.train_on_images(
            classifier,
            dataset.train[run.index],
            dataclasses.replace(settings, seed=run.seed),
            label=f"{protocol}, {experiment.method}, {run.name}",
        )
        return classifier, history

    def predict(classifier: nn.Module) -> Tensor:
        return encoding.outputs(
            classifier, dataset.test.images, image_size=settings.view.size
        )

    return _repeat(
        protocol,
        fit,
        predict,
        experiment,
        settings=settings,
        network=lambda classifier: classifier,
        image_size=settings.view.size,
    )


def baseline(
    dataset: Dataset,
    settings: supervised.FineTuningSettings | None = None,
    *,
    backbone: str = "resnet18",
    stem: str = "imagenet",
    seeds: Sequence[int] = (0, 1, 2),
    folds: bool = False,
) -> Outcome:
    """Train from random weights on the labels alone: the accuracy to beat.

    ``backbone`` and ``stem`` name the network; see ``fine_tune`` and ``Experiment``.
    """
    about = {"backbone": backbone, "stem": stem}
    create = functools.partial(backbones.build, backbone, stem=stem)
    experiment = Experiment(dataset, "random", about, seeds, folds)
    return fine_tune(create, experiment, settings, protocol="baseline")


def supervised_settings(
    image_size: int = 48, epochs: int = 30
) -> supervised.FineTuningSettings:
    """Settings for training all layers, the same for the baseline and fine-tuning.

    The two then differ only in their initial weights, so nothing else can explain a
    difference in accuracy. That backbone and head share one learning rate was decided
    on held-out training labels of photographs; the rate itself and the batch size on
    drawings other than the demo's.

    Args:
        image_size: side of the training views in pixels.
        epochs: passes over the labelled images.
    """
    return supervised.FineTuningSettings(
        epochs=epochs,
        batch_size=24,
        learning_rate=1e-3,
        view=ViewSettings(size=image_size, scale=(0.3, 1.0), jitter=0.5),
    )


def head_settings(epochs: int = 100) -> supervised.HeadSettings:
    """Settings for training the MLP head on frozen features."""
    return supervised.HeadSettings(
        epochs=epochs, learning_rate=1e-3, weight_decay=1e-1, warmup_epochs=0
    )


def _on_features(
    protocol: str,
    fit: Callable[[Repetition], tuple[Callable[[Tensor], Tensor], list]],
    features: Features,
    experiment: Experiment,
    settings: supervised.HeadSettings | None = None,
) -> Outcome:
    """Repeat a protocol whose classifiers map features (M, D) to outputs (M, C)."""

    def predict(classify: Callable[[Tensor], Tensor]) -> Tensor:
        return classify(features.test)

    def network(classify: Callable[[Tensor], Tensor]) -> heads.Classifier | None:
        if isinstance(classify, probes.LinearProbe):
            classify = classify.head()
        if not isinstance(classify, probes.FeatureHead):
            return None
        return classifier_files.on_features(
            features.backbone,
            classify.mean,
            classify.std,
            classify.head,
            len(experiment.dataset.classes),
        )

    return _repeat(
        protocol,
        fit,
        predict,
        experiment,
        settings=settings,
        network=network,
        image_size=features.image_size,
        minutes_before=features.minutes,
    )


def _repeat(
    protocol: str,
    fit: Callable[[Repetition], tuple[Any, list]],
    predict: Callable[[Any], Tensor],
    experiment: Experiment,
    *,
    settings: supervised.HeadSettings | None,
    network: Callable[[Any], heads.Classifier | None],
    image_size: int,
    minutes_before: float = 0.0,
) -> Outcome:
    """Fit one classifier per repetition, score what it predicts, and record all.

    ``network`` lets a classifier take images; every repetition has ``minutes_before``.
    """
    dataset, about = experiment.dataset, experiment.about
    runs = experiment.repetitions()
    all_scores, minutes = [], []
    for run in runs:
        started = time.perf_counter()
        classifier, history = fit(run)
        outputs = predict(classifier)
        all_scores.append(probes.score(outputs, dataset.test.labels))
        minutes.append(minutes_before + (time.perf_counter() - started) / 60)
    record = results.record(
        method=experiment.method,
        protocol=protocol,
        data=dataset.name,
        labels=len(runs[0].index),
        top1=[scores.top1 for scores in all_scores],
        top5=[scores.top5 for scores in all_scores],
        minutes=about.get("minutes", 0.0) + sum(minutes) / len(minutes),
        about=about,
        over="official folds" if experiment.folds else "seeds of the classifier",
        folds=len(runs) if experiment.folds else 0,
        balanced=[scores.balanced for scores in all_scores],
        largest_share=all_scores[-1].largest_share,
    )
    described = {
        "network": {"backbone": "resnet18", "stem": "imagenet"}
        | {key: about[key] for key in ("backbone", "stem", "norm") if key in about},
        "classes": dataset.classes,
        "image_size": image_size,
        "stored_size": dataset.test.images.shape[-1],
        "fit": dataset.fit,
        "method": experiment.method,
        "protocol": protocol,
        "data": dataset.name,
        "files": dataset.files,
        "labels": len(runs[-1].index),
        "repetition": runs[-1].name,
        "settings": dataclasses.asdict(settings) if settings else {},
        "pretraining": dict(about),
        "top1": all_scores[-1].top1,
        "balanced": all_scores[-1].balanced,
        "result": record,
    }
    return Outcome(
        record,
        all_scores[-1],
        outputs,
        classifier,
        history,
        network(classifier),
        described,
    )
