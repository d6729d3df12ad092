"""The demo set: the same bytes everywhere, balanced classes, clear refusals."""

import hashlib

import numpy as np
import pytest

from helpers.data import demo


def test_the_bytes_are_pinned():
    """One picture of each class, hashed: any change of a pixel must be deliberate."""
    images, labels = demo.draw("train", 10, seed=7)
    digest = hashlib.sha256(images.tobytes() + labels.astype("<i8").tobytes())
    assert (
        digest.hexdigest()
        == "eeb16217ee44a46cfedf48df43c8ab0a5c8e5205f6b54f9bbf273413e0bf22c8"
    )


def test_a_picture_does_not_depend_on_how_many_are_drawn():
    """Asking for more pictures leaves the first ones as they were."""
    few, few_labels = demo.draw("test", 13)
    many, many_labels = demo.draw("test", 27)
    assert np.array_equal(few, many[:13])
    assert np.array_equal(few_labels, many_labels[:13])


@pytest.mark.parametrize("size", [32, 96])
def test_shapes_types_and_range(size):
    """Images are uint8 planes of the size asked for, and use the range of grey."""
    images, labels = demo.draw("unlabeled", 20, size=size)
    assert images.shape == (20, 3, size, size)
    assert images.dtype == np.uint8
    assert labels.shape == (20,)
    assert labels.dtype == np.int64
    assert images.std(axis=(1, 2, 3)).min() > 5, "an empty picture"
    assert 60 < images.mean() < 190


@pytest.mark.parametrize("split", demo.SPLITS)
def test_classes_are_balanced_and_shuffled(split):
    """Each ten in a row hold every class once, not always in the same order."""
    labels = demo.draw(split, 40, size=8)[1].reshape(4, 10)
    assert (np.sort(labels, axis=1) == np.arange(10)).all()
    assert not (labels == labels[0]).all()


def test_there_are_ten_classes():
    """The names are ten and differ."""
    assert len(set(demo.CLASSES)) == len(demo.CLASSES) == 10


def test_splits_and_seeds_differ():
    """No picture occurs in two splits, nor under two seeds."""
    sets = [demo.draw(split, 10)[0] for split in demo.SPLITS]
    sets.append(demo.draw("train", 10, seed=1)[0])
    assert len({image.tobytes() for images in sets for image in images}) == 40


def test_colour_does_not_give_the_class_away():
    """The mean colours of classes differ far less than pictures within a class do."""
    images, labels = demo.draw("train", 200, size=24)
    means = images.mean(axis=(2, 3))
    centres = np.stack([means[labels == label].mean(axis=0) for label in range(10)])
    within = np.stack([means[labels == label].std(axis=0) for label in range(10)])
    assert centres.std(axis=0).max() < 0.5 * within.mean()


def test_an_unknown_split_is_refused_with_the_choices():
    """The sentence names what was given and what there is."""
    with pytest.raises(ValueError, match=r"'valid'.*unlabeled, train, test"):
        demo.draw("valid", 1)


@pytest.mark.parametrize("count", [0, -3, 2.5])
def test_a_bad_count_is_refused(count):
    """Counts are whole and positive."""
    with pytest.raises(ValueError, match="whole number of at least 1"):
        demo.draw("train", count)
