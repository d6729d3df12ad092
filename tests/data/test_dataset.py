"""How images and labels are divided."""

import dataclasses

import pytest
import small
import torch

from helpers.data.dataset import (
    limit_labels,
    limited_name,
    stratified_split,
    unlimited_name,
)


def rows(split):
    """Images and labels as a set that can be compared."""
    pairs = zip(split.images, split.labels.tolist(), strict=True)
    return {(image.numpy().tobytes(), label) for image, label in pairs}


def test_train_and_unlabeled_are_windows_into_one_tensor(dataset):
    together = dataset.pretraining.images.untyped_storage().data_ptr()
    assert dataset.train.images.untyped_storage().data_ptr() == together
    assert dataset.unlabeled.images.untyped_storage().data_ptr() == together
    assert (len(dataset.train), len(dataset.unlabeled)) == (24, 24)
    assert (dataset.train.labels >= 0).all()
    assert (dataset.unlabeled.labels == -1).all()


def test_the_description_counts_everything(dataset):
    assert dataset.describe() == (
        "small: 3 classes, 32 px; 24 labelled, 24 unlabelled, 18 test images "
        "(5.6 % each)"
    )


def test_limiting_labels_moves_the_rest_to_unlabeled(dataset):
    dataset = dataclasses.replace(dataset, folds=(torch.arange(24),))
    limited = limit_labels(dataset, 2, seed=5)
    assert limited.train.labels.bincount().tolist() == [2, 2, 2]
    assert rows(limited.train) <= rows(dataset.train)
    assert len(limited.pretraining) == len(dataset.pretraining)
    assert (limited.unlabeled.labels == -1).all()
    images = {image for image, _ in rows(dataset.pretraining)}
    assert {image for image, _ in rows(limited.pretraining)} == images
    assert limited.name == "small, 2 labels a class, seed 5"
    assert limited.test is dataset.test
    assert limited.folds == ()


def test_limiting_labels_depends_on_the_seed_alone_and_changes_nothing(dataset):
    before = dataset.pretraining.labels.clone()
    first, again, other = (limit_labels(dataset, 2, seed=n) for n in (1, 1, 2))
    assert torch.equal(first.pretraining.images, again.pretraining.images)
    assert rows(first.train) != rows(other.train)
    assert torch.equal(dataset.pretraining.labels, before)


@pytest.mark.parametrize(
    ("labels", "count", "words"),
    [
        ("3", 3, "3 labels a class, seed 5"),
        ("25%", 2, "25% of the labels, seed 5"),
        ("1 %", 1, "1% of the labels, seed 5"),  # at least one image
        ("37.5%", 3, "37.5% of the labels, seed 5"),
        ("100%", 8, "100% of the labels, seed 5"),
    ],
)
def test_labels_are_limited_by_number_or_share_alike_in_every_class(
    labels, count, words, dataset
):
    limited = limit_labels(dataset, labels, seed=5)
    assert limited.train.labels.bincount().tolist() == [count] * 3
    assert limited.name == f"small, {words}"
    assert len(limited.pretraining) == len(dataset.pretraining)


@pytest.mark.parametrize("wrong", ["0", "0%", "120%", "2.5", "-3", "few", "", "10%%"])
def test_what_is_no_number_of_labels_is_one_sentence(wrong, dataset):
    with pytest.raises(ValueError, match=r"Unknown number of labels .*: give a whole"):
        limit_labels(dataset, wrong)


def test_asking_for_too_many_labels_names_the_class(dataset):
    with pytest.raises(ValueError, match="'red' has 8 labelled images; ask for at mo"):
        limit_labels(dataset, 9)


def test_a_stratified_split_takes_its_share_of_every_class():
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20 + [3] * 2 + [4])
    labels = labels[torch.randperm(103, generator=torch.Generator().manual_seed(0))]
    kept, held = stratified_split(labels, 0.1, seed=3)
    assert sorted(kept.tolist() + held.tolist()) == list(range(103))
    assert labels[held].bincount(minlength=5).tolist() == [5, 3, 2, 1, 0]
    again = stratified_split(labels, 0.1, seed=3)[1]
    assert torch.equal(held, again)
    assert not torch.equal(held, stratified_split(labels, 0.1, seed=4)[1])
    _, held = stratified_split(labels, 0.1, seed=3, at_least=0)
    assert labels[held].bincount(minlength=5).tolist() == [5, 3, 2, 0, 0]


def test_a_split_can_be_indexed():
    split = small.split(6, seed=0)
    chosen = split[torch.tensor([4, 1])]
    assert torch.equal(chosen.images, split.images[[4, 1]])
    assert chosen.labels.tolist() == [1, 1]
    assert len(split[2:5]) == 3


def test_a_sample_shows_every_class_in_turn(dataset):
    in_order = dataset.train[dataset.train.labels.argsort()]  # as folders are
    assert in_order.sample(6).labels.tolist() == [0, 1, 2, 0, 1, 2]
    few = in_order.sample(6)
    assert len({image.numpy().tobytes() for image in few.images}) == 6
    assert torch.equal(in_order.sample(6).images, few.images)
    assert not torch.equal(in_order.sample(6, seed=1).images, few.images)
    assert len(in_order.sample(1_000)) == 24


def test_a_sample_of_images_without_labels_is_not_the_first_ones(dataset):
    sample = dataset.pretraining.sample(10)
    assert len(sample) == 10
    assert not torch.equal(sample.images, dataset.pretraining.images[:10])


@pytest.mark.parametrize("labels", [4, "50%"])
def test_the_name_with_few_labels_is_known_beforehand(dataset, labels):
    assert limit_labels(dataset, labels, 1).name == limited_name("small", labels, 1)


@pytest.mark.parametrize("name", ["stl10", "folder:cats, dogs", "folder:a, 5 labels"])
def test_a_name_without_what_few_labels_add_to_it(name):
    for labels, seed in ((20, 0), ("12.5%", 0), ("10%", 3), (5, 1)):
        limited = limited_name(name, labels, seed)
        assert unlimited_name(limited) == name
    assert unlimited_name(name) == name
