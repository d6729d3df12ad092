"""The command line: defaults, input that is refused, and whole runs from a shell."""

import csv
import dataclasses
import io
import json
import pathlib
import re
import signal
import sys

import numpy as np
import PIL.Image
import pytest
import safetensors.torch
import small
import torch
from torch._dynamo.exc import Unsupported

from helpers import __main__, data, files, methods
from helpers.cli import command_line
from helpers.data import decoding
from helpers.evaluation import embedding, protocols, results
from helpers.models import classifier_files, encoding, weight_files
from helpers.training import checkpoints, settings, signals

PROJECT = pathlib.Path(__file__).resolve().parents[2]
SHORT = "--precision 32-true --size 20 --batch-size 16 --epochs"


def pretraining(line):
    """Settings for which a command line asks."""
    return command_line.parse(["pretrain", *line.split()])[1].settings


@pytest.mark.parametrize("method", methods.METHODS)
def test_the_method_comes_first_or_as_a_flag(method):
    expected = settings.configure(method, epochs=5)
    assert pretraining(f"{method} --epochs 5") == expected
    assert pretraining(f"--method {method} --epochs 5") == expected
    assert pretraining(f"--epochs=5 --method={method}") == expected


def test_defaults_follow_what_they_depend_on(tmp_path):
    assert pretraining("byol") == settings.configure("byol")
    chosen = pretraining("pirl --recipe=long --epochs 3")
    assert chosen == settings.configure("pirl", "long", epochs=3)
    assert pretraining("byol --recipe long --backbone vgg16").stem == "imagenet"
    assert pretraining("byol --recipe long --init imagenet").stem == "imagenet"
    assert pretraining("simclr --recipe gpu_hour --epochs 25").warmup_epochs == 1.25
    # The recipe's own views are too small for it.
    assert pretraining("simclr --backbone alexnet --size 96").options.view.size == 96
    file = tmp_path / "backbone.safetensors"
    weight_files.save_backbone(
        file, torch.nn.Linear(1, 1), {"backbone": "resnet18", "image_size": 72}
    )
    for weights, size in ((str(file), 72), ("random", 48), ("nowhere", 48)):
        args = command_line.parse(["evaluate", "--weights", weights])[1]
        assert args.training == protocols.supervised_settings(size)


def test_the_side_of_whole_images_is_said(tmp_path, run, small_backbone):
    def said(weights):
        line = f"evaluate --weights {weights} --data demo-tiny --size 30"
        return run(f"{line} --protocols k-nn")[1].splitlines()[0]

    unknown = small.backbone_file(tmp_path, "unknown")
    known = small.backbone_file(tmp_path, "known", evaluation_size=32)
    assert "at 40 px, four thirds of --size" in said("random")
    assert "at 40 px, four thirds of --size" in said(unknown)
    assert "at 32 px, the side its file names" in said(known)


def test_a_backbone_is_scored_on_the_images_it_has_learned_from(tmp_path, run):
    file = tmp_path / "backbone.safetensors"

    def scored_on(data, *more):
        about = {"backbone": "resnet18", "data": data}
        about |= {"stored_size": 96, "fit": "squash"}
        weight_files.save_backbone(file, torch.nn.Linear(1, 1), about)
        return command_line.parse(["evaluate", "--weights", str(file), *more])[1].images

    assert scored_on("imagenette, 100 labels a class").data == "imagenette"
    assert scored_on("cifar10").data == "cifar10"
    assert scored_on("cifar10", "--data", "stl10").data == "stl10"
    assert scored_on("elsewhere").data == "demo"
    kept = scored_on("imagenette", "--data", "folder:/pets")
    assert (kept.folder_image_size, kept.folder_fit) == (96, "squash")
    pets = "folder:pets at 160 px"
    assert scored_on(pets, "--data", "folder:/pets").data == "folder:/pets"
    with pytest.raises(ValueError, match="learned from folder:pets at 160 px: name"):
        scored_on(pets)
    with pytest.raises(SystemExit):  # the help comes first
        scored_on(pets, "--help")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("train", "Unknown command 'train': choose one of pretrain, evaluate"),
        ("pretrain --method moco9", "Unknown method 'moco9': choose one of"),
        ("pretrain moco9 --epochs 5", "Unknown method 'moco9': choose one of"),
        ("pretrain pirl --method byol", "Choose one method: pirl or byol."),
        ("pretrain pirl --recipe day", "Unknown recipe 'day' of pirl: choose one of"),
        ("pretrain byol --backbone vgg", "Unknown backbone 'vgg': choose one of"),
        ("pretrain byol --data nowhere", "Unknown data 'nowhere': choose one of"),
        ("pretrain byol --data folder:nowhere", "There is no folder 'nowhere'"),
        ("evaluate --weights nowhere", "There is no file 'nowhere'"),
        ("evaluate --weights random --backbone alexnet", "at least 63 px, these have"),
        ("pretrain simclr --backbone alexnet", "at least 63 px, these have 40"),
        ("baseline --backbone vgg11 --size 20", "at least 32 px, these have 20"),
        ("export --weights nowhere --output a.pth", "There is no file 'nowhere'"),
        ("predict --weights nowhere a.jpg", "There is no file 'nowhere'"),
        ("embed --weights random --images nowhere --output a.npz", "no file or folder"),
        ("search --weights random --images . nowhere.jpg", "no file or folder"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(line, complaint, run):
    status, _, error = run(line)
    assert status == 2
    assert complaint in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("pretrain byol --epochs many", "invalid literal for int"),
        (
            "pretrain --epochs 5 pirl",
            "Name a method, as in `python -m helpers pretrain pirl`",
        ),
        ("pretrain pirl --recipe", "Missing value for argument"),
        ("pretrain simclr --negatives 9", "Unrecognized options: --negatives"),
        ("pretrain byol --epochs 0", "epochs must be at least 1, not 0"),
        ("pretrain byol --size 16", "at least 17 px, these have 16"),
        ("pretrain byol --nothing 3", "Unrecognized options: --nothing"),
        ("evaluate", "--weights"),
        ("evaluate --weights random --protocols svm", "invalid choice 'svm'"),
        ("evaluate --weights random --seeds 0", "seeds must be at least 1, not 0"),
        (f"baseline --seeds {2**63}", "seeds must be at most 10,000, not 92233720368"),
        ("pretrain byol --folder-image-size 0", "Images cannot be kept at 0 px"),
        ("pretrain byol --size 18446744073709551616", "size must be a whole number"),
        ("pretrain byol --hidden-dim 0", "hidden_dim must be at least 1, not 0"),
        (
            "pretrain byol --warmup-epochs inf",
            "warmup_epochs must be at most 1,000,000",
        ),
        ("pretrain byol --workers -1", "workers must be at least 0, not -1"),
        ("baseline --optimizer adagrad", "invalid choice 'adagrad'"),
        ("baseline --validation 1", "validation is in"),
        ("export --weights random --output a.h5", "a.h5 has no known ending"),
        ("export --weights random --output a.pth --size 0", "size must be at least 1"),
        ("pretrain pirl --cell 18446744073709551616", "cell must be 1 to 10,000 px"),
        ("predict --weights a", "Name the images: python -m helpers predict"),
        ("predict --weights a b.jpg --output c.txt", "c.txt has no known ending"),
        ("embed --weights a --images b --output c.txt", "c.txt has no known ending"),
        ("search --weights a --images b c --output d.txt", "d.txt has no known end"),
        ("baseline --classifier a.pth", "a.pth has no known ending"),
        ("evaluate --weights random --classifier a.safetensors", "is a single file"),
    ],
)
def test_a_wrong_flag_is_named_without_a_traceback(line, complaint, run):
    status, _, error = run(line)
    assert status == 2
    assert complaint in " ".join(error.split())
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("raised", "status", "complaint"),
    [
        (OSError("Cannot write a file."), 1, "Cannot write a file."),
        (OSError(122, "Disk quota exceeded"), 1, "The system refuses: Disk quota exc"),
        (OSError(5, "No", "a\nb"), 1, r"The system refuses 'a\nb': No. Check the path"),
        (FloatingPointError("The loss is not a number."), 1, "The loss is not a num"),
        (torch.OutOfMemoryError("CUDA"), 1, "memory is full: lower --batch-size"),
        (RuntimeError("MPS backend out of memory"), 1, "The device's memory is full"),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"), 1, "The device's memory is full"),
        (MemoryError(), 1, "The memory is full: lower --batch-size, --size or"),
        (RuntimeError("DefaultCPUAllocator: can't allocate"), 1, "The memory is full"),
        (RuntimeError("DataLoader worker (pid 9) is killed"), 1, "lower --workers or"),
        (Unsupported("no cc\n"), 1, "compiled here (Unsupported: no cc): give --com"),
        (KeyboardInterrupt("Stopped after step 3."), 130, "Stopped after step 3."),
        (signals.StoppedError("Stopped.", signal.SIGTERM), 143, "Stopped."),
        (KeyboardInterrupt(), 130, "Stopped; what was saved is kept."),
    ],
)
def test_what_goes_wrong_on_the_way_has_its_own_status(
    raised, status, complaint, run, monkeypatch
):
    def fail(*_, **__):
        raise raised

    monkeypatch.setattr(data, "load", fail)
    found, _, error = run("baseline")
    assert found == status
    assert complaint in error


@pytest.mark.parametrize(
    ("command", "ending"),
    [("predict --weights none", "csv"), ("embed --weights none --images", "npz")],
)
def test_an_output_that_is_a_folder_is_refused_before_the_work(
    command, ending, run, tmp_path
):
    place = tmp_path / f"out.{ending}"
    place.mkdir()
    status, _, error = run(f"{command} {tmp_path} --output {place}")
    assert status == 2
    assert f"out.{ending}' is a folder: give the path of a file." in error


def test_only_of_several_processes_another_one_can_have_gone(run, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer")

    monkeypatch.setattr(data, "load", fail)
    with pytest.raises(RuntimeError, match="gloo"):
        run("baseline")
    monkeypatch.setenv("WORLD_SIZE", "2")
    status, _, error = run("baseline")
    assert (status, error.count("\n")) == (1, 1)
    assert error.startswith("Another process of this run has ended")


def test_letters_that_a_file_lacks_are_written_as_numbers(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "żółw").mkdir()
    written = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", written)
    monkeypatch.setattr(sys, "argv", ["helpers", "list", "--folder", "żółw"])
    assert __main__.main() == 0
    written.flush()
    assert b"No backbones in \\u017c\xf3\\u0142w" in written.buffer.getvalue()


@pytest.mark.parametrize(
    ("about", "how"),
    [
        ({"fit": "squash", "stored_size": 40}, {"fit": "squash", "stored_size": 40}),
        ({}, {}),  # of an earlier version, or of another project
    ],
)
def test_a_backbones_images_are_prepared_as_those_it_has_learned_from(
    about, how, run, tmp_path, monkeypatch
):
    file = small.backbone_file(tmp_path, "a", evaluation_size=24, **about)
    PIL.Image.new("RGB", (60, 20)).save(tmp_path / "long.png")
    seen, embed = {}, embedding.embed

    def watch(*args, **chosen):
        seen.update(chosen)
        return embed(*args, **chosen)

    monkeypatch.setattr(embedding, "embed", watch)
    run(f"embed --weights {file} --images {tmp_path} --output {tmp_path / 'a.npz'}")
    assert seen == {"image_size": 24, **how}


@pytest.mark.parametrize("line", ["", "--help", "-h"])
def test_help_lists_the_commands(line, run):
    status, printed, _ = run(line)
    assert status == 0
    for name in command_line.COMMANDS:
        assert re.search(rf"^{name} ", printed, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("line", "usage", "default"),
    [
        ("pretrain byol --help", "pretrain byol", "(default: byol)"),
        ("pretrain pirl --help", "pretrain pirl", "(default: pirl)"),
        ("pretrain --method pirl -h", "pretrain pirl", "(default: pirl)"),
        ("pretrain pirl --recipe long --help", "pretrain pirl", "long)"),
        ("evaluate --help", "evaluate", "--weights"),
    ],
)
def test_help_shows_the_defaults_of_what_was_chosen(line, usage, default, run):
    status, printed, error = run(line)
    assert (status, error) == (0, "")
    assert printed.startswith(f"usage: python -m helpers {usage} [-h]")
    assert default in " ".join(printed.replace("│", " ").split())  # wherever it wraps


@pytest.mark.usefixtures("small_backbone")
def test_the_whole_story_from_a_shell(dataset, run, tmp_path, monkeypatch):
    monkeypatch.setitem(data.SOURCES, "demo", small.source(lambda root: dataset))
    listed = run("list")[1]
    assert listed.startswith("No backbones in ")
    assert "\nNo classifiers in " in listed
    status, printed, _ = run(f"pretrain simclr {SHORT} 2 --stop-after 1")
    assert status == 0
    (folder,) = (tmp_path / "checkpoints").iterdir()
    assert str(folder / "backbone.safetensors") in printed
    for again, epochs in (("", 2), ("--no-resume --stop-after 1", 1)):
        assert run(f"pretrain --method simclr {SHORT} 2 {again}")[0] == 0
        assert len(json.loads((folder / "history.json").read_text())) == epochs
    file = folder / "backbone.safetensors"
    assert f"{file}: simclr, resnet18, small, 1 of 2 epochs" in run("list")[1]

    trained = "--seeds 2 --seed 5 --epochs 1 --head.epochs 2 --head.optimizer lars"
    status, printed, error = run(
        f"evaluate --weights {file} {trained} --figures {tmp_path / 'figures'}"
    )
    assert status == 0, error
    rows = [line for line in printed.splitlines() if line.startswith("| SimCLR")]
    assert [line.split(" | ")[1] for line in rows] == [
        "k-NN",
        "linear probe",
        "MLP head",
        "fine-tuning",
    ]
    assert sorted(file.name for file in (tmp_path / "figures").iterdir()) == [
        "confusion-fine-tuning.png",
        "confusion-k-nn.png",
        "confusion-linear-probe.png",
        "confusion-mlp-head.png",
        "t-sne.png",
    ]
    assert run("baseline --seeds 1 --epochs 1 --size 20 --labels 50%")[0] == 0
    records = [json.loads(f.read_text()) for f in (tmp_path / "results").iterdir()]
    found = {one["protocol"]: one for one in records}
    assert found["fine-tuning"]["seeds"] == found["MLP head"]["seeds"] == 2
    assert found["baseline"]["labels"] == 12
    assert found["baseline"]["data"] == "small, 50% of the labels"
    status, printed, _ = run("results")  # and those that came with the project
    assert printed.count(" | you |") == len(records)
    assert printed.count(" | the project |") == len(list(results.SHIPPED.iterdir()))
    _, printed, _ = run(f"results --folder {tmp_path / 'results'}")
    assert printed.count("\n| ") == len(records)
    assert "the project" not in printed

    kept = (tmp_path / "checkpoints").glob("small-simclr-*/classifier.safetensors")
    names = sorted(file.parent.name.rpartition("-")[0] for file in kept)
    assert names == [
        f"small-simclr-resnet18-1ep-{protocol}"
        for protocol in ("fine-tuning", "linear-probe", "mlp-head")
    ]
    listed = run("list")[1]
    assert listed.count("classifier.safetensors: classifier of 3 classes: ") == 4
    assert "classifier of 3 classes: MLP head, SimCLR, small, " in listed

    for ending in ("pth", "safetensors"):
        output = tmp_path / f"model.{ending}"
        assert run(f"export --weights {file} --output {output}")[0] == 0
        assert output.is_file()
    weights = torch.load(tmp_path / "model.pth", weights_only=True)
    stored = safetensors.torch.load_file(file)
    assert weights.keys() == stored.keys()
    assert all(torch.equal(weights[name], stored[name]) for name in stored)


@pytest.fixture
def photos(dataset, tmp_path):
    """The test images as files, and one that is broken."""
    for number, image in enumerate(dataset.test.images):
        file = tmp_path / "photos" / f"{number:02}.png"
        file.parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)
    (tmp_path / "photos" / "broken.jpg").write_text("no image")
    return tmp_path / "photos"


@pytest.mark.usefixtures("small_backbone")
def test_a_classifier_and_features_are_taken_home(
    dataset, run, photos, tmp_path, monkeypatch
):
    monkeypatch.setitem(data.SOURCES, "demo", small.source(lambda root: dataset))
    file, table = tmp_path / "mine.safetensors", tmp_path / "said.csv"
    trained = f"--seeds 1 --epochs 8 --batch-size 8 --size 32 --classifier {file}"
    status, printed, error = run(f"baseline {trained}")
    assert status == 0, error
    assert f"The classifier (baseline) is {file}." in printed

    photo, missing = photos / "03.png", tmp_path / "none.png"
    status, printed, error = run(
        f"predict --weights {file} {photo} {missing} {photos} --output {table}"
    )
    assert status == 0, error
    lines = printed.splitlines()
    assert lines[0].startswith(f"{photo}: ")
    assert len(lines) == len(dataset.test) + 1
    assert error.splitlines() == [
        f"Left out: There is no file or folder {str(missing)!r}: check the path.",
        f"Left out: {str(photos / 'broken.jpg')!r} cannot be read: Pillow knows no "
        "image like it.",
    ]
    with open(table, newline="") as opened:
        said = {row["file"]: row["class"] for row in csv.DictReader(opened)}
    right = [
        said[str(photos / f"{number:02}.png")] == dataset.classes[label]
        for number, label in enumerate(dataset.test.labels.tolist())
    ]
    (record,) = (tmp_path / "results").iterdir()
    top1 = json.loads(record.read_text())["top1_mean"]
    assert 100 * sum(right) / len(right) == pytest.approx(top1, abs=12)

    features, picture = tmp_path / "features.npz", tmp_path / "neighbours.png"
    line = f"embed --weights {file} --images {photos} --output {features}"
    status, printed, error = run(line)
    assert (status, error.count("Left out: ")) == (0, 1)
    with np.load(features) as stored:
        assert stored["features"].shape == (len(dataset.test), 16)
        assert stored["weights"] == f"mine.safetensors {files.digest(file)}"
    line = f"search --weights {file} --images {photos} {photo} --output {picture}"
    status, printed, error = run(line)
    assert status == 0, error
    found = [line.split("  ") for line in printed.splitlines()[:-1]]
    assert len(found) == 9
    assert str(photo) not in [path for _, path in found]
    assert sorted(found, key=lambda row: -float(row[0])) == found
    assert PIL.Image.open(picture).size[0] > 200

    # A classifier whose images were padded pads new ones too, for features as well.
    classifier, about = classifier_files.load(file)
    classifier_files.save(file, classifier, {**about, "fit": "pad"})
    PIL.Image.effect_noise((180, 60), 80).convert("RGB").save(tmp_path / "long.png")
    status, _, error = run(
        f"embed --weights {file} --images {tmp_path / 'long.png'} --output {features}"
    )
    assert status == 0, error
    padded = decoding.examine(tmp_path / "long.png", about["stored_size"], "pad")
    image = torch.from_numpy(padded.pixels)[None]
    expected = encoding.encode(classifier.backbone, image, image_size=32)
    with np.load(features) as stored:
        assert np.allclose(stored["features"], expected, atol=1e-4)

    status, printed, _ = run(f"export --weights {file} --output {tmp_path}/a.ts --card")
    assert status == 0
    for said in ("images of 32 x 32 px to class logits", "0.485", "0.229"):
        assert said in printed
    assert "0. red" in (tmp_path / "a.ts.md").read_text("utf-8")


@pytest.mark.usefixtures("small_backbone")
def test_what_cannot_be_saved_is_printed_nevertheless(run, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("Cannot write state.tmp into 'here' (no space left).")

    monkeypatch.setattr(checkpoints.Store, "save_state", full)
    monkeypatch.setattr(results, "save", full)
    line = "baseline --data demo-tiny --seeds 1 --epochs 2 --size 20"
    with pytest.warns(UserWarning, match="Cannot write state.tmp"):
        status, printed, error = run(line)
    assert status == 1
    assert "| random | baseline | " in printed
    assert "Cannot write" in error


@pytest.mark.parametrize(
    "flag", ["--results-folder", "--mirror", "--figures", "--classifier"]
)
def test_every_folder_of_evaluate_is_tried_first(flag, run, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "load", lambda *_, **__: pytest.fail("images are read"))
    (tmp_path / "full").write_text("a file, where a folder is needed")
    place = tmp_path / "full" / ("a.safetensors" if flag == "--classifier" else "")
    line = f"evaluate --weights random --protocols fine-tuning {flag} {place}"
    status, _, error = run(line)
    assert status == 1
    assert "Cannot write" in error


@pytest.mark.usefixtures("small_backbone")
def test_what_was_computed_is_printed_after_ctrl_c(run, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(protocols, "fine_tune", stop)
    line = "evaluate --weights random --data demo-tiny --protocols k-nn fine-tuning"
    status, printed, error = run(line)
    assert (status, "| random | k-NN | " in printed) == (130, True)
    assert error.endswith("Stopped; what was saved is kept.\n")


@pytest.mark.usefixtures("small_backbone")
def test_unbalanced_classes_are_said(dataset, run, monkeypatch):
    extra = (dataset.test.labels == 0).nonzero()[:, 0]
    index = torch.cat([torch.arange(len(dataset.test)), extra])
    uneven = dataclasses.replace(dataset, test=dataset.test[index])
    for chosen, said in ((dataset, False), (uneven, True)):
        monkeypatch.setitem(
            data.SOURCES, "demo", small.source(lambda root, one=chosen: one)
        )
        _, printed, _ = run("evaluate --weights random --protocols k-nn")
        assert ("if every class counts the same" in printed) == said


@pytest.mark.usefixtures("small_backbone")
def test_a_protocol_that_cannot_run_does_not_stop_the_others(run, tmp_path):
    line = "evaluate --weights random --data demo-tiny --labels 1"
    status, printed, _ = run(f"{line} --protocols linear-probe k-nn")
    assert status == 0
    assert "| random | k-NN | " in printed
    assert "linear-probe: not run. A linear probe needs two labelled" in printed
    assert [file.name for file in (tmp_path / "results").iterdir()] != []
    status, printed, error = run(f"{line} --protocols linear-probe")
    assert (status, printed.count("|")) == (2, 0)
    assert "A linear probe needs two labelled images" in error


def test_what_keeps_all_protocols_from_running_is_said_once(run, tmp_path):
    for number in range(2):
        pixels = PIL.Image.effect_noise((32, 32), 50)
        pixels.save(tmp_path / f"{number}.png")
    status, _, error = run(f"evaluate --weights random --data folder:{tmp_path}")
    assert (status, error.count("has no labels")) == (2, 1)
    assert error.startswith("k-nn, linear-probe, mlp-head, fine-tuning: not run. ")


@pytest.mark.usefixtures("small_backbone")
def test_of_several_processes_one_prints_and_saves(run, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    line = "evaluate --weights random --data demo-tiny --protocols k-nn"
    status, printed, _ = run(line)
    assert (status, printed.count("|")) == (0, 0)
    assert not (tmp_path / "results").exists()


@pytest.mark.usefixtures("small_backbone", "stl10")
def test_stl10_is_scored_by_all_labels_and_by_its_ten_folds(run, tmp_path):
    line = f"--data stl10 --data-root {tmp_path} --epochs 1 --size 20 --seeds 1"
    assert run(f"baseline {line}")[0] == 0
    status, printed, _ = run(
        f"evaluate --weights random {line} --protocols k-nn linear-probe"
    )
    assert status == 0
    head, _, *rows = [row[2:-2].split(" | ") for row in printed.splitlines()[-8:-2]]
    place = [head.index(title) for title in ("protocol", "labels", "n")]
    assert [tuple(row[column] for column in place) for row in rows] == [
        ("k-NN", "40", "1"),
        ("k-NN", "10 folds × 20", "10"),
        ("linear probe", "40", "1"),
        ("linear probe", "10 folds × 20", "10"),
    ]
    files = [file.name for file in (tmp_path / "results").iterdir()]
    assert len(files) == 6
    assert sum("10-folds" in name for name in files) == 3
    assert run(f"baseline {line} --no-folds --labels 2")[0] == 0
    assert len(list((tmp_path / "results").iterdir())) == 7


@pytest.mark.parametrize(
    "line",
    [
        "pretrain simclr --checkpoints {}",
        "pretrain simclr --mirror {}",
        "evaluate --weights random --results-folder {}",
        "evaluate --weights random --figures {}",
        "baseline --results-folder {}",
        "baseline --classifier {}/classifier.safetensors",
    ],
)
def test_folders_are_tried_before_images_are_read(line, run, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "load", None)
    (tmp_path / "file").write_text("in the way")
    status, _, error = run(line.format(tmp_path / "file"))
    assert status == 1
    assert f"Cannot write into '{tmp_path / 'file'}'" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", ["embed", "search", "export"])
def test_a_backbone_whose_side_nobody_knows_needs_one(command, run, tmp_path):
    """Its stem is that of small images, so ImageNet's side would be far from it."""
    known = small.backbone_file(tmp_path, "a", stem="imagenet")
    unknown = small.backbone_file(tmp_path, "b", stem="small")
    for number in range(2):
        picture = PIL.Image.effect_noise((60, 20), 60).convert("RGB")
        picture.save(tmp_path / f"{number}.png")
    line = {
        "embed": f"embed --images {tmp_path} --output {tmp_path / 'a.npz'}",
        "search": f"search {tmp_path / '0.png'} --images {tmp_path}",
        "export": f"export --output {tmp_path / 'a.pth'}",
    }[command]
    status, _, error = run(f"{line} --weights {unknown}")
    assert status == 2
    assert "give --size" in error
    assert run(f"{line} --weights {unknown} --size 24")[0] == 0
    assert run(f"{line} --weights {known} --size 24")[0] == 0
    assert "size must be" in run(f"{line} --weights {unknown} --size 0")[2]


@pytest.mark.usefixtures("small_backbone")
def test_a_mirror_that_is_not_there_yet_gets_everything(run, tmp_path):
    mirror = tmp_path / "new" / "mirror"
    line = "evaluate --weights random --data demo-tiny --protocols k-nn linear-probe"
    status, _, error = run(f"{line} --mirror {mirror}")
    assert status == 0, error
    assert "No copy was made" not in error
    kept = [file.name for file in mirror.rglob("*") if file.is_file()]
    assert sum(name.endswith(".json") for name in kept) == 2
    assert classifier_files.CLASSIFIER_FILE in kept
