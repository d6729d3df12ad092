"""Schedules, groups, LARS and LARC, against closed forms and torch's own."""

import math

import pytest
import torch
from torch import nn

from helpers.methods import base
from helpers.training import optimizers


def test_the_schedule_climbs_then_follows_a_cosine_to_its_end():
    def at(step):
        return optimizers.schedule(step, total=100, warmup=20, final=0.1)

    assert [at(0), at(9), at(19)] == pytest.approx([1 / 20, 0.5, 1.0])
    assert at(20) == pytest.approx(1.0)
    assert at(60) == pytest.approx(0.1 + 0.9 * 0.5)
    assert at(80) == pytest.approx(0.1 + 0.45 * (1 + math.cos(0.75 * math.pi)))
    assert at(100) == at(130) == pytest.approx(0.1)
    falling = [at(step) for step in range(20, 101)]
    assert falling == sorted(falling, reverse=True)


def test_the_schedule_needs_no_warmup_and_ends_at_zero():
    assert optimizers.schedule(0, total=10) == 1.0
    assert 0 < optimizers.schedule(9, total=10) < 0.03
    assert optimizers.schedule(10, total=10) == pytest.approx(0.0)


def test_a_constant_schedule_only_warms_up():
    def at(step):
        return optimizers.schedule(step, total=20, warmup=4, kind="constant")

    assert [at(step) for step in (0, 1, 3, 4, 19)] == [0.25, 0.5, 1, 1, 1]


LOSSES = {
    "falling": [3.0, 2.0, 1.0, 0.5],
    "flat": [1.0] * 12,
    "up and down": [1.0, 2.0, 0.9, 0.95, 0.91, 0.89999, 0.9, 0.1, 0.2, 0.3, 0.4],
    "rising": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5],
    "nothing": [],
}


@pytest.mark.parametrize("patience", [0, 1, 3])
@pytest.mark.parametrize("losses", LOSSES.values(), ids=LOSSES)
def test_the_plateau_counts_as_torchs_scheduler(losses, patience):
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=patience)
    for loss in losses:
        reference.step(loss)
    expected = optimizer.param_groups[0]["lr"]
    if expected > 1e-7:  # torch leaves off at 1e-8
        found = optimizers.plateau(losses, patience)
        assert found == pytest.approx(expected)
    at_step = optimizers.schedule(
        5, total=9, warmup=12, kind="plateau", losses=losses, patience=patience
    )
    assert at_step == pytest.approx(0.5 * optimizers.plateau(losses, patience))


def test_a_negative_loss_must_fall_to_count_as_falling():
    """Negative cosines: -0.5 again is no improvement on -0.5."""
    assert optimizers.plateau([-0.5] * 3, patience=1) == pytest.approx(0.1)
    assert optimizers.plateau([-0.5, -0.6, -0.7], patience=1) == 1.0


def network():
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2), nn.Linear(2, 2)
    return nn.Sequential(*layers)


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_only_weights_are_decayed(name):
    module = network()
    module[2].weight.requires_grad_(False)
    optimizer = optimizers.build(
        [{"params": list(module.parameters())}],
        name,
        learning_rate=0.1,
        weight_decay=0.3,
    )
    decay = {
        id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]
    }
    for parameter in module.parameters():
        if parameter is module[2].weight:
            assert id(parameter) not in decay
        else:
            assert decay[id(parameter)] == (0.3 if parameter.ndim > 1 else 0.0)


def test_momentum_reaches_every_optimizer():
    for name in optimizers.OPTIMIZERS:
        optimizer = optimizers.build(
            [{"params": list(network().parameters())}],
            name,
            learning_rate=0.1,
            weight_decay=0.0,
            momentum=0.7,
        )
        group = optimizer.param_groups[0]
        assert group.get("momentum", group.get("betas", [None])[0]) == 0.7
        assert group.get("nesterov", False) == (name == "nesterov")


def test_groups_scale_the_rate_and_may_ignore_the_schedule():
    a, b, c = (nn.Linear(2, 2) for _ in range(3))
    optimizer = optimizers.build(
        [
            {"params": base.parameters(a)},
            {"params": base.parameters(b), "scale": 10.0},
            {"params": base.parameters(c), "scale": 2.0, "constant": True},
        ],
        "sgd",
        learning_rate=0.3,
        weight_decay=0.1,
    )

    def rates():
        found = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
        return [found[id(module.bias)] for module in (a, b, c)]

    assert rates() == pytest.approx([0.3, 3.0, 0.6])
    optimizers.set_learning_rate(optimizer, 0.2, 0.5)
    assert rates() == pytest.approx([0.1, 1.0, 0.4])


@pytest.mark.parametrize("rate", [0.5, 0.001])
@pytest.mark.parametrize("decay", [0.0, 0.2])
@pytest.mark.parametrize("name", ["lars", "larc"])
def test_two_steps_equal_the_closed_form(name, decay, rate):
    torch.manual_seed(0)
    weight, bias = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(3))
    start = weight.detach().clone()
    optimizer = optimizers.build(
        [{"params": [weight, bias]}],
        name,
        learning_rate=rate,
        weight_decay=decay,
        momentum=0.9,
    )
    expected = [weight.detach().double(), bias.detach().double()]
    velocity = [torch.zeros_like(value) for value in expected]
    for _ in range(2):
        weight.grad, bias.grad = torch.randn(3, 4), torch.randn(3)
        gradient, norm = weight.grad.double(), expected[0].norm()
        size = gradient.norm() + decay * norm
        if name == "lars":
            own = rate * 0.001 * norm / size
        else:
            own = min(0.02 * norm / size, rate)
            assert (own == rate) == (rate == 0.001)  # both sides of the clip are seen
        velocity[0] = 0.9 * velocity[0] + own * (gradient + decay * expected[0])
        velocity[1] = 0.9 * velocity[1] + rate * bias.grad.double()
        expected = [w - v for w, v in zip(expected, velocity, strict=True)]
        optimizer.step()
    assert torch.allclose(weight.double(), expected[0], atol=1e-6)
    assert torch.allclose(bias.double(), expected[1], atol=1e-6)
    assert not torch.equal(weight, start)


def test_a_lars_step_has_the_length_the_ratio_gives_it_whatever_the_gradients_size():
    """‖step‖ = lr · η · ‖w‖ without decay, momentum and its history."""
    for size in (1e-3, 1.0, 1e3):
        weight = nn.Parameter(torch.full((2, 2), 3.0))
        optimizer = optimizers.LARS([weight], lr=0.5, momentum=0)
        weight.grad = size * torch.randn(2, 2, generator=torch.manual_seed(0))
        optimizer.step()
        moved = (weight.detach() - 3).norm().item()
        assert moved == pytest.approx(0.5 * 0.001 * 6, rel=1e-3)


def test_lars_moves_a_weight_of_norm_zero():
    weight = nn.Parameter(torch.zeros(2, 2))
    optimizer = optimizers.LARS([weight], lr=0.5)
    weight.grad = torch.ones(2, 2)
    optimizer.step()
    assert torch.allclose(weight, torch.full((2, 2), -0.5))
    weight.grad = None
    optimizer.step()
    assert torch.allclose(weight, torch.full((2, 2), -0.5))


def test_an_unknown_optimizer_is_one_sentence():
    with pytest.raises(ValueError, match="Unknown schedule 'steps': choose one of cos"):
        optimizers.check("sgd", "steps")
    with pytest.raises(ValueError, match="Unknown optimizer 'adagrad': choose one of"):
        optimizers.build(
            [{"params": [nn.Parameter(torch.ones(1))]}],
            "adagrad",
            learning_rate=1,
            weight_decay=0,
        )


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adam", "adamw"])
def test_two_steps_move_weights_in_any_memory_order_by_the_formula(name):
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 5, 3, bias=False).to(memory_format=torch.channels_last)
    start = layer.weight.detach().double()
    optimizer = optimizers.build(
        [{"params": [layer.weight]}], name, learning_rate=0.1, weight_decay=0.2
    )
    gradients = []
    for seed in range(2):
        images = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
        layer.zero_grad()
        layer(images).square().sum().backward()
        gradients.append(layer.weight.grad.double())
        optimizer.step()
    weight, first, second = start, 0.0, 0.0
    for step, gradient in enumerate(gradients, start=1):
        if name == "adamw":
            weight = weight * (1 - 0.1 * 0.2)
        else:
            gradient = gradient + 0.2 * weight
        if name.startswith("adam"):
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            size = (second / (1 - 0.999**step)).sqrt() + 1e-8
            weight = weight - 0.1 * first / (1 - 0.9**step) / size
        else:
            first = 0.9 * first + gradient
            update = gradient + 0.9 * first if name == "nesterov" else first
            weight = weight - 0.1 * update
    assert (layer.weight - weight).abs().max() < 1e-4


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_moments_and_rate_come_from_a_file_and_nothing_else_does(name):
    def made(rate):
        torch.manual_seed(0)
        weight = nn.Parameter(torch.randn(3, 2))
        groups = [{"params": [weight]}]
        built = optimizers.build(groups, name, learning_rate=rate, weight_decay=0.1)
        return weight, built

    weight, first = made(0.5)
    weight.grad = torch.ones(3, 2)
    first.step()
    saved = first.state_dict()
    saved["param_groups"][0] |= {"weight_decay": "much", "scale": None}
    other_weight, other = made(0.1)
    optimizers.load_moments(other, saved)
    assert other.param_groups[0]["lr"] == 0.5
    assert other.param_groups[0]["weight_decay"] == 0.1
    assert other.param_groups[0]["scale"] == 1.0
    for key, moment in first.state[weight].items():
        assert torch.equal(other.state[other_weight][key], moment)
    mine = saved["state"][0]
    states = [{0: mine | {"more": torch.ones(3, 2)}}, {1: mine}]
    for wrong in (torch.zeros(2, 3), torch.zeros(0), "much"):
        states += [{0: mine | {key: wrong}} for key in mine]
    harms = [{"state": state} for state in states]
    for harm in (*harms, {"param_groups": [{"params": [1], "lr": 0.5}]}):
        with pytest.raises((ValueError, AttributeError)):
            optimizers.load_moments(made(0.1)[1], saved | harm)
