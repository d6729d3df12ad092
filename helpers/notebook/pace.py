"""How many epochs fit into an hour here: measured with a few steps, before any data."""

from __future__ import annotations

import dataclasses

import torch
import tqdm

from helpers.data import dataset
from helpers.training import pretraining, sessions, settings

STEPS = 12  # that are timed, after as many in which the machine gets ready
SHARE = 0.85  # of the time is for steps; the rest for reading, saving, the gauge


def images_per_second(
    chosen: settings.PretrainingSettings, image_size: int = 96
) -> float:
    """Train on noise for a few steps, which are as fast as with images in memory.

    What grows with the images is not in it: decoding where a folder is streamed, PIRL's
    products with its whole bank. Nor is compiling.

    Args:
        chosen: the settings; nothing is saved of this training.
        image_size: side in pixels of the images.
    """
    count = STEPS * chosen.batch_size
    generator = torch.Generator().manual_seed(0)
    shape = (count, 3, image_size, image_size)
    noise = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    labels = torch.arange(count) % 2  # SupCon needs two classes
    split = dataset.Split(noise, labels)
    images = dataset.Dataset("noise", ("even", "odd"), split, count, split[:0])
    with torch.random.fork_rng(), tqdm.tqdm(disable=True) as bar:
        session = sessions.start(dataclasses.replace(chosen, epochs=2), images, 1, 1)
        warm_up, _ = pretraining.train_epoch(session, [], bar)
        timed, _ = pretraining.train_epoch(session, [warm_up], bar)
    return count / timed["seconds"]


def seconds_per_epoch(chosen: settings.PretrainingSettings, count: int) -> float:
    """How long an epoch takes, on average over a run whose views may grow.

    Args:
        chosen: the settings.
        count: images per epoch.
    """
    seconds = 0.0
    for share, side in chosen.image_sizes:
        options = chosen.options_at(side)
        alike = dataclasses.replace(chosen, options=options, image_size_schedule=())
        seconds += share * count / images_per_second(alike)
    return seconds


def epochs_within(
    minutes: float, chosen: settings.PretrainingSettings, count: int
) -> int:
    """How many epochs of some images take so long here: one at least.

    Args:
        minutes: of training; those of the settings' own epochs are never exceeded.
        chosen: the settings.
        count: images per epoch.
    """
    epochs = int(60 * SHARE * minutes / seconds_per_epoch(chosen, count))
    return min(max(epochs, 1), chosen.epochs)
