"""SupCon groups the images by class, and is SimCLR without classes."""

import dataclasses

import pytest
import tiny
import torch

from helpers.methods import losses
from helpers.training import pretraining, settings


def test_supcon_without_two_of_a_class_is_simclr(images):
    supcon, simclr = (tiny.create(name) for name in ("supcon", "simclr"))
    views = tiny.views(supcon, images)
    expected = simclr(views, tiny.INDEX, tiny.NONE)
    assert torch.equal(supcon(views, tiny.INDEX, tiny.NONE), expected)
    different = torch.tensor([3, -1, 0, 2, -1, 5])
    assert torch.allclose(supcon(views, tiny.INDEX, different), expected)


def test_supcon_groups_the_labelled_images_by_class(images):
    supcon = tiny.create("supcon", temperature=0.3)
    views = tiny.views(supcon, images)
    labels = torch.tensor([1, -1, 1, -1, 0, 0])
    z = [supcon.projection_head(supcon.backbone(view)) for view in views]
    expected = losses.contrastive(*z, torch.tensor([1, 10, 1, 11, 0, 0]), 0.3)
    assert torch.allclose(supcon(views, tiny.INDEX, labels), expected)


@pytest.mark.parametrize(("label", "lacks"), [(-1, "none"), (1, "a single class")])
def test_supcon_says_when_there_are_no_classes(
    label, lacks, dataset, tmp_path, small_backbone
):
    unlabeled = torch.full_like(dataset.pretraining.labels, label)
    without = dataclasses.replace(
        dataset, pretraining=dataclasses.replace(dataset.pretraining, labels=unlabeled)
    )
    with pytest.raises(
        ValueError, match=f"supcon learns from labels, and small has {lacks}"
    ):
        chosen = settings.configure("supcon", batch_size=16)
        pretraining.pretrain(chosen, without, folder=tmp_path)
