"""BatchNorm whose statistics several processes share."""

import copy

import pytest
import small
import torch
from torch import nn

from helpers.methods import memory
from helpers.training import shared_norm


def step(layer, x, slope):
    """Output, and gradients of input and weights, of one training step."""
    x = x.clone().requires_grad_()
    out = layer(x)
    (out * slope).sum().backward()
    return [out.detach(), x.grad, *(p.grad for p in layer.parameters())]


@pytest.mark.parametrize("shape", [(12, 3), (6, 3, 4, 5)])
@pytest.mark.parametrize("affine", [True, False])
def test_alone_it_is_batch_norm(shape, affine):
    torch.manual_seed(0)
    kind = nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d
    plain = kind(3, affine=affine)
    if affine:
        nn.init.normal_(plain.weight), nn.init.normal_(plain.bias)
    shared = shared_norm.convert(nn.Sequential(copy.deepcopy(plain)))
    for _ in range(2):
        x, slope = torch.randn(shape) * 3 + 1, torch.randn(shape)
        for ours, theirs in zip(
            step(shared, x, slope), step(plain, x, slope), strict=True
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        plain.zero_grad(), shared.zero_grad()
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(shared[0].get_buffer(name), buffer)
    torch.testing.assert_close(shared.eval()(x), plain.eval()(x))


def test_two_shares_are_normalised_as_their_union(monkeypatch):
    torch.manual_seed(0)
    mine, other = torch.randn(4, 3), torch.randn(4, 3) + 2
    var, mean = torch.var_mean(other, 0, correction=0)
    theirs = torch.stack([mean, var])[None]
    monkeypatch.setattr(memory, "gather", lambda rows: torch.cat([rows, theirs]))
    shared = shared_norm.convert(nn.Sequential(nn.BatchNorm1d(3)))
    plain = nn.BatchNorm1d(3)
    whole = plain(torch.cat([mine, other]))
    torch.testing.assert_close(shared(mine), whole[:4])
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(shared[0].get_buffer(name), buffer)


def test_only_the_class_of_a_layer_changes():
    network = nn.ModuleDict({"net": small.backbone(), "head": nn.BatchNorm1d(4)})
    network["same"] = network["head"]  # a layer with two names stays one
    before = network.state_dict()
    shared_norm.convert(network)
    assert network.state_dict().keys() == before.keys()
    for name, tensor in network.state_dict().items():
        assert tensor.data_ptr() == before[name].data_ptr()
    assert network["same"] is network["head"]
    kinds = [type(m) for m in network.modules() if "BatchNorm" in type(m).__name__]
    assert set(kinds) == {shared_norm.SharedBatchNorm}
    assert len(kinds) == 3
    assert all(module.training for module in network.modules())
    frozen = shared_norm.convert(small.backbone().eval())
    assert not any(module.training for module in frozen.modules())
