"""Trains with the number of processes it is told and prints the losses, for a test.

Every BatchNorm becomes a GroupNorm: a CPU cannot share BatchNorm's statistics.
"""

import dataclasses
import json
import pathlib
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[n]) for n in (0, 1)]

import small
import torch

from helpers import backbones, pretraining, settings

method, devices, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
torch.nn.BatchNorm1d = lambda width, **_: torch.nn.GroupNorm(4, width)
backbones.build = small.backbone
chosen = settings.configure(method, **small.SETTINGS, norm="group")
run = pretraining.pretrain(
    dataclasses.replace(chosen, epochs=4),
    small.dataset(),
    folder=folder,
    devices=devices,
)
weights = torch.cat([weight.flatten() for weight in run.backbone.parameters()])
if run.history and pathlib.Path(folder, "losses.json").parent.is_dir():
    pathlib.Path(folder, f"losses-{devices}.json").write_text(
        json.dumps([[e["loss"] for e in run.history], weights.tolist()])
    )
