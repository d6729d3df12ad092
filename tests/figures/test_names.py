"""Names of classes and networks, as folders and files may have them."""

import pytest
import torch
from drawn import images, stored, texts

from helpers.data.dataset import Split
from helpers.figures import charts, pictures

NAMES = (
    *("$x_1$", r"$\no{$", "a$b", "50 % <b>&", "\U0001f600", "a\nb\x1b\udcff"),
    "very long " * 25,
)
SHOWN = [
    *("$x 1$", r"$\no{$", "a$b", "50 % <b>&", "\U0001f600", r"a\nb\x1b\udcff"),
    "very long very long ver…",
]
LABELS = torch.arange(28) % len(NAMES)


def ticks(ax):
    return [tick.get_text() for tick in ax.get_yticklabels()]


def test_confusion_shows_them_as_they_are():
    figure = charts.confusion(torch.eye(len(NAMES)), NAMES)
    assert ticks(figure.axes[0]) == SHOWN
    stored(figure)


def test_class_examples_show_them_as_they_are():
    figure = pictures.class_examples(Split(images(28), LABELS), NAMES)
    assert texts(figure) == SHOWN
    stored(figure)


def test_tsne_shows_them_as_they_are(monkeypatch):
    monkeypatch.setattr(
        charts.manifold.TSNE, "fit_transform", lambda self, given: given[:, :2]
    )
    figure = charts.tsne({NAMES[1]: torch.randn(28, 4)}, LABELS, NAMES)
    assert figure.axes[0].get_title() == SHOWN[1]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == SHOWN
    stored(figure)


def test_bars_show_them_as_they_are():
    bar = {"protocol": "k-NN", "top1_mean": 50.0, "seeds": 1}
    figure = charts.comparison([{"method": name} | bar for name in NAMES[:-1]])
    assert ticks(figure.axes[0]) == SHOWN[:-1]
    stored(figure)


def test_mistakes_show_them_as_they_are():
    outputs = torch.eye(len(NAMES))[(LABELS + 1) % len(NAMES)]
    figure = pictures.mistakes(Split(images(28), LABELS), outputs, NAMES)
    assert f"{SHOWN[1]}?\n{SHOWN[0]}!" in texts(figure)
    stored(figure)


def test_neighbours_of_classes_whose_names_begin_alike_are_told_apart():
    classes = ["the same long beginning " + end for end in "ab"]
    queries, nearest = Split(images(1), torch.tensor([0])), Split(images(2), LABELS[:2])
    figure = pictures.neighbors(queries, {"$\\no{$": nearest}, classes)
    assert [text[:1] for text in texts(figure)][-2:] == ["✓", "✗"]
    stored(figure)


@pytest.mark.parametrize("name", NAMES[:3])
def test_a_file_is_drawn_like_what_a_notebook_shows(name, tmp_path):
    figure = pictures.image_grid(images(1), [name])
    figure.savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 0
