"""Encoding is a plain forward pass over whole images, and nothing moves."""

import functools

import pytest
import small
import torch

from helpers import hardware, views
from helpers.models import backbones, encoding, heads, small_maps


def backbone():
    torch.manual_seed(0)
    network = small.backbone()
    for _ in range(3):  # statistics that are not those of any batch below
        network(torch.randn(8, 3, 20, 20))
    return network


@pytest.mark.parametrize("training", [True, False])
def test_encoding_leaves_the_backbone_as_it_was(training):
    network = backbone().train(training)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    features = encoding.encode(network, small.images(10), image_size=20)
    assert network.training is training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not features.requires_grad
    assert features.dtype == torch.float32
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


def test_a_head_computes_in_float32_whatever_the_backbone_does(monkeypatch):
    """Of logits in bfloat16 many would be equal, and ties cost accuracy."""
    half = functools.partial(torch.autocast, "cpu", torch.bfloat16)
    monkeypatch.setattr(hardware, "autocast", half)
    network, images = heads.Classifier(backbone(), 3).eval(), small.images(8)
    made = encoding.outputs(network, images, image_size=20)
    features = encoding.encode(network.backbone, images, image_size=20)
    assert torch.equal(features, features.bfloat16().float())
    assert not torch.equal(made, made.bfloat16().float())
    with torch.no_grad():
        torch.testing.assert_close(made, network.classify(features))


@pytest.mark.parametrize("together", [1, 2, 50])
def test_encoding_sees_whole_normalised_images_in_batches(together, monkeypatch):
    monkeypatch.setattr(encoding, "TOGETHER", together)
    monkeypatch.setattr(hardware, "precision", lambda: "32-true")
    network, images = backbone().eval(), small.images(23)
    made = encoding.outputs(network, images, image_size=20, batch_size=7)
    with torch.no_grad():
        expected = network(views.whole_view(images, 20))
    assert made.shape == (23, 16)
    assert torch.allclose(made, expected, atol=1e-5)


def test_a_classifiers_outputs_are_its_logits_image_by_image():
    network = heads.Classifier(backbone(), classes=3).train()
    network(torch.randn(8, 3, 20, 20))
    before = {k: v.clone() for k, v in network.state_dict().items()}
    images = small.images(5)
    whole = encoding.outputs(network, images, image_size=20)
    parts = [
        encoding.outputs(network, images[n : n + 1], image_size=20) for n in range(3)
    ]
    assert whole.shape == (5, 3)
    assert torch.allclose(whole[:3], torch.cat(parts), atol=1e-5)
    assert not whole.requires_grad
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_network_is_sped_up_on_a_cpu_only():
    network = backbones.build("resnet18").eval()
    encoding.encode(network, small.images(2), image_size=32)
    kinds = {type(m) for m in network.modules() if isinstance(m, torch.nn.Conv2d)}
    on_cpu = hardware.device().type == "cpu"
    assert kinds == {small_maps.SmallMapConv2d if on_cpu else torch.nn.Conv2d}


def test_outputs_that_are_no_numbers_are_one_sentence():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2))
    torch.nn.init.constant_(network[1].weight, 3e38)
    with pytest.raises(ValueError, match="outputs are NaN or infinite; its training"):
        encoding.outputs(network, small.images(4, side=8), image_size=8)
