"""What is pre-training worth? Accuracy against the number of labels."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from helpers.data.dataset import Dataset
from helpers.evaluation import probes, protocols
from helpers.models import backbones, encoding, heads
from helpers.training import supervised

AMOUNTS = (1, 5, 20, 100, 500)  # labels per class, as far as there are as many
STEPS = 200  # of training at least, where an epoch has very few
PENALTY = 1e-2  # of the probe's weights, where one label cannot choose it


def measure(
    create: Callable[[], nn.Module],
    dataset: Dataset,
    settings: supervised.FineTuningSettings,
    *,
    network: tuple[str, str] = ("resnet18", "imagenet"),
    image_size: int,
    amounts: Sequence[int] = AMOUNTS,
) -> dict[str, dict[int, float]]:
    """Train on few labels and on more: from random weights, frozen, and fine-tuned.

    Smaller choices of labels are part of the larger ones. The number of labels is the
    only thing that differs along a curve, but for the epochs, which are more where
    labels are so few that an epoch has hardly a step.

    Args:
        create: returns the pre-trained backbone, a new copy at every call.
        dataset: its test images are scored once per point.
        settings: for training all layers; nothing is held out for validation.
        network: names of the backbone and its stem, for the baseline.
        image_size: side of the whole images that the frozen backbone sees, in pixels.
        amounts: labels per class; those that are not there are left out, and the
            number that the smallest class has is added.

    Returns:
        Top-1 accuracy in percent by labels per class, for ``baseline``, ``linear
        probe`` and ``fine-tuning``.
    """
    smallest = int(dataset.train.labels.bincount().min())
    amounts = [*(n for n in amounts if n < smallest), smallest]
    features = protocols.encode(create(), dataset, image_size=image_size)
    name, stem = network
    fresh = functools.partial(backbones.build, name, stem=stem)
    curves: dict[str, dict[int, float]] = {
        "baseline": {},
        "linear probe": {},
        "fine-tuning": {},
    }
    for amount in amounts:
        index = _few(dataset.train.labels, amount, settings.seed)
        labels = dataset.train.labels[index]
        probe = probes.linear_probe(
            features.train[index], labels, penalty=PENALTY if amount == 1 else None
        )
        outputs = {"linear probe": probe(features.test)}
        steps = math.ceil(len(index) / settings.batch_size)
        epochs = max(settings.epochs, math.ceil(STEPS / steps))
        chosen = dataclasses.replace(settings, epochs=epochs, validation=0.0)
        for start, build in (("baseline", fresh), ("fine-tuning", create)):
            torch.manual_seed(settings.seed)
            classifier = heads.Classifier(build(), len(dataset.classes))
            label = f"{start}, {amount} labels per class"
            supervised.train_on_images(
                classifier, dataset.train[index], chosen, label=label
            )
            outputs[start] = encoding.outputs(
                classifier, dataset.test.images, image_size=settings.view.size
            )
        for way, scores in outputs.items():
            curves[way][amount] = probes.score(scores, dataset.test.labels).top1
    return curves


def _few(labels: Tensor, amount: int, seed: int) -> Tensor:
    """Indices of the first ``amount`` images of every class, in an order by seed."""
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=generator)
    members = [shuffled[labels[shuffled] == label] for label in labels.unique()]
    return torch.cat([indices[:amount] for indices in members])
