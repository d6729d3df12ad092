"""Where a training or an evaluation starts: random weights, ImageNet's, or a file."""

import pytest
import small
import torch

from helpers.models import weight_files
from helpers.training import starting_points


def test_random_weights_are_the_same_at_every_call_and_touch_no_generator():
    chosen = starting_points.from_source("random", "resnet18", "small")
    before = torch.random.get_rng_state()
    one, two = chosen.create(), chosen.create()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one.layer4[1].conv2.weight, two.layer4[1].conv2.weight)
    assert one.conv1.kernel_size == (3, 3)
    assert chosen.about == {"backbone": "resnet18", "stem": "small"}


def test_a_file_names_its_own_network(tmp_path):
    file = small.backbone_file(tmp_path, "run", init="imagenet")
    chosen = starting_points.from_source(str(file))
    assert chosen.name == "BYOL from ImageNet"
    assert chosen.network == ("resnet18", "small", "batch")
    weights = chosen.create().state_dict()
    stored = weight_files.load_backbone(file)[0].state_dict()
    assert all(torch.equal(weights[name], stored[name]) for name in stored)
    with pytest.raises(ValueError, match="names its own backbone and stem"):
        starting_points.from_source(str(file), "vgg11")


def test_a_file_is_read_once(tmp_path):
    """A training may write it anew while its backbone is evaluated."""
    file = small.backbone_file(tmp_path, "run")
    chosen = starting_points.from_source(str(file))
    before = chosen.create().state_dict()
    small.backbone_file(tmp_path, "run")
    assert not torch.equal(
        weight_files.load_backbone(file)[0].conv1.weight, before["conv1.weight"]
    )
    one, other = chosen.create(), chosen.create()
    with torch.no_grad():
        one.conv1.weight.zero_()
    assert torch.equal(other.conv1.weight, before["conv1.weight"])
    chosen = starting_points.from_source(str(file))
    small.backbone_file(tmp_path, "run", epochs_done=2)
    with pytest.raises(ValueError, match="written anew after it was chosen"):
        chosen.create()


def test_a_file_names_its_own_sizes(tmp_path):
    """A default applies where a file, or where random weights, name no size."""
    for name, about, view_size, image_size in (
        ("new", {"image_size": 40, "evaluation_size": 56}, 40, 56),
        ("old", {}, 48, 80),
    ):
        file = small.backbone_file(tmp_path, name, **about)
        backbone = starting_points.from_source(str(file), image_size=80)
        assert (backbone.view_size, backbone.image_size) == (view_size, image_size)
    assert starting_points.from_source("random").image_size == 64
    assert starting_points.from_source("imagenet", image_size=224).image_size == 224


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("nowhere.safetensors",), "There is no file 'nowhere.safetensors'"),
        (("random", "vgg"), "Unknown backbone 'vgg'"),
        (("random", "vgg11", "small"), "vgg11 has only stem 'imagenet'"),
        (("imagenet", "resnet18", "pool"), "ImageNet weights fit only"),
    ],
)
def test_what_cannot_be_chosen_is_one_sentence(given, message):
    with pytest.raises(ValueError, match=message):
        starting_points.from_source(*given)


def test_pretraining_takes_the_network_of_its_initial_weights(tmp_path):
    file = small.backbone_file(tmp_path, "a", stem="pool")
    assert starting_points.pretraining_settings(str(file)) == {
        "init": str(file),
        "backbone": "resnet18",
        "stem": "pool",
        "norm": "batch",
    }
    assert starting_points.pretraining_settings("imagenet") == {"init": "imagenet"}
    with pytest.raises(ValueError, match="Unknown weights 'nowhere': choose one of"):
        starting_points.pretraining_settings("nowhere")
