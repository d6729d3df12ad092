"""Checkpoints of other projects: all of a backbone is taken, or nothing is."""

import argparse
import collections
import functools
import gzip
import os
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest
import safetensors.torch
import small
import torch
import torchvision
from lightly import models as lightly_models
from torch import nn

from helpers import __main__
from helpers.methods import base, dino
from helpers.models import (
    backbones,
    classifier_files,
    conversion,
    heads,
    weight_files,
)
from helpers.notebook import choices
from helpers.training import starting_points


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


@functools.cache
def learned(stem="imagenet", offset=0.0):
    """Random weights of torchvision's ResNet-18, or the same with an offset."""
    torch.manual_seed(0)
    state = backbones.build(stem=stem).state_dict()
    return {name: value + value.new_tensor(offset) for name, value in state.items()}


def renamed(state, old, new):
    return {name.replace(old, new): value for name, value in state.items()}


def without_maxpool(state, first):
    """Names as in a Sequential whose first group of blocks has the number ``first``."""
    numbers = {"conv1": 0, "bn1": 1}
    numbers |= {f"layer{group + 1}": first + group for group in range(4)}
    parts = [name.partition(".") for name in state]
    return {
        f"{numbers[layer]}.{rest}": value
        for (layer, _, rest), value in zip(parts, state.values(), strict=True)
    }


HEADS = {"projection_head.0.weight": head(8, 512), "prototypes.weight": head(30, 8)}
FC = {"fc.weight": head(10, 512), "fc.bias": head(10)}
OPTIMIZER = {"state": {0: {"exp_avg": head(64, 3, 7, 7)}}, "param_groups": [{"lr": 1}]}
FLAGS = argparse.Namespace(lr=0.1, layers=[1, 2], data=None)

# The content of a checkpoint made of the weights ``s`` that its authors evaluate and of
# a slow copy or a student ``o``; and the prefix under which ``s`` are to be found.
LAYOUTS = {
    "SwAV": (lambda s, o: under("module.", s | HEADS), "module."),
    "SwAV without wrapper": (lambda s, o: s | HEADS, ""),
    "ImageNet example of PyTorch": (
        lambda s, o: {
            "arch": "resnet18",
            "state_dict": under("module.", s | FC),
            "optimizer": OPTIMIZER,
        },
        "state_dict.module.",
    ),
    "MoCo": (
        lambda s, o: {
            "state_dict": under("module.encoder_k.", o | FC)
            | under("module.encoder_q.", s | FC)
            | {"module.queue": head(8, 30), "module.queue_ptr": head(1)}
        },
        "state_dict.module.encoder_q.",
    ),
    "MoCo v3": (
        lambda s, o: {
            "state_dict": under("module.momentum_encoder.", o)
            | under("module.base_encoder.", s | {"fc.0.weight": head(8, 512)})
            | {"module.predictor.0.weight": head(8, 8)}
        },
        "state_dict.module.base_encoder.",
    ),
    "SimSiam": (
        lambda s, o: {
            "state_dict": under("module.encoder.", s | {"fc.0.weight": head(8, 512)})
            | {"module.predictor.0.weight": head(8, 8)}
        },
        "state_dict.module.encoder.",
    ),
    "Barlow Twins, VICReg": (
        lambda s, o: {
            "model": under("module.backbone.", s)
            | {"module.projector.0.weight": head(8, 512)}
        },
        "model.module.backbone.",
    ),
    "DINO": (
        lambda s, o: {
            "student": under("module.backbone.", o)
            | {"module.head.last_layer.weight": head(8, 8)},
            "teacher": under("backbone.", s) | {"head.mlp.0.weight": head(8, 8)},
            "args": FLAGS,
        },
        "teacher.backbone.",
    ),
    "DINO in lightly": (
        lambda s, o: under("student_backbone.", o) | under("teacher_backbone.", s),
        "teacher_backbone.",
    ),
    "BYOL by sthalles": (
        lambda s, o: {
            "online_network_state_dict": under("encoder.", numbered(s))
            | {"projetion.net.0.weight": head(8, 512)},
            "target_network_state_dict": under("encoder.", numbered(o)),
            "optimizer_state_dict": OPTIMIZER,
        },
        "online_network_state_dict.encoder.",
    ),
    "SimCLR by sthalles": (
        lambda s, o: {
            "state_dict": under("backbone.", s | {"fc.0.weight": head(8, 512)})
        },
        "state_dict.backbone.",
    ),
    "SimCLR by Spijkervet": (
        lambda s, o: under("encoder.", s) | {"projector.0.weight": head(8, 512)},
        "encoder.",
    ),
    "BYOL by lucidrains": (
        lambda s, o: (
            under("target_encoder.net.", o)
            | under("online_encoder.net.", s)
            | {"online_encoder.projector.0.weight": head(8, 512)}
        ),
        "online_encoder.net.",
    ),
    "net alone": (lambda s, o: under("net.", s | FC), "net."),
    "torch.compile": (lambda s, o: under("_orig_mod.", s | FC), "_orig_mod."),
    "compiled, parallel": (
        lambda s, o: {"net": under("_orig_mod.module.", s)},
        "net._orig_mod.module.",
    ),
    "DeiT, torchvision's references": (
        lambda s, o: {"model": s | FC, "model_ema": o | FC, "args": FLAGS},
        "model.",
    ),
    "timm": (
        lambda s, o: {"state_dict": o | FC, "state_dict_ema": s | FC, "args": FLAGS},
        "state_dict_ema.",
    ),
    "weights of lightly's models": (
        lambda s, o: under("backbone.", s) | under("backbone_momentum.", o),
        "backbone.",
    ),
    "VISSL's converter": (
        lambda s, o: {"model_state_dict": under("_feature_blocks.", s)},
        "model_state_dict._feature_blocks.",
    ),
    "never seen": (
        lambda s, o: {
            "a": {"b": under("my.trunk.", s) | {"vit.patch.weight": head(2, 3, 4, 4)}},
            1: {2: head(3)},
        },
        "a.b.my.trunk.",
    ),
    "whole module": (lambda s, o: {"net": module(s)}, "net."),
}
SMALL_LAYOUTS = {
    "SupContrast": (
        lambda s, o: {
            "opt": FLAGS,
            "model": under("encoder.module.", renamed(s, "downsample", "shortcut"))
            | {"head.0.weight": head(8, 512)},
        },
        "model.encoder.module.",
    ),
    "SimCLR by leftthomas": (
        lambda s, o: under("f.", without_maxpool(s, 3)) | {"g.0.weight": head(8, 512)},
        "f.",
    ),
}


def module(state):
    network = torchvision.models.resnet18()
    network.load_state_dict(state, strict=False)
    return network


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
    assert "The 318 tensors under 'classy_state_dict." in found.describe()
    assert "are a whole resnet50" in found.describe()
    with torch.device("meta"):
        original = torchvision.models.resnet50()
    report = original.load_state_dict(found.tensors, strict=False, assign=True)
    assert set(report.missing_keys) == {"fc.weight", "fc.bias"}
    assert report.unexpected_keys == []


@pytest.mark.parametrize("layout", [*LAYOUTS, *SMALL_LAYOUTS])
def test_a_resnet_is_found_under_any_container_and_prefix(layout):
    """And of several networks the one that the authors evaluate."""
    stem = "small" if layout in SMALL_LAYOUTS else "imagenet"
    make, prefix = (LAYOUTS | SMALL_LAYOUTS)[layout]
    found = conversion.convert(make(learned(stem), learned(stem, 1.0)))
    assert_same(found.tensors, learned(stem))
    assert (found.network, found.stem, found.prefix) == ("resnet18", stem, prefix)
    if prefix:
        assert f"under {prefix!r}" in found.describe()


def test_what_is_not_taken_is_named():
    make, _ = LAYOUTS["MoCo"]
    told = conversion.convert(make(learned(), learned(offset=1.0))).describe()
    assert "as whole, but not taken: state_dict.module.encoder_k." in told
    assert "left out: 126 of encoder_k, fc, queue, queue_ptr" in told


@pytest.mark.parametrize("splits", [0, 4])
def test_lightlys_own_resnet_gives_the_same_features_but_for_a_relu(splits):
    """It has shortcuts, and may split its BatchNorm.

    The Sequential that lightly makes of it has no ReLU before the first block, because
    there it is a function: what is converted has one, and that is said.
    """
    torch.manual_seed(0)
    own = lightly_models.ResNetGenerator("resnet-18", num_splits=splits)
    own(torch.rand(8, 3, 32, 32))  # lets the statistics of the splits differ
    layers = list(own.children())[:-1]
    state = under("backbone.", nn.Sequential(*layers).state_dict())
    found = conversion.convert({"state_dict": state})
    assert (found.network, found.stem) == ("resnet18", "small")
    assert "has no ReLU before its first block" in found.describe()
    backbone = backbones.build(stem="small")
    backbone.load_state_dict(found.tensors)
    whole = nn.Sequential(*layers[:2], nn.ReLU(), *layers[2:], nn.AdaptiveAvgPool2d(1))
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        theirs = whole.eval()(images).flatten(1)
        assert torch.allclose(backbone.eval()(images), theirs, atol=1e-5)
    told = conversion.convert(LAYOUTS["MoCo"][0](learned(), learned())).describe()
    assert "ReLU" not in told


@pytest.mark.parametrize("within", [True, False])
@pytest.mark.parametrize(("beside", "norm"), [(True, "group"), (False, "batch")])
def test_a_state_of_this_project_gives_the_backbone_of_its_run(
    within, beside, norm, tmp_path
):
    """Also in DINO, whose own project evaluates the teacher."""
    torch.manual_seed(0)
    backbone = backbones.build(stem="pool", norm=norm)
    options = dino.DINO.Options(hidden_dim=8, output_dim=8)
    method = dino.DINO(backbone, 8, options)
    base.parameters(method.teacher)[0].data += 1
    path = tmp_path / "run" / "state-00001-1a2b3c4d.pt"
    path.parent.mkdir()
    about = {"backbone": "resnet18", "stem": "pool", "evaluation_size": 56}
    state = {"method": method.state_dict(), "history": [], "scaler": {}}
    torch.save(state | ({"network": about} if within else {}), path)
    if beside:
        weight_files.save_backbone(
            path.with_name("backbone.safetensors"), backbone, about
        )
    file, said = conversion.backbone_file(path, tmp_path)
    own, about = weight_files.load_backbone(file)
    assert_same(own.state_dict(), backbone.state_dict())
    assert about["norm"] == norm
    assert about["stem"] == ("pool" if beside or within else "small")
    assert f"with stem {about['stem']!r}" in said
    assert about.get("evaluation_size") == (56 if beside or within else None)
    told = {"network": about | {"final": "teacher.0"}}
    torch.save(state | told, path)
    file, _ = conversion.backbone_file(path, tmp_path / "teacher")
    own, _ = weight_files.load_backbone(file)
    assert_same(own.state_dict(), method.teacher[0].state_dict())


def test_a_backbone_file_stays_what_it_is(tmp_path):
    file = small.backbone_file(tmp_path, "run", stem="pool", evaluation_size=48)
    assert conversion.backbone_file(file, tmp_path) == (
        file,
        f"{file} is a backbone file: use it as it is.",
    )


@pytest.mark.parametrize(
    "told", [3, {"stem": []}, {"backbone": "resnet18", "stem": "large"}]
)
def test_what_a_state_tells_has_to_fit_its_weights(told, tmp_path):
    backbone = {f"backbone.{k}": v for k, v in weights(stem="small").items()}
    torch.save({"method": backbone, "network": told}, tmp_path / "state.pt")
    file, _ = conversion.backbone_file(tmp_path / "state.pt", tmp_path)
    assert weight_files.read_about(file)["stem"] == "small"


def test_a_network_may_be_in_a_list(tmp_path):
    torch.save((3, [weights()]), tmp_path / "with epoch.pt")
    file, said = conversion.backbone_file(tmp_path / "with epoch.pt", tmp_path)
    assert "under '1.0.'" in said
    assert "normalised with the mean and deviation of ImageNet" in said
    assert_same(weight_files.load_backbone(file)[0].state_dict(), weights())


def test_the_side_of_whole_images_is_that_of_imagenet_where_it_must_be():
    """With a 7x7 convolution, in a network that is trained on ImageNet alone."""
    for state, side in (
        (weights(), 224),
        (weights(stem="small"), None),
        (under("module.encoder_q.", weights("resnet50")), 224),
        (under("module.encoder_q.", weights("resnet50", "small")), None),
        (under("module.encoder_q.", weights()), None),
    ):
        assert conversion.convert(state).side == side


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
    assert f"The {len(state)} tensors" in matched
    assert "are a whole resnet18 with stem 'imagenet'" in matched
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
    assert "No file tells whether a max-pool follows" in matched
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
        (
            lambda s: s.update({"layer5.0.weight": head(1)}),
            "0 weights .* 1 are unknown",
        ),
        (lambda s: s.update({"layer1.0.se.weight": head(1)}), "unknown .*layer1.0.se"),
        (lambda s: s.update({"mix.weight": head(1, 1, 3, 3)}), "1 are unknown .*mix"),
        (lambda s: s.update({"bn1.bias": head(9)}), r"1 weights.*\(bn1.bias\)"),
        (lambda s: s.update({"conv1.weight": head(64, 1, 7, 7)}), r"\(64, 1, 7, 7\)"),
        (
            lambda s: s.pop("conv1.weight"),
            "No ResNet was found.* _feature_blocks.layer1",
        ),
        (lambda s: s.update({"conv1.weight": head()}), "No ResNet was found"),
    ],
)
def test_half_a_backbone_is_refused(change, message, tmp_path):
    state = weights()
    change(state)
    torch.save(vissl(state), tmp_path / "half.torch")
    with pytest.raises(ValueError, match=rf"half\.torch cannot be used\. .*{message}"):
        conversion.backbone_file(tmp_path / "half.torch", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        ([1, 2], "It is a list without weights"),
        ({"state_dict": 3}, r"a dict without weights \(state_dict\)"),
        ({}, "no keys"),
        (torch.zeros(3), "a Tensor"),
        (
            {0: torch.zeros(3), (1, 2): torch.zeros(4, 3, 2, 2)},
            r"\(1, 2\) \(4, 3, 2, 2\)",
        ),
        (
            {"model": {"module.vit.blocks.0.mlp.weight": torch.zeros(3, 3)}},
            r"1 tensors in model\. .*beginnings: module\.vit\.blocks \(1\)",
        ),
        ({"a\x1b[2J": torch.zeros(3)}, r"a\\x1b\[2J"),
        (
            {f"{name}conv1.weight": torch.tensor(1.0) for name in ("", "layer1.0.")},
            r"names: conv1\.weight, .* First convolution: none",
        ),
    ],
)
def test_what_holds_no_network_is_refused_and_told(content, seen, tmp_path):
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(ValueError, match=rf"No ResNet was found\..*{seen}") as error:
        conversion.backbone_file(tmp_path / "file.pt", tmp_path)
    assert str(error.value).isprintable()


def test_dictionaries_that_hold_themselves_end(tmp_path):
    content = {"a": {}}
    content["a"]["b"] = content
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(ValueError, match="No ResNet was found"):
        conversion.backbone_file(tmp_path / "file.pt", tmp_path)


WRONG = {
    "NaN": (lambda t: t.fill_(torch.nan), "holds NaN or infinity"),
    "infinity": (lambda t: t.fill_(-torch.inf), "holds NaN or infinity"),
    "too large": (lambda t: t.double() * 1e300 + 1e300, "holds NaN or infinity"),
    "integers": (lambda t: t.to(torch.int8), "is of type int8"),
    "complex": (lambda t: t.to(torch.complex64), "is of type complex64"),
    "sparse": (lambda t: t.to_sparse(), "is sparse"),
    "meta": (lambda t: t.to("meta"), "is sparse, quantized or without numbers"),
}


@pytest.mark.filterwarnings("ignore:Validating sparse")
@pytest.mark.parametrize("wrong", WRONG)
def test_weights_that_are_no_numbers_are_refused(wrong, tmp_path):
    change, message = WRONG[wrong]
    state = {name: value.clone() for name, value in weights().items()}
    state["layer2.0.bn1.weight"] = change(state["layer2.0.bn1.weight"])
    torch.save(state, tmp_path / "bad.pth")
    expected = rf"bad\.pth cannot be used.*layer2\.0\.bn1\.weight' {message}"
    with pytest.raises(ValueError, match=expected):
        conversion.backbone_file(tmp_path / "bad.pth", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_files_of_another_kind_say_which_kind(tmp_path):
    network = nn.Linear(2, 2)
    torch.jit.trace(network, torch.zeros(1, 2)).save(tmp_path / "script.pt")
    program = torch.export.export(network, (torch.zeros(1, 2),))
    torch.export.save(program, tmp_path / "network.pt2")
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("a/b.png", b"")
    for name, message in {
        "script.pt": r"TorchScript program.*torch\.jit\.load\('.*/script\.pt'\)",
        "network.pt2": r"program, not a file of weights.*torch\.export\.load",
        "images.zip": "zip archive without a checkpoint.*unpack it",
    }.items():
        with pytest.raises(ValueError, match=f"^{name} is an? {message}"):
            conversion.read(tmp_path / name)


def test_what_unpacks_to_far_more_is_refused_before_it_is_unpacked(
    tmp_path, monkeypatch
):
    torch.save({"conv1.weight": torch.zeros(1_000_000)}, tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))
    assert conversion.read(tmp_path / "plain.pt").keys() == {"conv1.weight"}
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(ValueError, match=r"bomb\.pt was not read: .*unpack to 4 MB"):
        conversion.read(tmp_path / "bomb.pt")


def test_flags_in_a_namespace_are_data_and_no_more(tmp_path):
    torch.save({"model": weights(), "opt": FLAGS}, tmp_path / "good.pth")
    assert conversion.read(tmp_path / "good.pth")["opt"] == FLAGS
    trap = argparse.Namespace(lr=Trap(tmp_path / "trap"))
    torch.save({"model": weights(), "opt": trap}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match=r"bad\.pth was not read: it needs \w+\.mkdir"):
        conversion.read(tmp_path / "bad.pth")
    assert not (tmp_path / "trap").exists()
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


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
        starting_points.from_source(str(file))
    assert not trap.exists()
    # Only the flag on the command line reads it, and then its code does run.
    arguments = ["helpers", "convert", "--path", str(file), "--folder", str(tmp_path)]
    for flags, status in (([], 2), (["--allow-unsafe-pickle"], 0)):
        monkeypatch.setattr(sys, "argv", arguments + flags)
        assert __main__.main() == status
        assert trap.exists() == (status == 0)
    assert "a whole resnet18" in capsys.readouterr().out
    assert len(weight_files.find_backbones([tmp_path])) == 1


def test_a_package_that_a_pickle_needs_is_named(tmp_path, monkeypatch):
    module = types.ModuleType("some_package")
    module.Config = type("Config", (), {"__module__": "some_package"})
    monkeypatch.setitem(sys.modules, "some_package", module)
    torch.save(weights() | {"config": module.Config()}, tmp_path / "model.pth")
    monkeypatch.delitem(sys.modules, "some_package")
    with pytest.raises(ValueError, match=r"not installed \(No module named 'some_pack"):
        conversion.read(tmp_path / "model.pth", allow_unsafe_pickle=True)


def test_numpy_scalars_are_named_as_the_reason(tmp_path):
    torch.save(weights() | {"best": np.float64(3.0)}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"needs numpy\.\S+scalar, which is more than"):
        conversion.read(tmp_path / "model.pth")


def test_damaged_and_missing_files_are_one_sentence(tmp_path):
    torch.save(weights(), tmp_path / "whole.pth")
    content = (tmp_path / "whole.pth").read_bytes()
    for name, part in {
        "half.pth": content[: len(content) // 2],
    }.items():
        (tmp_path / name).write_bytes(part)
        with pytest.raises(ValueError, match=f"{name} is not a whole checkpoint") as e:
            conversion.read(tmp_path / name)
        assert "\n" not in str(e.value)
    with pytest.raises(ValueError, match=r"There is no file .*nowhere\.pth"):
        conversion.read(tmp_path / "nowhere.pth")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\n<!DOCTYPE html>", "is a web page, not a checkpoint of .* download the"),
        (
            b"version https://git-lfs.github.com/spec/v1",
            "is a pointer of Git LFS, .* git",
        ),
        (b"", "is empty, not a checkpoint .*: download or copy it again"),
        (gzip.compress(b"weights", mtime=0), "is compressed by gzip, .*: unpack it"),
        (b"\x89HDF\r\n", "is an HDF5 file, .*: weights of PyTorch"),
        (pickle.dumps({"weight": 1}), "is a plain pickle, .* trust its maker, load it"),
    ],
)
def test_what_lies_in_the_place_of_a_checkpoint_is_named(content, said, tmp_path):
    for name in ("model.pth", "model.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} {said}"):
            conversion.read(tmp_path / name)


def test_weights_of_safetensors_may_have_any_ending(tmp_path):
    file = tmp_path / "pytorch_model.bin"
    whole = {name: tensor.contiguous() for name, tensor in weights().items()}
    safetensors.torch.save_file(whole, file)
    found = conversion.convert(conversion.read(file))
    assert torch.equal(found.tensors["conv1.weight"], whole["conv1.weight"])


def test_the_notebooks_offer_a_checkpoint_of_another_project(
    tmp_path, monkeypatch, keyboard, capsys
):
    path = tmp_path / "pirl.torch"
    torch.save(vissl(weights()), path)
    keyboard()
    monkeypatch.setenv("STL_WEIGHTS", "file")
    monkeypatch.setenv("STL_UPLOAD", str(path))
    random, chosen = choices.ask([tmp_path], "demo")
    assert "a ResNet checkpoint (file) from another project" in capsys.readouterr().out
    assert (random.name, chosen.name) == ("random", "pirl")
    assert chosen.about["evaluation_size"] == 224
    assert torch.equal(chosen.create().conv1.weight, weights()["conv1.weight"])
    # A backbone file is taken as it is.
    assert starting_points.from_source(chosen.source) == chosen


def test_a_classifier_without_a_stem_has_torchvisions(tmp_path):
    about = {"network": {"backbone": "resnet18"}, "classes": ["a"], "image_size": 5_000}
    path = tmp_path / "classifier.safetensors"
    network = heads.Classifier(backbones.build("resnet18"), 1)
    classifier_files.save(path, network, about | {"stored_size": 5_000})
    file, said = conversion.backbone_file(path, tmp_path / "runs")
    assert "stem 'imagenet'" in said
    assert weight_files.read_about(file)["evaluation_size"] == 5_000


@pytest.mark.parametrize("stem", backbones.STEMS)
def test_a_classifier_of_this_project_keeps_the_stem_of_its_backbone(tmp_path, stem):
    """Weights do not tell whether a max-pool follows; the file does."""
    kind = {"backbone": "resnet18", "stem": stem, "norm": "group"}
    backbone = backbones.build("resnet18", stem=stem, norm="group")
    about = {"network": kind, "classes": ["a", "b"], "image_size": 40}
    about |= {"stored_size": 48, "fit": "squash"}
    path = tmp_path / "classifier.safetensors"
    classifier_files.save(path, heads.Classifier(backbone, 2), about)
    file, said = conversion.backbone_file(path, tmp_path / "runs")
    found, kept = weight_files.load_backbone(file)
    expected = kind | {"evaluation_size": 40, "stored_size": 48, "fit": "squash"}
    assert expected.items() <= kept.items()
    assert f"stem {stem!r}" in said
    image = torch.rand(2, 3, 40, 40)
    torch.testing.assert_close(found.eval()(image), backbone.eval()(image))
