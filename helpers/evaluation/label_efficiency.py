"""What is pre-training worth? Accuracy against the number of labels."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from helpers.data.dataset import Dataset
from helpers.evaluation import probes, protocols, repetitions
from helpers.models import backbones
from helpers.training import supervised

AMOUNTS = (1, 5, 20, 100, 500)  # labels per class, as far as there are as many
STEPS = 200  # of training with few labels, unless all of them take fewer
INVERSE_PENALTY = 1e-2  # scikit-learn's C, where one label cannot choose it


def measure(
    create: Callable[[], nn.Module],
    dataset: Dataset,
    settings: supervised.FineTuningSettings,
    *,
    network: tuple[str, str, str] = ("resnet18", "imagenet", "batch"),
    image_size: int,
    amounts: Sequence[int] = AMOUNTS,
    **kept: Any,
) -> dict[str, dict[int, float]]:
    """Train on few labels and on more: from random weights, frozen, and fine-tuned.

    Smaller choices of labels are part of the larger ones. Settings are the same along a
    curve, but for the epochs, which are more where labels are so few that an epoch has
    hardly a step: up to 200 steps, though never more than with all labels. So a
    warm-up of some epochs has fewer steps there, and a batch has at most all images.

    Every training is kept as it goes on, and the accuracy of its point as it ends: see
    ``repetitions``. Asked again, what is there is not computed again.

    Args:
        create: returns the pre-trained backbone, a new copy at every call.
        dataset: its test images are scored once per point.
        settings: for training all layers; nothing is held out for validation.
        network: names of the backbone, its stem and its normalisation, for the
            baseline.
        image_size: side of the whole images that the frozen backbone sees, in pixels.
        amounts: labels per class; those that are not there are left out, and the
            number that the smallest class has is added.
        **kept: ``folder``, ``mirror`` and ``resume`` of ``Experiment``.

    Returns:
        Top-1 accuracy in percent by labels per class, for ``baseline``, ``linear
        probe`` and ``fine-tuning``.
    """
    steps_of, batch_size = supervised.steps_per_epoch, settings.batch_size
    whole = settings.epochs * steps_of(dataset.train_count, batch_size)
    smallest = int(dataset.train.labels.bincount().min())
    amounts = [*(n for n in amounts if n < smallest), smallest]
    features = protocols.encode(create(), dataset, image_size=image_size)
    about = backbones.metadata(*network)
    name, stem, norm = network
    fresh = functools.partial(backbones.build, name, stem=stem, norm=norm)
    starts = {"baseline": ("random", fresh), "fine-tuning": ("pre-trained", create)}
    curves: dict[str, dict[int, float]] = {
        "baseline": {},
        "linear probe": {},
        "fine-tuning": {},
    }
    for amount in amounts:
        index = _few(dataset.train.labels, amount, settings.seed)
        part = dataclasses.replace(
            dataset, pretraining=dataset.train[index], train_count=len(index), folds=()
        )
        probe = probes.linear_probe(
            features.train[index],
            part.train.labels,
            inverse_penalty=INVERSE_PENALTY if amount == 1 else None,
        )
        found = probes.score(probe(features.test), dataset.test.labels)
        curves["linear probe"][amount] = found.top1
        enough = math.ceil(min(STEPS, whole) / steps_of(len(index), batch_size))
        epochs = max(settings.epochs, enough)
        chosen = dataclasses.replace(settings, epochs=epochs, validation=0.0)
        for way, (method, build) in starts.items():
            experiment = protocols.Experiment(
                part, method, about, seeds=[settings.seed], **kept
            )
            label = f"{way}, {amount} labels per class"
            training = protocols.all_layers(build, experiment, chosen, label)
            # A point is an accuracy: its weights would only fill the disk.
            point = dataclasses.replace(
                training, pack=lambda _: {}, unpack=lambda _: None
            )
            curves[way][amount] = repetitions.repeat(point, experiment).scores.top1
    return curves


def _few(labels: Tensor, amount: int, seed: int) -> Tensor:
    """Indices of the first ``amount`` images of every class, in an order by seed."""
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=generator)
    members = [shuffled[labels[shuffled] == label] for label in labels.unique()]
    return torch.cat([indices[:amount] for indices in members])
