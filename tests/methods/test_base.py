"""What methods share: views of several kinds, and features of several sizes."""

import dataclasses

import pytest
import tiny
import torch

from helpers.methods import base
from helpers.training import settings
from helpers.views.settings import ViewSettings


@pytest.mark.parametrize("name", ["byol", "simclr"])
def test_the_two_views_are_drawn_apart(name, images):
    method = tiny.create(name)
    one, two = tiny.views(method, images)
    assert one.shape == two.shape == (6, 3, 20, 20)
    assert (one - two).abs().flatten(1).amax(dim=1).min() > 0.01


@pytest.mark.parametrize("name", ["byol", "barlow_twins", "vicreg"])
def test_views_may_be_asymmetric_as_in_byols_paper(name):
    plain = settings.configure(name, blur=0.5, asymmetric=False).options
    assert plain.every_view == (plain.view, plain.view)
    paper = settings.configure(name, blur=0.5, asymmetric=True).options
    first, second = paper.every_view
    assert (first.blur, first.solarize) == (1.0, 0.0)
    assert (second.blur, second.solarize) == (0.1, 0.2)
    assert dataclasses.replace(first, blur=0.5) == paper.view


@pytest.mark.parametrize("name", ["swav", "dino"])
def test_small_views_come_after_the_large_ones(name, images):
    method = tiny.create(
        name,
        small_views=3,
        small_size=18,
        asymmetric=True,
        small_scale=(0.1, 0.2),
    )
    views = tiny.views(method, images)
    assert [view.shape[-1] for view in views] == [20, 20, 18, 18, 18]
    every = method.options.every_view
    assert [view.scale for view in every[2:]] == [(0.1, 0.2)] * 3
    assert [view.blur for view in every] == [1.0, 0.1, 0.0, 0.0, 0.0]
    assert (views[2] - views[3]).abs().max() > 0.1


def test_features_of_several_sizes_come_in_order_one_forward_a_size():
    sizes, backbone = [], torch.nn.Sequential(torch.nn.Flatten(2))

    def forward(images):
        sizes.append((len(images), images.shape[-1]))
        return backbone(images).mean(dim=2)

    views = [torch.full((2, 3, s, s), float(n)) for n, s in enumerate((8, 8, 4, 4, 4))]
    found = base.features(forward, views)
    assert sizes == [(4, 8), (6, 4)]
    assert found[:, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize(
    ("size", "stem", "grid", "cell", "patch"),
    [
        (64, "pool", 3, 32, 24),
        (96, "imagenet", 3, 48, 36),
        (32, "small", 3, 16, 12),
        (64, "pool", 2, 48, 36),
    ],
)
def test_cells_and_patches_follow_the_size_of_the_images(size, stem, grid, cell, patch):
    chosen = settings.configure("pirl", "long", size=size, stem=stem, grid=grid)
    assert chosen.options.cut == {"grid": grid, "cell": cell, "patch": patch}
    assert chosen.options.smallest_side == patch
    fixed = dataclasses.replace(chosen.options, cell=30, patch=17)
    assert fixed.cut == {"grid": grid, "cell": 30, "patch": 17}


def test_patches_are_cropped_and_blurred_by_options_of_their_own():
    chosen = {"view": ViewSettings(size=40, blur=0.5, hue=0.3), "patch_blur": 0.1}
    options = base.JigsawOptions(**chosen, patch_scale=(0.7, 0.9))
    view = options.patch_view
    assert (view.scale, view.blur) == ((0.7, 0.9), 0.1)
    assert dataclasses.replace(options.view, scale=view.scale, blur=0.1) == view


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("pirl", {"patch_scale": (0.5, 0.1)}, "patch_scale must be two shares"),
        ("pirl", {"patch_blur": 2.0}, "patch_blur must be a probability"),
        ("swav", {"small_size": 0}, "small_size must be"),
        ("dino", {"small_scale": (0.5, 0.1)}, "small_scale must be two shares"),
    ],
)
def test_settings_of_other_views_are_refused_by_their_own_names(
    method, changes, message
):
    with pytest.raises(ValueError, match=f"^{message}"):
        settings.configure(method, "minutes", **changes)
