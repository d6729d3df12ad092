"""Pictures in rows and columns, one of them and many."""

import itertools

import pytest
import torch
from drawn import CLASSES, images, stored, texts
from matplotlib.backends import backend_agg
from torch import nn

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
    figure = pictures.jigsaw(images(count, 96), patches, of_views=True)
    assert len(figure.axes[0].images) == count * (1 + 9)
    assert not figure.axes[0].lines
    stored(figure)


@pytest.mark.parametrize(("queries", "count"), [(1, 1), (5, 4)])
def test_neighbors(queries, count):
    labels = torch.zeros(queries * count, dtype=torch.int64)
    other = labels.clone()
    other[0] = 3
    near = images(queries * count)
    figure = pictures.neighbors(
        Split(images(queries), torch.zeros(queries).long()),
        {"random": Split(near, other), "trained": Split(near, labels)},
        CLASSES,
    )
    frames = figure.axes[0].patches
    assert len(frames) == 2 * queries * count
    assert frames[0].get_linestyle() not in ("-", "solid")
    assert all(frame.get_linestyle() in ("-", "solid") for frame in frames[1:])
    assert texts(figure).count("✗ class 3") == 1
    assert texts(figure).count("✓") == 2 * queries * count - 1
    assert {"random", "trained"} <= set(texts(figure))
    stored(figure)


def test_captions_of_neighbors_do_not_collide():
    split = Split(images(6), torch.tensor([0, 1, 1, 1, 1, 1]))
    classes = ["cassette_player", "english_springer_spaniel"]
    figure = pictures.neighbors(split[:1], {"trained": split[1:]}, classes)
    renderer = backend_agg.FigureCanvasAgg(figure).get_renderer()
    captions = [t for t in figure.axes[0].texts if "✗" in t.get_text()]
    boxes = [text.get_window_extent(renderer) for text in captions]
    assert len(boxes) == 5
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
    assert all(0 <= box.x0 and box.x1 <= figure.bbox.width for box in boxes)
    assert "english springer spaniel" not in texts(figure)  # shortened
    assert "cassette player" in texts(figure)  # the name of a row has room


def test_mistakes_are_the_surest_ones():
    split = Split(images(3), torch.tensor([0, 1, 2]))
    outputs = torch.tensor([[9.0, 0, 0], [5, 0, 0], [0, 7, 0]])
    figure = pictures.mistakes(split, outputs, CLASSES)
    assert [text for text in texts(figure) if "?" in text] == [
        "class 1?\nclass 2!",
        "class 0?\nclass 1!",
    ]
    stored(figure)
    assert pictures.mistakes(split[:1], outputs[:1], CLASSES) is None
    # Logits that are all large say nothing: only their differences do.
    unsure = torch.tensor([[9.0, 0, 0], [50, 49, 49], [0, 7, 0]])
    figure = pictures.mistakes(split, unsure, CLASSES)
    assert next(text for text in texts(figure) if "?" in text) == "class 1?\nclass 2!"


def test_filters_are_those_of_the_first_convolution():
    def network():
        return nn.Sequential(nn.Conv2d(3, 40, 7), nn.ReLU(), nn.Conv2d(40, 2, 3))

    figure = pictures.filters({"random": network(), "trained": network()})
    assert len(figure.axes[0].images) == 80
    assert {"random", "trained"} <= set(texts(figure))
    stored(figure)


def test_neighbors_without_labels_are_neither_right_nor_wrong():
    unknown = torch.full((4,), -1)
    figure = pictures.neighbors(
        Split(images(1), unknown[:1]), {"trained": Split(images(4), unknown)}, CLASSES
    )
    assert not figure.axes[0].patches
    assert not {"✓", "✗ no label"} & set(texts(figure))
    stored(figure)
