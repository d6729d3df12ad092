"""Colour changes as matrices, one by one against torchvision."""

import math

import pytest
import small
import torch
from scipy import stats
from torchvision import transforms
from torchvision.transforms.v2 import functional as reference

from helpers.views import colors
from helpers.views.randomness import Draws, StepRandom
from helpers.views.settings import ViewSettings

ADJUST = {
    "brightness": reference.adjust_brightness,
    "contrast": reference.adjust_contrast,
    "saturation": reference.adjust_saturation,
}
OFF = dict.fromkeys([*ADJUST, "hue", "grayscale"], 0.0) | {"jitter": 1.0}


def middle(count=1):
    """Images in the middle of the range, so that nothing needs to be clamped."""
    return small.images(count, side=12, low=100, high=150).float() / 255


def apply(pixels, table, **strengths):
    """Change colours with forced numbers: 4 amounts, 4 of the order, 2 chances."""
    settings = ViewSettings(**OFF | strengths)
    flat = pixels.flatten(2)
    matrix, offset = colors.color_transform(flat.mean(dim=2), settings, table, ())
    return (matrix @ flat + offset[..., None]).view_as(pixels)


def forced(amounts=(0.5,) * 4, order=(0.1, 0.2, 0.3, 0.4), keep=0.0, drop=0.99):
    return Draws(torch.tensor([[*amounts, *order, keep, drop]]))


@pytest.mark.parametrize("name", ADJUST)
@pytest.mark.parametrize("drawn", [0.0, 0.3, 0.95])
def test_one_change_equals_torchvisions(name, drawn):
    pixels = middle()
    amounts = [0.5] * 4
    amounts[list(ADJUST).index(name)] = drawn
    made = apply(pixels, forced(amounts), **{name: 0.4})
    expected = ADJUST[name](pixels, 1 + (2 * drawn - 1) * 0.4)
    assert (made - expected).abs().max() < 2e-3
    assert (made - pixels).abs().max() > 2e-3


@pytest.mark.parametrize(
    "order",
    [
        ["brightness", "contrast", "saturation"],
        ["contrast", "saturation", "brightness"],
        ["saturation", "brightness", "contrast"],
    ],
)
def test_changes_come_in_the_drawn_order(order):
    pixels = middle()
    amounts = {"brightness": 0.1, "contrast": 0.2, "saturation": 0.9}
    places = [order.index(name) / 10 for name in ADJUST] + [0.9]
    numbers = forced([amounts[name] for name in ADJUST] + [0.5], places)
    made = apply(pixels, numbers, **dict.fromkeys(ADJUST, 0.4))
    expected = pixels
    for name in order:
        expected = ADJUST[name](expected, 1 + (2 * amounts[name] - 1) * 0.4)
    assert (made - expected).abs().max() < 2e-3


def test_strengths_are_drawn_as_torchvision_draws_them():
    torch.manual_seed(0)
    strengths = {"brightness": 0.4, "contrast": 0.6, "saturation": 0.8, "hue": 0.3}
    jitter = transforms.ColorJitter(**strengths)
    ranges = [getattr(jitter, name) for name in strengths]
    drawn = [transforms.ColorJitter.get_params(*ranges)[1:] for _ in range(2_000)]
    mean = torch.full((5_000, 3), 0.5)
    for (name, strength), expected in zip(
        strengths.items(), zip(*drawn, strict=True), strict=True
    ):
        settings = ViewSettings(**OFF | {name: strength})
        draws = Draws(StepRandom(3, 0, len(mean)).table(10))
        matrix, _ = colors.color_transform(mean, settings, draws, ())
        trace = matrix.diagonal(dim1=1, dim2=2).sum(dim=1)
        if name == "hue":  # a turn by t has the trace 1 + 2 cos 2πt
            made = ((trace - 1) / 2).clamp(-1, 1).acos() / (2 * math.pi)
            expected = [abs(turn) for turn in expected]
        else:  # grey has the trace 1, the identity 3
            made = (trace - 1) / 2 if name == "saturation" else trace / 3
        assert stats.ks_2samp(made, expected).pvalue > 0.01, name


def test_grayscale_equals_torchvisions_and_follows_the_other_changes():
    pixels = middle()
    amounts = (0.9, 0.1, 0.8, 0.5)
    strengths = {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3}
    changed = apply(pixels, forced(amounts), **strengths)
    gray = forced(amounts, drop=0.1)
    made = apply(pixels, gray, grayscale=0.2, **strengths)
    expected = reference.rgb_to_grayscale(changed, num_output_channels=3)
    assert (made - expected).abs().max() < 2e-3


def test_chances_leave_images_alone():
    pixels = middle()
    strengths = dict.fromkeys([*ADJUST, "hue"], 0.4) | {"grayscale": 0.2}
    untouched = forced((0.9, 0.1, 0.8, 0.7), keep=0.81, drop=0.21)
    assert torch.equal(apply(pixels, untouched, jitter=0.8, **strengths), pixels)
    changed = forced((0.9, 0.1, 0.8, 0.7), keep=0.79, drop=0.21)
    assert (apply(pixels, changed, jitter=0.8, **strengths) - pixels).abs().max() > 0.01


def test_turning_the_hue_keeps_grey_and_luma_and_can_be_undone():
    turns = torch.tensor([0.03, 0.1, -0.25, 0.5])
    matrix = colors.hue_matrix(turns)
    gray = torch.full((4, 3, 1), 0.4)
    assert (matrix @ gray - gray).abs().max() < 2e-3
    some = middle(4).flatten(2)
    luma = torch.tensor(colors.GRAY) @ some
    assert (torch.tensor(colors.GRAY) @ (matrix @ some) - luma).abs().max() < 2e-3
    back = colors.hue_matrix(-turns) @ matrix @ some
    assert (back - some).abs().max() < 1e-4
    assert (matrix @ some - some).flatten(1).abs().amax(dim=1).min() > 0.01


@pytest.mark.parametrize("turn", [0.03, -0.03, 0.1, -0.1])
def test_small_turns_of_the_hue_resemble_torchvisions(turn):
    """torchvision turns in HSV, which keeps the largest value and not the luma.

    It counts turns the other way round; they are drawn from a symmetric interval.
    """
    angle = torch.arange(0, 1, 0.05)
    colorful = reference.adjust_hue(
        torch.tensor([0.6, 0.4, 0.4])[:, None, None].expand(3, 20, 1), 0.0
    )
    colorful = torch.stack(
        [reference.adjust_hue(colorful[:, :1], a.item() - 0.5)[:, 0, 0] for a in angle],
        dim=1,
    )
    made = (colors.hue_matrix(torch.tensor([-turn]))[0] @ colorful)[..., None]
    expected = reference.adjust_hue(colorful[..., None], turn)

    def chroma(color):
        return color - color.mean(dim=0)

    alike = torch.cosine_similarity(chroma(made), chroma(expected), dim=0)
    assert alike.min() > 0.9
    assert alike.mean() > 0.97
