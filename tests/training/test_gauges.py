"""The collapse gauge is 1 for noise and 0 for embeddings that are all alike."""

import pytest
import torch

from helpers.training import gauges


def test_the_spread_is_one_for_noise_and_nothing_for_a_collapse():
    torch.manual_seed(0)
    assert gauges.spread(torch.randn(2_000, 64)).item() == pytest.approx(1, abs=0.02)
    same = torch.randn(1, 64).expand(50, -1)
    assert gauges.spread(same).item() < 1e-5
    lengths = torch.rand(50, 1) + 0.5  # directions count, lengths do not
    assert gauges.spread(same * lengths).item() < 1e-5


def test_collapse_is_a_spread_near_nothing():
    assert gauges.is_collapsed([{"spread": 0.9}, {"spread": 0.09}])
    assert not gauges.is_collapsed([{"spread": 0.05}, {"spread": 0.11}])
    assert not gauges.is_collapsed([])
