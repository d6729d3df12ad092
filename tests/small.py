"""A data set and a backbone so small that a training takes a second."""

import dataclasses

import numpy as np
import torch
from torch import nn

from helpers import data
from helpers.data.dataset import Dataset, Split
from helpers.models import backbones, weight_files


def images(count, side=32, seed=0, low=0, high=256):
    """Noise, uint8 (count, 3, side, side)."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 3, side, side)
    return torch.randint(low, high, shape, generator=generator).to(torch.uint8)


def cells(image, side):
    """An image (3, H, W) cut into squares, row by row: (N, 3, side, side)."""
    squares = image.unfold(1, side, side).unfold(2, side, side)
    return squares.permute(1, 2, 0, 3, 4).flatten(0, 1)


def split(count, seed):
    """Noise with one bright colour a class: labels 0, 1, 2, 0, 1, 2 ..."""
    labels = torch.arange(count) % 3
    pixels = images(count, seed=seed, high=100)
    pixels[torch.arange(count), labels] += 120
    return Split(pixels, labels)


def dataset():
    """24 labelled, 24 unlabeled and 18 test images of 32 px in three classes."""
    pretraining = split(48, seed=1)
    pretraining.labels[24:] = -1
    return Dataset(
        name="small",
        classes=("red", "green", "blue"),
        pretraining=pretraining,
        train_count=24,
        test=split(18, seed=2),
    )


def source(load):
    """A source like the demo, with images of its own."""
    return dataclasses.replace(data.SOURCES["demo"], load=load)


STL10 = {"train": 40, "test": 20, "unlabeled": 1_003}


def stl10(folder, classes):
    """Write noise in the layout of STL-10's archive: its binary files, ten folds."""
    folder = folder / "stl10_binary"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, count in STL10.items():
        pixels = random.integers(0, 256, (count, 3, 96, 96), dtype=np.uint8)
        pixels.tofile(folder / f"{name}_X.bin")
        if name != "unlabeled":
            numbers = (np.arange(count) % 10 + 1).astype(np.uint8)
            numbers.tofile(folder / f"{name}_y.bin")
    (folder / "class_names.txt").write_text("\n".join(classes) + "\n")
    # Two images of every class a fold, as the official folds have a hundred.
    pairs = [
        [random.choice(4, 2, False) * 10 + c for c in range(10)] for _ in range(10)
    ]
    lines = [" ".join(map(str, np.concatenate(fold))) for fold in pairs]
    (folder / "fold_indices.txt").write_text("\n".join(lines) + "\n")


def layer(width, out, norm="batch"):
    """A convolution that halves the side, with normalisation and ReLU."""
    normalized = nn.GroupNorm(4, out) if norm == "group" else nn.BatchNorm2d(out)
    convolution = nn.Conv2d(width, out, 3, stride=2, padding=1, bias=False)
    return [convolution, normalized, nn.ReLU()]


def backbone(name="resnet18", *, stem="imagenet", weights="random", norm="batch"):
    """A network with ``feature_dim`` and normalisation in place of a ResNet."""
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = nn.Sequential(*layer(3, 8, norm), *layer(8, 16, norm), *pool)
    network.feature_dim = 16
    return network


def wide_backbone(*_, **__):
    """A network that can learn shapes from 32 px, at a tenth of a ResNet's cost."""
    deep = [*layer(3, 32), *layer(32, 64), *layer(64, 128), *layer(128, 128)]
    network = nn.Sequential(*deep, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.feature_dim = 128
    return network


class Recorder(nn.Module):
    """Hands on what it gets and keeps it in a list."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def forward(self, features):
        self.seen.append(features)
        return features


SETTINGS = {
    "epochs": 4,
    "batch_size": 16,
    "optimizer": "sgd",
    "learning_rate": 0.5,
    "warmup_epochs": 0.5,
    "precision": "32-true",
    "size": 20,
}


class Sealed:
    """Stands for a split that must not be looked at."""

    def __getattribute__(self, attribute):
        raise AssertionError(f"test.{attribute} was read")

    def __getitem__(self, key):
        raise AssertionError("test was read")

    __len__ = __iter__ = __getitem__


def backbone_file(folder, name, **about):
    """Write a file with the backbone of a run; its path."""
    file = folder / name / weight_files.BACKBONE_FILE
    known = {"method": "byol", "data": "demo", "backbone": "resnet18", "stem": "small"}
    known |= about
    network = backbones.build(
        known["backbone"], stem=known["stem"], norm=known.get("norm", "batch")
    )
    weight_files.save_backbone(file, network, known)
    return file
