"""Records: what they hold, and which of them are the same measurement."""

import dataclasses
import statistics

import pytest
import small
import torch

from helpers import data
from helpers.data.dataset import Split
from helpers.evaluation import records

GIVEN = {
    "method": "PIRL",
    "protocol": "fine-tuning",
    "data": "demo",
    "labels": 200,
    "seeds": 3,
    "about": {"epochs_done": 12, "images": 50_400, "batch_size": 64, "seed": 1},
    "seed_numbers": [0, 1, 2],
    "settings": {"epochs": 30, "batch_size": 24, "view": {"size": 48}},
    "image_size": 48,
    "content": "11",
    "weights": "22",
}


def made(top1=(60.0, 62.0, 67.0), minutes=12.4, **changes):
    shaped = records.conditions(**GIVEN | changes)
    return records.finished(shaped, top1=top1, top5=[95, 96, 98], minutes=minutes)


def test_a_record_has_mean_and_deviation_over_the_repetitions():
    found = made()
    assert found["top1_mean"] == pytest.approx(63.0)
    assert found["top1_std"] == pytest.approx(statistics.stdev([60, 62, 67]))
    assert found["top5_mean"] == pytest.approx(96 + 1 / 3)
    assert found["pretraining_epochs"] == 12
    assert found["images_seen"] == 50_400
    assert found["batch_size"] == 64
    assert found["pretraining"] == {"batch_size": 64, "seed": 1}
    assert found["hardware"]
    one = records.finished({}, top1=[50.0], top5=[None], minutes=1, note="kept")
    assert (one["top1_std"], one["top5_mean"], one["note"]) == (0, None, "kept")


def test_the_hardware_is_that_of_pre_training_and_of_the_evaluation():
    own = made()["hardware"]

    def found(pretrained_on):
        return records.finished(
            {}, top1=[50.0], minutes=1, pretrained_on=pretrained_on
        )["hardware"]

    assert found("") == found(own) == own
    assert found("Tesla T4") == f"Tesla T4, then {own}"
    both = [made() | {"hardware": "Tesla T4"}, made()]
    merged = records.merge(both, top1=[1.0, 3.0], top5=[9.0, 9.0], minutes=[2, 4])
    assert merged["hardware"] == f"Tesla T4 or {own}"


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({}, "resnet18"),
        ({"backbone": "vgg11"}, "vgg11"),
        ({"stem": "imagenet"}, "resnet18"),
        ({"stem": "pool"}, "resnet18, pool stem"),
        ({"stem": "pool", "norm": "group"}, "resnet18, pool stem, GroupNorm"),
        ({"norm": "batch"}, "resnet18"),
    ],
)
def test_the_backbone_is_named_with_its_stem(about, expected):
    assert made(about=about)["backbone"] == expected


@pytest.mark.parametrize(
    "change",
    [
        {"method": "BYOL"},
        {"protocol": "baseline"},
        {"data": "cifar10"},
        {"content": "12"},
        {"labels": 100},
        {"folds": 10},
        {"seeds": 2},
        {"seed_numbers": [3, 4, 5]},
        {"settings": {**GIVEN["settings"], "epochs": 1}},
        {"settings": {**GIVEN["settings"], "batch_size": 32}},
        {"settings": {**GIVEN["settings"], "view": {"size": 64}}},
        {"settings": {**GIVEN["settings"], "learning_rate": 0.1}},
        {"image_size": 64},
        {"stored_size": 64},
        {"fit": "squash"},
        {"weights": "23"},
        {"about": {**GIVEN["about"], "epochs_done": 13}},
        {"about": {**GIVEN["about"], "seed": 2}},
        {"about": {**GIVEN["about"], "backbone": "resnet50"}},
        {"about": {**GIVEN["about"], "options": {"temperature": 1.0}}},
        {"over": "official folds"},
    ],
)
def test_another_condition_makes_another_record(change):
    assert records.name(made(**change)) != records.name(made())


def test_the_same_measured_again_is_the_same_record():
    again = made(top1=(1.0, 2.0, 3.0), minutes=99.0)
    again |= {"hardware": "another", "commit": "abc", "date": "2030-01-01"}
    assert records.name(again) == records.name(made())
    assert records.name(records.conditions(**GIVEN)) == records.name(made())
    about = {**GIVEN["about"], "minutes": 8.0, "knn": 33.0}
    assert records.name(made(about=about)) == records.name(made())


def test_names_are_readable_and_fit_a_disk():
    assert records.name(made(folds=10)).startswith(
        "demo-pirl-resnet18-12ep-fine-tuning-10-folds-"
    )
    assert len(records.name(made(data="x" * 900))) < 140
    assert "/" not in records.name(made(data="../../x", method="a\nb"))


def test_content_is_that_of_pictures_and_labels_and_not_of_names(dataset):
    usual = records.content(dataset)
    assert usual == records.content(dataclasses.replace(dataset, name="moved"))
    swapped = dataset.test.labels.flip(0)
    pixels = dataset.test.images.clone()
    pixels[5, 0, 3, 3] += 1
    learned = dataset.pretraining.images.clone()
    learned[5, 0, 3, 3] += 1
    for other in (
        {"test": Split(dataset.test.images, swapped)},
        {"test": Split(pixels, dataset.test.labels)},
        {"pretraining": Split(learned, dataset.pretraining.labels)},
        {"classes": ("a", "b", "c")},
        {"files": "another digest"},
    ):
        assert records.content(dataclasses.replace(dataset, **other)) != usual
    unlabeled = dataset.pretraining.images.clone()
    unlabeled[30] = 0  # no classifier sees it
    unseen = {"pretraining": Split(unlabeled, dataset.pretraining.labels)}
    assert records.content(dataclasses.replace(dataset, **unseen)) == usual


def test_content_is_the_same_from_memory_and_from_files(tmp_path):
    import PIL.Image

    for part, seed in (("train", 1), ("test", 2)):
        for number, image in enumerate(small.images(8, seed=seed)):
            file = tmp_path / "own" / part / "ab"[number % 2] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)
    found = {
        records.content(
            data.load(f"folder:{tmp_path / 'own'}", image_size=32, storage=storage)
        )
        for storage in ("resident", "stream")
    }
    assert len(found) == 1


def test_weights_are_told_apart_by_every_tensor():
    torch.manual_seed(0)
    network = small.backbone()
    usual = records.weights(network)
    assert records.weights(network.to(memory_format=torch.channels_last)) == usual
    with torch.no_grad():
        network[1].running_mean[3] += 1
    assert records.weights(network) != usual


def test_several_records_become_one():
    both = [made(), made(seed_numbers=[3, 4, 5], weights="33")]
    merged = records.merge(both, top1=[1.0, 3.0], top5=[9.0, 9.0], minutes=[2, 4])
    assert (merged["top1_mean"], merged["seeds"], merged["minutes"]) == (2, 2, 3)
    assert merged["seed_numbers"] == [[0, 1, 2], [3, 4, 5]]
    assert merged["weights"] == ["22", "33"]
    assert merged["settings"] == GIVEN["settings"]
