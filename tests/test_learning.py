"""Each method learns something real from the demo images in seconds."""

import pytest
import torch

from helpers import backbones, demo, evaluation, methods, pretraining, settings
from helpers.splits import Dataset, Split


@pytest.fixture(scope="module")
def pictures():
    """600 demo pictures; all have labels, which only the gauge reads."""
    images, labels = (torch.from_numpy(part) for part in demo.draw("unlabeled", 600))
    everything = Split(images, labels)
    return Dataset("pictures", demo.CLASSES, everything, 600, everything[:60])


@pytest.mark.parametrize("name", methods.METHODS)
def test_the_loss_falls_and_features_beat_random_ones(name, pictures):
    chosen = settings.configure(
        name, epochs=6, batch_size=32, image_size=32, monitor_every=6
    )
    run = pretraining.pretrain(chosen, pictures)
    torch.manual_seed(chosen.seed)
    before = evaluation.monitor(backbones.build(), pictures.train, image_size=32)
    after = run.history[-1]["knn"]
    print(name, before, after, [entry["loss"] for entry in run.history])
    assert run.history[-1]["loss"] < run.history[0]["loss"]
    assert after > before + 2
    assert not evaluation.is_collapsed(run.history)
