"""What README and docs show works as it stands there, and all links are good."""

import importlib.util
import json
import math
import pathlib
import re
import shlex
import sys
import types

import numpy as np
import PIL.Image
import pytest
import small
import test_methods
import torch
import yaml

from helpers import methods, views
from helpers.cli import command_line
from helpers.evaluation import embedding, results
from helpers.models import backbones, export, weight_files
from helpers.training import pretraining, settings
from tools import set_address

PROJECT = pathlib.Path(__file__).resolve().parents[1]
README = PROJECT / "README.md"
PAGES = [README, PROJECT / "CONTRIBUTING.md", PROJECT / "weights" / "README.md"]
PAGES += sorted(PROJECT.glob("docs/*.md"))
TEXTS = {page: page.read_text("utf-8") for page in PAGES}
COMMAND_LINE = TEXTS[PROJECT / "docs" / "command_line.md"]
DESIGN = TEXTS[PROJECT / "docs" / "design.md"]


def code(text, language):
    """The code blocks of a page in one language."""
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def shown(program):
    """What follows a program's name where pages show it, continued lines joined."""
    found = {}
    for text in TEXTS.values():
        blocks = "".join(code(text, "bash")).replace("\\\n", " ").splitlines()
        inline = re.findall(r"`([^`\n]+)`", re.sub(r"(?s)```.*?```", "", text))
        for line in blocks + inline:
            if not line.startswith("#") and f"{program} " in line:
                found[line.partition(f"{program} ")[2]] = True
    return list(found)


def test_the_readme_is_short():
    assert 700 <= len(TEXTS[README].split()) <= 1_200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)\s]+)\)", TEXTS[page])
    assert targets
    for target in targets:
        if target.startswith("http"):
            continue
        path, _, section = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if section:
            titles = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.M)
            words = [re.sub(r"[^\w -]", "", title).lower() for title in titles]
            assert section in [title.replace(" ", "-") for title in words], target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page):
    new = "helpers/methods/hypersphere.py"
    folders = r"`((?:helpers|tools|tests|docs|benchmarks|images)/[\w/.]*)`"
    for name in re.findall(folders, TEXTS[page]):
        assert name == new or (PROJECT / name).exists(), name


def test_every_make_target_that_is_shown_exists():
    makefile = (PROJECT / "Makefile").read_text("utf-8")
    named = {line.split()[0] for line in shown("make")}
    assert named >= {"run", "test", "lab", "zip", "address", "results", "check"}
    assert named <= set(re.findall(r"^([a-z-]+):", makefile, flags=re.M))


def parsed(line):
    """What a command line of ours asks for."""
    return command_line.parse(shlex.split(line, comments=True))


def ours():
    """Every shown command line of the package that can be run as it is."""
    return [line for line in shown("-m helpers") if line[0].islower()]


@pytest.mark.parametrize("line", ours())
def test_shown_commands_are_understood(line, monkeypatch):
    monkeypatch.setattr(export, "ONNX", ())  # its packages need not be there
    # Who follows docs/design.md adds a method; until then another stands for it.
    function, _ = parsed(line.replace("hypersphere", "simclr"))
    assert callable(function)


def test_every_command_is_shown():
    assert {line.split()[0] for line in ours()} == set(command_line.COMMANDS)


def test_other_modules_that_are_shown_exist():
    modules = {line.split()[0] for line in shown("python -m")} - {"helpers"}
    assert "benchmarks.quality" in modules
    assert all(importlib.util.find_spec(module) for module in modules)


def test_the_tables_are_those_of_the_records():
    records = results.collect(PROJECT / "results")
    for page, table in (
        (README, results.markdown_pivot(records)),
        (PROJECT / "docs" / "results.md", results.markdown(records)),
    ):
        assert f"<!-- results -->\n\n{table}\n\n<!-- /results -->" in TEXTS[page]


def test_the_readmes_numbers_are_in_its_table():
    promise = TEXTS[README].partition("## ")[0]
    table = TEXTS[README].partition("<!-- results -->")[2]
    numbers = re.findall(r"\d+\.\d ± \d+\.\d", promise)
    assert len(numbers) == 6
    assert all(number in table for number in numbers)


def test_the_badges_are_those_of_the_address(tmp_path):
    for file in (README, PROJECT / "pyproject.toml", *PROJECT.glob("*.ipynb")):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert set_address.write(set_address.read(), tmp_path) == []
    set_address.write("https://github.com/someone/something", tmp_path)
    text = (tmp_path / "README.md").read_text("utf-8")
    badges = text.partition("<!-- badges -->")[2].partition("<!-- /badges -->")[0]
    for notebook in PROJECT.glob("*.ipynb"):
        assert badges.count(f"something/blob/main/{notebook.name})") == 1


def test_a_backbone_loads_as_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    about = {"backbone": "resnet18", "stem": "imagenet"}
    file = pathlib.Path("backbone.safetensors")
    weight_files.save_backbone(file, backbones.build(), about)
    source, _ = code(COMMAND_LINE, "python")
    exec(source, {})
    assert "missing_keys=['fc.weight', 'fc.bias'], unexp" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fit", "stored"), [("crop", 56), ("crop", 40), ("pad", 56), ("squash", 40)]
)
def test_a_photo_is_prepared_for_onnx_as_shown(fit, stored, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    about = {"image_size": 56, "mean": views.MEAN, "std": views.STD, "fit": fit}
    about |= {"stored_size": stored} if stored != 56 else {}
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # the orientation of a phone that was held upright
    photo = PIL.Image.fromarray(pixels).resize((800, 600))
    photo.save("new.jpg", exif=exif)
    given = []

    class Session:  # ONNX Runtime need not be there
        def __init__(self, file):
            assert file == "backbone.onnx"

        def get_modelmeta(self):
            kept = {"about": json.dumps(about)}
            return types.SimpleNamespace(custom_metadata_map=kept)

        def run(self, outputs, inputs):
            given.append(inputs["images"])
            return [None]

    stub = types.SimpleNamespace(InferenceSession=Session)
    monkeypatch.setitem(sys.modules, "onnxruntime", stub)
    _, source = code(COMMAND_LINE, "python")
    exec(source, {})
    read = embedding.read([pathlib.Path("new.jpg")], stored, fit)
    whole = views.whole_view(read, 56)
    rounded = 1e-5 if stored == 56 else 0.018  # a grey level
    given = torch.from_numpy(given[0])
    torch.testing.assert_close(given, whole, atol=rounded, rtol=0)


def test_the_citation_is_valid():
    cited = yaml.safe_load((PROJECT / "CITATION.cff").read_text("utf-8"))
    assert cited["cff-version"] == "1.2.0"
    needed = {"cff-version", "message", "title", "authors"}
    assert needed <= set(cited) <= needed | {"type", "license", "abstract", "keywords"}
    assert cited["title"] and cited["type"] == "software"
    holder = re.search(r"\d{4} (?:the )?(.+)", (PROJECT / "LICENSE").read_text())[1]
    assert [list(author.values()) for author in cited["authors"]] == [[holder]]


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The method of docs/design.md as a module, and its line for the registry."""
    source, line = code(DESIGN, "python")
    file = re.search(r"`helpers/methods/(hyper\w+)\.py`", DESIGN)[1]
    path = tmp_path / f"{file}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(file, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, file, module)
    spec.loader.exec_module(module)
    added = eval(f"{{{line}}}", {file: module})
    monkeypatch.setattr(methods, "METHODS", methods.METHODS | added)
    return next(iter(added)), source


def test_the_shown_method_is_complete_and_short(example):
    name, source = example
    assert len(source.splitlines()) <= 36
    assert max(map(len, source.splitlines())) <= 88
    assert methods.text(name)


def test_the_shown_method_passes_the_tests_of_all_methods(example, dataset):
    name, _ = example
    test_methods.test_twenty_steps_lower_the_loss(name, dataset)
    test_methods.test_every_trainable_weight_gets_a_gradient_and_is_optimized_once(
        name, dataset
    )
    test_methods.test_every_recipe_can_be_configured(name)
    test_methods.test_the_loss_by_hand_is_the_loss(name, "long", dataset)


def test_the_shown_method_trains(example, dataset, tmp_path, small_backbone):
    name, _ = example
    run = pretraining.pretrain(
        settings.configure(name, **small.SETTINGS), dataset, folder=tmp_path
    )
    assert [math.isfinite(entry["loss"]) for entry in run.history] == [True] * 4
    assert run.backbone_file.is_file()
    assert run.folder.name.startswith(f"{name}-small-")
