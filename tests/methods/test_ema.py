"""Slow copies: they move as told and no gradient reaches them."""

import itertools

import pytest
import torch
from torch import nn

from helpers.methods import ema


def network():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def test_a_copy_shares_nothing_and_gets_no_gradient():
    online = network()
    target = ema.slow_copy(online)
    x = torch.randn(5, 3)
    assert torch.equal(online(x), target(x))
    assert not any(weight.requires_grad for weight in target.parameters())
    assert all(weight.requires_grad for weight in online.parameters())
    (online(x) - target(x) + 1).sum().backward()
    assert all(weight.grad is None for weight in target.parameters())
    with torch.no_grad():
        online[0].weight.add_(1)
    assert not torch.equal(online[0].weight, target[0].weight)


@pytest.mark.parametrize("momentum", [0.0, 0.75, 1.0])
def test_it_follows_by_the_momentum(momentum):
    online = network()
    target = ema.slow_copy(online)
    with torch.no_grad():
        for weight in online.parameters():
            weight.add_(torch.randn_like(weight))
    before = [weight.double() for weight in target.parameters()]
    ema.follow(target, online, momentum)
    after, leaders = list(target.parameters()), list(online.parameters())
    for old, new, leader in zip(before, after, leaders, strict=True):
        expected = momentum * old + (1 - momentum) * leader.double()
        assert torch.allclose(new.double(), expected, atol=1e-6)


def test_the_momentum_climbs_to_one_along_a_cosine():
    values = [ema.momentum(0.9, step / 10) for step in range(11)]
    assert values[0] == pytest.approx(0.9)
    assert values[5] == pytest.approx(0.95)
    assert values[10] == 1
    assert values == sorted(values)
    steps = [after - before for before, after in itertools.pairwise(values)]
    assert steps[0] == pytest.approx(steps[-1])
    assert steps[0] < steps[5]
