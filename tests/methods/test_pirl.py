"""PIRL sees, compares and remembers what its paper says, with every option."""

import dataclasses
import itertools

import pytest
import small
import torch
from torch import nn

from helpers import methods, views
from helpers.methods import losses, pirl, pirl_options
from helpers.training import optimizers, settings
from helpers.views.randomness import StepRandom

TINY = {"hidden_dim": 32, "output_dim": 16, "size": 20}
PRETEXTS, HEADS = (pirl_options.CHOICES[name] for name in ("pretext", "head"))


def create(count=48, **changes):
    torch.manual_seed(0)
    options = settings.configure("pirl", **TINY | changes).options
    return pirl.PIRL(small.backbone(), count, options).train()


def batch(method, images, step=0, index=None):
    """The loss of one step on some images."""
    index = torch.arange(len(images)) if index is None else index
    seen = method.views(images, StepRandom(0, step, len(images)))
    return method(seen, index, torch.full((len(images),), -1))


@pytest.fixture(scope="module")
def images(dataset):
    return dataset.pretraining.images


VARIANTS = [
    dict(pretext=pretext, loss=loss, head=head, negatives=negatives)
    for number, (pretext, loss) in enumerate(
        itertools.product(PRETEXTS, pirl_options.CHOICES["loss"])
    )
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
        loss = batch(method, images[:24], step)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            silent = [k for k, p in method.named_parameters() if not p.grad.any()]
            assert silent == []
        optimizer.step()
        method.after_step((step + 1) / 20)
        history.append(loss.item())
    assert sum(history[-4:]) < 0.97 * sum(history[:4])


@pytest.mark.parametrize("head", HEADS)
def test_the_heads_of_image_and_transformed_image_share_nothing(head, images):
    method = create(head=head, pretext="both")
    parts = [method.image_head, method.patch_head, method.rotation_head]
    parts = [{id(p) for p in part.parameters()} for part in parts]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    image, (patches, rotated), _ = method.views(images[:4], StepRandom(0, 0, 4))
    for feature, moved in (
        (method.f(image), {"image_head"}),
        (method.g(patches), {"patch_head", "jigsaw_head"}),
        (method.g(rotated), {"rotation_head"}),
    ):
        method.zero_grad()
        feature.square().sum().backward()
        touched = {
            n.split(".")[0] for n, p in method.named_parameters() if p.grad is not None
        }
        assert touched == moved | {"backbone"}


@pytest.mark.parametrize("head", HEADS)
def test_the_heads_have_the_published_shapes(head):
    options = dataclasses.replace(pirl_options.Options(), head=head, hidden_dim=2048)
    made = {
        patches: [
            type(layer).__name__
            + (
                f" {layer.in_features} {layer.out_features}"
                if hasattr(layer, "in_features")
                else ""
            )
            for layer in pirl.projection(2048, options, patches=patches).modules()
            if not isinstance(layer, nn.Sequential)
        ]
        for patches in (False, True)
    }
    first, last = "Linear 2048 2048", "Linear 2048 128"
    expected = {
        "linear": [last],
        "mlp": [first, "BatchNorm1d", "ReLU", last],
        "vissl_mlp": [first, "ReLU", last],
    }[head]
    assert made[False] == expected
    # VISSL's patches pass one more ReLU before they are put together.
    assert made[True] == expected + ["ReLU"] * (head == "vissl_mlp")
    method = create(head=head, output_dim=128)
    assert (method.jigsaw_head.in_features, method.jigsaw_head.out_features) == (
        1152,
        128,
    )


def test_the_features_of_patches_are_put_together_in_their_order(images):
    method = create(head="linear").eval()
    _, (patches,), _ = method.views(images[:3], StepRandom(0, 0, 3))
    weight, bias = method.jigsaw_head.weight, method.jigsaw_head.bias
    for number in range(3):
        each = [
            method.patch_head(method.backbone(patches[number, place][None]))[0]
            for place in range(9)
        ]
        expected = bias + sum(
            weight[:, 16 * place : 16 * (place + 1)] @ each[place] for place in range(9)
        )
        assert torch.allclose(method.g(patches)[number], expected, atol=1e-5)
    assert (method.g(patches) - method.g(patches.flip(1))).abs().max() > 1e-3


def test_each_jigsaw_stays_with_its_own_image(images):
    """Changing one image's patches changes no other image's g, but for BatchNorm."""
    method = create().eval()
    _, (patches,), _ = method.views(images[:4], StepRandom(0, 0, 4))
    changed = patches.clone()
    changed[2] += 1
    moved = (method.g(changed) - method.g(patches)).abs().amax(dim=1) > 1e-5
    assert moved.tolist() == [False, False, True, False]


@pytest.mark.parametrize("loss", pirl_options.CHOICES["loss"])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_f_and_g_are_repelled_from_the_negatives(loss, share, images):
    """Their gradients leave the plane of themselves and m_I: they are the queries."""
    method = create(loss=loss, weight=share)
    f, g = (torch.randn(4, 16, requires_grad=True) for _ in range(2))
    method.f, method.g = lambda image: f, lambda transformed: g
    batch(method, images[:4]).backward()
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
    image, transformed, drawn = method.views(images[:6], StepRandom(0, 0, 6))

    def term(q):
        return losses.info_nce(q, method.bank.entries, index, 0.1).item()

    first = [term(method.g(view)) for view in transformed]
    assert len(first) == (2 if pretext == "both" else 1)
    expected = weight * sum(first) / len(first) + (1 - weight) * term(method.f(image))
    assert method((image, transformed, drawn), index, index).item() == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize(("share", "silent"), [(1.0, "image"), (0.0, "patch")])
def test_the_backbone_learns_from_either_term(share, silent, images):
    method = create(weight=share)
    batch(method, images[:6]).backward()
    assert method.backbone[0].weight.grad.abs().max() > 0
    head = getattr(method, f"{silent}_head")
    assert not any(p.grad.any() for p in head.parameters())


def test_negatives_are_drawn_anew_for_every_image_and_step(images):
    method = create(negatives=40)
    drawn = torch.cat(
        [method.views(images, StepRandom(0, step, 48))[2] for step in range(20)]
    )
    own = torch.arange(48).repeat(20)
    negatives = losses.others(drawn, own)
    assert negatives.shape == (960, 40)
    assert not (negatives == own[:, None]).any()
    counts = negatives.flatten().bincount(minlength=48)
    assert len(counts) == 48
    assert (counts / counts.sum() * 48 - 1).abs().max() < 0.15  # uniform
    assert len({tuple(row) for row in negatives.tolist()}) == 960
    again = method.views(images, StepRandom(0, 3, 48))[2]
    assert torch.equal(again, drawn[3 * 48 : 4 * 48])
    halves = [
        method.views(images[rank * 24 :][:24], StepRandom(0, 3, 48, "cpu", rank, 2))[2]
        for rank in range(2)
    ]
    assert torch.equal(torch.cat(halves), again)


def test_drawn_negatives_are_what_the_loss_compares_with(images):
    method = create(negatives=3, loss="nce").eval()
    index = torch.tensor([5, 40, 11, 2])
    image, (patches,), drawn = method.views(images[index], StepRandom(0, 0, 4))
    value = method((image, [patches], drawn), index, index).item()
    negatives = losses.others(drawn, index)

    def term(q):
        return losses.nce(q, method.bank.entries, index, 0.1, negatives).item()

    expected = (term(method.g(patches)) + term(method.f(image))) / 2
    assert value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("pretext", PRETEXTS)
def test_the_bank_learns_f_once_and_only_after_the_step(pretext, images):
    method = create(bank_momentum=0.5, pretext=pretext)
    index = torch.tensor([5, 40, 11, 2, 30, 9])
    before = method.bank.entries.clone()
    batch(method, images[index], index=index).backward()
    assert torch.equal(method.bank.entries, before)
    image, _, _ = method.views(images[index], StepRandom(0, 0, 6))
    f = nn.functional.normalize(method.f(image).detach(), dim=1)
    method.after_step(0.5)
    mean = nn.functional.normalize(0.5 * before[index] + 0.5 * f, dim=1)
    assert torch.allclose(method.bank.entries[index], mean, atol=1e-5)
    rest = [n for n in range(48) if n not in index]
    assert torch.equal(method.bank.entries[rest], before[rest])
    assert torch.allclose(method.bank.entries.norm(dim=1), torch.ones(48))
    assert "bank.entries" in method.state_dict()


def test_the_bank_is_filled_before_the_first_step(images):
    method = create().eval()
    numbers = torch.arange(48)
    parts = zip(images.split(20), numbers.split(20), strict=True)
    method.start(parts)
    whole = views.whole_view(images, 20)
    expected = nn.functional.normalize(method.f(whole), dim=1)
    assert torch.allclose(method.bank.entries, expected, atol=1e-5)
    assert not method.bank.entries.requires_grad


@pytest.mark.parametrize("pretext", PRETEXTS)
def test_distances_are_those_of_unit_features(pretext, images):
    method = create(pretext=pretext)
    found = method.distances(images)
    assert found.shape == (96 if pretext == "both" else 48,)
    assert 0 < found.min() <= found.max() <= 2
    method.f = method.g = lambda given: torch.ones(len(given), 3)
    assert method.distances(images).max() < 1e-6


@pytest.mark.parametrize(
    ("size", "grid", "sides"),
    [(64, 3, (32, 24)), (96, 3, (48, 36)), (32, 3, (16, 12)), (64, 2, (48, 36))],
)
def test_cells_and_patches_follow_the_size_of_the_images(size, grid, sides):
    chosen = settings.configure("pirl", "published", size=size, grid=grid)
    assert chosen.options.sides == sides
    assert chosen.options.smallest_side == sides[1]
    fixed = dataclasses.replace(chosen.options, cell=30, patch=17)
    assert fixed.sides == (30, 17)


@pytest.mark.parametrize(("side", "stem"), [(96, "imagenet"), (32, "small")])
@pytest.mark.parametrize("grid", [2, 3])
def test_images_of_any_size_can_be_cut(side, stem, grid):
    chosen = settings.configure("pirl", "published", size=side, stem=stem, grid=grid)
    torch.manual_seed(0)
    method = pirl.PIRL(small.backbone(), 6, chosen.options)
    pictures = small.images(6, side=side)
    image, (patches,), _ = method.views(pictures, StepRandom(0, 0, 6))
    patch = chosen.options.sides[1]
    assert image.shape == (6, 3, side, side)
    assert patches.shape == (6, grid**2, 3, patch, patch)
    assert method.g(patches).shape == (6, 128)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"pretext": "colour"},
            "Unknown pretext 'colour' of pirl: choose one of jigsaw",
        ),
        ({"loss": "hinge"}, "Unknown loss 'hinge' of pirl: choose one of infonce, nce"),
        ({"head": "big"}, "Unknown head 'big' of pirl: choose one of linear, mlp"),
        ({"grid": 1}, "grid must be at least 2"),
        ({"negatives": -1}, "negatives at least 0, not 3 and -1"),
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


def test_a_rotated_view_may_be_small_where_patches_would_be_too_small():
    assert settings.configure("pirl", patch=16, pretext="rotation").options.patch == 16


def test_the_recipes_of_the_paper_and_of_vissl_are_what_they_published():
    paper, best = (settings.configure("pirl", name) for name in ("paper", "mlp_blur"))
    for chosen in (paper, best):
        assert (chosen.backbone, chosen.epochs, chosen.batch_size) == (
            "resnet50",
            800,
            1024,
        )
        assert chosen.peak_learning_rate == pytest.approx(0.12)
        assert chosen.options.sides == (85, 64)
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
    for name, preset in pirl_options.PRESETS.items():
        chosen = settings.configure("pirl", "hour", **preset)
        assert chosen.epochs == pirl_options.RECIPES["hour"]["epochs"]
        assert chosen.options.head == pirl_options.PRESETS[name]["head"]
    assert methods.get("pirl").recipes is pirl_options.RECIPES
