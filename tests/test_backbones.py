"""torchvision's networks without their classifier."""

import pytest
import torch
import torchvision
from torch import nn

from helpers import backbones


@pytest.mark.parametrize(("name", "width"), [("resnet18", 512), ("resnet50", 2048)])
def test_the_weights_have_torchvisions_names(name, width):
    backbone = backbones.build(name)
    original = getattr(torchvision.models, name)(weights=None)
    expected = {
        key: value.shape
        for key, value in original.state_dict().items()
        if not key.startswith("fc.")
    }
    made = {key: value.shape for key, value in backbone.state_dict().items()}
    assert made == expected
    assert backbone.feature_dim == width


def test_every_width_of_resnet50w2_is_twice_that_of_resnet50():
    with torch.device("meta"):
        wide, plain = (backbones.build(name) for name in ("resnet50w2", "resnet50"))
    double = {k: list(v.shape) for k, v in plain.state_dict().items()}
    for name, shape in double.items():
        for place in range(min(2, len(shape))):  # channels out, channels in
            if not (name == "conv1.weight" and place == 1):  # an image has three
                shape[place] *= 2
    assert {k: list(v.shape) for k, v in wide.state_dict().items()} == double
    assert wide.feature_dim == 4096


def test_resnet50w2_starts_and_runs_as_a_resnet_does(monkeypatch):
    drawn = []
    monkeypatch.setattr(nn.init, "kaiming_normal_", lambda w, **_: drawn.append(w))
    with torch.device("meta"):
        wide = backbones.build("resnet50w2")
        assert wide(torch.randn(2, 3, 32, 32)).shape == (2, 4096)
    convolutions = [m.weight for m in wide.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 53
    assert {id(w) for w in convolutions} <= {id(w) for w in drawn}


def test_below_its_least_side_a_stem_leaves_the_last_layers_one_pixel():
    for stem in backbones.STEMS:
        backbone = backbones.build("resnet18", stem=stem).eval()
        seen = []
        backbone.layer4.register_forward_pre_hook(lambda _, x, s=seen: s.append(x[0]))
        least = backbones.least_side(stem)
        for side in (least - 1, least):
            backbone(torch.randn(1, 3, side, side))
        assert [tuple(given.shape[-2:]) for given in seen] == [(1, 1), (2, 2)]


def test_the_features_are_what_torchvisions_classifier_sees():
    backbone = backbones.build("resnet18").eval()
    original = torchvision.models.resnet18(weights=None).eval()
    report = original.load_state_dict(backbone.state_dict(), strict=False)
    assert report.missing_keys == ["fc.weight", "fc.bias"]
    image = torch.randn(2, 3, 40, 40)
    with torch.no_grad():
        features = backbone(image)
        assert torch.allclose(original.fc(features), original(image), atol=1e-5)


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
        ({"name": "vgg"}, "Unknown backbone 'vgg': choose one of resnet18, .*\\."),
        ({"stem": "tiny"}, "Unknown stem 'tiny': choose one of imagenet, pool, small"),
        ({"norm": "layer"}, "Unknown norm 'layer': choose one of batch, group\\."),
        ({"weights": "best"}, "Unknown weights 'best': choose one of random, imagenet"),
        ({"weights": "imagenet", "stem": "pool"}, "ImageNet weights fit only"),
        ({"weights": "imagenet", "norm": "group"}, "ImageNet weights fit only"),
        ({"name": "resnet50w2", "weights": "imagenet"}, "no ImageNet weights of"),
    ],
)
def test_what_cannot_be_built_is_one_sentence(wrong, message):
    with pytest.raises(ValueError, match=message) as raised:
        backbones.build(**wrong)
    assert "\n" not in str(raised.value)
