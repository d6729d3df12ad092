"""The head sees standardised features, of whatever scale the backbone makes them."""

import small
import torch
from torch import nn

from helpers.models import heads


class Rescaled(nn.Module):
    """A backbone whose features have other means and variances."""

    def __init__(self, backbone, scale, shift):
        super().__init__()
        self.backbone, self.scale, self.shift = backbone, scale, shift
        self.feature_dim = backbone.feature_dim

    def forward(self, views):
        return self.backbone(views) * self.scale + self.shift


def build(scale=1.0, shift=0.0):
    torch.manual_seed(0)
    network = heads.Classifier(small.backbone(), classes=3)
    network.backbone = Rescaled(network.backbone, scale, shift)
    return network


def test_the_logits_are_those_of_the_standardised_features():
    network, views = build(), torch.randn(16, 3, 20, 20)
    features = network.backbone(views)
    deviation = features.var(dim=0, unbiased=False).add(1e-5).sqrt()
    expected = network.head((features - features.mean(dim=0)) / deviation)
    torch.testing.assert_close(network(views), expected)


def test_scale_and_mean_of_the_features_do_not_matter():
    views = torch.randn(16, 3, 20, 20)
    dim = small.backbone().feature_dim
    scale, shift = 10 * torch.rand(dim) + 10, torch.randn(dim)
    found = build()(views), build(scale, shift)(views)
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)


def test_an_image_is_scored_the_same_alone_and_among_others():
    network, views = build(), torch.randn(16, 3, 20, 20)
    for _ in range(3):
        network(views)
    network.eval()
    torch.testing.assert_close(network(views)[:1], network(views[:1]))


def test_standardising_has_nothing_to_learn():
    network = build()
    names = {name for name, _ in network.named_parameters() if "backbone" not in name}
    assert names == {"head.weight", "head.bias"}


def test_the_mlp_has_a_hidden_layer_of_128():
    first, activation, last = heads.MLP(16, 3)
    assert isinstance(activation, nn.ReLU)
    assert (first.in_features, first.out_features) == (16, 128)
    assert (last.in_features, last.out_features) == (128, 3)
