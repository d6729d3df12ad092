"""What notebooks say of useless training is said in a shell as well."""

import PIL.Image
import pytest
import small
import torch

from helpers import data
from helpers.cli import commands
from helpers.training import gauges

LINE = "pretrain simclr --batch-size 16 --precision 32-true --size 20 --epochs"


@pytest.mark.usefixtures("small_backbone")
def test_a_collapse_is_said_when_it_begins_and_at_the_end(dataset, run, monkeypatch):
    monkeypatch.setitem(data.SOURCES, "demo", small.source(lambda root: dataset))
    spreads = iter([0.9, 0.05, 0.04, 0.9, 0.03])
    measured = {}

    def spread(embedding):  # three steps an epoch have the same
        number = len(measured)
        measured[number] = measured[number - 1] if number % 3 else next(spreads)
        return torch.tensor(measured[number])

    monkeypatch.setattr(gauges, "spread", spread)
    status, printed, _ = run(f"{LINE} 5")
    assert status == 0
    said = [line for line in printed.splitlines() if line.endswith(commands.COLLAPSED)]
    assert said == [f"Epoch 2: {commands.COLLAPSED}", commands.COLLAPSED]
    assert printed.splitlines()[-1] == commands.COLLAPSED


@pytest.mark.usefixtures("small_backbone")
def test_a_training_that_learns_is_not_called_collapsed(dataset, run, monkeypatch):
    monkeypatch.setitem(data.SOURCES, "demo", small.source(lambda root: dataset))
    assert commands.COLLAPSED not in run(f"{LINE} 1")[1]


@pytest.mark.usefixtures("small_backbone")
def test_black_images_are_said_before_and_after(run, tmp_path):
    for number in range(16):
        file = tmp_path / "black" / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        PIL.Image.new("RGB", (32, 32), (0, 0, 0)).save(file)
    with pytest.warns(UserWarning, match="Every image is of a single colour"):
        status, printed, _ = run(f"{LINE} 1 --data folder:{file.parent}")
    assert status == 0
    assert commands.COLLAPSED in printed
