"""The heads of the long recipe, layer by layer, as their authors have them."""

import pytest
import small
from torch import nn

from helpers import methods
from helpers.training import settings

# W is the width of the features; no bias where BatchNorm follows, or a mean cancels.
HIDDEN = ["W-512 no bias", "norm 512", "ReLU"]
TWINS = [
    "W-2048 no bias",
    "norm 2048",
    "ReLU",
    "2048-2048 no bias",
    "norm 2048",
    "ReLU",
]
LAYOUTS = {
    "pirl": {
        "image_head": [*HIDDEN, "512-128"],
        "patch_head": [*HIDDEN, "512-128"],
        "jigsaw_head": ["1152-128"],
    },
    "byol": {
        "projection_head": ["W-1024 no bias", "norm 1024", "ReLU", "1024-128"],
        "prediction_head": ["128-1024 no bias", "norm 1024", "ReLU", "1024-128"],
    },
    "simclr": {"projection_head": [*HIDDEN, "512-128 no bias", "norm 128"]},
    "simsiam": {
        "projection_head": [*TWINS, "2048-2048 no bias", "fixed norm 2048"],
        "prediction_head": ["2048-512 no bias", "norm 512", "ReLU", "512-2048"],
    },
    "supcon": {"projection_head": [*HIDDEN, "512-128 no bias", "norm 128"]},
    "swav": {"projection_head": [*HIDDEN, "512-128"], "prototypes": ["(512, 128)"]},
    "moco": {"projection_head": ["W-512", "ReLU", "512-128"]},
    "barlow_twins": {"projection_head": [*TWINS, "2048-2048 no bias"]},
    "vicreg": {"projection_head": [*TWINS, "2048-2048 no bias"]},
    "dino": {
        "projection_head": [
            *[layer.replace("ReLU", "GELU") for layer in TWINS],
            "2048-256",
            "(2048, 256)",
        ]
    },
}


def describe(layer):
    """A layer in a few words."""
    if isinstance(layer, nn.Linear):
        width = "W" if layer.in_features == 16 else layer.in_features
        bias = " no bias" if layer.bias is None else ""
        return f"{width}-{layer.out_features}{bias}"
    if isinstance(layer, nn.BatchNorm1d):
        return f"{'' if layer.affine else 'fixed '}norm {layer.num_features}"
    if hasattr(layer, "weight"):
        return str(tuple(layer.weight.shape))
    return type(layer).__name__


@pytest.mark.parametrize("name", methods.METHODS)
def test_heads_are_laid_out_as_the_authors_are(name):
    chosen = settings.configure(name, "long")
    method = methods.get(name)(small.backbone(), 12, chosen.options)
    for head, expected in LAYOUTS[name].items():
        leaves = [m for m in getattr(method, head).modules() if not list(m.children())]
        assert [describe(leaf) for leaf in leaves] == expected
    shared = {"backbone", "online", "target", "student", "teacher"}
    learned = {n for n, m in method.named_children() if list(m.parameters())}
    assert learned - shared == set(LAYOUTS[name])
