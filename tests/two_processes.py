"""Trains in as many processes as share it and writes what came out, for a test."""

import os
import pathlib
import signal
import sys
from unittest import mock

import torch

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[up]) for up in (0, 1)]

import small  # noqa: E402

from helpers import hardware, methods  # noqa: E402
from helpers.models import backbones, encoding, heads  # noqa: E402
from helpers.training import (  # noqa: E402
    pretraining,
    settings,
    shared_norm,
    supervised,
    watch,
)
from helpers.views.randomness import StepRandom  # noqa: E402
from helpers.views.settings import ViewSettings  # noqa: E402

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
    "swav": {},
    "moco": {},
    "dino": {"hidden_dim": 128},
}
EPOCHS = 7  # of three steps; small ones, or rounding grows from step to step


def train(name, folder, devices, stop_after=None, epochs=EPOCHS):
    """Losses and final weights of a short training."""
    changes = small.SETTINGS | VARIANTS[name]
    changes |= {"epochs": epochs, "learning_rate": 0.02}
    chosen = settings.configure(name.split()[0], **changes)
    dataset = small.dataset()
    run = pretraining.pretrain(
        chosen, dataset, folder=folder, devices=devices, stop_after=stop_after
    )
    weights = torch.cat([weight.flatten() for weight in run.backbone.parameters()])
    losses = torch.tensor([entry["loss"] for entry in run.history])
    return {"loss": losses, "weights": weights.detach()}


def stop_and_go_on(folder, rank):
    """What is said when the second of two processes is told to stop, and the end."""
    seen = []

    class Interrupted(methods.METHODS["byol"]):
        def loss(self, views, index, labels):
            seen.append(1)
            if rank == 1 and len(seen) == 5:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().loss(views, index, labels)

    with (
        mock.patch.dict(methods.METHODS, byol=Interrupted),
        mock.patch.object(watch, "AGREE_EVERY", 0.0),
    ):
        try:
            train("byol", folder / "stopped", devices=2)
        except KeyboardInterrupt as stopped:
            said = [str(stopped), str(stopped.status)]
    return {"said": said, **train("byol", folder / "stopped", devices=2)}


def step(name, rank=0, processes=1):
    """Loss, gradients and buffers of this process's share of one step of a method."""
    torch.manual_seed(0)
    options = settings.configure(name, hidden_dim=32, output_dim=16, size=20).options
    method = methods.get(name)(small.backbone(), 48, options)
    images, index = small.dataset().pretraining[:8], torch.arange(8)
    own = index.chunk(processes)[rank]
    views = method.views(
        images.images[own], StepRandom(0, 0, 8, "cpu", rank, processes)
    )
    if processes > 1:
        shared_norm.convert(method)
    loss = method(views, own, images.labels[own])
    loss.backward()
    gradients = [p.grad.flatten() for p in method.parameters() if p.requires_grad]
    method.after_step(0.5)
    buffers = [b.flatten() for b in method.buffers() if b.is_floating_point()]
    return {
        "loss": loss.detach(),
        "gradients": torch.cat(gradients),
        "buffers": torch.cat([*buffers, torch.zeros(1)]),
    }


def running_statistics(rank=0, processes=1):
    """Those of MoCo's first BatchNorm, whose groups differ between processes."""
    torch.manual_seed(0)
    view = {"size": 20, "output_dim": 16, "bn_splits": 4}
    options = settings.configure("moco", **view).options
    method = methods.get("moco")(small.backbone(), 48, options).train()
    images, own = (
        small.dataset().pretraining[:8],
        torch.arange(8).chunk(processes)[rank],
    )
    random = StepRandom(0, 0, 8, "cpu", rank, processes)
    method(method.views(images.images[own], random), own, images.labels[own])
    method.after_step(0.5)
    return method.backbone[1].running_mean


LABELLED = ("backbone and head", "head", "head with clipped gradients")


def train_with_labels(name):
    """History and final weights of a short supervised training, in float32."""
    torch.manual_seed(0)
    train, backbone = small.dataset().train, small.backbone()
    shared = {"epochs": 5, "batch_size": 8, "learning_rate": 1e-2, "validation": 0.25}
    if name == "backbone and head":
        network = heads.Classifier(backbone, classes=3)
        view = ViewSettings(size=20, scale=(0.5, 1.0), jitter=0.5)
        chosen = supervised.FineTuningSettings(**shared, view=view)
        history = supervised.train_on_images(network, train, chosen)
    else:
        clip = 0.1 if "clipped" in name else 0.0
        network = heads.MLP(16, 3)
        features = encoding.encode(backbone, train.images, image_size=20)
        chosen = supervised.HeadSettings(**shared, gradient_clip=clip)
        history = supervised.train_on_features(network, features, train.labels, chosen)
    weights = torch.cat([weight.flatten() for weight in network.parameters()])
    return {"history": history, "weights": weights.detach()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    backbones.build = small.backbone
    hardware.precision = lambda: "32-true"
    folder = pathlib.Path(sys.argv[1])
    results = {"train": {n: train(n, folder, devices=2) for n in VARIANTS}}
    rank, results["step"] = torch.distributed.get_rank(), {}
    results["labelled"] = {name: train_with_labels(name) for name in LABELLED}
    results["stopped"] = stop_and_go_on(folder, rank)
    train("moco", folder / "elastic", devices=2, stop_after=3)
    torch.save(results["stopped"]["said"], folder / f"said-{rank}.pt")
    results["running"] = running_statistics(rank, processes=2)
    everybody = [torch.zeros_like(results["running"]) for _ in range(2)]
    torch.distributed.all_gather(everybody, results["running"])
    results["running alike"] = torch.equal(*everybody)
    torch.save(results["labelled"], folder / f"labelled-{rank}.pt")
    for name in methods.METHODS:
        results["step"][name] = one = step(name, rank, processes=2)
        for part in ("loss", "gradients"):  # as training does: the mean over processes
            torch.distributed.all_reduce(one[part])
            one[part] /= 2
    if rank == 0:
        torch.save(results, folder / "results.pt")
