"""Trains in as many processes as share it and writes the losses, for a test.

Every BatchNorm becomes a GroupNorm: a CPU cannot share BatchNorm's statistics.
"""

import json
import pathlib
import sys

import torch

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[up]) for up in (0, 1)]

import small  # noqa: E402

from helpers import backbones, pretraining, settings  # noqa: E402

VARIANTS = {
    "pirl": {},
    "pirl with drawn negatives": {
        "loss": "vissl_nce",
        "negatives": 9,
        "pretext": "both",
        "head": "vissl_mlp",
    },
    "byol": {},
    "simclr": {},
}


def train(name, folder, devices):
    """Losses and final weights of a short training, as plain numbers."""
    changes = small.SETTINGS | VARIANTS[name]
    chosen = settings.configure(name.split()[0], **changes, norm="group")
    dataset = small.dataset()
    run = pretraining.pretrain(chosen, dataset, folder=folder, devices=devices)
    weights = torch.cat([weight.flatten() for weight in run.backbone.parameters()])
    return {"loss": [entry["loss"] for entry in run.history], "weights": weights}


def group_norm(width, **_):
    """What stands in for the heads' BatchNorm1d."""
    return torch.nn.GroupNorm(4, width)


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.nn.BatchNorm1d = group_norm
    backbones.build = small.backbone
    results = {}
    for name in VARIANTS:
        results[name] = train(name, sys.argv[1], devices=2)
        results[name]["weights"] = results[name]["weights"].tolist()
    if torch.distributed.get_rank() == 0:
        pathlib.Path(sys.argv[1], "losses.json").write_text(json.dumps(results))
