"""torchvision's networks without their classifier."""

import copy
import urllib.error

import pytest
import torch
import torchvision
from torch import nn

from helpers.models import backbones

WIDTHS = {
    **dict.fromkeys(("resnet18", "resnet34"), 512),
    **dict.fromkeys(("resnet50", "resnet101", "resnet152"), 2048),
    **{"resnet50w2": 4096, "alexnet": 256},
    **{name: 512 for name in backbones.BACKBONES if name.startswith("vgg")},
    **{"densenet121": 1024, "densenet161": 2208},
    **{"densenet169": 1664, "densenet201": 1920},
    **{"efficientnet_b0": 1280, "efficientnet_b1": 1280, "efficientnet_b2": 1408},
    **{"efficientnet_b3": 1536, "efficientnet_b4": 1792, "efficientnet_b5": 2048},
    **{"efficientnet_b6": 2304, "efficientnet_b7": 2560},
}
FAMILIES = ("resnet18", "alexnet", "vgg11_bn", "densenet121", "efficientnet_b0")
STEMMED = [("resnet18", stem) for stem in backbones.STEMS]
STEMMED += [(name, "imagenet") for name in (*FAMILIES[1:], "resnet50")]


def on_meta(name, **options):
    """The backbone without memory or arithmetic: shapes alone."""
    with torch.device("meta"):
        return backbones.build(name, **options)


@pytest.mark.parametrize("name", [name for name in WIDTHS if name != "resnet50w2"])
def test_the_weights_have_torchvisions_names_and_the_features_their_width(name):
    backbone = on_meta(name)
    with torch.device("meta"):
        original = getattr(torchvision.models, name)(weights=None)
    expected = {
        key: value.shape
        for key, value in original.state_dict().items()
        if not key.startswith(backbones.CLASSIFIERS)
    }
    made = {key: value.shape for key, value in backbone.state_dict().items()}
    assert made == expected
    assert "IMAGENET1K_V1" in torchvision.models.get_model_weights(name).__members__
    side = backbones.smallest_side(name)
    features = backbone(torch.empty(2, 3, side, side, device="meta"))
    assert features.shape == (2, backbone.feature_dim)
    assert backbone.feature_dim == WIDTHS[name]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_learns_at_its_smallest_side(name):
    torch.manual_seed(0)
    backbone = backbones.build(name).train()
    side = backbones.smallest_side(name)
    backbone(torch.randn(2, 3, side, side)).square().sum().backward()
    silent = [k for k, p in backbone.named_parameters() if p.grad is None]
    assert silent == []
    assert all(p.grad.isfinite().all() for p in backbone.parameters())


@pytest.mark.parametrize(("name", "stem"), STEMMED)
def test_the_smallest_side_is_where_no_map_vanishes_or_is_strided_over_alone(
    name, stem
):
    """Found by trying, side by side, with the backbone's own check taken off."""
    backbone = on_meta(name, stem=stem).train()
    backbone._forward_pre_hooks.clear()
    alone = []

    def look(layer, inputs):
        stride = layer.stride if isinstance(layer.stride, tuple) else (layer.stride,)
        if max(stride) > 1 and min(inputs[0].shape[-2:]) == 1:
            alone.append(layer)

    for layer in backbone.modules():
        if isinstance(layer, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
            layer.register_forward_pre_hook(look)

    def works(side):
        alone.clear()
        try:
            backbone(torch.empty(2, 3, side, side, device="meta"))
        except RuntimeError:
            return False
        return not alone

    smallest = backbones.smallest_side(name, stem)
    assert not works(smallest - 1)
    assert all(works(side) for side in (smallest, smallest + 1, 64, 97))


@pytest.mark.parametrize(
    ("name", "stem"), [("resnet18", "imagenet"), ("resnet18", "small"), ("vgg11", None)]
)
def test_images_that_are_too_small_are_one_sentence(name, stem):
    stem = stem or "imagenet"
    backbone = on_meta(name, stem=stem)
    side = backbones.smallest_side(name, stem)
    message = f"{name} with stem '{stem}' needs .* {side} px, these have {side - 1}: "
    copied = copy.deepcopy(backbone)  # as a target network is made
    for network in (backbone, copied):
        for height, width in ((side - 1, 99), (99, side - 1)):
            with pytest.raises(ValueError, match=message) as raised:
                network(torch.empty(2, 3, height, width, device="meta"))
            assert "\n" not in str(raised.value)
        network(torch.empty(2, 3, side, side, device="meta"))


def test_every_width_of_resnet50w2_is_twice_that_of_resnet50():
    with torch.device("meta"):
        wide, plain = (backbones.build(name) for name in ("resnet50w2", "resnet50"))
    double = {k: list(v.shape) for k, v in plain.state_dict().items()}
    for name, shape in double.items():
        for place in range(min(2, len(shape))):  # channels out, channels in
            if not (name == "conv1.weight" and place == 1):  # an image has three
                shape[place] *= 2
    assert {k: list(v.shape) for k, v in wide.state_dict().items()} == double
    assert wide.feature_dim == WIDTHS["resnet50w2"]


def test_resnet50w2_starts_and_runs_as_a_resnet_does(monkeypatch):
    drawn = []
    monkeypatch.setattr(nn.init, "kaiming_normal_", lambda w, **_: drawn.append(w))
    with torch.device("meta"):
        wide = backbones.build("resnet50w2")
        assert wide(torch.randn(2, 3, 32, 32)).shape == (2, 4096)
    convolutions = [m.weight for m in wide.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 53
    assert {id(w) for w in convolutions} <= {id(w) for w in drawn}


def test_the_features_are_what_torchvisions_classifier_sees():
    for name, classifier in (("resnet18", "fc"), ("densenet121", "classifier")):
        backbone = backbones.build(name).eval()
        original = getattr(torchvision.models, name)(weights=None).eval()
        report = original.load_state_dict(backbone.state_dict(), strict=False)
        assert report.missing_keys == [f"{classifier}.weight", f"{classifier}.bias"]
        image = torch.randn(2, 3, 40, 40)
        with torch.no_grad():
            scores = getattr(original, classifier)(backbone(image))
            assert torch.allclose(scores, original(image), atol=1e-4)


def test_alexnets_features_are_the_mean_of_its_last_map():
    backbone = backbones.build("alexnet").eval()
    image = torch.randn(2, 3, 130, 130)
    with torch.no_grad():
        expected = backbone.features(image).mean(dim=(2, 3))
        assert torch.allclose(backbone(image), expected, atol=1e-5)
    assert not any(key.startswith("classifier") for key in backbone.state_dict())


@pytest.mark.parametrize(
    ("stem", "side", "kernel"), [("imagenet", 16, 7), ("pool", 32, 3), ("small", 64, 3)]
)
def test_the_stem_decides_how_fine_the_first_layer_sees(stem, side, kernel):
    backbone = backbones.build("resnet18", stem=stem)
    seen = []
    backbone.layer1.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    features = backbone.eval()(torch.randn(1, 3, 64, 64))
    assert seen[0].shape == (1, 64, side, side)
    assert backbone.conv1.kernel_size == (kernel, kernel)
    assert features.shape == (1, 512)


def test_group_normalisation_knows_nothing_of_the_rest_of_the_batch():
    backbone = backbones.build("resnet18", norm="group").train()
    kinds = {type(module) for module in backbone.modules()}
    assert nn.GroupNorm in kinds
    assert nn.BatchNorm2d not in kinds
    images = torch.randn(3, 3, 40, 40)
    with torch.no_grad():
        assert torch.allclose(backbone(images)[:1], backbone(images[:1]), atol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "vgg"}, r"Unknown backbone 'vgg': choose one of resnet18, .*_b7\."),
        ({"stem": "tiny"}, "Unknown stem 'tiny': choose one of imagenet, pool, small"),
        ({"norm": "layer"}, "Unknown norm 'layer': choose one of batch, group\\."),
        ({"weights": "best"}, "Unknown weights 'best': choose one of random, imagenet"),
        ({"weights": "imagenet", "stem": "pool"}, "ImageNet weights fit only"),
        ({"weights": "imagenet", "norm": "group"}, "ImageNet weights fit only"),
        ({"name": "resnet50w2", "weights": "imagenet"}, "no ImageNet weights of"),
        ({"name": "vgg11", "stem": "small"}, "vgg11 has only stem 'imagenet' and"),
        ({"name": "alexnet", "norm": "group"}, "alexnet has only stem 'imagenet' and"),
    ],
)
def test_what_cannot_be_built_is_one_sentence(wrong, message):
    with pytest.raises(ValueError, match=message) as raised:
        backbones.build(**wrong)
    assert "\n" not in str(raised.value)


def test_imagenet_weights_that_cannot_be_downloaded_are_one_sentence(
    tmp_path, monkeypatch
):
    def fail(*_, **__):
        raise urllib.error.URLError("offline")

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", fail)
    expected = r"weights of resnet18 cannot be downloaded \(offline\): .*\.pth"
    with pytest.raises(OSError, match=expected):
        backbones.build("resnet18", weights="imagenet")


@pytest.mark.parametrize("stem", ["pool", "small"])
def test_another_stem_starts_as_torchvision_starts_its_convolutions(stem):
    torch.manual_seed(0)
    weight = backbones.build("resnet18", stem=stem).conv1.weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)
