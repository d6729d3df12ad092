"""Backbones for use elsewhere say what they said here."""

import copy
import json

import pytest
import torch
import torchvision

from helpers import views
from helpers.models import (
    backbones,
    classifier_files,
    export,
    heads,
    small_maps,
    weight_files,
)

ABOUT = {"backbone": "resnet18", "stem": "imagenet", "method": "byol"}


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    network = backbones.build("resnet18").to(memory_format=torch.channels_last)
    network(torch.randn(4, 3, 32, 32))  # BatchNorm statistics of its own
    return network.eval()


def features(network, images):
    with torch.no_grad():
        return network(images)


def test_a_state_dict_loads_into_torchvision(backbone, tmp_path):
    file = tmp_path / "new" / "model.pth"
    export.export(backbone, ABOUT, file, image_size=32)
    network = torchvision.models.resnet18(weights=None)
    report = network.load_state_dict(torch.load(file, weights_only=True), strict=False)
    assert report.missing_keys == ["fc.weight", "fc.bias"]
    assert report.unexpected_keys == []
    network.fc = torch.nn.Identity()
    images = torch.randn(2, 3, 40, 40)
    expected = features(backbone, images)
    assert torch.allclose(features(network.eval(), images), expected, atol=1e-5)


def test_safetensors_are_a_backbone_file(backbone, tmp_path):
    file = tmp_path / "model.safetensors"
    export.export(backbone, ABOUT, file, image_size=32)
    loaded, about = weight_files.load_backbone(file)
    assert about.items() >= ABOUT.items()
    assert about["evaluation_size"] == 32
    assert (about["mean"], about["std"]) == (list(views.MEAN), list(views.STD))
    for name, weight in backbone.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight), name


def test_the_network_itself_runs_on_any_number_of_images(backbone, tmp_path):
    file = tmp_path / "model.pt2"
    export.export(backbone, ABOUT, file, image_size=32)
    network = torch.export.load(file).module()
    for count in (1, 2, 5):
        images = torch.randn(count, 3, 32, 32)
        expected = features(backbone, images)
        assert torch.allclose(features(network, images), expected, atol=1e-5)


def test_a_network_that_was_sped_up_is_exported_as_torchs_own(backbone, tmp_path):
    """A CPU's way around small maps is nothing for a GPU or a phone."""
    network = copy.deepcopy(backbone)
    small_maps.speed_up(network)
    programs = []
    for number, source in enumerate((backbone, network)):
        file = tmp_path / f"{number}.pt2"
        export.export(source, ABOUT, file, image_size=32)
        graph = torch.export.load(file).graph
        programs.append([str(node.target) for node in graph.nodes])
    assert programs[0] == programs[1]
    assert sum("conv2d" in operation for operation in programs[1]) == 20


SAID = {"image_size": 32, "mean": list(views.MEAN), "std": list(views.STD)}


@pytest.mark.parametrize("ending", ["ts", "torchscript"])
def test_torchscript_gives_the_same_features_and_says_how(backbone, ending, tmp_path):
    file = tmp_path / f"model.{ending}"
    export.export(backbone, ABOUT, file, image_size=32)
    extra = {"about.json": ""}
    network = torch.jit.load(file, _extra_files=extra)
    for count in (1, 2, 5):
        images = torch.randn(count, 3, 32, 32)
        expected = features(backbone, images)
        assert torch.allclose(features(network, images), expected, atol=1e-5)
    assert json.loads(extra["about.json"]) == ABOUT | SAID


def test_onnx_gives_the_same_features_and_says_how(backbone, tmp_path):
    for name in (*export.ONNX, "onnxruntime"):
        pytest.importorskip(name, reason=f"ONNX needs the package {name}")
    import onnxruntime

    file = tmp_path / "model.onnx"
    export.export(backbone, ABOUT, file, image_size=32)
    session = onnxruntime.InferenceSession(file)
    for count in (1, 2, 5):
        images = torch.randn(count, 3, 32, 32)
        (found,) = session.run(None, {"images": images.numpy()})
        expected = features(backbone, images)
        assert torch.allclose(torch.from_numpy(found), expected, atol=1e-4)
    told = session.get_modelmeta().custom_metadata_map["about"]
    assert json.loads(told) == ABOUT | SAID


def test_the_network_itself_says_how_to_prepare_images(backbone, tmp_path):
    file = tmp_path / "model.pt2"
    export.export(backbone, ABOUT, file, image_size=32)
    extra = {"about.json": ""}
    torch.export.load(file, extra_files=extra)
    assert json.loads(extra["about.json"]) == ABOUT | SAID


def test_a_classifier_is_exported_with_its_head(backbone, tmp_path):
    torch.manual_seed(0)
    classifier = heads.Classifier(copy.deepcopy(backbone), 3)
    classifier.standardize.running_mean.normal_()
    file = tmp_path / "model.ts"
    export.export(classifier.eval(), {"classes": ["a"]}, file, image_size=32)
    images = torch.randn(4, 3, 32, 32)
    expected = features(classifier, images)
    assert expected.shape == (4, 3)
    assert torch.allclose(features(torch.jit.load(file), images), expected, atol=1e-5)


def test_metadata_say_what_was_exported(backbone, tmp_path):
    classifier = heads.Classifier(copy.deepcopy(backbone), 2)
    about = {"network": {"backbone": "resnet18", "stem": "imagenet"}, "fit": "crop"}
    about |= {"classes": ["a", "b"], "image_size": 48, "stored_size": 96}
    file = tmp_path / "classifier.safetensors"
    export.export(classifier, about, file, image_size=128)
    assert classifier_files.load(file)[1]["image_size"] == 128
    file = tmp_path / "backbone.safetensors"
    export.export(backbone, {**ABOUT, "dtype": "float16"}, file, image_size=32)
    assert "dtype" not in weight_files.read_about(file)


def test_what_is_exported_stays_as_it_was(backbone, tmp_path):
    kinds = [type(module) for module in backbone.modules()]
    export.export(backbone, ABOUT, tmp_path / "model.ts", image_size=32)
    assert [type(module) for module in backbone.modules()] == kinds
    assert backbone._forward_pre_hooks


def test_what_cannot_be_written_is_one_sentence(backbone, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"model\.h5 has no known ending: choose"):
        export.export(backbone, ABOUT, tmp_path / "model.h5", image_size=32)
    for ending in ("pt2", "ts"):
        with pytest.raises(ValueError, match=r"needs views .* of at least 17 px"):
            export.export(backbone, ABOUT, tmp_path / f"model.{ending}", image_size=16)
    monkeypatch.setattr(export, "ONNX", ("onnx_is_not_here",))
    with pytest.raises(ValueError, match=r"needs onnx_is_not_here: pip install onnx_"):
        export.export(backbone, ABOUT, tmp_path / "model.onnx", image_size=32)
    assert not any(tmp_path.iterdir())
