"""Each method learns, and does what its paper says."""

import math

import pytest
import small
import torch
from torch import nn

from helpers import methods
from helpers.methods import byol
from helpers.training import optimizers, settings
from helpers.views.randomness import StepRandom

# What their loss compares with moves on purpose: it falls where that stands still.
MOVING = ("swav", "moco", "dino")
TINY = {"hidden_dim": 32, "output_dim": 16, "size": 20}


def create(name, count=48, **changes):
    torch.manual_seed(0)
    options = settings.configure(name, **TINY | changes).options
    return methods.get(name)(small.backbone(), count, options).train()


def batch(method, images, step=0, index=None):
    """The loss of one step on some images."""
    index = torch.arange(len(images)) if index is None else index
    views = method.views(images, StepRandom(0, step, len(images)))
    return method(views, index, torch.full((len(images),), -1))


@pytest.mark.parametrize("name", methods.METHODS)
def test_twenty_steps_lower_the_loss(name, dataset):
    # An untrained teacher that is not sharp has nothing to teach.
    sharp = {"teacher_temperature": (0.01, 0.01)} if name == "dino" else {}
    method = create(name, **sharp)
    images = dataset.pretraining.images[:24]
    method.start(iter([(images, torch.arange(24))]))
    optimizer = optimizers.build(
        method.groups(), "adam", learning_rate=3e-3, weight_decay=0.0
    )
    history = []
    for step in range(20):
        loss = batch(method, images, 0 if name in MOVING else step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if name not in MOVING:
            method.after_step((step + 1) / 20)
        history.append(loss.item())
    first, last = sum(history[:4]), sum(history[-4:])
    assert last < first - 0.05 * abs(first)
    assert method.embedding.shape == (24, 16)
    assert not method.embedding.requires_grad


@pytest.mark.parametrize("name", methods.METHODS)
def test_every_trainable_weight_gets_a_gradient_and_is_optimized_once(name, dataset):
    method = create(name)
    batch(method, dataset.pretraining.images[:8]).backward()
    trainable = {k: p for k, p in method.named_parameters() if p.requires_grad}
    silent = [k for k, p in trainable.items() if p.grad is None or not p.grad.any()]
    # A bias before BatchNorm cancels out; none of ours is there.
    assert silent == []
    grouped = [p for group in method.groups() for p in group["params"]]
    grouped = [id(p) for p in grouped if p.requires_grad]
    assert sorted(grouped) == sorted(id(p) for p in trainable.values())


@pytest.mark.parametrize("name", methods.METHODS)
def test_every_recipe_can_be_configured(name):
    assert {"minutes", "hour", "published"} <= set(methods.get(name).recipes)
    for recipe in methods.get(name).recipes:
        assert settings.configure(name, recipe).method == name


def test_an_unknown_method_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"Unknown method 'vae'.*pirl, byol, simclr"):
        methods.get("vae")


@pytest.mark.parametrize("name", ["byol", "simclr"])
def test_the_two_views_are_drawn_apart(name, dataset):
    method = create(name)
    one, two = method.views(dataset.pretraining.images[:4], StepRandom(0, 0, 4))
    assert one.shape == two.shape == (4, 3, 20, 20)
    assert (one - two).abs().flatten(1).amax(dim=1).min() > 0.01


def test_simclr_equals_nt_xent_by_a_double_loop(dataset):
    method = create("simclr", temperature=0.3)
    views = method.views(dataset.pretraining.images[:5], StepRandom(0, 0, 5))
    loss = method(views, torch.arange(5), torch.full((5,), -1)).item()
    z = [method.projection_head(method.backbone(view)) for view in views]
    z = nn.functional.normalize(torch.cat(z).detach().double(), dim=1)
    total = 0.0
    for a in range(10):
        scores = [math.exp(float(z[a] @ z[b]) / 0.3) for b in range(10) if b != a]
        own = math.exp(float(z[a] @ z[(a + 5) % 10]) / 0.3)
        total -= math.log(own / sum(scores))
    assert loss == pytest.approx(total / 10, rel=1e-4)


def test_byol_compares_predictions_with_the_other_views_target(dataset):
    method = create("byol")
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
    method = create("byol", target_momentum=0.9)
    loss = batch(method, dataset.pretraining.images[:8])
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
    method = create("byol", predictor_scale=10.0)
    scales = {id(p): g.get("scale", 1.0) for g in method.groups() for p in g["params"]}
    assert {scales[id(p)] for p in method.prediction_head.parameters()} == {10.0}
    assert {scales[id(p)] for p in method.online.parameters()} == {1.0}


def test_byols_targets_can_be_standardized_over_the_batch(dataset):
    method, plain = (create("byol", standardize=yes) for yes in (True, False))
    images = dataset.pretraining.images[:24]
    view, _ = method.views(images, StepRandom(0, 1, 24))
    for network in (method.online, method.target):
        z = network(view)
        assert torch.allclose(z.mean(dim=0), torch.zeros(16), atol=1e-5)
        assert torch.allclose(z.var(dim=0, correction=0), torch.ones(16), atol=1e-2)
    z = plain.online(view)
    assert z.var(dim=0, correction=0).max() < 0.9
