"""Every figure draws without warnings, on one thing and on many."""

import base64
import io
import sys
import types
import warnings

import matplotlib
import pytest
import torch
from PIL import Image

from helpers import views
from helpers.data.dataset import Split
from helpers.figures import charts, curves, pictures
from helpers.views.randomness import StepRandom
from helpers.views.settings import ViewSettings

CLASSES = tuple(f"class {number}" for number in range(10))


@pytest.fixture(autouse=True)
def strict():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def images(count, side=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 3, side, side)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def stored(figure):
    """The one picture a notebook keeps of the figure, after checking its form."""
    for axes in figure.axes:  # no picture is cut off
        (left, right), (low, high) = axes.get_xlim(), sorted(axes.get_ylim())
        for image in axes.images:
            x, to_x, to_y, y = image.get_extent()
            assert left <= x < to_x <= right
            assert low <= min(y, to_y) < max(y, to_y) <= high
    bundle = figure.mime_bundle()
    (kind,) = [kind for kind in bundle if kind.startswith("image/")]
    picture = Image.open(io.BytesIO(base64.b64decode(bundle[kind])))
    assert picture.format.lower() == kind.removeprefix("image/")
    assert min(picture.size) > 40
    assert max(picture.size) < 2000
    assert len(bundle[kind]) < 250_000
    # White, but for what JPEG lets bleed out of the neighbouring picture.
    assert min(picture.convert("RGB").getpixel((0, 0))) > 180
    return picture


def entries(epochs, every=2):
    return [
        {"epoch": epoch, "loss": 5 / epoch, "spread": 0.5}
        | ({"knn": 40.0 + epoch} if epoch % every == 0 else {})
        for epoch in range(1, epochs + 1)
    ]


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


@pytest.mark.parametrize("epochs", [0, 1, 2, 300])
def test_training(epochs):
    figure = curves.training(entries(epochs), loss_floor=3.0)
    assert len(figure.axes) == 3
    assert all(axes.get_xlabel() == "epoch" for axes in figure.axes)
    loss, knn, spread = figure.axes
    assert len(loss.lines[0].get_xdata()) == epochs
    assert len(knn.lines[0].get_xdata()) == epochs // 2
    assert "(%)" in knn.get_ylabel()
    assert spread.get_ylim()[0] == 0
    assert len(loss.lines) == 2
    assert len(curves.training(entries(epochs)).axes[0].lines) == 1
    stored(figure)


@pytest.mark.parametrize("epochs", [1, 30])
def test_supervised_training(epochs):
    history = [{"epoch": 1 + e, "loss": 1.0, "validation": 50.0} for e in range(epochs)]
    figure = curves.supervised_training(history)
    assert [len(axes.lines[0].get_xdata()) for axes in figure.axes] == [epochs] * 2
    stored(figure)
    without = [{"epoch": 1, "loss": 1.0}]
    stored(curves.supervised_training(without))


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


@pytest.mark.parametrize(("count", "dim"), [(5, 2), (40, 8), (1001, 4)])
def test_tsne(count, dim, monkeypatch):
    if count > 1000:  # which points are drawn matters, not where
        monkeypatch.setattr(
            charts.manifold.TSNE, "fit_transform", lambda self, given: given[:, :2]
        )
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(count, dim, generator=generator)
    labels = torch.arange(count) % 10
    figure = charts.tsne(features, labels, CLASSES)
    points = sum(len(dots.get_offsets()) for dots in figure.axes[0].collections)
    assert points == min(count, 1000)
    assert len(figure.legends[0].get_texts()) == min(count, 10)
    stored(figure)


def test_tsne_needs_a_few_points():
    with pytest.raises(ValueError, match="at least 5"):
        charts.tsne(torch.zeros(4, 8), torch.zeros(4).long(), CLASSES)


@pytest.mark.parametrize("count", [1, 500])
def test_distances(count):
    figure = charts.distances(torch.full((count,), 1.4), torch.full((count,), 2.0))
    axes = figure.axes[0]
    assert axes.get_xlim() == (0, 2)
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["before pre-training", "after"]
    assert axes.get_ylim()[1] > 100  # every image is in a bar: 100 %
    stored(figure)


@pytest.mark.parametrize(("entries", "count"), [(1, 1), (30, 5), (3000, 60)])
def test_bank(entries, count):
    similarity = torch.full((count, count), 0.3).fill_diagonal_(0.9)
    figure = charts.bank(torch.arange(entries) % 100, similarity)
    ages, similarities = figure.axes
    assert ages.get_xlim()[1] >= min(entries, 100) - 0.5
    labels = [text.get_text() for text in similarities.get_legend().get_texts()]
    assert labels == ["of other images", "its own"]
    for axes in figure.axes:
        for bars in axes.containers:
            heights = [bar.get_height() for bar in bars if hasattr(bar, "get_height")]
            if heights and (axes is ages or count > 1):
                assert sum(heights) == pytest.approx(100, rel=1e-4)
    stored(figure)


@pytest.mark.parametrize("count", [1, 12])
def test_comparison(count):
    records = [
        {
            "method": f"method {number % 4}",
            "protocol": ("k-NN", "linear probe", "fine-tuning")[number // 4],
            "top1_mean": 90.0 + number % 4,
            "top1_std": 0.5 if number % 2 else None,
        }
        for number in range(count)
    ]
    figure = charts.comparison(records)
    axes = figure.axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert sorted(names) == sorted(record["method"] for record in records)
    assert len(axes.patches) == count
    assert ("91.0 ± 0.5" in texts(figure)) == (count > 1)
    assert names[0] == "method 3" or count == 1  # the best of a protocol comes first
    stored(figure)


def test_the_style_stays_in_the_figures():
    before = dict(matplotlib.rcParams)
    stored(curves.training(entries(3)))
    assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in vars(charts)


def test_live_does_nothing_outside_a_notebook(capsys):
    live = curves.Live()
    live.update(entries(2))
    assert live.handle is None
    assert capsys.readouterr().out == ""


def test_live_updates_one_output(monkeypatch):
    from IPython import display

    calls = []
    handle = types.SimpleNamespace(
        update=lambda bundle, raw: calls.append(("update", bundle, raw))
    )

    def first(bundle, raw, display_id):
        calls.append(("display", bundle, raw))
        return handle if display_id else None

    shell = types.SimpleNamespace(kernel=object())
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: shell)
    monkeypatch.setattr(display, "display", first)
    live = curves.Live(loss_floor=2.0)
    live.update([])
    for epochs in (1, 2, 3):
        live.update(entries(epochs))
    assert [name for name, _, _ in calls] == ["display", "update", "update"]
    assert all(raw and "image/png" in bundle for _, bundle, raw in calls)


def test_live_keeps_only_the_last_figure_in_a_notebook():
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    code = """
from helpers.figures import curves, pictures
live = curves.Live()
for epochs in range(1, 4):
    live.update([dict(epoch=e + 1, loss=1.0, spread=0.5) for e in range(epochs)])
"""
    notebook = nbformat.v4.new_notebook()
    grid = """
import torch
%matplotlib inline
pictures.image_grid(torch.zeros(1, 3, 8, 8))
"""
    notebook.cells = [nbformat.v4.new_code_cell(text) for text in (code, grid)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the client, not of ours
        nbclient.NotebookClient(notebook, timeout=120).execute()
    live, grid = (cell.outputs for cell in notebook.cells)
    assert [list(output.data) for output in live] == [["image/png", "text/plain"]]
    assert [list(output.data) for output in grid] == [["image/jpeg", "text/plain"]]
