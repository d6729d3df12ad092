"""Charts of results, of one thing and of many."""

import pytest
import torch
from drawn import CLASSES, stored, texts

from helpers.figures import charts


@pytest.mark.parametrize("count", [1, 2, 10, 30])
def test_confusion(count):
    names = [f"class {number}" for number in range(count)]
    figure = charts.confusion(torch.eye(count, dtype=torch.int64) * 7, names)
    assert len(figure.axes) == (1 if count <= 20 else 2)
    numbers = texts(figure)
    assert len(numbers) == (count**2 if count <= 20 else 0)
    assert numbers.count("100") == (count if count <= 20 else 0)
    stored(figure)


def test_confusion_of_a_class_without_images():
    figure = charts.confusion(torch.tensor([[3, 1], [0, 0]]), ["one", "two"])
    assert texts(figure) == ["75", "25", "0", "0"]


@pytest.mark.parametrize(("count", "dim"), [(5, 2), (40, 8), (1001, 4)])
def test_tsne(count, dim, monkeypatch):
    if count > 500:  # which points are drawn matters, not where
        monkeypatch.setattr(
            charts.manifold.TSNE, "fit_transform", lambda self, given: given[:, :2]
        )
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(count, dim, generator=generator)
    labels = torch.arange(count) % 10
    figure = charts.tsne({"random": features, "trained": -features}, labels, CLASSES)
    assert [ax.get_title() for ax in figure.axes] == ["random", "trained"]
    for ax in figure.axes:
        points = sum(len(dots.get_offsets()) for dots in ax.collections)
        assert points == min(count, 500)
    assert len(figure.legends[0].get_texts()) == min(count, 10)
    stored(figure)


def test_tsne_needs_a_few_points():
    with pytest.raises(ValueError, match="at least 5"):
        charts.tsne({"": torch.zeros(4, 8)}, torch.zeros(4).long(), CLASSES)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_features_that_are_all_the_same_have_no_map(value):
    with pytest.raises(ValueError, match="All features of BYOL are the same"):
        charts.tsne({"BYOL": torch.full((50, 8), value)}, torch.arange(50) % 3, CLASSES)


@pytest.mark.parametrize("count", [1, 500])
def test_distances(count):
    figure = charts.distances(torch.full((count,), 1.4), torch.full((count,), 2.0))
    ax = figure.axes[0]
    assert ax.get_xlim() == (0, 2)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["before pre-training", "after"]
    assert ax.get_ylim()[1] > 100  # every image is in a bar: 100 %
    stored(figure)


@pytest.mark.parametrize(("entries", "count"), [(1, 1), (30, 5), (3000, 60)])
def test_bank(entries, count):
    similarity = torch.full((count, count), 0.3).fill_diagonal_(0.9)
    figure = charts.bank(torch.arange(entries) % 100, similarity)
    ages, similarities = figure.axes
    assert ages.get_xlim()[1] >= min(entries, 100) - 0.5
    labels = [text.get_text() for text in similarities.get_legend().get_texts()]
    assert labels == ["of other images", "its own"]
    for ax in figure.axes:
        for bars in ax.containers:
            heights = [bar.get_height() for bar in bars if hasattr(bar, "get_height")]
            if heights and (ax is ages or count > 1):
                assert sum(heights) == pytest.approx(100, rel=1e-4)
    stored(figure)


def test_every_bar_of_the_bank_stands_for_equally_many_ages():
    figure = charts.bank(torch.arange(100), torch.eye(2))
    heights = [bar.get_height() for bar in figure.axes[0].containers[0]]
    assert heights[:-1] == pytest.approx([3.0] * 33)


@pytest.mark.parametrize("count", [1, 12])
def test_comparison(count):
    records = [
        {
            "method": f"method {number % 4}",
            "protocol": ("k-NN", "linear probe", "fine-tuning")[number // 4],
            "top1_mean": 90.0 + number % 4,
            "top1_std": 0.5 if number % 2 else 0.0,
            "seeds": 3 if number % 2 else 1,
        }
        for number in range(count)
    ]
    figure = charts.comparison(records)
    ax = figure.axes[0]
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert sorted(names) == sorted(record["method"] for record in records)
    assert len(ax.patches) == count
    assert ("91.0 ± 0.5" in texts(figure)) == (count > 1)
    assert names[0] == "method 3" or count == 1  # the best of a protocol comes first
    stored(figure)


def test_bars_of_one_name_are_told_apart_by_what_differs():
    bar = {"protocol": "fine-tuning", "top1_std": 0.0, "seeds": 1, "backbone": "a"}
    records = [
        bar
        | {"method": method, "pretraining_epochs": before, "top1_mean": 90.0 - number}
        | {"settings": {"epochs": training}, "image_size": side}
        for number, (method, before, training, side) in enumerate(
            [
                ("BYOL", 9, 30, 64),
                ("PIRL", 5, 30, 64),
                ("PIRL", 24, 30, 64),
                ("PIRL", 24, 10, 64),
                ("PIRL", 24, 10, 96),
            ]
        )
    ]
    ax = charts.comparison(records).axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "BYOL",
        "PIRL, after 5 epochs",
        "PIRL, after 24 epochs, in 30 epochs",
        "PIRL, after 24 epochs, in 10 epochs, 64 px",
        "PIRL, after 24 epochs, in 10 epochs, 96 px",
    ]
    # The network must not pass for what the epochs have done.
    others = [records[1], records[2] | {"backbone": "b"}]
    ax = charts.comparison(others).axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "PIRL, a, after 5 epochs",
        "PIRL, b, after 24 epochs",
    ]
    # What all networks are called is left out.
    others = [records[1], records[2] | {"backbone": "a, pool stem"}]
    ax = charts.comparison(others).axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "PIRL, after 5 epochs",
        "PIRL, pool stem, after 24 epochs",
    ]


def test_a_single_run_has_no_error_bar():
    record = {"method": "PIRL", "protocol": "k-NN", "top1_mean": 50.0, "top1_std": 0.0}
    figure = charts.comparison([record | {"seeds": 1}])
    assert "50.0" in texts(figure)
    assert len(figure.axes[0].collections) == 0  # error bars are collections of lines
    repeated = charts.comparison([record | {"seeds": 3, "top1_std": 1.5}])
    assert len(repeated.axes[0].collections) == 1


def test_a_method_has_the_same_colour_whatever_stands_beside_it():
    def color(methods, wanted):
        records = [
            {"method": m, "protocol": "k-NN", "top1_mean": 9.0 - n, "top1_std": 0.0}
            for n, m in enumerate(methods)
        ]
        bars = charts.comparison(records).axes[0].patches
        return bars[methods.index(wanted)].get_facecolor()

    assert color(["BYOL", "PIRL"], "PIRL") == color(["PIRL"], "PIRL")
    assert color(["BYOL", "PIRL"], "PIRL") != color(["BYOL", "PIRL"], "BYOL")
    assert charts.color_of("PIRL, own recipe") == charts.color_of("pirl")
    assert charts.color_of("not PIRL") == charts.color_of("another")


def test_label_efficiency():
    curves = {"baseline": {1: 12.0, 20: 40.0}, "fine-tuning": {1: 14.0, 20: 50.0}}
    figure = charts.label_efficiency(curves)
    ax = figure.axes[0]
    assert [list(line.get_ydata()) for line in ax.lines] == [[12, 40], [14, 50]]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "20"]
    stored(figure)
