"""A convolution position by position is torch's convolution."""

import copy

import pytest
import torch
from torch import nn

from helpers.models import backbones, small_maps

SHAPES = [  # kernel, stride, padding
    (3, 1, 1),
    (3, 2, 1),
    (1, 1, 0),
    (1, 2, 0),
    (3, 1, 0),
    (7, 2, 3),
    (4, 3, 1),
]


@pytest.fixture
def noted(monkeypatch):
    """Sides of the maps that torch itself convolves."""
    convolve, sides = nn.Conv2d._conv_forward, []

    def conv_forward(self, maps, *weights):
        sides.append(maps.shape[-1])
        return convolve(self, maps, *weights)

    monkeypatch.setattr(nn.Conv2d, "_conv_forward", conv_forward)
    return sides


def both(*shape, **options):
    """Torch's layer, and a copy of it that is sped up."""
    torch.manual_seed(0)
    theirs = nn.Conv2d(*shape, **options)
    ours = nn.Sequential(copy.deepcopy(theirs))
    small_maps.speed_up(ours)
    return theirs, ours[0]


def trained(layer, maps):
    """The result and all gradients."""
    maps = maps.clone().requires_grad_()
    out = layer(maps)
    (out * torch.arange(out.numel()).view(out.shape)).sum().backward()
    return out, maps.grad, *(weight.grad for weight in layer.parameters())


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("kernel", "stride", "padding"), SHAPES)
def test_result_and_gradients_are_those_of_torch(side, kernel, stride, padding):
    theirs, ours = both(4, 5, kernel, stride, padding)
    maps = torch.randn(2, 4, side, side, dtype=torch.float64)
    if side + 2 * padding < kernel:
        with pytest.raises(RuntimeError, match="Kernel size"):
            ours.double()(maps)
        return
    expected, found = (trained(layer.double(), maps) for layer in (theirs, ours))
    torch.testing.assert_close(found, expected)


def test_rows_and_columns_may_differ(noted):
    theirs, ours = both(4, 5, (3, 1), (2, 1), (1, 0))
    maps = torch.randn(2, 4, 3, 1)
    found = trained(ours, maps)
    assert not noted
    torch.testing.assert_close(found, trained(theirs, maps))


@pytest.mark.parametrize(
    "options",
    [
        {"groups": 4},
        {"dilation": 2, "padding": 2},
        {"padding": "same"},
        {"padding_mode": "circular"},
    ],
)
def test_what_is_not_plain_is_left_to_torch(options, noted):
    theirs, ours = both(4, 4, 3, **{"padding": 1} | options)
    assert type(ours) is nn.Conv2d
    maps = torch.randn(2, 4, 2, 2)
    torch.testing.assert_close(trained(ours, maps), trained(theirs, maps))
    assert noted == [2, 2]


def test_autocast_decides_the_precision():
    theirs, ours = both(64, 8, 3, padding=1, bias=False)
    maps = torch.randn(2, 64, 2, 2).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = trained(theirs, maps), trained(ours, maps)
    assert found[0].dtype == expected[0].dtype == torch.bfloat16
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    assert found[2].dtype == torch.float32
    for value, wanted in zip(found, expected, strict=True):
        error = (value - wanted).float().norm() / wanted.float().norm()
        assert error < 0.01


def test_no_gradient_is_made_for_what_is_frozen():
    _, ours = both(4, 5, 3, padding=1)
    ours.requires_grad_(False)
    assert not ours(torch.randn(2, 4, 2, 2)).requires_grad


def test_a_network_that_is_built_is_torchs_until_it_is_sped_up():
    torch.manual_seed(0)
    backbone = backbones.build("resnet18").eval()
    drawn, before = torch.get_rng_state(), backbone.state_dict(keep_vars=True)
    assert "Conv2d(64, 64" in repr(backbone)
    assert "SmallMap" not in repr(backbone)
    small_maps.speed_up(backbone)
    kinds = {type(m) for m in backbone.modules() if isinstance(m, nn.Conv2d)}
    assert kinds == {small_maps.SmallMapConv2d}
    assert not any(module.training for module in backbone.modules())
    # The weights themselves, so that an optimizer holds them already.
    after = backbone.state_dict(keep_vars=True)
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
    assert torch.equal(torch.get_rng_state(), drawn)


def test_speeding_up_again_changes_nothing():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.Conv2d(4, 4, 3)))
    small_maps.speed_up(network)
    before = list(network.modules())
    small_maps.speed_up(network)
    assert all(a is b for a, b in zip(network.modules(), before, strict=True))


def test_the_last_maps_of_small_images_are_not_convolved(noted):
    backbone = backbones.build("resnet18").eval()
    small_maps.speed_up(backbone)
    counts = {}
    for side in (96, 40, 24):
        noted.clear()
        with torch.no_grad():
            backbone(torch.zeros(1, 3, side, side))
        counts[side] = len(noted)
    # At 40 px layer4 ends in 2 x 2 places: its four kernels of 3 x 3 are products, its
    # one of 1 x 1 is torch's. At 24 px all five are products, and four of layer3.
    assert counts == {96: 20, 40: 16, 24: 11}
