"""PIRL on its page: what it sees, compares and remembers."""

import dataclasses
import pathlib

import pytest
import small
import tiny
import torch
from torch import nn

from helpers import views
from helpers.methods import losses, pirl
from helpers.views.randomness import StepRandom
from helpers.views.settings import ViewSettings


def create(count=48, *, size=20, **changes):
    """The method without its variants, small."""
    torch.manual_seed(0)
    chosen = {"hidden_dim": 32, "output_dim": 16, "cell": 27, "patch": 20} | changes
    options = pirl.PIRLOptions(view=ViewSettings(size=size), **chosen)
    return pirl.PIRL(small.backbone(), count, options).train()


@pytest.fixture(scope="module")
def images(dataset):
    return dataset.pretraining.images


def test_it_fits_on_a_page_that_needs_no_other():
    source = pathlib.Path(pirl.__file__).read_text("utf-8")
    assert len(source.splitlines()) <= 100
    assert "variants" not in source
    assert "jigsaw_patches(" in source
    assert "info_nce(" in source


def test_the_features_of_patches_are_put_together_in_their_order(images):
    method = create().eval()
    _, jigsaw, _ = tiny.views(method, images[:3])
    weight, bias = method.jigsaw_head.weight, method.jigsaw_head.bias
    for number in range(3):
        each = [
            method.patch_head(method.backbone(jigsaw[number, position][None]))[0]
            for position in range(9)
        ]
        parts = zip(weight.split(16, dim=1), each, strict=True)
        expected = bias + sum(part @ feature for part, feature in parts)
        assert torch.allclose(method.g(jigsaw)[number], expected, atol=1e-5)
    assert (method.g(jigsaw) - method.g(jigsaw.flip(1))).abs().max() > 1e-3


def test_image_and_jigsaw_have_heads_of_their_own(images):
    method = create()
    image, jigsaw, _ = tiny.views(method, images[:4])
    for feature, heads in (
        (method.f(image), {"image_head"}),
        (method.g(jigsaw), {"patch_head", "jigsaw_head"}),
    ):
        method.zero_grad()
        feature.square().sum().backward()
        learning = {n for n, p in method.named_parameters() if p.grad is not None}
        assert {name.split(".")[0] for name in learning} == heads | {"backbone"}


def test_jigsaws_have_the_crop_and_the_blur_of_their_own_options(images):
    method = create(patch_scale=(0.3, 0.5), patch_blur=1.0)
    image, jigsaw, _ = tiny.views(method, images[:4])
    view = method.options.view
    random = StepRandom(0, 0, 4)
    assert torch.equal(image, views.random_view(images[:4], view, random))
    its = dataclasses.replace(view, scale=(0.3, 0.5), blur=1.0)
    expected = views.jigsaw_patches(images[:4], its, random, grid=3, cell=27, patch=20)
    assert torch.equal(jigsaw, expected)


def test_each_jigsaw_stays_with_its_own_image(images):
    """Changing one image's patches changes no other image's g, but for BatchNorm."""
    method = create().eval()
    _, jigsaw, _ = tiny.views(method, images[:4])
    changed = jigsaw.clone()
    changed[2] += 1
    moved = (method.g(changed) - method.g(jigsaw)).abs().amax(dim=1) > 1e-5
    assert moved.tolist() == [False, False, True, False]


@pytest.mark.parametrize(("share", "silent"), [(1.0, "image"), (0.0, "patch")])
def test_the_backbone_learns_from_either_term(share, silent, images):
    method = create(weight=share)
    tiny.batch(method, images[:6]).backward()
    assert method.backbone[0].weight.grad.abs().max() > 0
    head = getattr(method, f"{silent}_head")
    assert not any(p.grad.any() for p in head.parameters())


def test_negatives_are_drawn_anew_for_every_image_and_step(images):
    method = create(negatives=40)
    drawn = torch.cat([tiny.views(method, images, step)[2] for step in range(20)])
    own = torch.arange(48).repeat(20)
    negatives = losses.negative_indices(drawn, own)
    assert negatives.shape == (960, 40)
    assert not (negatives == own[:, None]).any()
    counts = negatives.flatten().bincount(minlength=48)
    assert len(counts) == 48
    assert (counts / counts.sum() * 48 - 1).abs().max() < 0.15  # uniform
    assert len({tuple(row) for row in negatives.tolist()}) == 960
    again = tiny.views(method, images, 3)[2]
    assert torch.equal(again, drawn[3 * 48 : 4 * 48])
    halves = [
        method.views(images[rank * 24 :][:24], StepRandom(0, 3, 48, "cpu", rank, 2))[2]
        for rank in range(2)
    ]
    assert torch.equal(torch.cat(halves), again)


def test_drawn_negatives_are_what_the_loss_compares_with(images):
    method = create(negatives=3).eval()
    index = torch.tensor([5, 40, 11, 2])
    image, jigsaw, drawn = tiny.views(method, images[index])
    value = method((image, jigsaw, drawn), index, index).item()
    negatives = losses.negative_indices(drawn, index)

    def term(q):
        return losses.info_nce(q, method.bank.entries, index, 0.1, negatives).item()

    expected = (term(method.g(jigsaw)) + term(method.f(image))) / 2
    assert value == pytest.approx(expected, rel=1e-5)


def test_the_bank_is_filled_before_the_first_step(images):
    method = create().eval()
    numbers = torch.arange(48)
    parts = zip(images.split(20), numbers.split(20), strict=True)
    method.start(parts)
    whole = views.whole_view(images, 20)
    expected = nn.functional.normalize(method.f(whole), dim=1)
    assert torch.allclose(method.bank.entries, expected, atol=1e-5)
    assert not method.bank.entries.requires_grad


@pytest.mark.parametrize("side", [96, 32])
@pytest.mark.parametrize("grid", [2, 3])
def test_images_of_any_size_can_be_cut(side, grid):
    method = create(6, size=side, cell=None, patch=None, grid=grid)
    image, jigsaw, _ = tiny.views(method, small.images(6, side=side))
    patch = method.options.cut["patch"]
    assert image.shape == (6, 3, side, side)
    assert jigsaw.shape == (6, grid**2, 3, patch, patch)
    assert method.g(jigsaw).shape == (6, 16)
