"""Each method learns, with all of its weights, by every recipe."""

import pytest
import tiny
import torch

from helpers import methods
from helpers.training import optimizers, settings
from helpers.views.randomness import StepRandom

# What their loss compares with moves on purpose: it falls where that stands still.
MOVING = ("swav", "moco", "dino")


@pytest.mark.parametrize("name", methods.METHODS)
def test_twenty_steps_lower_the_loss(name, dataset):
    # An untrained teacher that is not sharp has nothing to teach.
    sharp = {"teacher_temperature": (0.01, 0.01)} if name == "dino" else {}
    method = tiny.create(name, **sharp)
    images = dataset.pretraining.images[:24]
    method.start(iter([(images, torch.arange(24))]))
    optimizer = optimizers.build(
        method.groups(), "adam", learning_rate=3e-3, weight_decay=0.0
    )
    history = []
    for step in range(20):
        loss = tiny.batch(method, images, 0 if name in MOVING else step)
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
    method = tiny.create(name)
    tiny.batch(method, dataset.pretraining.images[:8]).backward()
    trainable = {k: p for k, p in method.named_parameters() if p.requires_grad}
    silent = [k for k, p in trainable.items() if p.grad is None or not p.grad.any()]
    # A bias before BatchNorm cancels out; none of ours is there.
    assert silent == []
    grouped = [p for group in method.groups() for p in group["params"]]
    grouped = [id(p) for p in grouped if p.requires_grad]
    assert sorted(grouped) == sorted(id(p) for p in trainable.values())


@pytest.mark.parametrize("recipe", ["minutes", "long"])
@pytest.mark.parametrize("name", sorted(methods.METHODS.keys() - {"pirl", "byol"}))
def test_the_loss_by_hand_is_the_loss(name, recipe, dataset):
    method = tiny.create(name, recipe=recipe)
    method.before_step(0.0)
    index, labels = torch.arange(16), torch.arange(16) % 3  # as many as in the notebook
    images = dataset.pretraining.images[index]
    views = method.views(images, StepRandom(seed=0, step=0, batch=16))
    by_hand = method.by_hand(views, index, labels)
    torch.testing.assert_close(by_hand, method.loss(views, index, labels))
    assert by_hand.requires_grad


@pytest.mark.parametrize("name", methods.METHODS)
def test_every_recipe_can_be_configured(name):
    assert {"minutes", "hour", "long"} <= set(methods.get(name).recipes)
    for recipe in methods.get(name).recipes:
        assert settings.configure(name, recipe).method == name


def test_an_unknown_method_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"Unknown method 'vae'.*pirl, byol, simclr"):
        methods.get("vae")


@pytest.mark.parametrize("name", sorted({*methods.METHODS} - {"pirl", "byol"}))
def test_its_text_has_a_title_and_a_formula(name):
    title, _, rest = methods.text(name).partition("\n")
    words = methods.get(name).__name__
    assert title.replace(" ", "").startswith(f"{words}:")
    assert rest.count("$$") in (2, 4)
    assert all(line.count("$") % 2 == 0 for line in rest.split("\n\n"))
    assert len(rest.split()) < 200


@pytest.mark.parametrize("name", methods.METHODS)
def test_the_gauge_sees_what_the_network_makes_of_the_first_view(name, dataset):
    """Not the targets', which spread out whatever the network does."""
    method = tiny.create(name).eval()
    for copy in {"target", "teacher"} & {n for n, _ in method.named_children()}:
        tiny.move(getattr(method, copy))
    views = tiny.views(method, dataset.pretraining.images[:12])
    method(views, torch.arange(12), torch.full((12,), -1))
    head = method.image_head if name == "pirl" else method.projection_head
    expected = head(method.backbone(views[0]))
    if name in ("swav", "moco"):
        expected = torch.nn.functional.normalize(expected, dim=1)
    assert torch.allclose(method.embedding, expected, atol=1e-5)
