"""From a backbone to a record: what is trained on, scored and recorded."""

import dataclasses

import pytest
import small
import torch
import torchvision

from helpers import data, hardware, views
from helpers.data.dataset import Split
from helpers.evaluation import probes, protocols, records, results
from helpers.models import backbones, encoding, nearest_neighbors
from helpers.training import supervised
from helpers.views.settings import ViewSettings

ABOUT = {
    "epochs_done": 7,
    "images": 336,
    "batch_size": 16,
    "minutes": 2.0,
    "hardware": "Tesla T4",
}
VIEW = ViewSettings(size=20, scale=(0.5, 1.0), jitter=0, grayscale=0)


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Compute in float32, whatever the CPU could do faster."""
    monkeypatch.setattr(hardware, "precision", lambda: "32-true")


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return small.backbone().eval()


@pytest.fixture
def features(backbone, dataset):
    return protocols.encode(backbone, dataset, image_size=20)


def test_encoding_keeps_train_and_test_apart(backbone, dataset, features):
    for made, split in ((features.train, dataset.train), (features.test, dataset.test)):
        expected = encoding.encode(backbone, split.images, image_size=20)
        assert torch.equal(made, expected)
    assert features.minutes > 0


def head_settings():
    return supervised.HeadSettings(epochs=30, batch_size=8)


def run(name, features, dataset):
    experiment = protocols.Experiment(dataset, "PIRL", ABOUT)
    if name == "mlp_head":
        return protocols.mlp_head(features, experiment, head_settings())
    return getattr(protocols, name)(features, experiment)


@pytest.mark.parametrize(
    ("name", "protocol"),
    [("knn", "k-NN"), ("linear_probe", "linear probe"), ("mlp_head", "MLP head")],
)
def test_frozen_protocols_learn_and_record(name, protocol, features, dataset, tmp_path):
    outcome = run(name, features, dataset)
    record = outcome.record
    assert record["top1_mean"] > 80  # one colour a class: easy even for random weights
    assert record["top1"][-1] == outcome.scores.top1
    assert record["protocol"] == protocol
    assert record["protocol"] in records.PROTOCOLS
    assert (record["method"], record["data"]) == ("PIRL", "small")
    assert record["labels"] == 24
    assert (record["pretraining_epochs"], record["images_seen"]) == (7, 336)
    assert record["minutes"] > 2.0
    assert record["hardware"].startswith("Tesla T4, then ")
    again = probes.score(outcome.classifier(features.test), dataset.test.labels)
    assert again.top1 == outcome.scores.top1
    results.save(record, tmp_path)


def test_twenty_neighbours_vote(features, dataset):
    """24 images are there: all of them would give other votes."""
    votes = run("knn", features, dataset).classifier(features.test)
    train = features.train, dataset.train.labels, features.test
    assert torch.equal(votes, nearest_neighbors.classify(*train, k=20, temperature=0.1))
    assert not torch.equal(votes, nearest_neighbors.classify(*train, k=24))


@pytest.mark.parametrize("name", ["knn", "linear_probe", "mlp_head"])
def test_the_test_split_only_scores(name, features, dataset):
    """Other test images and labels change the score and not the classifier."""
    shuffled = dataclasses.replace(
        dataset,
        test=Split(dataset.test.images, dataset.test.labels.flip(0)),
    )
    other = dataclasses.replace(features, test=features.test.flip(0) * 3)
    first, second = run(name, features, dataset), run(name, other, shuffled)
    queries = features.train
    assert torch.equal(first.classifier(queries), second.classifier(queries))


def test_a_unit_that_only_a_test_image_excites_does_not_drown_the_others(
    features, dataset
):
    train, test = features.train.clone(), features.test.clone()
    train[:, 0], test[:, 0] = 0.0, 1.0
    features = dataclasses.replace(features, train=train, test=test)
    head = run("mlp_head", features, dataset).classifier
    assert ((test - head.mean) / head.std).abs().max() < 100
    assert head.std[0] == 1


def test_a_head_is_trained_once_per_seed(features, dataset, monkeypatch):
    trained = []
    train_on_features = supervised.train_on_features

    def watch(head, train, labels, settings, **options):
        trained.append((settings.seed, options["label"]))
        return train_on_features(head, train, labels, settings, **options)

    monkeypatch.setattr(supervised, "train_on_features", watch)
    experiment = protocols.Experiment(dataset, "PIRL", seeds=(5, 6))
    short = dataclasses.replace(head_settings(), epochs=1)
    outcome = protocols.mlp_head(features, experiment, short)
    assert outcome.record["seeds"] == len(outcome.record["top1"]) == 2
    assert len(outcome.history) == 1
    assert trained == [(seed, f"MLP head, PIRL, seed {seed}") for seed in (5, 6)]


@pytest.mark.parametrize("name", ["knn", "linear_probe"])
def test_what_is_not_random_is_done_once_whatever_the_seeds(name, features, dataset):
    protocol = getattr(protocols, name)
    one, three = (
        protocol(features, protocols.Experiment(dataset, "PIRL", seeds=seeds))
        for seeds in ((0,), (4, 5, 6))
    )
    assert three.record["seeds"] == len(three.record["top1"]) == 1
    assert three.record["top1"] == one.record["top1"]
    queries = features.test
    assert torch.equal(three.classifier(queries), one.classifier(queries))


def fine_tune(create, dataset, *, seeds=(0, 1), folds=False, **options):
    settings = supervised.FineTuningSettings(
        epochs=6, batch_size=8, learning_rate=2e-2, warmup_epochs=0, view=VIEW
    )
    experiment = protocols.Experiment(dataset, "PIRL", ABOUT, seeds, folds)
    return protocols.fine_tune(create, experiment, settings, **options)


def test_fine_tuning_starts_from_a_new_backbone_for_every_seed(dataset, backbone):
    made = []

    def create():
        network = small.backbone()
        network.load_state_dict(backbone.state_dict())
        made.append(network)
        return network

    outcome = fine_tune(create, dataset)
    assert len(made) == 3  # the first one is looked at, to tell it from others
    assert outcome.classifier.backbone is made[-1]
    assert outcome.record["protocol"] == "fine-tuning"
    assert outcome.record["seeds"] == 2
    assert outcome.record["top1_mean"] > 60
    assert len(outcome.history) == 6
    start = backbone.state_dict()["0.weight"]
    for network in made[1:]:
        assert not torch.equal(network.state_dict()["0.weight"], start)
    other = fine_tune(create, dataset, protocol="baseline", seeds=(0,))
    assert other.record["protocol"] == "baseline"
    assert other.record["top1_std"] == 0


def test_fine_tuning_never_learns_from_the_test_split(dataset):
    swapped = dataclasses.replace(
        dataset, test=Split(255 - dataset.test.images, dataset.test.labels)
    )
    found = []
    for images in (dataset, swapped):
        outcome = fine_tune(small.backbone, images, seeds=(0,))
        found.append(outcome.classifier.head.weight)
    assert torch.equal(*found)


def test_the_baseline_is_fine_tuning_from_random_weights(dataset, monkeypatch):
    """The same training and scoring, so that only the weights at the start differ."""
    built, seen, sides = [], [], set()
    train_on_images, whole_view = supervised.train_on_images, views.whole_view

    def build(name, *, stem):
        built.append((name, stem))
        return small.backbone()

    def watch(classifier, train, settings, **options):
        seen.append(settings)
        return train_on_images(classifier, train, settings, **options)

    def watch_side(images, size):
        sides.add(size)
        return whole_view(images, size)

    monkeypatch.setattr(backbones, "build", build)
    monkeypatch.setattr(views, "whole_view", watch_side)
    monkeypatch.setattr(supervised, "train_on_images", watch)
    settings = protocols.supervised_settings(40, epochs=1)
    assert (settings.view.size, settings.backbone_scale) == (40, 1.0)
    experiment = protocols.Experiment(dataset, "PIRL", ABOUT, seeds=(0,))
    tuned = protocols.fine_tune(small.backbone, experiment, settings)
    baseline = protocols.baseline(dataset, settings, stem="pool", seeds=(0,))
    assert set(built) == {("resnet18", "pool")}
    assert seen[0] == seen[1] == dataclasses.replace(settings, seed=0)
    assert sides == {40}
    assert torch.equal(baseline.classifier.head.weight, tuned.classifier.head.weight)
    record = baseline.record
    assert (record["protocol"], record["method"]) == ("baseline", "random")
    assert record["backbone"] == "resnet18, pool stem"
    assert record["pretraining_epochs"] == record["images_seen"] == 0
    assert record["top1"] == tuned.record["top1"]


FOLDS = tuple(torch.arange(24)[start : start + 12] for start in (0, 6, 12))


@pytest.mark.parametrize("name", ["knn", "linear_probe", "mlp_head"])
def test_folds_are_repetitions_with_the_labels_of_the_fold(name, features, dataset):
    """The images and labels outside a fold have no influence on it."""
    # Of noise, every label and every seed learns something else.
    torch.manual_seed(0)
    noise = {"train": torch.randn(24, 16), "test": torch.randn(18, 16)}
    features = dataclasses.replace(features, **noise)
    folded = dataclasses.replace(dataset, folds=FOLDS)
    protocol = getattr(protocols, name)
    outcome = protocol(features, protocols.Experiment(folded, "PIRL", folds=True))
    assert outcome.record["labels"] == 12
    assert outcome.record["folds"] == outcome.record["seeds"] == 3
    assert outcome.record["over"] == "official folds"
    for number, fold in enumerate(FOLDS):
        alone = dataclasses.replace(
            dataset, pretraining=dataset.pretraining[fold], train_count=12
        )
        part = dataclasses.replace(features, train=features.train[fold])
        experiment = protocols.Experiment(alone, "PIRL", seeds=(number,))
        expected = protocol(part, experiment)
        top1 = expected.record["top1_mean"]
        assert outcome.record["top1"][number] == pytest.approx(top1)
    assert torch.allclose(outcome.outputs, expected.outputs, atol=1e-6)
    assert len(set(outcome.record["top1"])) > 1


def test_fine_tuning_trains_once_per_fold_on_its_images(dataset, monkeypatch):
    seen = []
    train_on_images = supervised.train_on_images

    def watch(classifier, train, settings, **options):
        seen.append(train.images)
        return train_on_images(classifier, train, settings, **options)

    monkeypatch.setattr(supervised, "train_on_images", watch)
    folded = dataclasses.replace(dataset, folds=FOLDS)
    outcome = fine_tune(small.backbone, folded, folds=True)
    assert outcome.record["folds"] == 3
    for images, fold in zip(seen, FOLDS, strict=True):
        assert torch.equal(images, dataset.train.images[fold])


def test_folds_that_do_not_exist_are_one_sentence(dataset):
    with pytest.raises(ValueError, match="small has no official folds: take stl10"):
        protocols.Experiment(dataset, "PIRL", folds=True)


def test_stl10s_folds_are_those_torchvision_reads(stl10, backbone):
    whole = data.load("stl10", root=stl10)
    features = protocols.encode(backbone, whole, image_size=20)
    outcome = protocols.knn(features, protocols.Experiment(whole, "random", folds=True))
    assert (outcome.record["folds"], outcome.record["labels"]) == (10, 20)
    for number, top1 in enumerate(outcome.record["top1"]):
        official = torchvision.datasets.STL10(stl10, split="train", folds=number)
        keys = encoding.encode(backbone, torch.tensor(official.data), image_size=20)
        labels = torch.tensor(official.labels).long()
        votes = nearest_neighbors.classify(keys, labels, features.test)
        right = (votes.argmax(dim=1) == whole.test.labels).float().mean()
        assert top1 == pytest.approx(100 * right.item())


@pytest.mark.parametrize("name", ["knn", "linear_probe", "mlp_head", "fine_tune"])
def test_no_fit_reads_the_test_split(name, features, dataset, monkeypatch):
    ways = []
    monkeypatch.setattr(protocols, "repeat", lambda way, _: ways.append(way))
    seen, made = dataclasses.replace(dataset), dataclasses.replace(features)
    if name == "fine_tune":
        fine_tune(small.backbone, seen)
    else:
        run(name, made, seen)
    for one in (seen, made):  # sealed from here on
        object.__setattr__(one, "test", small.Sealed())
    run_of_all = protocols.Repetition(torch.arange(24), 0, "seed 0")
    classifier, _ = ways[0].fit(run_of_all, None)
    assert callable(classifier)
    with pytest.raises((AssertionError, TypeError)):
        ways[0].predict(classifier)


@pytest.mark.parametrize("name", ["mlp_head", "fine_tune"])
def test_every_repetition_starts_from_weights_of_its_own_seed(
    name, features, dataset, monkeypatch
):
    first = []

    def watch(network, *_, **__):
        head = getattr(network, "head", network)
        first.append(next(head.parameters()).detach().clone())
        return []

    monkeypatch.setattr(supervised, "train_on_features", watch)
    monkeypatch.setattr(supervised, "train_on_images", watch)
    experiment = protocols.Experiment(dataset, "PIRL", seeds=(0, 1, 0), resume=False)
    start = small.backbone if name == "fine_tune" else features
    getattr(protocols, name)(start, experiment)
    assert torch.equal(first[0], first[2])
    assert not torch.equal(first[0], first[1])
