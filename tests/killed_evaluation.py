"""Trains classifiers until it is killed, for a test: says whenever a state is saved."""

import dataclasses
import pathlib
import sys

import torch

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[up]) for up in (0, 1)]

import small  # noqa: E402

from helpers.evaluation import protocols  # noqa: E402
from helpers.models import backbones  # noqa: E402
from helpers.training import checkpoints, supervised, watch  # noqa: E402
from helpers.views.settings import ViewSettings  # noqa: E402

PROTOCOLS = ("baseline", "mlp_head", "fine_tune")
ABOUT = {"backbone": "resnet18", "epochs_done": 7, "minutes": 2.0}


def evaluate(name, dataset, folder, epochs=4, **repetitions):
    """Train and score three classifiers by a protocol, keeping everything in a folder.

    Args:
        name: of a function in ``protocols``.
        dataset: to train and score on.
        folder: for what is kept.
        epochs: of each classifier.
        **repetitions: fields of ``Experiment``.
    """
    view = ViewSettings(size=20, scale=(0.5, 1.0), jitter=0, grayscale=0)
    settings = supervised.FineTuningSettings(epochs=epochs, batch_size=8, view=view)
    repetitions = {"seeds": (0, 1, 2), "folder": folder} | repetitions
    if name == "baseline":
        return protocols.baseline(dataset, settings, **repetitions)
    torch.manual_seed(5)
    backbone = small.backbone()
    experiment = protocols.Experiment(dataset, "PIRL", ABOUT, **repetitions)
    if name == "mlp_head":
        features = protocols.encode(backbone, dataset, image_size=20)
        features = dataclasses.replace(features, minutes=0.0)
        head = supervised.HeadSettings(epochs=epochs, batch_size=8)
        return protocols.mlp_head(features, experiment, head)

    def create():
        network = small.backbone()
        network.load_state_dict(backbone.state_dict())
        return network

    return protocols.fine_tune(create, experiment, settings)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    backbones.build = small.backbone
    watch.SAVING_PAYS = 0
    save_state = checkpoints.Store.save_state

    def noted(store, state, number):
        """Save a state and say so."""
        save_state(store, state, number)
        print("saved", flush=True)

    checkpoints.Store.save_state = noted
    evaluate(sys.argv[1], small.dataset(), sys.argv[2], int(sys.argv[4]))
