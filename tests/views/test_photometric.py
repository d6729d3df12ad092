"""The distortions that are no matrices, against torchvision's."""

import dataclasses

import pytest
import small
import torch
from torchvision.transforms.v2 import functional as reference

from helpers import views
from helpers.views import photometric
from helpers.views.randomness import Draws, StepRandom
from helpers.views.settings import ViewSettings

PLAIN = ViewSettings(size=24, scale=(1.0, 1.0), flip=0.0, jitter=0.0, grayscale=0.0)


def whole(number):
    """One factor a picture, (1, 1, 1, 1)."""
    return torch.full((1, 1, 1, 1), float(number))


@pytest.mark.parametrize("bits", [4, 5, 6, 7, 8])
def test_posterize_equals_torchvision(bits):
    image = small.images(1)
    made = photometric.posterize(image / 255, whole(bits))
    assert torch.equal((made * 255).round().byte(), reference.posterize(image, bits))


@pytest.mark.parametrize("factor", [0.1, 1.0, 1.9])
def test_sharpen_equals_torchvision(factor):
    image = small.images(3) / 255
    made = photometric.sharpen(image, whole(factor).expand(3, -1, -1, -1))
    expected = reference.adjust_sharpness(image, factor)
    assert (made - expected).abs().max() < 1e-5


def test_stretch_equals_torchvision():
    image = small.images(3, low=40, high=180) / 255
    image[0, 1] = 0.3  # a colour of one value
    expected = reference.autocontrast(image)
    assert (photometric.stretch(image) - expected).abs().max() < 1e-5


def test_all_four_are_done_in_their_order_or_none():
    image = small.images(300, side=12) / 255
    table = StepRandom(0, 0, 300).table(4)
    made = photometric.distort(image, 0.66, Draws(table))
    for number in range(300):
        chance, bits, sharpness, threshold = table[number].tolist()
        expected = image[number]
        if chance < 0.66:
            levels = (expected * 255).round().byte()
            expected = reference.posterize(levels, 4 + int(5 * bits)) / 255
            expected = reference.adjust_sharpness(expected, 0.1 + 1.8 * sharpness)
            if int(257 * threshold) < 256:  # 256 is above every pixel
                expected = reference.solarize(expected, int(257 * threshold) / 255)
            expected = reference.autocontrast(expected)
        assert (made[number] - expected).abs().max() < 1e-4
    changed = (made - image).abs().flatten(1).amax(dim=1) > 1e-3
    assert abs(changed.float().mean() - 0.66) < 0.08


@pytest.mark.parametrize("groups", [(), (9,)])
def test_every_picture_is_drawn_for_itself_and_stays_in_range(groups):
    pixels = (small.images(1, side=8) / 255).expand(6, *(1 for _ in groups), -1, -1, -1)
    pixels = pixels.expand(6, *groups, 3, 8, 8)
    random = StepRandom(0, 0, 6).table(4 * (groups or (1,))[0])
    made = photometric.distort(pixels, 1.0, Draws(random))
    assert made.shape == pixels.shape
    assert made.min() >= 0
    assert made.max() <= 1
    flat = made.flatten(0, -4).flatten(1)
    assert (torch.cdist(flat, flat) + torch.eye(len(flat))).min() > 1e-3


def test_views_and_patches_are_distorted_as_often_as_asked():
    images = small.images(1, side=24).expand(600, -1, -1, -1)
    settings = dataclasses.replace(PLAIN, photometric=0.4)
    plain, made = (
        views.random_view(images, one, StepRandom(0, 0, 600))
        for one in (PLAIN, settings)
    )
    differs = (made - plain).abs().amax((1, 2, 3)) > 1e-3
    assert abs(differs.float().mean() - 0.4) < 0.06
    sides = {"grid": 2, "cell": 12, "patch": 12}
    made = views.jigsaw_patches(images, settings, StepRandom(0, 0, 600), **sides)
    cells = small.cells(views.whole_view(images[:1], 24)[0], 12)
    same = (made[:, :, None] - cells).abs().amax((-3, -2, -1)).amin(dim=2) < 1e-3
    assert abs(same.float().mean() - 0.6) < 0.04
