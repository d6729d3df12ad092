"""Colour changes, one by one against torchvision."""

import dataclasses

import pytest
import small
import torch
from scipy import stats
from sklearn.datasets import load_sample_image
from torchvision import transforms
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from helpers import views
from helpers.views import colors
from helpers.views.randomness import Draws, StepRandom
from helpers.views.settings import ViewSettings

ADJUST = {
    "brightness": reference.adjust_brightness,
    "contrast": reference.adjust_contrast,
    "saturation": reference.adjust_saturation,
}
PLAIN = ViewSettings(size=24, scale=(1.0, 1.0), flip=0.0, jitter=0.0, grayscale=0.0)
OFF = dict.fromkeys([*ADJUST, "hue", "grayscale"], 0.0) | {"jitter": 1.0}


def middle(count=1):
    """Images in the middle of the range, so that nothing needs to be clamped."""
    return small.images(count, side=12, low=100, high=150).float() / 255


def apply(pixels, table, **strengths):
    """Change colours with forced numbers: 4 amounts, 4 of the order, 2 chances."""
    settings = ViewSettings(**OFF | strengths)
    flat = pixels.flatten(2).clone()  # a turn of the hue works in place
    return colors.jitter(flat, settings, table).view_as(pixels)


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
    """They commute but for what is clamped in between."""
    pixels = small.images(1, side=12) / 255
    amounts = {"brightness": 0.9, "contrast": 0.1, "saturation": 0.9}
    turns = [order.index(name) / 10 for name in ADJUST] + [0.9]
    numbers = forced([amounts[name] for name in ADJUST] + [0.5], turns)
    made = apply(pixels, numbers, **dict.fromkeys(ADJUST, 0.8))
    for sequence in (order, order[::-1]):
        expected = pixels
        for name in sequence:
            expected = ADJUST[name](expected, 1 + (2 * amounts[name] - 1) * 0.8)
        wrong = (made - expected).abs().max()
        assert wrong < 2e-3 if sequence is order else wrong > 0.05


def test_strengths_are_drawn_as_torchvision_draws_them():
    torch.manual_seed(0)
    strengths = {"brightness": 0.4, "contrast": 0.6, "saturation": 0.8, "hue": 0.3}
    jitter = transforms.ColorJitter(**strengths)
    ranges = [getattr(jitter, name) for name in strengths]
    drawn = [transforms.ColorJitter.get_params(*ranges)[1:] for _ in range(2_000)]
    # Two pixels that every change below leaves in range, and what it makes of them.
    measured = {
        "brightness": ([[0.2] * 3] * 2, lambda x: x.mean(dim=(1, 2)) / 0.2),
        "contrast": ([[0.4] * 3, [0.6] * 3], lambda x: (x[:, 0, 1] - x[:, 0, 0]) / 0.2),
        "saturation": (
            [[0.6, 0.4, 0.4]] * 2,
            lambda x: (x[:, 0] - x[:, 1])[:, 0] / 0.2,
        ),
        # Red turned by less than a third has a share of green or of blue.
        "hue": ([[0.6, 0.4, 0.4]] * 2, hue_of_red),
    }
    for (name, strength), expected in zip(
        strengths.items(), zip(*drawn, strict=True), strict=True
    ):
        two, measure = measured[name]
        pixels = torch.tensor(two).T.expand(5_000, 3, 2).clone()
        draws = Draws(StepRandom(3, 0, len(pixels)).table(colors.JITTER_DRAWS))
        made = colors.jitter(pixels, ViewSettings(**OFF | {name: strength}), draws)
        draws.check_all_used()
        assert stats.ks_2samp(measure(made), expected).pvalue > 0.01, name


def hue_of_red(made):
    """The turn that red has made, in parts of a circle; colours (N, 3, P)."""
    red, green, blue = (made[:, :, 0].T - 0.4) / 0.2
    return torch.where(green > blue, green + 1 - red, -blue - 1 + red) / 6


@pytest.mark.parametrize("last", ADJUST)
def test_grayscale_equals_torchvisions_and_follows_the_other_changes(last):
    pixels = middle()
    amounts = (0.9, 0.1, 0.8, 0.5)
    order = [0.5 if name == last else 0.1 for name in ADJUST] + [0.9]
    strengths = {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3}
    changed = apply(pixels, forced(amounts, order), **strengths)
    gray = forced(amounts, order, drop=0.1)
    made = apply(pixels, gray, grayscale=0.2, **strengths)
    expected = reference.rgb_to_grayscale(changed, num_output_channels=3)
    assert (made - expected).abs().max() < 2e-3


def test_chances_leave_images_alone():
    pixels = middle()
    strengths = dict.fromkeys([*ADJUST, "hue"], 0.4) | {"grayscale": 0.2}
    untouched = forced((0.9, 0.1, 0.8, 0.7), keep=0.81, drop=0.21)
    made = apply(pixels, untouched, jitter=0.8, **strengths)
    assert (made - pixels).abs().max() < 1e-6
    changed = forced((0.9, 0.1, 0.8, 0.7), keep=0.79, drop=0.21)
    assert (apply(pixels, changed, jitter=0.8, **strengths) - pixels).abs().max() > 0.01


def photographs():
    """The two real photographs that scikit-learn brings, uint8 (2, 3, 213, 320)."""
    both = [load_sample_image(f"{name}.jpg") for name in ("china", "flower")]
    both = torch.stack([torch.from_numpy(one.copy()) for one in both])
    return reference.resize(both.permute(0, 3, 1, 2), [213, 320], antialias=True)


@pytest.mark.parametrize("turn", [0.02, -0.05, 0.1, -0.2, 0.37, 0.5])
def test_a_turn_of_the_hue_equals_torchvisions_on_photographs(turn):
    photos = photographs() / 255
    expected = reference.adjust_hue(photos, turn)
    made = colors.turn_hue(photos.flatten(2), torch.full((2,), turn)).view_as(expected)
    assert (made - expected).abs().max() < 1e-5
    assert (expected - photographs() / 255).abs().mean() > 0.005


def test_every_picture_has_a_turn_of_its_own_and_grey_stays():
    turns = torch.tensor([0.03, 0.1, -0.25, 0.5])
    pixels = middle(4)
    pixels[..., :4] = pixels[:, :1, :, :4]  # grey
    pixels[:, 1, :, 4:8] = pixels[:, 2, :, 4:8]  # two values alike
    made = colors.turn_hue(pixels.flatten(2).clone(), turns).view_as(pixels)
    for one, turn, image in zip(made, turns.tolist(), pixels, strict=True):
        assert (one - reference.adjust_hue(image, turn)).abs().max() < 1e-5
    assert (made[..., :4] - pixels[..., :4]).abs().max() < 1e-6


STRENGTHS = {
    "default": {},
    "SimCLR": {"brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2},
}


@pytest.mark.parametrize("strengths", STRENGTHS.values(), ids=STRENGTHS)
def test_views_of_photographs_are_as_colourful_and_as_clipped_as_torchvisions(
    strengths,
):
    photos = reference.resize(photographs(), [72], antialias=True)
    squares = [photos[..., left : left + 72] for left in (0, 36)]
    images = torch.cat(squares).repeat(400, 1, 1, 1)
    settings = ViewSettings(size=32, **strengths)
    made = views.random_view(images, settings, StepRandom(0, 0, len(images)))
    jitter = [settings.brightness, settings.contrast, settings.saturation, settings.hue]
    torch.manual_seed(0)
    pipeline = v2.Compose(
        [
            v2.RandomResizedCrop(32, scale=settings.scale, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(*jitter)], settings.jitter),
            v2.RandomGrayscale(settings.grayscale),
        ]
    )
    expected = torch.stack([pipeline(image / 255) for image in images])

    def describe(pixels):
        """Share of clipped values and mean saturation of every view."""
        levels = (pixels * 255).round()
        high, low = levels.amax(dim=1), levels.amin(dim=1)
        saturation = (high - low) / high.clamp(min=1)
        clipped = (levels == 0) | (levels == 255)
        return clipped.float().mean(dim=(1, 2, 3)), saturation.mean(dim=(1, 2))

    pairs = zip(describe(views.denormalize(made)), describe(expected), strict=True)
    for ours, theirs in pairs:
        assert stats.ks_2samp(ours, theirs).statistic < 0.05


def whole(number):
    """One factor a picture, (1, 1, 1, 1)."""
    return torch.full((1, 1, 1, 1), float(number))


@pytest.mark.parametrize("bits", [4, 5, 6, 7, 8])
def test_posterize_equals_torchvision(bits):
    image = small.images(1)
    made = colors.posterize(image / 255, whole(bits))
    assert torch.equal((made * 255).round().byte(), reference.posterize(image, bits))


@pytest.mark.parametrize("factor", [0.1, 1.0, 1.9])
def test_sharpen_equals_torchvision(factor):
    image = small.images(3) / 255
    made = colors.sharpen(image, whole(factor).expand(3, -1, -1, -1))
    expected = reference.adjust_sharpness(image, factor)
    assert (made - expected).abs().max() < 1e-5


def test_stretch_equals_torchvision():
    image = small.images(3, low=40, high=180) / 255
    image[0, 1] = 0.3  # a colour of one value
    expected = reference.autocontrast(image)
    assert (colors.stretch(image) - expected).abs().max() < 1e-5


def test_all_four_are_done_in_their_order_or_none():
    image = small.images(300, side=12) / 255
    table = StepRandom(0, 0, 300).table(colors.PHOTOMETRIC_DRAWS)
    made = colors.photometric(image, 0.66, Draws(table))
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
    made = colors.photometric(pixels, 1.0, Draws(random))
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
