"""The questions of a notebook: checked, remembered, and answered by pressing Enter."""

import dataclasses
import json
import math
import shutil

import PIL.Image
import pytest
import small
import torch

from helpers import data, methods
from helpers.models import weight_files
from helpers.notebook import answers, pace
from helpers.training.settings import configure


@pytest.fixture(autouse=True)
def _no_answers_from_outside(monkeypatch, tmp_path):
    names = (*answers.PRESET, "STL_STORAGE", "STL_SEEDS", "STL_GO_ON")
    names += ("STL_SUPERVISED_EPOCHS", "STL_IMAGE_SIZE", "STL_WEIGHTS")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STL_CHECKPOINTS", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def save_run(folder, done, **changes):
    """A backbone file as pre-training writes it after some epochs."""
    about = {
        "backbone": "resnet18",
        "method": "pirl",
        "data": "demo-tiny, 2 labels a class",
        "recipe": "minutes",
        "epochs": 9,
        "epochs_done": done,
        "init": "random",
    }
    weight_files.save_backbone(
        folder / "run" / weight_files.BACKBONE_FILE, small.backbone(), about | changes
    )


def test_enter_throughout_gives_the_defaults_of_this_machine(
    keyboard, monkeypatch, capsys
):
    keyboard(*[""] * 6)
    chosen = answers.ask_pretraining("pirl")
    assert (chosen.source, chosen.labels, chosen.recipe) == ("demo", None, "minutes")
    assert (chosen.method, chosen.init, chosen.mirror) == ("pirl", "random", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(pace, "images_per_second", lambda chosen: 2_000.0)
    keyboard(*[""] * 6)
    on_gpu = answers.ask_pretraining("byol")
    assert (on_gpu.source, on_gpu.recipe, on_gpu.epochs) == ("stl10", "gpu_hour", 58)
    assert "About 58 of the recipe's 120 epochs take an hour" in capsys.readouterr().out


def test_methods_without_the_recipe_for_an_hour_on_a_gpu_take_the_long_one(
    keyboard, monkeypatch, capsys
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(pace, "images_per_second", lambda chosen: 2_000.0)
    keyboard("", "dino", *[""] * 6)
    chosen = answers.ask_pretraining()
    assert (chosen.method, chosen.recipe, chosen.epochs) == ("dino", "long", 58)
    assert "gpu_hour" not in capsys.readouterr().out


def test_a_baseline_is_like_the_backbones_it_will_be_compared_with(
    keyboard, monkeypatch
):
    """Every method that has a recipe has the same stem and side in it."""

    def asked(source):
        keyboard("", source)
        chosen = answers.ask_baseline()
        return chosen.image_size, chosen.stem

    def pretrained(recipe):
        every = methods.METHODS
        known = [name for name in every if recipe in methods.get(name).recipes]
        found = [configure(method, recipe) for method in known]
        ((side, stem),) = {(one.image_size, one.stem) for one in found}
        return side, stem

    assert asked("demo") == pretrained("minutes") == (40, "imagenet")
    assert asked("stl10") == pretrained("hour") == (48, "imagenet")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert asked("stl10") == pretrained("gpu_hour") == (96, "pool")


def test_photographs_without_a_gpu_get_the_recipe_for_them(keyboard, capsys):
    """Its epochs are those of a small data set: of a larger one, fewer show as many."""
    recipe = configure("pirl", "hour")
    for first, source, images in (
        ([], "imagenette", 9_469),
        (["no"], "stl10", 105_000),
    ):
        keyboard("", *first, source, "", "", "", "")
        chosen = answers.ask_pretraining("pirl")
        assert chosen.recipe == "hour"
        least = math.ceil(recipe.warmup_epochs) + 1
        expected = max(least, round(recipe.epochs * 9_469 / images))
        assert chosen.epochs == expected
        configure("pirl", "hour", epochs=chosen.epochs)
    said = f"With 105,000, {expected} epochs take about as long"
    assert said in capsys.readouterr().out


def test_images_of_a_folder_are_counted_for_the_pace(keyboard, tmp_path, monkeypatch):
    for number in range(30):
        PIL.Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(pace, "images_per_second", lambda chosen: 1 / 3)
    keyboard("", f"folder:{tmp_path}", "", "", "", "")
    chosen = answers.ask_pretraining("byol")
    assert (chosen.recipe, chosen.epochs) == ("gpu_hour", 34)  # 51 minutes of steps


def test_the_demo_has_its_recipe_on_a_gpu_too(keyboard, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    keyboard("", "demo", "", "", "", "")
    assert answers.ask_pretraining("byol").recipe == "minutes"


def test_a_run_that_began_from_a_file_is_offered_where_only_its_copy_is_left(
    keyboard, tmp_path, monkeypatch
):
    here, drive = tmp_path / "here", tmp_path / "drive"
    monkeypatch.setenv("STL_CHECKPOINTS", str(here))
    monkeypatch.setattr(answers.colab, "mirror", lambda where: drive)
    start = small.backbone_file(here, "first", data="stl10")
    keyboard("", "demo-tiny", "2", "minutes", "9", str(start))
    began = answers.ask_pretraining("pirl")
    save_run(drive, 4, init=weight_files.identify(start))
    shutil.copytree(start.parent, drive / "first")
    shutil.rmtree(here)
    keyboard("", "yes")
    again = answers.ask_pretraining("pirl")
    assert again == dataclasses.replace(
        began, init=str(drive / "first" / weight_files.BACKBONE_FILE)
    )


def test_wrong_answers_are_asked_again(keyboard, capsys):
    keyboard("", "folder:/no/such/folder", "demo-tiny", "5", "4", "", "0", "3", "")
    chosen = answers.ask_pretraining("pirl")
    assert (chosen.source, chosen.labels, chosen.epochs) == ("demo-tiny", "4", 3)
    said = capsys.readouterr().out
    assert "There is no folder '/no/such/folder'" in said
    assert "ask for 1 to 4 a class" in said


def test_what_no_file_may_be_called_and_no_share_are_asked_again(keyboard, capsys):
    keyboard("", "demo-tiny", "150%", "50%", "", "3", "x" * 300, "random")
    chosen = answers.ask_pretraining("pirl")
    assert (chosen.labels, chosen.init) == ("50%", "random")
    assert "Unknown number of labels '150%'" in capsys.readouterr().out


@pytest.mark.parametrize("ask", [answers.ask_baseline, answers.ask_evaluation])
def test_images_without_labels_are_no_answer_where_labels_are_needed(
    ask, keyboard, tmp_path, capsys
):
    PIL.Image.new("RGB", (32, 32), "red").save(tmp_path / "photo.png")
    keyboard("", f"folder:{tmp_path}", "demo-tiny", *[""] * 6)
    assert ask().source == "demo-tiny"
    assert "has no labels: name a folder with one folder" in capsys.readouterr().out
    keyboard("", f"folder:{tmp_path}", *[""] * 6)
    assert answers.ask_pretraining("byol").source == f"folder:{tmp_path}"


def test_nothing_is_loaded_while_asking(keyboard, monkeypatch):
    monkeypatch.setattr(data, "load", lambda *_, **__: pytest.fail("loaded"))
    keyboard(*[""] * 20)
    answers.ask_pretraining("byol")
    answers.ask_baseline()
    answers.ask_evaluation(fine_tuning=True)


def test_the_other_methods_are_asked_for(keyboard):
    keyboard("", "swav", *[""] * 5)
    assert answers.ask_pretraining().method == "swav"


def test_an_unfinished_run_is_the_default_and_asks_no_more(keyboard, tmp_path, capsys):
    keyboard("", "demo-tiny", "2", "minutes", "9", "")
    first = answers.ask_pretraining("pirl")
    prompts = keyboard("", "")  # where to keep it; go on
    assert answers.ask_pretraining("pirl") == first  # killed in the first epoch
    save_run(tmp_path, done=4)
    prompts = keyboard("", "")
    assert answers.ask_pretraining("pirl") == first
    assert len(prompts) == 2
    assert "unfinished: pirl, demo-tiny, 4 of 9 epochs" in capsys.readouterr().out
    keyboard("", "no", *[""] * 5)
    assert answers.ask_pretraining("pirl").source == "demo"


def test_a_finished_run_is_shown_again_by_default(
    keyboard, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(pace, "images_per_second", lambda chosen: 2_000.0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    keyboard(*[""] * 6)
    first = answers.ask_pretraining("pirl")
    about = {"data": "stl10", "recipe": first.recipe, "epochs": first.epochs}
    save_run(tmp_path, done=first.epochs, **about)
    # Measured again, another number of epochs would take an hour: another run.
    monkeypatch.setattr(pace, "images_per_second", lambda chosen: 2_100.0)
    keyboard("", "")
    assert answers.ask_pretraining("pirl") == first
    said = f"finished: pirl, stl10, {first.epochs} of {first.epochs} epochs"
    assert said in capsys.readouterr().out


def test_a_run_that_began_from_a_file_is_found(keyboard, tmp_path, capsys):
    start = tmp_path / "start" / weight_files.BACKBONE_FILE
    weight_files.save_backbone(start, small.backbone(), {"backbone": "resnet18"})
    keyboard("", "demo-tiny", "2", "minutes", "9", str(start))
    first = answers.ask_pretraining("pirl")
    save_run(tmp_path, done=5, init=weight_files.identify(str(start)))
    keyboard("", "")
    assert answers.ask_pretraining("pirl") == first
    assert "unfinished: pirl, demo-tiny, 5 of 9 epochs" in capsys.readouterr().out


@pytest.mark.parametrize("reason", ["environment", "other method", "gone"])
def test_what_is_not_to_go_on_is_not_offered(
    reason, keyboard, tmp_path, monkeypatch, capsys
):
    keyboard("", "demo-tiny", "2", "minutes", "9", "")
    answers.ask_pretraining("pirl")
    save_run(tmp_path, done=4)
    if reason == "environment":
        monkeypatch.setenv("STL_EPOCHS", "2")
    if reason == "gone":
        file = tmp_path / answers.FILE
        kept = json.loads(file.read_text())
        kept["pirl"]["source"] = "folder:/no/such/folder"
        file.write_text(json.dumps(kept))
    keyboard(*[""] * 6)
    answers.ask_pretraining("byol" if reason == "other method" else "pirl")
    assert "unfinished" not in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "[]", '{"pirl": 3}', '{"pirl": {"epochs": "x"}}'])
def test_a_damaged_file_of_answers_is_no_obstacle(text, keyboard, tmp_path):
    (tmp_path / answers.FILE).write_text(text)
    keyboard(*[""] * 6)
    assert answers.ask_pretraining("pirl").source == "demo"


def test_answers_survive_the_machine_on_the_mirror(keyboard, tmp_path, monkeypatch):
    drive = tmp_path / "drive"
    monkeypatch.setattr(answers.colab, "mirror", lambda where: drive)
    keyboard("", "demo-tiny", "2", "minutes", "9", "")
    first = answers.ask_pretraining("pirl")
    monkeypatch.setenv("STL_CHECKPOINTS", str(tmp_path / "a new machine"))
    save_run(drive, done=3)
    keyboard("", "")
    assert answers.ask_pretraining("pirl") == first


def test_any_backbone_file_may_be_the_start(keyboard, tmp_path):
    save_run(tmp_path, done=9)
    file = tmp_path / "run" / weight_files.BACKBONE_FILE
    keyboard("", "demo-tiny", "", "", "3", str(file))
    assert answers.ask_pretraining("byol").init == str(file)


def test_a_folder_of_ones_own_is_a_path_or_nothing(keyboard, tmp_path):
    folder, empty = tmp_path / "photos", tmp_path / "empty"
    for place in (folder, empty):
        place.mkdir()
    PIL.Image.new("RGB", (8, 8)).save(folder / "a.png")
    keyboard(str(tmp_path / "none"), str(empty), str(folder), "")
    assert answers.ask_folder() == folder
    assert answers.ask_folder() is None


def test_a_method_of_the_environment_is_not_asked_for_again(keyboard, monkeypatch):
    for method in ("simclr", "vicreg"):
        monkeypatch.setenv("STL_METHOD", method)
        keyboard()
        assert answers.ask_pretraining().method == method


def test_what_training_would_refuse_is_asked_again(keyboard, tmp_path, capsys):
    for number in range(4):
        picture = PIL.Image.effect_noise((40, 40), 60).convert("RGB")
        picture.save(tmp_path / f"{number}.png")
    unlabelled = f"folder:{tmp_path}"
    keyboard("", "supcon", unlabelled, "demo", "", "", "2000000", "3", "")
    chosen = answers.ask_pretraining()
    assert (chosen.method, chosen.source, chosen.epochs) == ("supcon", "demo", 3)
    assert "1000000 at most" in capsys.readouterr().out
