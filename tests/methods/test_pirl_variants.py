"""Every published variant of PIRL learns, and is what was published."""

import dataclasses
import itertools

import pytest
import small
import tiny
import torch
from torch import nn

from helpers import methods, views
from helpers.methods import losses, pirl, pirl_variants
from helpers.training import optimizers, settings
from helpers.views.randomness import StepRandom

PRETEXTS, LOSSES, HEADS = (
    pirl_variants.CHOICES[x] for x in ("pretext", "loss", "head")
)


def create(**changes):
    return tiny.create("pirl", **changes)


@pytest.fixture(scope="module")
def images(dataset):
    return dataset.pretraining.images


VARIANTS = [
    dict(pretext=pretext, loss=loss, head=head, negatives=negatives)
    for number, (pretext, loss) in enumerate(itertools.product(PRETEXTS, LOSSES))
    for head, negatives in [(HEADS[(number + number // 3) % 3], 5 * (number % 2))]
]


@pytest.mark.parametrize(
    "options", VARIANTS, ids=lambda o: "-".join(map(str, o.values()))
)
def test_every_variant_learns_with_all_of_its_weights(options, images):
    method = create(**options)
    method.start(iter([(images, torch.arange(48))]))
    optimizer = optimizers.build(
        method.groups(), "adam", learning_rate=3e-3, weight_decay=0.0
    )
    history = []
    for step in range(20):
        loss = tiny.batch(method, images[:24], step)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            silent = [k for k, p in method.named_parameters() if not p.grad.any()]
            assert silent == []
        optimizer.step()
        method.after_step((step + 1) / 20)
        history.append(loss.item())
    assert sum(history[-4:]) < 0.97 * sum(history[:4])


@pytest.mark.parametrize("negatives", [0, 5])
def test_by_default_it_is_the_method_of_the_page(negatives, images):
    """The same weights from the same seed, the same views, loss and gradients."""
    one = create(negatives=negatives)
    torch.manual_seed(0)
    other = pirl.PIRL(small.backbone(), 48, one.options).train()
    assert list(one.state_dict()) == list(other.state_dict())
    for method in (one, other):
        tiny.batch(method, images[:8]).backward()
        method.after_step(0.5)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a.grad, b.grad)
    assert torch.equal(one.bank.entries, other.bank.entries)


def test_tables_call_it_by_its_name():
    assert methods.get("pirl").__name__ == "PIRL"


@pytest.mark.parametrize(
    ("changes", "heads"),
    [
        ({}, ["image_head", "patch_head", "jigsaw_head", "bank"]),
        (
            {"pretext": "rotation", "loss": "nce"},
            ["image_head", "rotation_head", "bank"],
        ),
        (
            {"pretext": "both", "loss": "vissl_nce"},
            "image_head patch_head jigsaw_head rotation_head bank criterion".split(),
        ),
    ],
)
def test_saved_states_keep_their_names_and_their_order(changes, heads):
    keys = list(create(**changes).state_dict())
    parts = [key.partition(".")[0] for key in keys]
    assert list(dict.fromkeys(parts)) == ["backbone", *heads]
    assert {"image_head.0.weight", "image_head.3.bias", "bank.updated"} <= set(keys)
    assert ("criterion.log_z" in keys) == ("criterion" in heads)


@pytest.mark.parametrize("head", HEADS)
def test_the_heads_of_image_and_transformed_image_share_nothing(head, images):
    method = create(head=head, pretext="both")
    parts = [method.image_head, method.patch_head, method.rotation_head]
    parts = [{id(p) for p in part.parameters()} for part in parts]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    image, (jigsaw, turned), _ = tiny.views(method, images[:4])
    for feature, moved in (
        (method.f(image), {"image_head"}),
        (method.g(jigsaw), {"patch_head", "jigsaw_head"}),
        (method.g(turned), {"rotation_head"}),
    ):
        method.zero_grad()
        feature.square().sum().backward()
        touched = {
            n.split(".")[0] for n, p in method.named_parameters() if p.grad is not None
        }
        assert touched == moved | {"backbone"}


@pytest.mark.parametrize("head", HEADS)
def test_the_heads_have_the_published_shapes(head):
    method = create(head=head, hidden_dim=2048, output_dim=128, pretext="both")

    def described(part):
        layers = [m for m in part.modules() if not isinstance(m, nn.Sequential)]
        return [
            f"Linear {layer.in_features} {layer.out_features}"
            if isinstance(layer, nn.Linear)
            else type(layer).__name__
            for layer in layers
        ]

    expected = {
        "linear": ["Linear 16 128"],
        "mlp": ["Linear 16 2048", "BatchNorm1d", "ReLU", "Linear 2048 128"],
        "vissl_mlp": ["Linear 16 2048", "ReLU", "Linear 2048 128"],
    }[head]
    assert described(method.image_head) == described(method.rotation_head) == expected
    # VISSL's patches pass one more ReLU before they are put together.
    last = ["ReLU"] * (head == "vissl_mlp")
    assert described(method.patch_head) == expected + last
    assert described(method.jigsaw_head) == ["Linear 1152 128"]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_f_and_g_are_repelled_from_the_negatives(loss, share, images):
    """Their gradients leave the plane of themselves and m_I: they are the queries."""
    method = create(loss=loss, weight=share)
    f, g = (torch.randn(4, 16, requires_grad=True) for _ in range(2))
    method.f, method.g = lambda image: f, lambda transformed: g
    tiny.batch(method, images[:4]).backward()
    query, other = (g, f) if share else (f, g)
    assert other.grad.abs().max() == 0
    for row in range(4):
        own = torch.stack([query.detach()[row], method.bank.entries[row]], dim=1)
        plane = torch.linalg.qr(own).Q
        pull = -query.grad[row]
        outside = pull - plane @ (plane.T @ pull)
        assert outside.norm() > 0.1 * pull.norm()
        rest = torch.cat([method.bank.entries[:row], method.bank.entries[row + 1 :]])
        near = (rest @ nn.functional.normalize(query.detach()[row], dim=0) / 0.1).exp()
        assert near @ (rest @ outside) < 0


@pytest.mark.parametrize("pretext", PRETEXTS)
@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_the_loss_weighs_its_terms(weight, pretext, images):
    method = create(weight=weight, pretext=pretext).eval()
    index = torch.arange(6)
    image, transformed, drawn = tiny.views(method, images[:6])

    def term(q):
        return losses.info_nce(q, method.bank.entries, index, 0.1).item()

    every = transformed if pretext == "both" else [transformed]
    first = [term(method.g(view)) for view in every]
    expected = weight * sum(first) / len(first) + (1 - weight) * term(method.f(image))
    assert method((image, transformed, drawn), index, index).item() == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize("loss", ["nce", "vissl_nce"])
def test_drawn_negatives_are_what_the_loss_compares_with(loss, images):
    method, again = (create(negatives=3, loss=loss).eval() for _ in range(2))
    index = torch.tensor([5, 40, 11, 2])
    image, jigsaw, drawn = tiny.views(method, images[index])
    value = method((image, jigsaw, drawn), index, index).item()
    criterion = pirl_variants.nce if loss == "nce" else again.criterion
    negatives = losses.negative_indices(drawn, index)

    def term(q):
        m, tau = method.bank.entries, method.options.temperature
        return criterion(*losses.scores(q, m, index, tau, negatives)).item()

    expected = (term(method.g(jigsaw)) + term(method.f(image))) / 2
    assert value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("pretext", PRETEXTS)
def test_the_bank_learns_f_once_and_only_after_the_step(pretext, images):
    method = create(bank_momentum=0.5, pretext=pretext)
    index = torch.tensor([5, 40, 11, 2, 30, 9])
    before = method.bank.entries.clone()
    tiny.batch(method, images[index], index=index).backward()
    assert torch.equal(method.bank.entries, before)
    image, _, _ = tiny.views(method, images[index])
    f = nn.functional.normalize(method.f(image).detach(), dim=1)
    method.after_step(0.5)
    mean = nn.functional.normalize(0.5 * before[index] + 0.5 * f, dim=1)
    assert torch.allclose(method.bank.entries[index], mean, atol=1e-5)
    rest = [n for n in range(48) if n not in index]
    assert torch.equal(method.bank.entries[rest], before[rest])
    assert torch.allclose(method.bank.entries.norm(dim=1), torch.ones(48))
    assert "bank.entries" in method.state_dict()


@pytest.mark.parametrize("pretext", PRETEXTS)
def test_distances_are_those_of_unit_features(pretext, images):
    method = create(pretext=pretext)
    found = method.distances(images)
    assert found.shape == (96 if pretext == "both" else 48,)
    assert 0 < found.min() <= found.max() <= 2
    method.f = lambda image: torch.ones(len(image), 3)
    method.g = lambda transformed: torch.ones(48, 3)
    assert method.distances(images).max() < 1e-6


def test_a_rotated_view_may_be_small_where_patches_would_be_too_small():
    assert settings.configure("pirl", patch=16, pretext="rotation").options.patch == 16


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"pretext": "colour"},
            "Unknown pretext 'colour' of pirl: choose one of jigsaw",
        ),
        ({"loss": "hinge"}, "Unknown loss 'hinge' of pirl: choose one of infonce, nce"),
        ({"head": "big"}, "Unknown head 'big' of pirl: choose one of linear, mlp"),
        ({"grid": 1}, "grid must be at least 2, not 1"),
        ({"negatives": -1}, "negatives must be at least 0, not -1"),
        ({"patch": 40}, "A patch of 40 px does not lie in a cell of 27 px"),
        ({"patch": 16}, "stem 'imagenet' needs views .* 17 px, these have 16"),
        ({"size": 16}, "stem 'imagenet' needs views .* 17 px, these have 16"),
        (
            {"patch": 8, "stem": "pool"},
            "stem 'pool' needs views .* 9 px, these have 8",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(wrong, message):
    with pytest.raises(ValueError, match=message) as raised:
        settings.configure("pirl", **wrong)
    assert "\n" not in str(raised.value)


def test_the_recipes_of_the_paper_and_of_vissl_are_what_they_published():
    paper, best = (settings.configure("pirl", name) for name in ("paper", "mlp_blur"))
    for chosen in (paper, best):
        assert (chosen.backbone, chosen.epochs, chosen.batch_size) == (
            "resnet50",
            800,
            1024,
        )
        assert chosen.peak_learning_rate == pytest.approx(0.12)
        assert chosen.options.cut == {"grid": 3, "cell": 85, "patch": 64}
        assert chosen.options.patch_scale == (0.6, 1.0)
        assert (chosen.options.output_dim, chosen.options.negatives) == (128, 32_000)
        assert (chosen.options.weight, chosen.options.bank_momentum) == (0.5, 0.5)
        view = chosen.options.view
        assert (view.size, view.flip, view.grayscale, view.hue) == (224, 0.5, 0.2, 0.2)
    one, other = paper.options, best.options
    assert (one.head, one.loss, one.temperature) == ("linear", "nce", 0.07)
    assert (one.view.jitter, one.view.brightness, one.view.photometric) == (
        1,
        0.4,
        0.66,
    )
    assert (one.view.blur, one.patch_blur) == (0, 0)
    assert (other.head, other.loss, other.temperature) == ("vissl_mlp", "infonce", 0.1)
    assert (other.view.jitter, other.view.brightness, other.view.photometric) == (
        0.8,
        0.8,
        0,
    )
    assert (other.view.blur, other.patch_blur, other.hidden_dim) == (0.5, 0.5, 2048)


def test_a_preset_goes_with_any_recipe():
    for name, preset in pirl_variants.PRESETS.items():
        chosen = settings.configure("pirl", "hour", **preset)
        assert chosen.epochs == pirl_variants.RECIPES["hour"]["epochs"]
        assert chosen.options.head == pirl_variants.PRESETS[name]["head"]
    assert methods.get("pirl").recipes is pirl_variants.RECIPES


@pytest.mark.parametrize("pretext", ["jigsaw", "both"])
def test_jigsaws_have_the_crop_and_the_blur_of_their_own_options(pretext, images):
    method = create(pretext=pretext, patch_scale=(0.3, 0.5), patch_blur=1.0)
    image, transformed, _ = tiny.views(method, images[:4])
    view, random = method.options.view, StepRandom(0, 0, 4)
    assert torch.equal(image, views.random_view(images[:4], view, random))
    its = dataclasses.replace(view, scale=(0.3, 0.5), blur=1.0)
    expected = views.jigsaw_patches(images[:4], its, random, grid=3, cell=27, patch=20)
    jigsaw = transformed[0] if pretext == "both" else transformed
    assert torch.equal(jigsaw, expected)
