"""Backbone files: what comes from a file is checked, and never harms other files."""

import json
import os
import stat

import pytest
import safetensors.torch
import torch

from helpers.cli import commands
from helpers.models import backbones, weight_files
from helpers.notebook import choices

GOOD = {"method": "byol", "data": "demo", "backbone": "resnet18", "epochs_done": 8}


def write(path, about, **tensors):
    """A file with this metadata, as text or as an object, and these tensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = about if isinstance(about, str) else json.dumps(about)
    tensors = tensors or {"conv1.weight": torch.zeros(1)}
    safetensors.torch.save_file(tensors, path, {"about": text})
    return path


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ([1], r"It is \[1\] where named fields are expected"),
        (3, "It is 3 where"),
        (None, "It is None where"),
        ("{", "It is not JSON"),
        ("[" * 100_000, "It is not JSON"),
        ({"backbone": "../../x"}, r"Unknown backbone '\.\./\.\./x'"),
        (
            {"backbone": ["resnet18"]},
            r"Its backbone is \['resnet18'\], which is no name",
        ),
        ({"stem": "x"}, "Unknown stem 'x'"),
        ({"norm": ["batch"]}, "Its norm is"),
        ({"method": {}}, "Its method is {}, which is no name"),
        ({"data": 3}, "Its data is 3"),
        ({"name": 3}, "Its name is 3"),
        ({"name": "x" * 100_000}, r"Its name is 'x{39}…"),
        ({"converted": 1}, "Its converted is 1"),
        ({"epochs_done": "8"}, "Its epochs_done is '8', not a whole number from 0"),
        ({"epochs_done": True}, "Its epochs_done is True"),
        ({"images": 1.5}, r"Its images is 1\.5"),
        ({"knn": "x"}, r"Its knn is 'x', not a number from 0\.0 to 100\.0"),
        ({"knn": 101}, "Its knn is 101"),
        ({"minutes": float("nan")}, "Its minutes is nan"),
        ({"minutes": float("inf")}, "Its minutes is inf"),
        ({"minutes": -1}, "Its minutes is -1"),
        ({"image_size": 0}, "Its image_size is 0"),
        ({"evaluation_size": "64"}, "Its evaluation_size is '64'"),
        ({"evaluation_size": -5}, "Its evaluation_size is -5"),
        ({"evaluation_size": 10**6}, "Its evaluation_size is 1000000"),
    ],
)
def test_metadata_that_cannot_be_right_is_one_sentence(about, message, tmp_path):
    file = write(tmp_path / "bad" / weight_files.BACKBONE_FILE, about)
    with pytest.raises(ValueError, match=f"{file} has metadata.*{message}") as error:
        weight_files.read_about(file)
    assert str(error.value).isprintable()
    with pytest.raises(ValueError, match="has metadata"):
        weight_files.load_backbone(file)


def test_one_bad_file_takes_neither_the_list_nor_the_question_down(
    tmp_path, monkeypatch, capsys
):
    good = tmp_path / "good" / weight_files.BACKBONE_FILE
    weight_files.save_backbone(
        good, backbones.build(stem="small"), GOOD | {"stem": "small"}
    )
    write(tmp_path / "wrong" / good.name, {"converted": 1})
    write(tmp_path / "not a network" / good.name, {})
    write(tmp_path / "cut" / good.name, {}).write_bytes(b"\x10")
    for name in ("pipe", "link", "folder"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "pipe" / good.name)
    (tmp_path / "link" / good.name).symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder" / good.name).mkdir()
    with pytest.warns(UserWarning, match="wrong/backbone.safetensors has metadata"):
        function, args = commands.parse(["list", "--folder", str(tmp_path)])
        function(args)
    assert f"{good}: byol, resnet18, demo, 8 epochs" in capsys.readouterr().out
    monkeypatch.setenv("STL_WEIGHTS", "all")
    with pytest.warns(UserWarning, match="No ResNet was found"):
        chosen = choices.ask([tmp_path], "demo")
    assert [one.name for one in chosen] == ["random", "BYOL"]


def test_fields_that_are_unknown_or_missing_are_fine(tmp_path):
    about = {"knn": None, "minutes": 3, "made up": [{"a": 1}], "mean": "x"}
    assert weight_files.read_about(write(tmp_path / "a.safetensors", about)) == about
    assert weight_files.describe({"converted": ""}).startswith("unnamed, resnet18")


def test_control_characters_do_not_reach_a_terminal(tmp_path):
    name = "é\x1b[2J\n\u202eend"
    shown = "é\\x1b[2J\\n\\u202eend"
    for about in ({"converted": "x", "name": name}, {"method": name}, {"data": name}):
        assert shown in weight_files.describe(about)
        assert weight_files.describe(about).isprintable()
    file = write(tmp_path / "a.safetensors", {"backbone": "resnet18", "name": name})
    assert choices.from_file(file).name == shown


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("layer1.0.bn1.weight", lambda t: t.fill_(torch.nan), "NaN or infinity"),
        ("bn1.running_mean", lambda t: t.fill_(torch.inf), "NaN or infinity"),
        ("bn1.running_var", lambda t: t.fill_(-1e-3), "a negative variance"),
        ("bn1.bias", lambda t: t.to(torch.int8), "is of type int8"),
        ("bn1.bias", lambda t: t.to(torch.complex64), "is of type complex64"),
    ],
)
def test_weights_that_are_no_numbers_are_not_loaded(name, change, message, tmp_path):
    state = backbones.build(stem="small").state_dict()
    state[name] = change(state[name])
    file = write(tmp_path / "bad.safetensors", {"stem": "small"}, **state)
    with pytest.raises(ValueError, match=rf"bad\.safetensors .*'{name}' .*{message}"):
        weight_files.load_backbone(file)


def test_a_backbone_file_can_be_read_by_whom_the_umask_lets(tmp_path):
    before = os.umask(0o022)
    try:
        file = tmp_path / "backbone.safetensors"
        weight_files.save_backbone(file, backbones.build(stem="small"), GOOD)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
