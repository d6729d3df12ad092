"""Training curves, of no epochs and of many, redrawn in place in a notebook."""

import sys
import types
import warnings

import matplotlib
import pytest
from drawn import stored

from helpers.figures import charts, curves


def entries(epochs, every=2):
    return [
        {"epoch": epoch, "loss": 5 / epoch, "spread": 0.5}
        | ({"knn": 40.0 + epoch} if epoch % every == 0 else {})
        for epoch in range(1, epochs + 1)
    ]


@pytest.mark.parametrize("epochs", [0, 1, 2, 300])
def test_training(epochs):
    figure = curves.training(entries(epochs), guessing=3.0)
    assert len(figure.axes) == 3
    assert all(ax.get_xlabel() == "epoch" for ax in figure.axes)
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
    assert [len(ax.lines[0].get_xdata()) for ax in figure.axes] == [epochs] * 2
    stored(figure)
    without = [{"epoch": 1, "loss": 1.0}]
    stored(curves.supervised_training(without))


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
    live = curves.Live(guessing=2.0)
    live.update([])
    for epochs in (1, 2, 3):
        live.update(entries(epochs))
    # The first call only takes the place above the progress bar.
    assert [name for name, _, _ in calls] == ["display", *["update"] * 3]
    assert all(raw and "image/png" in bundle for _, bundle, raw in calls[1:])
    supervised = curves.Live(curves.supervised_training)
    supervised.update([{"epoch": 1, "loss": 1.0, "validation": 50.0}])
    assert "image/png" in calls[-1][1]


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
