"""Accuracy against the number of labels."""

import pytest
import small
import torch

from helpers.evaluation import label_efficiency, protocols
from helpers.training import supervised


@pytest.fixture
def curves(monkeypatch):
    return measured(monkeypatch)


def measured(monkeypatch):
    """The curves, and with which labels and settings networks were trained."""
    monkeypatch.setattr(label_efficiency, "STEPS", 4)
    trained = []
    train = supervised.train_on_images

    def recorded(classifier, split, settings, **names):
        trained.append((split.labels.bincount().tolist(), settings))
        return train(classifier, split, settings, **names)

    monkeypatch.setattr(supervised, "train_on_images", recorded)
    monkeypatch.setattr(
        label_efficiency.backbones, "build", lambda *_, **__: small.backbone()
    )
    torch.manual_seed(0)
    found = label_efficiency.measure(
        small.backbone,
        small.dataset(),
        protocols.supervised_settings(32, epochs=1),
        image_size=32,
        amounts=(1, 5, 100),
    )
    return found, trained


def test_every_way_has_a_point_for_every_amount_that_is_there(curves):
    found, _ = curves
    assert found.keys() == {"baseline", "linear probe", "fine-tuning"}
    for points in found.values():
        assert list(points) == [1, 5, 8]
        assert all(0 <= top1 <= 100 for top1 in points.values())


def test_baseline_and_fine_tuning_are_trained_alike(curves):
    _, trained = curves
    assert [counts for counts, _ in trained] == [[n] * 3 for n in (1, 1, 5, 5, 8, 8)]
    for one, other in zip(trained[::2], trained[1::2], strict=True):
        assert one == other
    epochs = [settings.epochs for _, settings in trained[::2]]
    assert epochs == [4, 4, 4]  # of one step each: more epochs, not fewer steps
    assert all(settings.validation == 0 for _, settings in trained)


def test_fewer_labels_are_part_of_more():
    labels = torch.arange(30) % 3
    few, more = (set(label_efficiency._few(labels, n, 0).tolist()) for n in (2, 5))
    assert few < more
    assert len(few) == 6


def test_a_single_label_takes_a_fixed_penalty_and_more_choose_theirs(monkeypatch):
    asked = []
    probe = label_efficiency.probes.linear_probe

    def watch(features, labels, *, penalty):
        asked.append(penalty)
        return probe(features, labels, penalty=penalty)

    monkeypatch.setattr(label_efficiency.probes, "linear_probe", watch)
    measured(monkeypatch)
    assert asked == [1e-2, None, None]


def test_the_curve_has_the_amounts_of_stl10_and_every_point_200_steps():
    assert label_efficiency.AMOUNTS == (1, 5, 20, 100, 500)
    assert label_efficiency.STEPS == 200
