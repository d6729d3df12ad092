"""Each method learns something real from the demo images in seconds."""

import dataclasses
import functools
import math

import pytest
import small
import torch
import tqdm

from helpers import methods
from helpers.data import demo
from helpers.data.dataset import Dataset, Split
from helpers.models import backbones, nearest_neighbors
from helpers.training import gauges, pretraining, sessions, settings

# They compare with what moves on purpose (keys, a teacher), and so does their loss.
MOVING = ("moco", "dino")


@functools.cache
def pictures():
    """600 demo pictures; all have labels, which only the gauge and SupCon read."""
    images, labels = (torch.from_numpy(part) for part in demo.draw("unlabeled", 600))
    everything = Split(images, labels)
    return Dataset("pictures", demo.CLASSES, everything, 600, everything[:60])


@pytest.mark.parametrize("name", methods.METHODS)
def test_features_beat_random_ones_and_do_not_collapse(name, monkeypatch):
    monkeypatch.setattr(backbones, "build", small.wide_backbone)
    chosen = settings.configure(
        name, epochs=6, batch_size=32, image_size=32, monitor_every=6
    )
    run = pretraining.pretrain(chosen, pictures())
    torch.manual_seed(chosen.seed)
    random = small.wide_backbone()
    before = nearest_neighbors.accuracy(random, pictures().train, image_size=32)
    after = run.history[-1]["knn"]
    print(name, before, after, [entry["loss"] for entry in run.history])
    assert run.history[-1]["loss"] < run.history[0]["loss"] or name in MOVING
    assert after > before + 2
    assert not gauges.is_collapsed(run.history)


@pytest.mark.parametrize(("stem", "size"), [("small", 32), ("imagenet", 96)])
@pytest.mark.parametrize("name", methods.METHODS)
def test_a_resnet_takes_two_steps(name, stem, size, dataset):
    chosen = settings.configure(
        *(name,),
        **{"epochs": 1, "batch_size": 4, "stem": stem, "image_size": size},
        **{"warmup_epochs": 0, "hidden_dim": 64, "output_dim": 32},
    )
    few = dataclasses.replace(dataset, pretraining=dataset.pretraining[:8])
    session = sessions.start(chosen, few, devices=1, nodes=1)
    before = [weight.clone() for weight in session.method.backbone.parameters()]
    entry, _ = pretraining.train_epoch(session, [], tqdm.tqdm(disable=True))
    assert session.steps == 2
    assert math.isfinite(entry["loss"])
    for old, new in zip(before, session.method.backbone.parameters(), strict=True):
        assert new.isfinite().all()
        assert not torch.equal(old, new)
