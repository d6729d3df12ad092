"""Accuracy against the number of labels."""

import dataclasses

import pytest
import small
import torch

from helpers import files
from helpers.evaluation import label_efficiency, protocols
from helpers.training import supervised

SETTINGS = dataclasses.replace(
    protocols.supervised_settings(32, epochs=2), batch_size=8
)


def measure(**kept):
    """Three points of each way, of a small network on a small data set."""
    torch.manual_seed(1)  # a baseline with seed 0 has other weights
    backbone = small.backbone()

    def create():
        network = small.backbone()
        network.load_state_dict(backbone.state_dict())
        return network

    return label_efficiency.measure(
        create,
        small.dataset(),
        SETTINGS,
        image_size=32,
        amounts=(1, 5, 100),
        **kept,
    )


@pytest.fixture
def quick(monkeypatch, small_backbone):
    monkeypatch.setattr(label_efficiency, "STEPS", 4)


@pytest.fixture
def trained(monkeypatch):
    """What was trained: images of each class, and the settings."""
    trained = []
    train = supervised.train_on_images

    def recorded(classifier, split, settings, **names):
        trained.append((split.labels.bincount().tolist(), settings))
        return train(classifier, split, settings, **names)

    monkeypatch.setattr(supervised, "train_on_images", recorded)
    return trained


@pytest.mark.usefixtures("quick")
def test_every_way_has_a_point_for_every_amount_that_is_there():
    found = measure()
    assert found.keys() == {"baseline", "linear probe", "fine-tuning"}
    for points in found.values():
        assert list(points) == [1, 5, 8]
        assert all(0 <= top1 <= 100 for top1 in points.values())


@pytest.mark.usefixtures("quick")
def test_every_way_begins_where_it_should(monkeypatch):
    """The probe has features of the chosen images alone, never of the test images."""
    probed, first = [], []
    probe, train = label_efficiency.probes.linear_probe, supervised.train_on_images

    def watch_probe(features, labels, **chosen):
        probed.append((features, labels))
        return probe(features, labels, **chosen)

    def watch_training(classifier, split, settings, **names):
        first.append(torch.cat([one.flatten() for one in classifier.parameters()]))
        return train(classifier, split, settings, **names)

    monkeypatch.setattr(label_efficiency.probes, "linear_probe", watch_probe)
    monkeypatch.setattr(supervised, "train_on_images", watch_training)
    measure()
    torch.manual_seed(1)
    backbone, dataset = small.backbone(), small.dataset()
    features = protocols.encode(backbone, dataset, image_size=32).train
    for (given, labels), amount in zip(probed, (1, 5, 8), strict=True):
        index = label_efficiency._few(dataset.train.labels, amount, SETTINGS.seed)
        assert torch.allclose(given, features[index], atol=1e-6)
        assert torch.equal(labels, dataset.train.labels[index])
    trained = torch.cat([one.detach().flatten() for one in backbone.parameters()])
    same = [torch.equal(weights[: len(trained)], trained) for weights in first]
    assert same == [False, True] * 3


@pytest.mark.usefixtures("quick")
def test_the_baseline_has_the_network_that_was_pretrained(monkeypatch):
    built = []

    def watch(name, **kind):
        built.append((name, *kind.values()))
        return small.backbone()

    monkeypatch.setattr(label_efficiency.backbones, "build", watch)
    measure(network=("resnet34", "pool", "group"))
    assert {*built} == {("resnet34", "pool", "group")}


@pytest.mark.usefixtures("quick")
def test_baseline_and_fine_tuning_are_trained_alike(trained):
    measure()
    assert [counts for counts, _ in trained] == [[n] * 3 for n in (1, 1, 5, 5, 8, 8)]
    for one, other in zip(trained[::2], trained[1::2], strict=True):
        assert one == other
    for _, settings in trained:
        alike = dataclasses.replace(SETTINGS, validation=0.0, epochs=settings.epochs)
        assert settings == alike


@pytest.mark.parametrize(("steps", "epochs"), [(4, [4, 4, 2]), (200, [6, 6, 2])])
def test_few_labels_take_more_epochs_but_no_more_steps_than_all(
    steps, epochs, trained, monkeypatch, small_backbone
):
    monkeypatch.setattr(label_efficiency, "STEPS", steps)
    measure()  # 3, 15 and 24 images: an epoch has one whole batch of 8, one and three
    assert [settings.epochs for _, settings in trained[::2]] == epochs


@pytest.mark.usefixtures("quick")
def test_points_are_kept_as_they_end(monkeypatch, tmp_path):
    whole = measure(folder=tmp_path / "whole")
    trained = []
    train = supervised.train_on_images

    def stopped_in_the_fourth(classifier, split, settings, **names):
        trained.append(names["label"])
        if len(trained) == 4:
            raise KeyboardInterrupt
        return train(classifier, split, settings, **names)

    monkeypatch.setattr(supervised, "train_on_images", stopped_in_the_fourth)
    places = {"folder": tmp_path / "here", "mirror": tmp_path / "mirror"}
    places["mirror"].mkdir()
    with pytest.raises(KeyboardInterrupt):
        measure(**places)
    trained.append("stopped")
    assert measure(**places) == whole
    assert len(trained) == 4 + 1 + 3  # three points, one cut short; the three left
    # Another machine has the mirror alone; nothing is trained again.
    assert measure(folder=tmp_path / "new", mirror=places["mirror"]) == whole
    assert len(trained) == 8
    assert measure(**places, resume=False) == whole
    assert len(trained) == 8 + 6


@pytest.mark.usefixtures("quick")
def test_points_take_no_room_for_weights():
    measure()
    kept = list(files.checkpoints_folder().rglob("state-*.pt"))
    assert len(kept) == 6
    for file in kept:
        assert torch.load(file, weights_only=True)["classifier"] == {}


def test_fewer_labels_are_part_of_more():
    labels = torch.arange(30) % 3
    few, more = (set(label_efficiency._few(labels, n, 0).tolist()) for n in (2, 5))
    assert few < more
    assert len(few) == 6


@pytest.mark.usefixtures("quick")
def test_a_single_label_takes_a_fixed_penalty_and_more_choose_theirs(monkeypatch):
    asked = []
    probe = label_efficiency.probes.linear_probe

    def watch(features, labels, *, inverse_penalty):
        asked.append(inverse_penalty)
        return probe(features, labels, inverse_penalty=inverse_penalty)

    monkeypatch.setattr(label_efficiency.probes, "linear_probe", watch)
    measure()
    assert asked == [1e-2, None, None]


def test_the_curve_has_the_amounts_of_stl10_and_every_point_200_steps():
    assert label_efficiency.AMOUNTS == (1, 5, 20, 100, 500)
    assert label_efficiency.STEPS == 200
