"""The protocols of the results table, each from a backbone to a record.

Each protocol scores the test split once per repetition, after all training is done, and
chooses nothing on it.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from helpers.data.dataset import Dataset
from helpers.evaluation import probes, records
from helpers.evaluation.repetitions import (
    Experiment,
    Outcome,
    Protocol,
    Repetition,
    repeat,
)
from helpers.models import (
    backbones,
    classifier_files,
    encoding,
    heads,
    nearest_neighbors,
)
from helpers.training import checkpoints, supervised

Store = checkpoints.Store
USUAL = supervised.FineTuningSettings()


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
    dataset = experiment.dataset

    def fit(run: Repetition, _: Store) -> tuple[Callable, list]:
        train = features.train[run.index], dataset.train.labels[run.index]
        return functools.partial(nearest_neighbors.classify, *train), []

    return repeat(_on_features("k-NN", fit, features, dataset), experiment.once())


def linear_probe(features: Features, experiment: Experiment) -> Outcome:
    """Softmax layer on frozen features, its L2 penalty chosen by cross-validation."""
    dataset = experiment.dataset

    def fit(run: Repetition, _: Store) -> tuple[Callable, list]:
        train = features.train[run.index], dataset.train.labels[run.index]
        return probes.linear_probe(*train, seed=run.seed), []

    protocol = _on_features("linear probe", fit, features, dataset)
    return repeat(protocol, experiment.once())


def mlp_head(
    features: Features,
    experiment: Experiment,
    settings: supervised.HeadSettings | None = None,
) -> Outcome:
    """Two-layer classifier on frozen features, which it sees standardised."""
    settings, dataset = settings or supervised.HeadSettings(), experiment.dataset

    def build() -> nn.Module:
        return heads.MLP(features.train.shape[1], len(dataset.classes))

    def fit(run: Repetition, store: Store) -> tuple[Callable, list]:
        torch.manual_seed(run.seed)
        train = features.train[run.index]
        mean, std = train.mean(dim=0), train.std(dim=0) + 1e-6
        # A unit that is silent in training may speak up for a test image.
        std = torch.where(std > 2e-6, std, 1.0)
        head = build()
        history = supervised.train_on_features(
            head,
            (train - mean) / std,
            dataset.train.labels[run.index],
            dataclasses.replace(settings, seed=run.seed),
            label=f"MLP head, {experiment.method}, {run.name}",
            store=store,
            on_epoch=experiment.on_epoch,
        )
        return probes.FeatureHead(mean, std, head.cpu().eval()), history

    def pack(classify: probes.FeatureHead) -> dict[str, Any]:
        head = classify.head.state_dict()
        return {"mean": classify.mean, "std": classify.std, "head": head}

    def unpack(tensors: dict[str, Any]) -> probes.FeatureHead:
        head = build().eval()
        head.load_state_dict(tensors["head"])
        return probes.FeatureHead(tensors["mean"], tensors["std"], head)

    protocol = _on_features("MLP head", fit, features, dataset)
    return repeat(
        dataclasses.replace(protocol, settings=settings, pack=pack, unpack=unpack),
        experiment,
    )


def fine_tune(
    create: Callable[[], nn.Module],
    experiment: Experiment,
    settings: supervised.FineTuningSettings | None = None,
    *,
    protocol: str = "fine-tuning",
) -> Outcome:
    """Train backbone and head together, from a fresh backbone in every repetition.

    Args:
        create: returns the backbone to start from, a new one at every call.
        experiment: the data set, and how the backbone was made.
        settings: of the training.
        protocol: name in the table.
    """
    settings = settings or USUAL
    experiment.dataset.warn_if_enlarged(settings.view.size)
    return repeat(all_layers(create, experiment, settings, protocol), experiment)


def all_layers(
    create: Callable[[], nn.Module],
    experiment: Experiment,
    settings: supervised.FineTuningSettings,
    name: str,
) -> Protocol:
    """How backbone and head are trained together and scored; see ``fine_tune``."""
    dataset = experiment.dataset

    def build() -> heads.Classifier:
        return heads.Classifier(create(), len(dataset.classes))

    def fit(run: Repetition, store: Store) -> tuple[nn.Module, list]:
        torch.manual_seed(run.seed)
        classifier = build()
        history = supervised.train_on_images(
            classifier,
            dataset.train[run.index],
            dataclasses.replace(settings, seed=run.seed),
            label=f"{name}, {experiment.method}, {run.name}",
            store=store,
            on_epoch=experiment.on_epoch,
        )
        return classifier, history

    def unpack(tensors: dict[str, Any]) -> nn.Module:
        classifier = build().eval()
        classifier.load_state_dict(tensors)
        return classifier

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # random weights are told apart too
        weights = records.weights(create())
    return Protocol(
        name=name,
        fit=fit,
        predict=lambda classifier: encoding.outputs(
            classifier, dataset.test.images, image_size=settings.view.size
        ),
        network=lambda classifier: classifier,
        weights=weights,
        image_size=settings.view.size,
        settings=settings,
        pack=lambda classifier: classifier.state_dict(),
        unpack=unpack,
    )


def baseline(
    dataset: Dataset,
    settings: supervised.FineTuningSettings | None = None,
    *,
    backbone: str = "resnet18",
    stem: str = "imagenet",
    **repetitions: Any,
) -> Outcome:
    """Train from random weights on the labels alone: the accuracy to beat.

    Args:
        dataset: with labels and test images.
        settings: of the training.
        backbone: name of the network.
        stem: its first layers.
        **repetitions: ``seeds``, ``folds``, ``mirror`` and others of ``Experiment``.
    """
    about = {"backbone": backbone, "stem": stem}
    create = functools.partial(backbones.build, backbone, stem=stem)
    experiment = Experiment(dataset, "random", about, **repetitions)
    return fine_tune(create, experiment, settings, protocol="baseline")


def supervised_settings(
    image_size: int = USUAL.view.size, epochs: int = USUAL.epochs
) -> supervised.FineTuningSettings:
    """Settings for the baseline and fine-tuning, which are usually chosen by these two.

    Args:
        image_size: side of the training views in pixels.
        epochs: passes over the labelled images.
    """
    view = dataclasses.replace(USUAL.view, size=image_size)
    return dataclasses.replace(USUAL, epochs=epochs, view=view)


def _on_features(
    name: str,
    fit: Callable[[Repetition, Store], tuple[Callable[[Tensor], Tensor], list]],
    features: Features,
    dataset: Dataset,
) -> Protocol:
    """A protocol whose classifiers map features (M, D) to outputs (M, C)."""

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
            len(dataset.classes),
        )

    return Protocol(
        name=name,
        fit=fit,
        predict=lambda classify: classify(features.test),
        network=network,
        weights=records.weights(features.backbone),
        image_size=features.image_size,
        minutes_before=features.minutes,
    )
