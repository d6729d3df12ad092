"""Trains until it is killed, for a test: says when an epoch is saved."""

import pathlib
import sys

import torch

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[up]) for up in (0, 1)]

import small  # noqa: E402

from helpers.models import backbones  # noqa: E402
from helpers.training import pretraining, settings, watch  # noqa: E402

if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    backbones.build = small.backbone
    watch.SAVING_PAYS = 0  # save after every epoch
    chosen = settings.configure("pirl", **small.SETTINGS | {"epochs": 300})
    pretraining.pretrain(
        chosen,
        small.dataset(),
        folder=sys.argv[1],
        on_epoch=lambda history: print("saved", len(history), flush=True),
    )
