"""Pictures in rows and columns, one of them and many."""

import pytest
import torch
from drawn import CLASSES, images, stored, texts

from helpers import views
from helpers.data.dataset import Split
from helpers.figures import pictures
from helpers.views.randomness import StepRandom
from helpers.views.settings import ViewSettings


@pytest.mark.parametrize("count", [1, 10, 23])
def test_image_grid(count):
    titles = [f"title {number}" for number in range(count)]
    figure = pictures.image_grid(images(count), titles)
    assert len(figure.axes[0].images) == count
    assert texts(figure) == titles
    stored(figure)
    stored(pictures.image_grid(images(count).float() / 255, columns=4))


def test_pixels_are_shown_as_they_are():
    picture = images(1)
    for given in (picture, picture.float() / 255):
        shown = pictures.image_grid(given).axes[0].images[0].get_array()
        assert torch.equal(torch.tensor(shown), picture[0].permute(1, 2, 0))


@pytest.mark.parametrize("count", [1, 60])
def test_class_examples(count):
    split = Split(images(count), torch.arange(count) % 10)
    figure = pictures.class_examples(split, CLASSES, per_class=4)
    assert texts(figure) == list(CLASSES)
    assert len(figure.axes[0].images) == min(count, 40)
    stored(figure)


@pytest.mark.parametrize("count", [1, 8])
def test_view_rows(count):
    original = images(count)
    view = views.normalize(original.float() / 255)
    figure = pictures.view_rows(original, {"view 1": view, "view 2": view})
    assert texts(figure) == ["original", "view 1", "view 2"]
    shown = [image.get_array() for image in figure.axes[0].images]
    assert len(shown) == 3 * count
    assert (shown[0] == shown[count]).all()  # denormalised to the same bytes
    stored(figure)


@pytest.mark.parametrize("count", [1, 5])
def test_jigsaw(count):
    settings = ViewSettings()
    random = StepRandom(0, 0, count)
    patches = views.jigsaw_patches(images(count, 96), settings, random)
    figure = pictures.jigsaw(images(count, 96), patches)
    assert len(figure.axes[0].images) == count * (2 + 9)
    assert len(figure.axes[0].lines) == count * 4
    stored(figure)


@pytest.mark.parametrize(("queries", "count"), [(1, 1), (5, 6)])
def test_neighbors(queries, count):
    near = images(queries * count).view(queries, count, 3, 16, 16)
    labels = torch.zeros(queries, count, dtype=torch.int64)
    labels[0, 0] = 3
    figure = pictures.neighbors(
        images(queries), near, torch.zeros(queries).long(), labels, CLASSES
    )
    frames = figure.axes[0].patches
    assert len(frames) == queries * count
    assert frames[0].get_linestyle() not in ("-", "solid")
    assert all(frame.get_linestyle() in ("-", "solid") for frame in frames[1:])
    assert texts(figure).count("✗ class 3") == 1
    assert texts(figure).count("✓") == queries * count - 1
    stored(figure)
