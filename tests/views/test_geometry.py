"""Crops, resizing and blur as matrices, against torchvision."""

import pytest
import small
import torch
from scipy import stats
from torchvision import transforms
from torchvision.transforms.v2 import functional as reference

from helpers.views import geometry
from helpers.views.randomness import Draws, StepRandom
from helpers.views.settings import ViewSettings


@pytest.mark.parametrize(
    ("top", "left", "tall", "wide", "size"),
    [
        (0, 0, 40, 56, 20),  # the whole image, smaller
        (3, 11, 30, 25, 17),  # a part, smaller, odd
        (5, 7, 9, 13, 32),  # a part, larger
        (10, 0, 24, 24, 24),  # as it is
        (39, 55, 1, 1, 8),  # one pixel
        (2, 4, 8, 50, 16),  # larger and smaller at once
    ],
)
def test_crop_and_resize_equal_torchvision(top, left, tall, wide, size):
    image = small.images(1, side=56)[..., :40, :]
    start = torch.tensor([[top], [left], [tall], [wide]]).float()
    rows = geometry.resize_matrix(start[0], start[2], 40, size)
    columns = geometry.resize_matrix(start[1], start[3], 56, size)
    expected = reference.resized_crop(
        image.float() / 255, top, left, tall, wide, [size, size], antialias=True
    )
    made = geometry.resample(image, rows, columns)
    assert made.shape == (1, 3, size, size)
    assert (made - expected).abs().max() < 1 / 255


def test_every_row_is_a_mean_of_pixels_inside_the_crop():
    rows = geometry.resize_matrix(torch.tensor([4.0]), torch.tensor([9.0]), 20, 6)
    assert torch.allclose(rows.sum(dim=-1), torch.ones(1, 6))
    assert (rows >= 0).all()
    assert rows[..., :4].abs().max() == 0
    assert rows[..., 13:].abs().max() == 0


@pytest.mark.parametrize(
    ("height", "width", "scale"), [(96, 96, (0.2, 1.0)), (64, 80, (0.08, 0.6))]
)
def test_crops_are_distributed_as_torchvisions(height, width, scale):
    torch.manual_seed(0)
    image = torch.zeros(3, height, width)
    draw = transforms.RandomResizedCrop.get_params
    expected = torch.tensor(
        [draw(image, scale, (3 / 4, 4 / 3)) for _ in range(4_000)]
    ).double()
    made = torch.stack(
        geometry.random_crops(
            height,
            width,
            scale,
            Draws(StepRandom(0, 0, 40_000).table(geometry.CROP_DRAWS)),
        ),
        dim=1,
    ).double()
    assert torch.equal(made, made.round())
    assert (made[:, :2] >= 0).all()
    assert (made[:, 0] + made[:, 2] <= height).all()
    assert (made[:, 1] + made[:, 3] <= width).all()
    for start, length, side in ((0, 2, height), (1, 3, width)):
        smaller = made[made[:, length] < side]  # reaches either end
        assert smaller[:, start].min() == 0
        assert (smaller[:, start] + smaller[:, length]).max() == side

    def described(crops):
        top, left, tall, wide = crops.unbind(1)
        return {
            "area": tall * wide,
            "aspect": wide / tall,
            "top": top / (height - tall).clamp(min=1),
            "left": left / (width - wide).clamp(min=1),
        }

    for name, numbers in described(made).items():
        found = stats.ks_2samp(numbers, described(expected)[name])
        assert found.pvalue > 0.01, name


@pytest.mark.parametrize(("height", "width"), [(10, 200), (300, 7), (50, 66)])
def test_a_crop_that_never_fits_is_torchvisions_part_of_the_middle(height, width):
    scale = (1.0, 1.0) if height != 50 else (4.0, 4.0)  # the latter never fits
    draws = Draws(StepRandom(0, 0, 50).table(geometry.CROP_DRAWS))
    crops = geometry.random_crops(height, width, scale, draws)
    draw = transforms.RandomResizedCrop.get_params
    expected = draw(torch.zeros(3, height, width), scale, (3 / 4, 4 / 3))
    assert [set(side.tolist()) for side in crops] == [{side} for side in expected]


def test_blur_equals_torchvision_inside_and_keeps_what_is_not_drawn():
    image = small.images(200, side=32)
    settings = ViewSettings(size=32, blur=0.4, blur_sigma=(0.7, 1.9))
    table = StepRandom(3, 0, 200).table(geometry.BLUR_DRAWS)
    blur = geometry.blur_matrix(settings, 32, Draws(table))
    made = geometry.resample(image, blur, blur)
    plain = image.float() / 255
    blurred = (made - plain).flatten(1).abs().amax(dim=1) > 1e-4
    assert blurred.tolist() == (table[:, 1] < 0.4).tolist()
    for number in blurred.nonzero()[:5, 0]:
        sigma = 0.7 + 1.2 * table[number, 0].item()
        expected = reference.gaussian_blur(plain[number], [31, 31], [sigma, sigma])
        inside = (..., slice(8, 24), slice(8, 24))  # borders are treated differently
        assert (made[number][inside] - expected[inside]).abs().max() < 2e-3


def test_blurs_are_as_strong_and_as_frequent_as_asked():
    settings = ViewSettings(blur=0.3, blur_sigma=(0.6, 3.0))
    draws = Draws(StepRandom(0, 0, 6_000).table(geometry.BLUR_DRAWS))
    row = geometry.blur_matrix(settings, 33, draws)[:, 16]  # of the middle
    blurred = row[:, 16] < 1
    assert abs(blurred.float().mean() - 0.3) < 0.02
    fall = row[blurred, 16] / row[blurred, 17]  # exp(1 / 2σ²)
    sigma = (0.5 / fall.log()).sqrt()
    assert stats.kstest(sigma, stats.uniform(0.6, 2.4).cdf).pvalue > 0.01
