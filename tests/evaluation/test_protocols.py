"""From a backbone to a record: what is trained on, and what is said about it."""

import dataclasses

import pytest
import small
import torch
import torchvision

from helpers import data, hardware
from helpers.data.dataset import Split
from helpers.evaluation import probes, protocols, results
from helpers.models import encoding, nearest_neighbors
from helpers.training import supervised
from helpers.views.settings import ViewSettings

ABOUT = {"epochs_done": 7, "images": 336, "batch_size": 16, "minutes": 2.0}
VIEW = ViewSettings(size=20, scale=(0.5, 1.0), jitter=0, grayscale=0)


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Compute in float32 whatever the CPU could do faster."""
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
    return dataclasses.replace(protocols.head_settings(epochs=30), batch_size=8)


def run(name, features, dataset):
    if name == "mlp_head":
        return protocols.mlp_head(
            features, dataset, method="PIRL", about=ABOUT, settings=head_settings()
        )
    return getattr(protocols, name)(features, dataset, method="PIRL", about=ABOUT)


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
    assert record["protocol"] in results.PROTOCOLS
    assert (record["method"], record["data"]) == ("PIRL", "small")
    assert record["labels"] == 24
    assert (record["pretraining_epochs"], record["images_seen"]) == (7, 336)
    assert record["minutes"] > 2.0
    again = probes.score(outcome.classifier(features.test), dataset.test.labels)
    assert again.top1 == outcome.scores.top1
    results.save(record, tmp_path)


@pytest.mark.parametrize("name", ["knn", "linear_probe", "mlp_head"])
def test_the_test_split_only_scores(name, features, dataset):
    """Other test images and labels change the score and not the classifier."""
    shuffled = dataclasses.replace(
        dataset,
        test=Split(dataset.test.images, dataset.test.labels.flip(0)),
    )
    other = dataclasses.replace(features, test=features.test.flip(0) * 3)
    first, second = run(name, features, dataset), run(name, other, shuffled)
    some = features.train
    assert torch.equal(first.classifier(some), second.classifier(some))


def test_a_head_is_trained_once_a_seed(features, dataset):
    outcome = protocols.mlp_head(
        features,
        dataset,
        method="PIRL",
        about={},
        seeds=(5, 6),
        settings=dataclasses.replace(head_settings(), epochs=1),
    )
    assert outcome.record["seeds"] == len(outcome.record["top1"]) == 2
    assert len(outcome.history) == 1


def fine_tune(create, dataset, **changes):
    settings = supervised.FineTuningSettings(
        epochs=6, batch_size=8, learning_rate=2e-2, warmup_epochs=0, view=VIEW
    )
    return protocols.fine_tune(
        create,
        dataset,
        method="PIRL",
        about=ABOUT,
        settings=settings,
        **{"seeds": (0, 1)} | changes,
    )


def test_fine_tuning_starts_anew_for_every_seed(dataset, backbone):
    made = []

    def create():
        network = small.backbone()
        network.load_state_dict(backbone.state_dict())
        made.append(network)
        return network

    outcome = fine_tune(create, dataset)
    assert len(made) == 2
    assert outcome.classifier.backbone is made[-1]
    assert outcome.record["protocol"] == "fine-tuning"
    assert outcome.record["seeds"] == 2
    assert outcome.record["top1_mean"] > 60
    assert len(outcome.history) == 6
    start = backbone.state_dict()["0.weight"]
    for network in made:
        assert not torch.equal(network.state_dict()["0.weight"], start)
    other = fine_tune(create, dataset, protocol="baseline", seeds=(0,))
    assert other.record["protocol"] == "baseline"
    assert other.record["top1_std"] == 0


def test_fine_tuning_never_learns_from_the_test_split(dataset):
    swapped = dataclasses.replace(
        dataset, test=Split(255 - dataset.test.images, dataset.test.labels)
    )
    found = []
    for some in (dataset, swapped):
        outcome = fine_tune(small.backbone, some, seeds=(0,))
        found.append(outcome.classifier.head.weight)
    assert torch.equal(*found)


def test_fine_tuning_and_the_baseline_are_trained_and_scored_alike(
    dataset, monkeypatch
):
    sides = []

    def predict(classifier, images, *, image_size):
        sides.append(image_size)
        return torch.zeros(len(images), len(dataset.classes))

    monkeypatch.setattr(supervised, "predict", predict)
    settings = protocols.supervised_settings(40, epochs=1)
    assert (settings.view.size, settings.backbone_scale) == (40, 1.0)
    for protocol in ("baseline", "fine-tuning"):
        protocols.fine_tune(
            small.backbone,
            dataset,
            method="PIRL",
            about=ABOUT,
            protocol=protocol,
            settings=settings,
            seeds=(0,),
        )
    assert sides == [40, 40]


FOLDS = tuple(torch.arange(24)[start : start + 12] for start in (0, 6, 12))


@pytest.mark.parametrize("name", ["knn", "linear_probe", "mlp_head"])
def test_folds_are_repetitions_with_the_labels_of_the_fold(name, features, dataset):
    """What the other images say and show does not matter to a fold."""
    folded = dataclasses.replace(dataset, folds=FOLDS)
    protocol, given = getattr(protocols, name), {"method": "PIRL", "about": {}}
    outcome = protocol(features, folded, folds=True, **given)
    assert outcome.record["labels"] == 12
    assert outcome.record["folds"] == outcome.record["seeds"] == 3
    assert outcome.record["over"] == "official folds"
    for number, fold in enumerate(FOLDS):
        alone = dataclasses.replace(
            dataset, pretraining=dataset.pretraining[fold], train_count=12
        )
        some = dataclasses.replace(features, train=features.train[fold])
        seeds = {"seeds": (number,)} if name == "mlp_head" else {}
        expected = protocol(some, alone, **given, **seeds).record["top1_mean"]
        assert outcome.record["top1"][number] == pytest.approx(expected)


def test_fine_tuning_trains_once_a_fold_on_its_images(dataset, monkeypatch):
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


def test_folds_that_are_not_there_are_one_sentence(features, dataset):
    with pytest.raises(ValueError, match="small has no official folds: take stl10"):
        protocols.knn(features, dataset, method="PIRL", about={}, folds=True)


def test_stl10s_folds_are_those_torchvision_reads(stl10, backbone):
    whole = data.load("stl10", root=stl10)
    features = protocols.encode(backbone, whole, image_size=20)
    outcome = protocols.knn(features, whole, method="random", about={}, folds=True)
    assert (outcome.record["folds"], outcome.record["labels"]) == (10, 20)
    for number, top1 in enumerate(outcome.record["top1"]):
        official = torchvision.datasets.STL10(stl10, split="train", folds=number)
        keys = encoding.encode(backbone, torch.tensor(official.data), image_size=20)
        labels = torch.tensor(official.labels).long()
        votes = nearest_neighbors.classify(keys, labels, features.test)
        right = (votes.argmax(dim=1) == whole.test.labels).float().mean()
        assert top1 == pytest.approx(100 * right.item())
