"""Backbone files: whole, with their story, found by people, never half loaded."""

import os
import warnings

import pytest
import safetensors.torch
import torch
import torchvision

from helpers.models import backbones, weight_files

ABOUT = {"backbone": "resnet18", "stem": "pool", "epochs_done": 3, "knn": 50.5}


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
        with pytest.raises(ValueError, match="not a whole safetensors file: download"):
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
    assert sentence == "pirl, resnet18, stl10, 7 epochs, k-NN 61.0 % on its labels"
    assert "?" in weight_files.describe({})
