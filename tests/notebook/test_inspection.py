"""Random weights beside trained ones, on the same images."""

import dataclasses

import pytest
import small
import torch

from helpers.notebook import inspection


@pytest.fixture
def look():
    torch.manual_seed(0)
    networks = {"random": small.backbone(), "trained": small.backbone()}
    return inspection.inspect(networks, small.dataset(), image_size=32)


def test_every_network_sees_the_same_images_of_all_classes(look):
    assert look.sample.labels[:6].tolist() == [0, 1, 2, 0, 1, 2]
    assert {len(rows) for rows in look.features.values()} == {24}
    assert not torch.equal(*look.features.values())


def test_its_figures_show_both_networks(look):
    for figure in (look.filters(), look.neighbors(queries=3, k=2), look.maps()):
        words = [text.get_text() for ax in figure.axes for text in ax.texts]
        words += [ax.get_title() for ax in figure.axes]
        assert {"random", "trained"} <= set(words)
    assert len(look.neighbors(queries=3, k=2).axes[0].patches) == 3 * 2 * 2


def test_no_image_votes_for_itself(look):
    labels = look.sample.labels
    unlike = torch.nn.functional.one_hot(torch.arange(24)).float()
    alone = inspection.Inspection(look.networks, look.sample, (), {"own": unlike})
    # All others are equally far away, so an image can only be right by luck.
    assert alone.accuracies()["own"] < 100 * labels.bincount().max() / 24 + 1e-3


def test_few_labelled_images_do_not_end_a_notebook():
    """Such as one of each class, which the notebooks offer as an answer."""
    dataset = dataclasses.replace(small.dataset(), train_count=3)
    look = inspection.inspect({"one": small.backbone()}, dataset, image_size=32)
    (sentence,) = look.maps().texts
    assert sentence.get_text() == "A t-SNE map needs at least 5 images, not 3."
    assert look.neighbors().axes
    assert look.accuracies() == {}
