"""Backbone files: whole, with their story, found by people, never half loaded."""

import json
import os
import stat
import warnings

import pytest
import safetensors.torch
import small
import torch
import torchvision

from helpers.cli import command_line
from helpers.models import backbones, conversion, weight_files
from helpers.notebook import choices
from helpers.training import starting_points

ABOUT = {"backbone": "resnet18", "stem": "pool", "epochs_done": 3, "knn": 50.5}
GOOD = {"method": "byol", "data": "demo", "backbone": "resnet18", "epochs_done": 8}


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    network = backbones.build("resnet18", stem="pool")
    return network.to(memory_format=torch.channels_last)


def test_a_backbone_comes_back_with_its_story(tmp_path, backbone):
    file = tmp_path / "run" / weight_files.BACKBONE_FILE
    weight_files.save_backbone(file, backbone, ABOUT)
    loaded, about = weight_files.load_backbone(file)
    assert about == ABOUT
    assert loaded.feature_dim == 512
    expected = backbone.state_dict()
    assert list(loaded.state_dict()) == list(expected)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    original = torchvision.models.resnet18(weights=None)
    stored = {k: v for k, v in safetensors.torch.load_file(file).items()}
    del stored["conv1.weight"]  # the stem is another
    report = original.load_state_dict(stored, strict=False)
    assert report.missing_keys == ["conv1.weight", "fc.weight", "fc.bias"]
    assert report.unexpected_keys == []


def test_torchvisions_own_weights_can_be_loaded(tmp_path):
    original = torchvision.models.resnet18(weights=None).state_dict()
    safetensors.torch.save_file(original, tmp_path / "file.safetensors")
    loaded, about = weight_files.load_backbone(tmp_path / "file.safetensors")
    assert about == {}
    assert torch.equal(loaded.layer4[1].bn2.weight, original["layer4.1.bn2.weight"])


@pytest.mark.parametrize(
    "about",
    [
        {"backbone": "resnet18", "stem": "small", "norm": "group"},
        {"backbone": "alexnet", "stem": "imagenet", "norm": "batch"},
        {"backbone": "vgg11_bn", "stem": "imagenet", "norm": "batch"},
        {"backbone": "densenet121", "stem": "imagenet", "norm": "batch"},
        {"backbone": "efficientnet_b0", "stem": "imagenet", "norm": "batch"},
    ],
    ids=lambda about: about["backbone"],
)
def test_a_backbone_of_every_family_comes_back(tmp_path, about):
    file = tmp_path / weight_files.BACKBONE_FILE
    made = backbones.build(about["backbone"], stem=about["stem"], norm=about["norm"])
    weight_files.save_backbone(file, made, about)
    loaded, found = weight_files.load_backbone(file)
    assert found == about
    assert loaded.feature_dim == made.feature_dim
    expected = made.state_dict()
    assert list(loaded.state_dict()) == list(expected)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_a_classifier_in_the_file_is_left_out(tmp_path):
    with torch.device("meta"):
        original = torchvision.models.alexnet(weights=None).state_dict()
    tensors = {name: torch.zeros(value.shape) for name, value in original.items()}
    file = tmp_path / "alexnet.safetensors"
    metadata = {"about": '{"backbone": "alexnet"}'}
    safetensors.torch.save_file(tensors, file, metadata)
    loaded, _ = weight_files.load_backbone(file)
    assert all((weight == 0).all() for weight in loaded.state_dict().values())


def test_a_truncated_backbone_is_one_sentence(tmp_path, backbone):
    file = tmp_path / "file.safetensors"
    weight_files.save_backbone(file, backbone, ABOUT)
    content = file.read_bytes()
    for length in (0, 5, 1_000, len(content) - 1):
        file.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"not a .*safetensors file: download"):
            weight_files.load_backbone(file)
    with pytest.raises(ValueError, match="There is no file"):
        weight_files.load_backbone(tmp_path / "missing.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("layer1.0.conv1.weight"),
        lambda tensors: tensors.update(stranger=torch.ones(1)),
        lambda tensors: tensors.update({"conv1.weight": torch.ones(64, 3, 7, 7)}),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, backbone, change):
    file = tmp_path / "file.safetensors"
    tensors = {k: v.contiguous() for k, v in backbone.state_dict().items()}
    change(tensors)
    metadata = {"about": '{"backbone": "resnet18", "stem": "pool"}'}
    safetensors.torch.save_file(tensors, file, metadata)
    with pytest.raises(ValueError, match=r"does not fit resnet18.*nothing was loaded"):
        weight_files.load_backbone(file)


def test_backbones_are_found_newest_first_and_damaged_ones_named(tmp_path):
    def make(place, number):
        file = tmp_path / place / weight_files.BACKBONE_FILE
        network = torch.nn.Linear(1, 1)
        weight_files.save_backbone(file, network, {"number": number})
        os.utime(file, (number, number))
        return file

    make("here/a", 1), make("drive/b", 3), make("here/c", 2)
    make("drive/a", 9)  # its copy
    broken = make("here/d", 4)
    broken.write_bytes(b"half a file")
    folders = [tmp_path / name for name in ("here", "drive", "here", "nowhere")]
    with pytest.warns(UserWarning, match="not a whole") as caught:
        found = weight_files.find_backbones(folders)
    assert len(caught) == 1
    assert [about["number"] for _, about in found] == [3, 2, 1]
    broken.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(weight_files.find_backbones(folders)) == 3
    assert weight_files.find_backbones([]) == []


def test_a_backbone_is_described_by_what_people_choose_it_for():
    about = {"method": "pirl", "data": "stl10", "epochs_done": 7, "knn": 61.04}
    sentence = weight_files.describe(about)
    start, knn = "pirl, resnet18, stl10, 7 epochs", "k-NN 61.0 % on the training labels"
    assert sentence == f"{start}, {knn}"
    assert "?" in weight_files.describe({})


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
        function, args = command_line.parse(["list", "--folder", str(tmp_path)])
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
    assert starting_points.from_file(file).name == shown


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("layer1.0.bn1.weight", lambda t: t.fill_(torch.nan), "NaN or infinity"),
        ("bn1.running_mean", lambda t: t.fill_(torch.inf), "NaN or infinity"),
        ("bn1.running_var", lambda t: t.fill_(-1e-3), "a negative variance"),
        ("bn1.bias", lambda t: t.fill_(3e38), "too large to compute with"),
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


def test_a_training_starts_from_the_weights_of_a_file(tmp_path, backbone):
    file = tmp_path / "backbone.safetensors"
    weight_files.save_backbone(
        file, backbone, {"backbone": "resnet18", "stem": "small"}
    )
    for stem in ("small", "pool"):  # they differ in a layer without weights
        made = weight_files.build(
            "resnet18", stem=stem, norm="batch", weights=str(file)
        )
        for name, value in backbone.state_dict().items():
            assert torch.equal(made.state_dict()[name], value), name
        assert isinstance(made.maxpool, torch.nn.MaxPool2d) == (stem == "pool")
    made = weight_files.build("resnet18", stem="small", norm="batch")
    assert not torch.equal(made.conv1.weight, backbone.conv1.weight)


def test_initial_weights_that_cannot_be_are_one_sentence(tmp_path, backbone):
    file = tmp_path / "backbone.safetensors"
    weight_files.save_backbone(
        file, backbone, {"backbone": "resnet18", "stem": "small"}
    )
    foreign = tmp_path / "foreign.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(1)}, foreign)
    for weights, network, stem, message in (
        (
            file,
            "resnet50",
            "small",
            "it has --backbone resnet18 --stem small .* and --b",
        ),
        (
            file,
            "resnet18",
            "imagenet",
            "--stem imagenet --norm batch was asked for; le",
        ),
        (foreign, "resnet18", "small", "is no backbone file: make one of it with"),
        (
            tmp_path / "none",
            "resnet18",
            "small",
            "Unknown weights .*or the path of a b",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            weight_files.check_first(str(weights), network, stem=stem, norm="batch")


def test_initial_weights_are_known_by_their_content(tmp_path, backbone):
    about = {"backbone": "resnet18", "stem": "small", "method": "pirl"}
    files = [tmp_path / place / "b.safetensors" for place in ("here", "there", "other")]
    for file in files:
        weight_files.save_backbone(file, backbone, about)
    with torch.no_grad():
        backbone.conv1.weight[0] += 1
    weight_files.save_backbone(files[2], backbone, about)
    one, same, other = (weight_files.identify(str(file)) for file in files)
    assert one == same != other
    assert one.startswith("pirl ")
    assert weight_files.identify("imagenet") == "imagenet"
    assert weight_files.describe({"method": "byol", "init": one}).startswith(
        f"byol from {one}, resnet18"
    )


def test_a_folder_in_place_of_a_file_is_said(tmp_path):
    for read in (weight_files.read_about, conversion.read):
        with pytest.raises(ValueError, match=r"is a folder: name a file in it"):
            read(tmp_path)


def test_of_a_run_and_its_copy_the_one_with_more_epochs_counts(tmp_path):
    for folder, done in (("here", 1), ("drive", 3), ("old drive", 2)):
        small.backbone_file(tmp_path / folder, "run", epochs_done=done, epochs=3)
    folders = [tmp_path / name for name in ("here", "drive", "old drive")]
    ((file, about),) = weight_files.find_backbones(folders)
    assert (file.parents[1].name, about["epochs_done"]) == ("drive", 3)
