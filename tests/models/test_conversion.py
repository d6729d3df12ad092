"""Checkpoints of other projects: all of a backbone is taken, or nothing is."""

import collections
import os
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision

from helpers import __main__
from helpers.models import backbones, conversion, weight_files
from helpers.notebook import choices


def weights(network="resnet18", stem="imagenet"):
    """Torchvision's names and shapes; every tensor holds a number of its own.

    A tensor is one number that is repeated, so that files of large networks are small.
    """
    with torch.device("meta"):
        own = backbones.build(network, stem=stem).state_dict()
    return {
        name: torch.tensor(number, dtype=value.dtype).expand(value.shape)
        for number, (name, value) in enumerate(own.items())
    }


def head(*shape):
    return torch.zeros(shape)


def numbered(state):
    """Names as in a Sequential of the layers of a ResNet."""
    layers = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
    return {
        f"{layers.index(name.split('.')[0])}.{name.partition('.')[2]}": value
        for name, value in state.items()
    }


def under(prefix, state):
    return {prefix + name: value for name, value in state.items()}


def vissl(trunk, prefix="_feature_blocks."):
    """The content of a VISSL pre-training checkpoint, as far as it is known."""
    heads = {"0.0.clf.0.weight": head(128, 8), "1.0.clf.0.weight": head(128, 8)}
    model = {"trunk": under(prefix, trunk), "heads": heads}
    return {
        "phase_idx": 799,
        "iteration": 1_000_000,
        "loss": {"nce_average.memory": head(5, 128)},
        "classy_state_dict": {"base_model": {"model": model, "meters": {}}},
        "type": "consolidated",
    }


FILES = {
    "VISSL": (vissl, 224),
    "VISSL's feature extractor": (
        lambda state: vissl(state, "base_model._feature_blocks."),
        224,
    ),
    "pirl_pytorch": (
        lambda state: (
            under("resnet_module.", numbered(state))
            | {"lin_project_1.weight": head(128, 512), "lin_project_1.bias": head(128)}
        ),
        96,
    ),
    "BYOL notebooks": (
        lambda state: {
            "net": under("backbone.", numbered(state))
            | under("backbone_momentum.", numbered(weights()))
            | {"projection_head.layers.0.weight": head(8, 512)}
        },
        96,
    ),
    "lightly": (
        lambda state: {
            "epoch": 3,
            "state_dict": collections.OrderedDict(under("backbone.", numbered(state))),
            "optimizer_states": [{"state": {}, "param_groups": []}],
        },
        None,
    ),
    "solo-learn": (
        lambda state: {
            "state_dict": under("backbone.", state)
            | {"projector.0.weight": head(8, 512), "classifier.weight": head(10, 512)}
        },
        None,
    ),
    "old solo-learn": (
        lambda state: {
            "state_dict": under("encoder.", state)
            | under("momentum_encoder.", weights())
            | {"encoder.fc.weight": head(3, 512)}
        },
        None,
    ),
    "torchvision": (
        lambda state: state | {"fc.weight": head(1000, 512), "fc.bias": head(1000)},
        224,
    ),
}


def assert_same(tensors, expected):
    assert tensors.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(tensors[name], value), name


def test_a_vissl_file_lacks_nothing_but_torchvisions_classifier(tmp_path):
    trunk = weights("resnet50")
    assert len(trunk) == 318
    torch.save(vissl(trunk), tmp_path / "pirl.torch")
    found = conversion.convert(conversion.read(tmp_path / "pirl.torch"))
    assert (found.network, found.stem, found.kind.maker) == (
        "resnet50",
        "imagenet",
        "VISSL",
    )
    assert_same(found.tensors, trunk)
    assert "318 tensors are a whole resnet50" in found.describe()
    with torch.device("meta"):
        original = torchvision.models.resnet50()
    report = original.load_state_dict(found.tensors, strict=False, assign=True)
    assert set(report.missing_keys) == {"fc.weight", "fc.bias"}
    assert report.unexpected_keys == []


def test_vissls_double_width_is_known_by_its_shapes():
    trunk = weights("resnet50w2")
    found = conversion.convert(vissl(trunk))
    assert found.network == "resnet50w2"
    assert_same(found.tensors, trunk)


@pytest.mark.parametrize("kind", FILES)
def test_every_kind_becomes_a_backbone_file(kind, tmp_path):
    make, side = FILES[kind]
    state = weights()
    path = tmp_path / "some model.pth"
    torch.save(make(state), path)
    file, matched = conversion.backbone_file(path, tmp_path / "runs")
    assert f"{len(state)} tensors are a whole resnet18 with stem 'imagenet'" in matched
    backbone, about = weight_files.load_backbone(file)
    assert_same(backbone.state_dict(), state)
    assert (about["backbone"], about["name"]) == ("resnet18", "some model")
    assert about.get("evaluation_size") == side
    ((listed, _),) = weight_files.find_backbones([tmp_path / "runs"])
    assert listed == file
    assert weight_files.describe(about).startswith("some model, resnet18, converted")


def test_a_small_stem_and_missing_counters_are_no_obstacle(tmp_path):
    state = weights(stem="small")
    old = {k: v for k, v in state.items() if "num_batches" not in k}
    torch.save({"state_dict": under("backbone.", old)}, tmp_path / "small.ckpt")
    file, matched = conversion.backbone_file(tmp_path / "small.ckpt", tmp_path)
    assert "stem 'small'" in matched
    backbone, _ = weight_files.load_backbone(file)
    assert backbone.conv1.kernel_size == (3, 3)
    assert torch.equal(backbone.layer4[1].bn2.bias, state["layer4.1.bn2.bias"])


def test_safetensors_of_others_are_known_too(tmp_path):
    state = {k: v.clone() for k, v in weights("resnet34").items()}
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    found = conversion.convert(conversion.read(tmp_path / "a.safetensors"))
    assert found.network == "resnet34"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("layer3.1.bn1.bias"), "nearest to resnet18, .* 1 weights are"),
        (lambda s: s.update(stranger=head(1)), "0 weights are missing.* 1 are unknown"),
        (lambda s: s.update({"bn1.bias": head(9)}), r"1 weights.*\(bn1.bias\)"),
        (lambda s: s.pop("conv1.weight"), "No ResNet was found: known are .* VISSL"),
    ],
)
def test_half_a_backbone_is_refused(change, message, tmp_path):
    state = weights()
    change(state)
    torch.save(vissl(state), tmp_path / "half.torch")
    with pytest.raises(ValueError, match=rf"half\.torch cannot be used\. .*{message}"):
        conversion.backbone_file(tmp_path / "half.torch", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": 3}, {}, head(3)])
def test_what_holds_no_network_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(ValueError, match="No ResNet was found"):
        conversion.backbone_file(tmp_path / "file.pt", tmp_path)


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_needs_more_is_refused_and_never_executed(
    zipped, tmp_path, monkeypatch, capsys
):
    trap, file = tmp_path / "trap", tmp_path / "model.torch"
    torch.save(
        weights() | {"meters": Trap(trap)}, file, _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(ValueError, match=r"not read: it needs \w+\.mkdir, .*--allow"):
        conversion.backbone_file(file, tmp_path / "runs")
    with pytest.raises(ValueError, match=r"needs \w+\.mkdir"):
        choices.from_source(str(file))
    assert not trap.exists()
    # Only the flag on the command line reads it, and then its code does run.
    arguments = ["helpers", "convert", "--path", str(file), "--folder", str(tmp_path)]
    for flags, status in (([], 2), (["--allow-unsafe-pickle"], 0)):
        monkeypatch.setattr(sys, "argv", arguments + flags)
        assert __main__.main() == status
        assert trap.exists() == (status == 0)
    assert "a whole resnet18" in capsys.readouterr().out
    assert len(weight_files.find_backbones([tmp_path])) == 1


def test_numpy_scalars_are_named_as_the_reason(tmp_path):
    torch.save(weights() | {"best": np.float64(3.0)}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"needs numpy\.\S+scalar, which is more than"):
        conversion.read(tmp_path / "model.pth")


def test_damaged_and_missing_files_are_one_sentence(tmp_path):
    torch.save(weights(), tmp_path / "whole.pth")
    content = (tmp_path / "whole.pth").read_bytes()
    for name, part in {
        "half.pth": content[: len(content) // 2],
        "empty.pth": b"",
        "page.pth": b"<html>not found</html>",
        "page.safetensors": b"<html>not found</html>",
    }.items():
        (tmp_path / name).write_bytes(part)
        with pytest.raises(ValueError, match=f"{name} is not a whole checkpoint") as e:
            conversion.read(tmp_path / name)
        assert "\n" not in str(e.value)
    with pytest.raises(ValueError, match=r"There is no file .*nowhere\.pth"):
        conversion.read(tmp_path / "nowhere.pth")


def test_the_notebooks_offer_a_checkpoint_of_another_project(
    tmp_path, monkeypatch, keyboard, capsys
):
    path = tmp_path / "pirl.torch"
    torch.save(vissl(weights()), path)
    keyboard()
    monkeypatch.setenv("STL_WEIGHTS", "file")
    monkeypatch.setenv("STL_UPLOAD", str(path))
    random, chosen = choices.ask([tmp_path], "demo")
    assert "a checkpoint (file): VISSL PIRL" in capsys.readouterr().out
    assert (random.name, chosen.name) == ("random", "pirl")
    assert chosen.about["evaluation_size"] == 224
    assert torch.equal(chosen.create().conv1.weight, weights()["conv1.weight"])
    again = choices.from_source(chosen.source)  # a backbone file is taken as it is
    assert again == chosen
