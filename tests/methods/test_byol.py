"""BYOL predicts the target's features, and the target follows."""

import math

import pytest
import tiny
import torch

from helpers.methods import byol
from helpers.views.randomness import StepRandom


def test_byol_compares_predictions_with_the_other_views_target(dataset):
    method = tiny.create("byol")
    with torch.no_grad():  # the target is not the online network any more
        for weight in method.target.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    views = method.views(dataset.pretraining.images[:6], StepRandom(0, 0, 6))
    loss = method(views, torch.arange(6), torch.full((6,), -1)).item()
    q = [method.prediction_head(method.online(view)).double() for view in views]
    z = [method.target(view).double() for view in views]
    total = 0.0
    for prediction, target in ((q[0], z[1]), (q[1], z[0])):
        for a, b in zip(prediction.tolist(), target.tolist(), strict=True):
            dot = sum(x * y for x, y in zip(a, b, strict=True))
            total += (2 - 2 * dot / math.hypot(*a) / math.hypot(*b)) / 6
    assert loss == pytest.approx(total, rel=1e-4)


def test_byols_regression_is_the_distance_of_unit_vectors():
    q, z = torch.randn(4, 6), torch.randn(4, 6)
    unit = torch.nn.functional.normalize
    expected = (unit(q, dim=1) - unit(z, dim=1)).pow(2).sum(dim=1).mean()
    assert torch.allclose(byol.regression(q, z), expected)


@pytest.mark.parametrize(("progress", "momentum"), [(0.0, 0.9), (0.5, 0.95), (1.0, 1)])
def test_byols_target_moves_by_the_scheduled_momentum(progress, momentum, dataset):
    method = tiny.create("byol", target_momentum=0.9)
    loss = tiny.batch(method, dataset.pretraining.images[:8])
    loss.backward()
    assert all(weight.grad is None for weight in method.target.parameters())
    assert not any(weight.requires_grad for weight in method.target.parameters())
    with torch.no_grad():
        for weight in method.online.parameters():
            weight.add_(torch.randn_like(weight))
    before = [weight.clone() for weight in method.target.parameters()]
    method.after_step(progress)
    online, target = method.online.parameters(), method.target.parameters()
    for old, new, weight in zip(before, target, online, strict=True):
        expected = momentum * old + (1 - momentum) * weight
        assert torch.allclose(new, expected, atol=1e-6)


def test_byols_predictor_may_learn_faster():
    method = tiny.create("byol", predictor_scale=10.0)
    scales = {id(p): g.get("scale", 1.0) for g in method.groups() for p in g["params"]}
    assert {scales[id(p)] for p in method.prediction_head.parameters()} == {10.0}
    assert {scales[id(p)] for p in method.online.parameters()} == {1.0}


def test_byols_targets_can_be_standardized_over_the_batch(dataset):
    method, plain = (tiny.create("byol", standardize=yes) for yes in (True, False))
    images = dataset.pretraining.images[:24]
    view, _ = method.views(images, StepRandom(0, 1, 24))
    for network in (method.online, method.target):
        z = network(view)
        assert torch.allclose(z.mean(dim=0), torch.zeros(16), atol=1e-5)
        assert torch.allclose(z.var(dim=0, correction=0), torch.ones(16), atol=1e-2)
    z = plain.online(view)
    assert z.var(dim=0, correction=0).max() < 0.9
