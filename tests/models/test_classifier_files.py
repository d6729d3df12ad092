"""Classifier files: the same outputs after loading, and nothing wrong is loaded."""

import json

import pytest
import safetensors.torch
import small
import torch

from helpers import files, views
from helpers.models import backbones, classifier_files, heads, weight_files

ABOUT = {
    "network": {"backbone": "resnet18", "stem": "small"},
    "classes": ["a cat", "Äpfel"],
    "image_size": 20,
    "stored_size": 32,
    "protocol": "fine-tuning",
    "method": "PIRL",
    "data": "folder:mine",
    "top1": 87.25,
}
pytestmark = pytest.mark.usefixtures("small_backbone")


def trained():
    """A classifier whose every number is its own."""
    torch.manual_seed(0)
    classifier = heads.Classifier(small.backbone(), 2)
    classifier(torch.randn(8, 3, 20, 20))  # BatchNorm has seen something
    return classifier.eval()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "classifier.safetensors"
    classifier_files.save(path, trained(), ABOUT)
    return path


@torch.no_grad()
def test_a_loaded_classifier_says_what_the_saved_one_said(file):
    loaded, about = classifier_files.load(file)
    images = torch.randn(5, 3, 20, 20)
    assert torch.equal(loaded(images), trained()(images))
    assert not loaded.training
    assert about.items() >= ABOUT.items()
    assert (about["mean"], about["std"]) == (list(views.MEAN), list(views.STD))


@pytest.mark.parametrize("kind", ["linear", "mlp"])
@torch.no_grad()
def test_a_head_on_frozen_features_keeps_its_standardisation(kind, tmp_path):
    torch.manual_seed(1)
    backbone, features = small.backbone().eval(), torch.randn(50, 16) * 1e-3 + 4
    features[:, 3] = 7.0  # a feature that never varies
    mean, std = features.mean(dim=0), features.std(dim=0) + 1e-6
    head = torch.nn.Linear(16, 2) if kind == "linear" else heads.MLP(16, 2)
    made = classifier_files.on_features(backbone, mean, std, head, 2)
    path = tmp_path / "c.safetensors"
    classifier_files.save(path, made, ABOUT)
    loaded, about = classifier_files.load(path)
    assert about["head"] == kind
    expected = head((features - mean) / std)
    found = loaded.head(loaded.standardize(features))
    assert torch.allclose(found, expected, atol=1e-4)


def rewritten(file, change=None, tensors=None, raw=None):
    """The same file with other metadata or tensors."""
    about = weight_files.read_about(file) | (change or {})
    about = {key: value for key, value in about.items() if value is not None}
    kept = safetensors.torch.load_file(file) | (tensors or {})
    kept = {name: tensor for name, tensor in kept.items() if tensor is not None}
    metadata = {"about": json.dumps(about) if raw is None else raw}
    files.write(file, lambda p: safetensors.torch.save_file(kept, p, metadata))
    return file


@pytest.mark.parametrize(
    "change",
    [
        *({key: None} for key in classifier_files.CHECKS if key != "fit"),
        {"fit": "stretch"},
        {"fit": ["crop"]},
        {"network": {"backbone": 3}},
        {"network": {"backbone": "resnet18", "weights": "imagenet"}},
        {"network": "resnet18"},
        {"classes": []},
        {"classes": "ab"},
        {"classes": [1, 2]},
        {"image_size": 0},
        {"image_size": 20.0},
        {"image_size": True},
        {"stored_size": 10**9},
        {"epsilon": 0.0},
        {"epsilon": -1.0},
        {"epsilon": float("nan")},
        {"head": ["linear"]},
        {"mean": "ab"},
    ],
    ids=str,
)
def test_metadata_of_a_wrong_type_are_refused_by_name(change, file):
    (key,) = change
    with pytest.raises(ValueError, match=rf"{file.name} (is not|has metadata).*{key}"):
        classifier_files.load(rewritten(file, change))
    assert not classifier_files.is_classifier(file)


@pytest.mark.parametrize("raw", ["[]", "3", "null", '"text"', "{"])
def test_metadata_that_are_no_table_are_refused(raw, file):
    with pytest.raises(ValueError, match=rf"{file.name} has metadata that"):
        classifier_files.load(rewritten(file, raw=raw))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers_are_refused(value, file):
    weight = torch.full((2, 16), value)
    with pytest.raises(ValueError, match=r"its tensor .head.weight."):
        classifier_files.load(rewritten(file, tensors={"head.weight": weight}))


@pytest.mark.parametrize(
    "tensors",
    [
        {"head.bias": None},
        {"head.bias": torch.zeros(3)},
        {"more": torch.zeros(1)},
        {"standardize.running_mean": None},
    ],
    ids=str,
)
def test_weights_that_do_not_fit_are_refused(tensors, file):
    with pytest.raises(ValueError, match="does not fit the resnet18 that it names"):
        classifier_files.load(rewritten(file, tensors=tensors))


def test_another_normalisation_is_refused(file):
    with pytest.raises(ValueError, match=r"normalised with std \[1.0, 1.0, 1.0\]"):
        classifier_files.load(rewritten(file, {"std": [1.0, 1.0, 1.0]}))


def test_an_unknown_network_is_refused(file):
    wrong = {"network": {"backbone": "resnet19"}}
    with pytest.raises(ValueError, match="Unknown backbone 'resnet19'"):
        classifier_files.load(rewritten(file, wrong))


def test_a_backbone_is_told_from_a_classifier(tmp_path):
    path = tmp_path / "backbone.safetensors"
    about = {"backbone": "resnet18", "stem": "small"}
    weight_files.save_backbone(path, backbones.build(), about)
    with pytest.raises(
        ValueError, match=r"a backbone without a head.*helpers evaluate"
    ):
        classifier_files.load(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="There is no file"):
        classifier_files.load(tmp_path / "none.safetensors")
    for name in ("photo.jpg", "broken.safetensors"):
        (tmp_path / name).write_bytes(b"x" * 40)
        with pytest.raises(ValueError, match=f"{name} is not a"):
            classifier_files.load(tmp_path / name)


def test_it_is_described_in_a_line(file):
    assert classifier_files.describe(classifier_files.read_about(file)) == (
        "classifier of 2 classes: fine-tuning, PIRL, folder:mine, "
        "87.2 % of its test images right"
    )
