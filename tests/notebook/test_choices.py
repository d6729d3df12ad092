"""The backbones to evaluate, and the random weights they have to beat."""

import os

import pytest
import small
import torch
import torchvision
from torch import nn

from helpers.models import weight_files
from helpers.notebook import choices
from helpers.training import starting_points


def test_every_network_is_compared_with_random_weights_of_its_own(
    tmp_path, monkeypatch
):
    """At the same image size, because accuracy depends on it."""
    small.backbone_file(tmp_path, "a", stem="pool", evaluation_size=56)
    small.backbone_file(tmp_path, "b", method="pirl", stem="pool", evaluation_size=56)
    small.backbone_file(tmp_path, "other images", data="stl10")
    monkeypatch.setenv("STL_WEIGHTS", "all")
    chosen = choices.ask([tmp_path], "demo")
    assert chosen[0].name == "random"
    assert sorted(one.name for one in chosen[1:]) == ["BYOL", "PIRL"]
    assert chosen[0].network == ("resnet18", "pool", "batch")
    assert chosen[0].image_size == 56
    alexnet = {"backbone": "alexnet", "stem": "imagenet", "evaluation_size": 88}
    small.backbone_file(tmp_path, "c", method="simclr", **alexnet)
    chosen = choices.ask([tmp_path], "demo")
    random = [one for one in chosen if one.source == "random"]
    assert {one.network: one.image_size for one in random} == {
        ("resnet18", "pool", "batch"): 56,
        ("alexnet", "imagenet", "batch"): 88,
    }
    assert len({one.name for one in chosen}) == len(chosen) == 5
    assert {one.name for one in random} == {
        "random resnet18, pool stem at 56 px",
        "random alexnet at 88 px",
    }


def test_random_weights_are_normalised_as_those_beside_them(tmp_path, monkeypatch):
    small.backbone_file(tmp_path, "a", norm="group")
    monkeypatch.setenv("STL_WEIGHTS", "all")
    random, trained = choices.ask([tmp_path], "demo")
    assert random.network == trained.network == ("resnet18", "small", "group")
    assert random.about == {"backbone": "resnet18", "stem": "small", "norm": "group"}
    assert isinstance(random.create().bn1, nn.GroupNorm)


def test_random_weights_are_scored_at_every_side(tmp_path, monkeypatch):
    small.backbone_file(tmp_path, "a", evaluation_size=56)
    small.backbone_file(tmp_path, "b", method="pirl", evaluation_size=64)
    monkeypatch.setenv("STL_WEIGHTS", "all")
    random = choices.ask([tmp_path], "demo")[:2]
    assert {(one.name, one.image_size) for one in random} == {
        ("random at 56 px", 56),
        ("random at 64 px", 64),
    }


def test_without_any_file_random_weights_remain(tmp_path, monkeypatch):
    monkeypatch.setenv("STL_WEIGHTS", "random")
    (only,) = choices.ask([tmp_path], "demo")
    assert (only.name, only.network) == ("random", ("resnet18", "imagenet", "batch"))
    monkeypatch.setenv("STL_WEIGHTS", "imagenet")
    assert [one.source for one in choices.ask([], "demo")] == ["random", "imagenet"]


def test_what_was_released_is_the_default_until_there_is_something_of_ones_own(
    tmp_path, monkeypatch, keyboard, capsys
):
    for method, knn in (("byol", 40.0), ("simclr", 60.0)):
        file = small.backbone_file(
            tmp_path, method, method=method, data="imagenette", knn=knn
        )
        (tmp_path / "weights").mkdir(exist_ok=True)
        file.rename(tmp_path / "weights" / f"{method}.safetensors")
    monkeypatch.setattr(weight_files, "RELEASED", tmp_path / "weights")
    keyboard("")
    best = choices.ask([tmp_path], "imagenette")[1]
    assert (best.name, best.is_released) == ("SimCLR", True)
    shown = capsys.readouterr().out
    assert "all methods" not in shown
    assert "1. released with the project: simclr, resnet18, imagenette" in shown
    assert "2. released with the project: byol" in shown
    keyboard("3")
    assert choices.ask_init([tmp_path]) == best.source

    for data, name in (("stl10", "SimCLR"), ("cifar10", "DINO")):
        file = small.backbone_file(
            tmp_path, "another", method="dino", data="cifar10", knn=1.0
        )
        file.rename(tmp_path / "weights" / "dino.safetensors")
        keyboard("")
        assert choices.ask([tmp_path], data)[1].name == name

    small.backbone_file(tmp_path, "own", data="imagenette")
    keyboard("")
    assert [one.name for one in choices.ask([tmp_path], "imagenette")[1:]] == ["BYOL"]


@pytest.mark.usefixtures("small_backbone")
def test_a_folder_is_the_same_images_at_whatever_side_it_was_kept(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("STL_WEIGHTS", "all")
    small.backbone_file(tmp_path, "a", data="folder:pets at 160 px, 5 labels a class")
    small.backbone_file(tmp_path, "b", method="pirl", data="folder:pets at 160 px")
    about = {"method": "simclr", "data": "folder:cats at 160 px"}
    small.backbone_file(tmp_path, "c", **about)
    names = {one.name for one in choices.ask([tmp_path], "folder:pets")}
    assert names == {"random", "PIRL", "BYOL"}


def test_pretraining_can_start_from_any_backbone_that_was_found(
    tmp_path, monkeypatch, keyboard, capsys
):
    file = small.backbone_file(tmp_path, "a", stem="pool")
    keyboard("3")
    assert choices.ask_init([tmp_path]) == str(file)
    assert "byol, resnet18, demo" in capsys.readouterr().out
    keyboard()
    assert choices.ask_init([tmp_path]) == "random"
    monkeypatch.setenv("STL_INIT", "file")
    monkeypatch.setenv("STL_UPLOAD", str(tmp_path / "moco.pth"))
    torch.save(
        {"state_dict": torchvision.models.resnet18().state_dict()},
        tmp_path / "moco.pth",
    )
    source = choices.ask_init([])
    assert starting_points.pretraining_settings(source)["stem"] == "imagenet"


@pytest.mark.usefixtures("small_backbone")
def test_fewer_labels_of_the_same_images_matter_only_where_they_were_learned_from(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("STL_WEIGHTS", "all")
    for method in ("byol", "supcon"):
        small.backbone_file(tmp_path, method, method=method, data="stl10")
    for data, learned in (
        ("stl10", {"BYOL", "SupCon"}),
        ("stl10, 20 labels a class", {"BYOL"}),
    ):
        chosen = choices.ask([tmp_path], data)
        assert {one.name for one in chosen} == {"random", *learned}
    with pytest.raises(ValueError, match="'all' is not one of the answers"):
        choices.ask([tmp_path], "cifar10")


@pytest.mark.usefixtures("small_backbone")
def test_a_finished_backbone_comes_before_a_newer_one_that_was_stopped(
    tmp_path, keyboard, capsys
):
    for run, done, planned in (("old", 3, 3), ("stopped", 1, 4)):
        small.backbone_file(
            tmp_path, run, data="imagenette", epochs_done=done, epochs=planned
        )
        for file in (tmp_path / run).iterdir():
            os.utime(file, (done, planned))  # the stopped one is newer
    keyboard("")
    assert choices.ask([tmp_path], "imagenette")[-1].source.endswith(
        os.path.join("old", "backbone.safetensors")
    )
    shown = capsys.readouterr().out
    assert "1 of 4 epochs" in shown
    assert ", 3 epochs" in shown


def test_a_file_that_was_not_given_is_asked_for_again(keyboard, monkeypatch, capsys):
    keyboard("file", "", "random")
    assert choices.ask_init([]) == "random"
    assert "No file was given: choose again." in capsys.readouterr().out
    monkeypatch.setenv("STL_INIT", "file")
    keyboard("")
    with pytest.raises(ValueError, match="STL_INIT asks for a file: give its path in"):
        choices.ask_init([])


def test_several_backbones_can_be_chosen_by_their_numbers(tmp_path, keyboard, capsys):
    for name, method in (("a", "byol"), ("b", "pirl"), ("c", "byol")):
        small.backbone_file(tmp_path, name, method=method, data="imagenette")
    keyboard("2, 4 3 3")  # 1 is all methods
    chosen = choices.ask([tmp_path], "imagenette")
    assert sorted(one.name for one in chosen) == ["BYOL", "BYOL (2)", "PIRL", "random"]
    assert len({one.source for one in chosen}) == 4
    keyboard("1 2")  # 2 is among all
    names = [one.name for one in choices.ask([tmp_path], "imagenette")]
    assert sorted(names) == ["BYOL", "PIRL", "random"]
    keyboard("2 99", "2 7", "2")
    choices.ask([tmp_path], "imagenette")
    shown = capsys.readouterr().out
    assert "'99' is not one of the answers" in shown
    assert "'only random weights, for comparison' can only be chosen alone." in shown


def test_a_checkpoint_called_random_is_told_apart(tmp_path, keyboard):
    file = tmp_path / "random.pth"
    torch.save(torchvision.models.resnet18().state_dict(), file)
    keyboard("file", str(file))
    names = [one.name for one in choices.ask([], "demo")]
    assert names == ["random", "random (file)"]


@pytest.mark.parametrize("ask", ["weights", "init"])
def test_a_checkpoint_that_cannot_be_used_is_asked_for_again(
    ask, tmp_path, keyboard, capsys, monkeypatch
):
    bad, good = tmp_path / "bad.pth", tmp_path / "good.pth"
    bad.write_bytes(b"no weights")
    torch.save(torchvision.models.resnet18().state_dict(), good)
    keyboard("file", str(bad), str(good))
    if ask == "init":
        assert "good" in choices.ask_init([])
    else:
        assert choices.ask([], "demo")[-1].name == "good"
    assert "bad.pth is not a whole checkpoint" in capsys.readouterr().out
    monkeypatch.setenv("STL_UPLOAD", str(bad))
    keyboard("file")
    with pytest.raises(ValueError, match="is not a whole checkpoint"):
        choices.ask_init([])
