"""Images of one's own on the command line."""

import os
import pathlib
import subprocess
import sys

import hostile
import numpy as np
import PIL.Image
import pytest
import small
import torch

from helpers.cli import command_line, commands
from helpers.models import weight_files

PROJECT = pathlib.Path(__file__).resolve().parents[2]
SHORT = "--epochs 1 --batch-size 4 --precision 32-true"


@pytest.fixture
def pets(tmp_path):
    """Two class folders with five photographs each, 120 px wide."""
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        for number in range(5):
            file = tmp_path / "pets" / name / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 256, (80, 120, 3), dtype=np.uint8)
            PIL.Image.fromarray(pixels).save(file)
    return tmp_path / "pets"


@pytest.mark.usefixtures("small_backbone")
@pytest.mark.filterwarnings("error:.*only enlarges it")
def test_own_images_are_kept_as_large_as_they_are_shown(pets, run):
    evaluate = "evaluate --weights random --protocols k-nn"
    for command in (f"pretrain simclr {SHORT}", "baseline --epochs 1", evaluate):
        for size, kept in ((32, ""), (120, " at 160 px")):
            line = f"{command} --data folder:{pets} --size {size}"
            status, printed, error = run(line)
            assert status == 0, error
            assert f"folder:pets{kept}: 2 classes, " in printed
            assert "; of long images the middle is kept" in printed


@pytest.mark.usefixtures("small_backbone")
def test_a_side_that_was_asked_for_is_kept_and_said(pets, run):
    line = f"pretrain simclr {SHORT} --data folder:{pets} --size 48 --folder-fit pad"
    with pytest.warns(UserWarning, match="kept at 32 px but shown at 48 px"):
        status, printed, _ = run(f"{line} --folder-image-size 32")
    assert status == 0
    assert "long images are padded with black" in printed


@pytest.mark.usefixtures("small_backbone")
def test_supervised_training_says_that_images_are_only_enlarged(pets, run):
    line = f"baseline --data folder:{pets} --epochs 1 --seeds 1 --batch-size 4"
    with pytest.warns(UserWarning, match="kept at 32 px but shown at 48 px"):
        status, _, error = run(f"{line} --size 48 --folder-image-size 32")
    assert status == 0, error


def test_a_side_of_zero_is_not_the_default(pets, run):
    status, _, error = run(f"baseline --data folder:{pets} --folder-image-size 0")
    assert (status, error) == (
        2,
        "Images cannot be kept at 0 px: choose 1 to 10,000.\n",
    )


def test_a_warning_is_one_plain_sentence(pets):
    (pets / "cat" / "notes.txt").write_text("no image")
    (pets / "cat" / "bro\x1b[2Jken\n.jpg").write_text("no image")
    # It ends before training, because there are no labels.
    line = f"pretrain supcon --data folder:{pets / 'cat'}"
    command = [sys.executable, "-m", "helpers", *line.split()]
    asked = {"capture_output": True, "text": True, "cwd": PROJECT}
    done = subprocess.run(command, **asked)
    *notes, error = done.stderr.splitlines()
    assert all(note.startswith("Note: ") for note in notes)
    note = notes[0]
    assert note.startswith(
        "Note: Left out: 1 with an ending that Pillow does not read (.txt); "
    )
    assert "Pillow knows no image like it" in note
    assert "\x1b" not in done.stderr
    assert "learns from labels" in error
    # Of several processes on a machine, the first says it.
    done = subprocess.run(command, env=os.environ | {"LOCAL_RANK": "1"}, **asked)
    assert "Note: " not in done.stderr
    assert "learns from labels" in done.stderr


@pytest.mark.usefixtures("small_backbone")
def test_a_batch_is_no_larger_than_all_images(pets, run):
    line = f"pretrain simclr --epochs 1 --size 32 --data folder:{pets}"
    status, printed, error = run(f"{line} --batch-size 64")
    assert status == 0, error
    assert "There are only 8 images, so the batch size is 8 instead of 64" in printed
    assert "a single step: ask for more epochs.\n" in printed


@pytest.mark.parametrize("command", ["baseline", "evaluate --weights random"])
def test_a_single_class_is_one_sentence(command, pets, run):
    for kind in ("train", "test"):
        (pets.parent / "one" / kind).mkdir(parents=True)
    (pets / "cat").rename(pets.parent / "one" / "train" / "cat")
    (pets / "dog").rename(pets.parent / "one" / "test" / "cat")
    status, _, error = run(f"{command} --data folder:{pets.parent / 'one'}")
    assert (status, error.count("\n")) == (2, 1)
    assert error.endswith(
        "folder:one has a single class, so there is nothing to tell apart: give it at "
        "least two class folders.\n"
    )


def test_a_single_image_to_learn_from_is_one_sentence(pets, run):
    for file in list(pets.rglob("*.png"))[1:]:
        file.unlink()
    status, _, error = run(f"pretrain simclr --data folder:{pets}")
    assert (status, error) == (
        2,
        "folder:pets has 1 image(s) to learn from, fewer than one batch of 64: add "
        "images.\n",
    )


def test_a_name_cannot_change_what_a_terminal_shows(run, tmp_path):
    folder = tmp_path / "runs" / "a\x1b]0;owned\x07"
    network = torch.nn.Linear(1, 1)
    weight_files.save_backbone(folder / weight_files.BACKBONE_FILE, network, {})
    status, printed, _ = run(f"list --folder {tmp_path / 'runs'}")
    assert (status, printed.count("\x1b")) == (0, 0)
    assert r"a\x1b]0;owned\x07" in printed


ODD_PATHS = (
    "~nobody-here",
    "~nobody-here/pets",
    "a\0b",
    "\ud800",
    5_000 * "x",
    " ",
    ".x/..",
)


@pytest.mark.parametrize("path", ODD_PATHS)
def test_any_text_for_a_path_is_one_sentence(path, run_words, tmp_path):
    folder, place = f"folder:{path}", str(tmp_path / "x.npz")
    weights = ["--weights", "random"]
    for words in (
        ["pretrain", "simclr", "--data", path],
        ["pretrain", "simclr", "--data", folder],
        ["pretrain", "simclr", "--data", "demo-tiny", "--init", path],
        ["evaluate", "--weights", path, "--data", "demo-tiny"],
        ["embed", *weights, "--images", path, "--output", place],
        ["embed", *weights, "--images", folder, "--output", place],
    ):
        status, _, error = run_words(words)
        assert status in (1, 2), (words, error)
        assert "For full helptext" in error or hostile.is_sentence(error.rstrip()), (
            error
        )


def test_a_path_without_folder_is_answered_with_what_to_write(pets, run):
    status, _, error = run(f"pretrain simclr --data {pets}")
    assert (status, error) == (2, f"'{pets}' is a path: write 'folder:{pets}'.\n")


def test_a_reader_that_has_enough_ends_a_command_in_silence():
    command = [sys.executable, "-m", "helpers", "evaluate", "--help"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=PROJECT
    )
    process.stdout.close()  # before a word is printed, as `head` closes it after some
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0


@pytest.mark.usefixtures("small_backbone")
def test_nothing_that_is_read_is_written_over(pets, run, tmp_path):
    told = {"data": "folder:pets", "fit": "pad", "evaluation_size": 32}
    weights = small.backbone_file(tmp_path, "run", **told)
    photo = pets / "cat" / "0.png"
    before = weights.read_bytes(), photo.read_bytes()
    for line in (
        f"evaluate --weights {weights} --data folder:{pets} --protocols linear-probe "
        f"--classifier {weights}",
        f"search {photo} --weights {weights} --images {pets} --output {photo}",
        f"search {pets}/dog/1.png --weights {weights} --images {pets} --output {photo}",
        f"export --weights {weights} --output {weights}",
    ):
        status, _, error = run(line)
        assert (status, "is read here and would be lost" in error) == (2, True), error
    assert (weights.read_bytes(), photo.read_bytes()) == before


def test_images_are_prepared_as_those_of_a_backbones_own_folder(pets, tmp_path):
    told = {"data": "folder:pets", "fit": "pad", "stored_size": 48}
    weights = small.backbone_file(tmp_path, "run", **told)
    line = ["evaluate", "--weights", str(weights), "--data", f"folder:{pets}"]
    images = command_line.parse(line)[1].images
    assert (images.folder_fit, images.folder_image_size) == ("pad", 48)
    chosen = command_line.parse([*line, "--folder-fit", "crop"])[1].images
    assert chosen.folder_fit == "crop"


def test_larger_views_of_fine_tuning_need_larger_images(pets, tmp_path):
    weights = small.backbone_file(tmp_path, "run", data="folder:pets", stored_size=96)
    line = ["evaluate", "--weights", str(weights), "--data", f"folder:{pets}", "--size"]
    baseline = command_line.parse(["baseline", "--size", "224"])[1]
    whole = baseline.training.view.whole_size
    assert whole > 224
    for size, kept in (("48", 96), ("224", whole)):
        found = command_line.parse([*line, size])[1]
        assert found.images.folder_image_size == kept
    with pytest.raises(SystemExit):  # which names the flag, and not int()
        command_line.parse([*line, "²"])
    typed = command_line.parse([*line, "224", "--folder-image-size", "50"])[1]
    assert typed.images.folder_image_size == 50


@pytest.mark.usefixtures("small_backbone")
def test_a_classifier_is_scored_on_its_own_images_and_no_others(pets, tmp_path, run):
    file = tmp_path / "mine.safetensors"
    short = f"--epochs 1 --batch-size 4 --seeds 1 --size 40 --classifier {file}"
    status, _, error = run(f"baseline --data folder:{pets} {short}")
    assert status == 0, error
    status, _, error = run(f"evaluate --weights {file}")
    assert status == 2
    assert "has learned from folder:" in error
    line = ["evaluate", "--weights", str(file), "--data", f"folder:{pets}"]
    assert command_line.parse(line)[1].training.view.size == 40


def test_a_state_is_evaluated_as_the_backbone_of_its_run(tmp_path, monkeypatch):
    monkeypatch.setenv("STL_CHECKPOINTS", str(tmp_path / "runs"))
    file = small.backbone_file(tmp_path, "run", data="cifar10", image_size=40)
    network, about = weight_files.load_backbone(file)
    state = file.with_name("state-00001-1a2b3c4d.pt")
    weights = {
        f"backbone.{name}": value for name, value in network.state_dict().items()
    }
    torch.save({"method": weights, "network": about}, state)
    of_state, of_file = (
        command_line.parse(["evaluate", "--weights", str(one)])[1]
        for one in (state, file)
    )
    assert of_state.training == of_file.training
    assert of_state.training.view.size == 40
    assert of_state.images == of_file.images
    assert of_state.images.data == "cifar10"
    assert of_state.weights.endswith("backbone.safetensors")


def test_a_larger_side_than_images_were_kept_at_is_what_the_network_sees(tmp_path):
    told = {"data": "folder:pets", "stored_size": 48, "evaluation_size": 48}
    weights = str(small.backbone_file(tmp_path, "run", **told))
    for size, kept in ((None, 48), (32, 48), (128, 128)):
        assert commands._network(weights, size=size)[1]["stored_size"] == kept


def test_the_home_folder_is_understood_in_every_flag(monkeypatch, tmp_path, run):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # Windows
    line = ["pretrain", "byol", "--checkpoints=~/runs", "--mirror", "~"]
    location = command_line.parse(line)[1].location
    assert (location.checkpoints, location.mirror) == (tmp_path / "runs", tmp_path)
    for command in ("list", "results"):
        status, _, error = run(f"{command} --folder nowhere")
        assert (status, error) == (2, "There is no folder 'nowhere': check the path.\n")
