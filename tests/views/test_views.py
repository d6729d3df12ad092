"""Random views of a batch: rates, independence, repeatability, the jigsaw."""

import dataclasses

import pytest
import small
import torch
import torchvision
from torchvision.transforms.v2 import functional as reference

from helpers import views
from helpers.views import colors, geometry
from helpers.views.randomness import StepRandom
from helpers.views.settings import ViewSettings

PLAIN = ViewSettings(size=24, scale=(1.0, 1.0), flip=0.0, jitter=0.0, grayscale=0.0)
RICH = ViewSettings(size=24, blur=0.5, solarize=0.3, photometric=0.5)


def pixels(made):
    """The views as they would be shown, but not clamped."""
    mean = torch.tensor(views.MEAN)[:, None, None]
    return made * torch.tensor(views.STD)[:, None, None] + mean


def ramp(count, side):
    """Images whose first colour is the row and whose second is the column."""
    image = torch.zeros(3, side, side, dtype=torch.uint8)
    image[0], image[1] = torch.arange(side)[:, None], torch.arange(side)
    return image.expand(count, -1, -1, -1)


def changed(settings, count=3_000):
    """Which of many views of one image differ from the whole image."""
    images = small.images(1, side=8, low=60, high=160).expand(count, -1, -1, -1)
    settings = dataclasses.replace(settings, size=8)
    made = views.random_view(images, settings, StepRandom(0, 0, count))
    return made, (made - views.whole_view(images[:1], 8)).abs().amax((1, 2, 3)) > 1e-3


def test_the_whole_view_is_torchvisions_resize_normalised():
    images = small.images(20, side=40)
    expected = reference.resize(images.float() / 255, [24, 24], antialias=True)
    expected = reference.normalize(expected, list(views.MEAN), list(views.STD))
    assert (views.whole_view(images, 24) - expected).abs().max() < 1e-4
    made = views.random_view(images, PLAIN, StepRandom(0, 0, 20))
    assert (made - expected).abs().max() < 1e-4


def test_normalising_can_be_undone():
    some = torch.rand(2, 3, 5, 5)
    assert (views.denormalize(views.normalize(some)) - some).abs().max() < 1e-6
    patches = torch.rand(2, 9, 3, 5, 5)
    assert (views.denormalize(views.normalize(patches)) - patches).abs().max() < 1e-6


def test_views_have_the_asked_shape_and_stay_in_range():
    made = views.random_view(small.images(20), RICH, StepRandom(0, 0, 20))
    assert made.shape == (20, 3, 24, 24)
    assert made.dtype == torch.float32
    assert pixels(made).min() > -1e-6
    assert pixels(made).max() < 1 + 1e-6


@pytest.mark.parametrize(
    ("name", "rate"), [("flip", 0.3), ("jitter", 0.8), ("grayscale", 0.2)]
)
def test_changes_happen_as_often_as_asked(name, rate):
    _, differs = changed(dataclasses.replace(PLAIN, **{name: rate}))
    assert abs(differs.float().mean() - rate) < 0.03


def test_a_flip_mirrors_the_columns():
    made, _ = changed(dataclasses.replace(PLAIN, flip=1.0), count=3)
    whole, _ = changed(PLAIN, count=3)
    assert torch.equal(made, whole.flip(-1))


def test_grayscale_drops_the_colours():
    made, _ = changed(dataclasses.replace(PLAIN, grayscale=1.0), count=3)
    assert pixels(made).std(dim=1).max() < 1e-5


def test_solarizing_inverts_what_is_bright():
    images = small.images(600, side=8)
    solarized = dataclasses.replace(PLAIN, size=8, solarize=0.25)
    made = pixels(views.random_view(images, solarized, StepRandom(0, 0, 600)))
    plain = images.float() / 255
    expected = torch.where(plain >= 0.5, 1 - plain, plain)
    done = (made - expected).abs().amax((1, 2, 3)) < 1e-5
    kept = (made - plain).abs().amax((1, 2, 3)) < 1e-5
    assert (done ^ kept).all()
    assert abs(done.float().mean() - 0.25) < 0.05


def test_every_image_has_its_own_parameters():
    same = small.images(1, low=60, high=160).expand(12, -1, -1, -1)
    for settings in (
        dataclasses.replace(PLAIN, scale=(0.2, 1.0)),
        dataclasses.replace(PLAIN, jitter=1.0),
        dataclasses.replace(PLAIN, blur=1.0, blur_sigma=(0.6, 2.0)),
    ):
        made = views.random_view(same, settings, StepRandom(0, 0, 12))
        distance = torch.cdist(made.flatten(1), made.flatten(1)) + torch.eye(12)
        assert distance.min() > 1e-3


def test_two_views_of_a_step_differ_and_a_step_repeats():
    images = small.images(6)
    random, again = StepRandom(4, 2, 6), StepRandom(4, 2, 6)
    first, second = (views.random_view(images, RICH, random) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(views.random_view(images, RICH, again), first)
    assert torch.equal(views.random_view(images, RICH, again), second)


@pytest.mark.parametrize("on_cpu", [True, False])
def test_several_views_are_those_of_one_after_another(on_cpu, monkeypatch):
    """As on a CPU, and as on a GPU, where they are made at once."""
    images, one_by_one = small.images(40), StepRandom(4, 2, 40)
    expected = [views.random_view(images, RICH, one_by_one) for _ in range(3)]
    monkeypatch.setattr(views, "_on_cpu", lambda images: on_cpu)
    made = views.random_views(images, RICH, StepRandom(4, 2, 40), 3)
    assert len(made) == 3
    for view, other in zip(made, expected, strict=True):
        assert view.shape == other.shape
        assert (view - other).abs().max() < 1e-5


def jigsaw(images, random):
    return views.jigsaw_patches(images, RICH, random, grid=3, cell=10, patch=8)


def random_view(images, random):
    return views.random_view(images, RICH, random)


def rotated_view(images, random):
    return views.rotated_view(images, RICH, random)


class Rows(StepRandom):
    """Hands out some rows of another step's tables."""

    def __init__(self, rows, count):
        super().__init__(0, 0, count)
        self.rows = rows


@pytest.mark.parametrize("make", [random_view, jigsaw, rotated_view])
def test_a_batch_equals_its_images_one_by_one(make):
    images = small.images(50)
    whole = make(images, StepRandom(0, 0, 50))
    for number in (0, 15, 16, 49):
        rows = slice(number, number + 1)
        alone = make(images[rows], Rows(rows, 50))
        assert (alone[0] - whole[number]).abs().max() < 1e-5


@pytest.mark.parametrize("make", [random_view, jigsaw, rotated_view])
def test_two_processes_make_the_halves_of_one_batch(make):
    images = small.images(32)
    whole = make(images, StepRandom(0, 9, 32))
    halves = [
        make(images[rank * 16 :][:16], StepRandom(0, 9, 32, "cpu", rank, 2))
        for rank in range(2)
    ]
    assert torch.equal(torch.cat(halves), whole)


@pytest.mark.parametrize(("grid", "cell", "patch"), [(3, 20, 14), (2, 30, 21)])
def test_patches_lie_anywhere_in_their_cells_and_cover_the_crop(grid, cell, patch):
    """The image's pixels say where they are: no resizing, no flip, no colours."""
    count, pieces = 400, grid**2
    patches = views.jigsaw_patches(
        ramp(count, 60), PLAIN, StepRandom(0, 0, count), grid=grid, cell=cell,
        patch=patch,
    )  # fmt: skip
    assert patches.shape == (count, pieces, 3, patch, patch)
    shown = pixels(patches)[:, :, :2] * 255
    corner = shown[..., 0, 0].round()  # row and column of each first pixel
    span = torch.arange(patch)
    rows = corner[:, :, 0, None, None] + span[:, None]
    columns = corner[:, :, 1, None, None] + span
    assert (shown[:, :, 0] - rows).abs().max() < 1e-2
    assert (shown[:, :, 1] - columns).abs().max() < 1e-2
    cells = (corner // cell).long()
    number = cells[..., 0] * grid + cells[..., 1]
    assert (number.sort(dim=1).values == torch.arange(pieces)).all()
    offset = corner - cells * cell
    assert set(offset[..., 0].flatten().tolist()) == set(range(cell - patch))
    assert set(offset[..., 1].flatten().tolist()) == set(range(cell - patch))
    # Each position of the order holds each cell about equally often.
    for position in range(pieces):
        share = number[:, position].bincount(minlength=pieces) / count
        assert share.min() > 0.45 / pieces
        assert share.max() < 1.6 / pieces
    # Any permutation may come: all 24 of four patches, hardly one of nine twice.
    different = len(number.unique(dim=0))
    assert different == 24 if grid == 2 else different > 390


@pytest.mark.parametrize(("grid", "cell"), [(3, 10), (2, 15)])
def test_undoing_the_order_puts_the_crop_together_again(grid, cell):
    images, pieces = small.images(5, side=30), grid**2
    each = views.PATCH_DRAWS + colors.JITTER_DRAWS + 1  # nothing blurred or distorted
    table = StepRandom(2, 0, 5).table(geometry.CROP_DRAWS + pieces * each)
    order_of = table[:, geometry.CROP_DRAWS :][:, :pieces].argsort(dim=1)
    patches = views.jigsaw_patches(
        images, PLAIN, StepRandom(2, 0, 5), grid=grid, cell=cell, patch=cell
    )
    for number, order in enumerate(order_of):
        assert sorted(order.tolist()) == list(range(pieces))
        assembled = torch.empty(3, 30, 30)
        for position, piece in enumerate(order.tolist()):
            y, x = piece // grid * cell, piece % grid * cell
            assembled[:, y : y + cell, x : x + cell] = patches[number, position]
        whole = views.whole_view(images[number : number + 1], 30)[0]
        assert (assembled - whole).abs().max() < 1e-4


def test_patches_are_flipped_one_by_one():
    settings = dataclasses.replace(PLAIN, flip=0.3)
    sides = {"grid": 3, "cell": 20, "patch": 14}
    made = views.jigsaw_patches(ramp(400, 60), settings, StepRandom(0, 0, 400), **sides)
    columns = pixels(made)[:, :, 1, 0] * 255  # (400, 9, 14)
    steps = columns.diff(dim=2)
    flipped = steps[..., 0] < 0
    assert torch.allclose(steps, (1 - 2 * flipped.float())[..., None], atol=1e-2)
    share = flipped.float().mean(dim=0)
    assert (share - 0.3).abs().max() < 0.08
    assert 1.1 < flipped.sum(dim=1).float().std() < 1.7  # of nine patches apart: 1.37


def test_grey_comes_after_the_photometric_distortion():
    """Stretched before it became grey, a picture need not span 0 to 1."""
    settings = dataclasses.replace(PLAIN, grayscale=1.0, photometric=1.0)
    images = small.images(50, side=24)
    sides = {"grid": 2, "cell": 12, "patch": 12}
    patches = views.jigsaw_patches(images, settings, StepRandom(0, 0, 50), **sides)
    view = views.random_view(images, settings, StepRandom(0, 0, 50))
    for made in (view, patches):
        shown = pixels(made).flatten(0, -4)
        assert (shown.amax(1) - shown.amin(1)).abs().max() < 1e-5
        spans = (shown.amax((1, 2, 3)) - shown.amin((1, 2, 3))).clamp(max=1)
        assert spans.mean() < 0.99
    half = dataclasses.replace(settings, grayscale=0.5)
    made = views.random_view(images.repeat(8, 1, 1, 1), half, StepRandom(0, 0, 400))
    shown = pixels(made)
    is_gray = (shown.amax(1) - shown.amin(1)).amax((1, 2)) < 1e-5
    assert abs(is_gray.float().mean() - 0.5) < 0.08


def test_every_patch_has_its_own_colours():
    settings = dataclasses.replace(PLAIN, jitter=1.0)
    images = torch.full((2, 3, 30, 30), 120, dtype=torch.uint8)
    images[:, 1] = 90
    made = views.jigsaw_patches(
        images, settings, StepRandom(0, 0, 2), grid=3, cell=10, patch=8
    )
    colors = made.mean(dim=(-1, -2)).flatten(0, 1)
    assert (torch.cdist(colors, colors) + torch.eye(18)).min() > 1e-3


def test_every_patch_has_its_own_blur():
    blurred = dataclasses.replace(PLAIN, blur=0.5, blur_sigma=(0.6, 1.9))
    images = small.images(1, side=30).expand(100, -1, -1, -1)
    sides = {"grid": 3, "cell": 10, "patch": 10}
    made = views.jigsaw_patches(images, blurred, StepRandom(0, 0, 100), **sides)
    cells = small.cells(views.whole_view(images[:1], 30)[0], 10)
    sharp = (made[:, :, None] - cells).abs().amax((-3, -2, -1)).amin(dim=2) < 1e-3
    assert abs(sharp.float().mean() - 0.5) < 0.05
    assert len(sharp.unique(dim=0)) > 60  # which of the nine are blurred
    # A blurred patch is one of the cells, blurred along rows and along columns.
    position = torch.arange(10.0)
    kernel = torch.exp(-0.5 * ((position[:, None] - position) / 1.2) ** 2)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    all_same = dataclasses.replace(blurred, blur=1.0, blur_sigma=(1.2, 1.2))
    made = views.jigsaw_patches(images[:3], all_same, StepRandom(0, 0, 3), **sides)
    smooth = kernel @ cells @ kernel.T
    distance = (made[:, :, None] - smooth).abs().amax((-3, -2, -1))
    assert distance.amin(dim=2).max() < 1e-4
    assert (distance.argmin(dim=2).sort(dim=1).values == torch.arange(9)).all()


def test_a_view_is_turned_by_quarters_each_equally_often():
    images = small.images(400, side=24)
    view = views.random_view(images, RICH, StepRandom(5, 0, 400))
    turned = views.rotated_view(images, RICH, StepRandom(5, 0, 400))
    quarters = torch.stack([view.rot90(turn, (2, 3)) for turn in range(4)], dim=1)
    same = (turned[:, None] - quarters).abs().amax((2, 3, 4)) == 0
    assert (same.sum(dim=1) == 1).all()
    assert (same.float().mean(dim=0) - 0.25).abs().max() < 0.06


@pytest.mark.parametrize("make", [random_view, jigsaw, rotated_view])
def test_random_numbers_for_another_batch_are_an_error(make):
    """40 images and 48 rows are two chunks each: only the check can tell them apart."""
    with pytest.raises(ValueError, match="are for 48 images, not 40: give StepRandom"):
        make(small.images(40), StepRandom(0, 0, 48))


@pytest.mark.parametrize("make", [random_view, jigsaw])
@pytest.mark.parametrize(
    ("more", "message"), [(1, "columns: make the table narrower"), (-1, "table wider")]
)
def test_a_table_of_another_width_is_an_error(make, more, message, monkeypatch):
    table = StepRandom.table
    monkeypatch.setattr(
        StepRandom, "table", lambda random, columns: table(random, columns + more)
    )
    with pytest.raises(ValueError, match=message):
        make(small.images(40), StepRandom(0, 0, 40))


@pytest.mark.parametrize("blur", [0.0, 0.5])
@pytest.mark.parametrize("solarize", [0.0, 0.3])
@pytest.mark.parametrize("photometric", [0.0, 0.5])
def test_every_choice_of_changes_uses_its_table_up(blur, solarize, photometric):
    settings = dataclasses.replace(
        RICH, blur=blur, solarize=solarize, photometric=photometric
    )
    images, sides = small.images(3, side=24), {"grid": 2, "cell": 12, "patch": 8}
    random = StepRandom(0, 0, 3)
    assert views.random_view(images, settings, random).isfinite().all()
    assert views.jigsaw_patches(images, settings, random, **sides).isfinite().all()


def test_the_numbers_of_a_seed_stay_as_they_were():
    """Runs are compared across versions: the same seed must show the same views."""
    images = small.images(4, side=24)
    random = StepRandom(3, 5, 4)
    settings = dataclasses.replace(RICH, solarize=0.0, photometric=0.0)
    views.random_view(images, settings, random)
    views.rotated_view(images, settings, random)
    views.jigsaw_patches(images, settings, random, grid=2, cell=12, patch=8)
    views.random_view(images, RICH, random)
    expected = StepRandom(3, 5, 4)
    for columns in (36, 36, 1, 22 + 4 * 17, 41):
        expected.table(columns)
    assert torch.equal(random.table(3), expected.table(3))


def test_pixels_are_normalised_as_torchvisions_weights_want_them():
    wanted = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.transforms()
    assert (list(views.MEAN), list(views.STD)) == (wanted.mean, wanted.std)


def test_a_blurred_view_is_blurred_along_rows_and_columns_once():
    blurred = dataclasses.replace(PLAIN, blur=1.0, blur_sigma=(1.2, 1.2))
    images, position = small.images(5), torch.arange(24.0)
    kernel = torch.exp(-0.5 * ((position[:, None] - position) / 1.2) ** 2)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    expected = kernel @ views.whole_view(images, 24) @ kernel.T
    made = views.random_view(images, blurred, StepRandom(0, 0, 5))
    assert (made - expected).abs().max() < 1e-4


@pytest.mark.parametrize("share", [0.25, 0.64])
def test_crops_have_the_share_of_the_image_that_was_asked_for(share):
    settings = dataclasses.replace(PLAIN, size=20, scale=(share, share))
    made = views.random_view(ramp(200, 60), settings, StepRandom(0, 0, 200))
    shown = pixels(made) * 255  # rows in red, columns in green
    tall = (shown[:, 0, 15, 10] - shown[:, 0, 5, 10]) * 2
    wide = (shown[:, 1, 10, 15] - shown[:, 1, 10, 5]) * 2
    assert (tall * wide / 60**2 - share).abs().max() < 0.03
    assert (wide / tall).log().std() > 0.1
