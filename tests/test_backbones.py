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
    ],
)
def test_what_cannot_be_built_is_one_sentence(wrong, message):
    with pytest.raises(ValueError, match=message) as raised:
        backbones.build(**wrong)
    assert "\n" not in str(raised.value)
