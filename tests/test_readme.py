"""What the README shows works as it stands there."""

import importlib.util
import math
import pathlib
import re
import sys

import pytest
import small
import test_methods

from helpers import methods
from helpers.training import pretraining, settings

README = pathlib.Path(__file__).resolve().parent.parent / "README.md"


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The method in the README, as a module, and its line for the registry."""
    section = README.read_text("utf-8").split("## Adding a method")[1].split("\n## ")[0]
    source, line = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    file = re.search(r"`helpers/methods/(\w+)\.py`", section)[1]
    path = tmp_path / f"{file}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(file, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, file, module)
    spec.loader.exec_module(module)
    added = eval(f"{{{line}}}", {file: module})
    monkeypatch.setattr(methods, "METHODS", methods.METHODS | added)
    return next(iter(added)), source


def test_the_readmes_method_is_complete_in_thirty_lines(example):
    name, source = example
    assert len(source.splitlines()) <= 30
    assert max(map(len, source.splitlines())) <= 88
    assert methods.text(name)


def test_the_readmes_method_passes_the_tests_of_all_methods(example, dataset):
    name, _ = example
    test_methods.test_twenty_steps_lower_the_loss(name, dataset)
    test_methods.test_every_trainable_weight_gets_a_gradient_and_is_optimized_once(
        name, dataset
    )
    test_methods.test_every_recipe_can_be_configured(name)


def test_the_readmes_method_trains(example, dataset, tmp_path, small_backbone):
    name, _ = example
    run = pretraining.pretrain(
        settings.configure(name, **small.SETTINGS), dataset, folder=tmp_path
    )
    assert [math.isfinite(entry["loss"]) for entry in run.history] == [True] * 4
    assert run.backbone_file.is_file()
    assert run.folder.name.startswith(f"{name}-small-")
