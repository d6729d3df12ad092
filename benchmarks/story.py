"""The rest of the story: imports, features, probe, map; more images, small maps.

    python -m benchmarks.story

A part that is measured on fewer images than its row names is extrapolated linearly, and
its note says so. With few and with many images training takes turns in one process; the
peak memory is that of a new process for every number of images. On a CPU, convolutions
of small maps place by place take turns with torch's.
"""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import pathlib
import statistics
import subprocess
import sys
from typing import Any
from unittest import mock

import torch
import tyro
from torch import nn

from benchmarks import measuring, tables
from helpers import hardware
from helpers.evaluation import probes
from helpers.figures import charts
from helpers.models import backbones, encoding, nearest_neighbors, small_maps
from helpers.training import sessions, settings

ROOT = pathlib.Path(__file__).resolve().parents[1]
MODULES = ("helpers", "helpers.training.pretraining", "helpers.cli.commands")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is measured, and how long."""

    encode: int = 100_000
    """Images that are to be encoded."""
    encode_sample: int = 5_000
    """So many of them are; the time is extrapolated linearly."""
    image_size: int = 96
    """Side of the images that are encoded, in pixels."""
    labels: int = 5_000
    """Features of the linear probe."""
    methods: tuple[str, ...] = ("byol", "pirl")
    """Methods whose growth is measured."""
    images: tuple[int, ...] = (5_000, 100_000)
    """Numbers of resident images."""
    rounds: int = 20
    """Turns of each number of images; medians are reported."""
    steps: int = 2
    """Training steps per turn; short turns, since a machine's speed changes."""
    batch_size: int = 128
    """Images per step."""
    small_maps: tuple[str, ...] = ("pirl", "byol")
    """Methods whose recipe *minutes* is trained with and without ``small_maps``."""
    small_rounds: int = 5
    """Turns of each."""
    small_steps: int = 10
    """Training steps per turn."""
    output: pathlib.Path = pathlib.Path("benchmarks/story.json")
    """File for the figures."""


def main(asked: Settings) -> None:
    """Measure every part, print the tables, write the file."""
    parts = [*imports(), encoded(asked), *features(asked)]
    found = {
        "about": measuring.about("benchmarks.story", asked),
        "parts": parts,
        "growth": [row for name in asked.methods for row in grow(name, asked)],
        "small_maps": [place_by_place(name, asked) for name in asked.small_maps],
    }
    texts = tables.story(found), tables.growth(found), tables.small_maps(found)
    print(*texts, sep="\n\n")
    measuring.write(asked.output, found)


def imports() -> list[dict[str, Any]]:
    """Importing the package, in a new interpreter: the best of three."""
    rows = []
    for name in MODULES:
        command = [sys.executable, "-c", f"import {name}"]
        work = functools.partial(subprocess.run, command, check=True, cwd=ROOT)
        taken = min(measuring.seconds(work) for _ in range(3))
        rows.append(part(f"import {name}", taken, "a new interpreter, the best of 3"))
    return rows


def encoded(asked: Settings) -> dict[str, Any]:
    """Features of many images under a frozen ResNet-18."""
    sample = min(asked.encode, asked.encode_sample)
    images = measuring.noise(sample).pretraining.images
    backbone = backbones.build()
    encoding.encode(backbone, images[:256], image_size=asked.image_size)
    taken = measuring.seconds(
        lambda: encoding.encode(backbone, images, image_size=asked.image_size)
    )
    note = f"ResNet-18 at {asked.image_size} px"
    if sample < asked.encode:
        note += f"; extrapolated linearly from {sample:,} images"
    return part(f"encode {asked.encode:,} images", taken * asked.encode / sample, note)


def features(asked: Settings) -> list[dict[str, Any]]:
    """What is done with features: noise around the centre of a class, 512 wide."""
    torch.manual_seed(0)
    labels = torch.arange(asked.labels) % 10
    made = torch.randn(10, 512)[labels] + 3 * torch.randn(asked.labels, 512)
    probe = measuring.seconds(lambda: probes.linear_probe(made, labels))
    neighbors = measuring.seconds(
        lambda: nearest_neighbors.classify(made, labels, made)
    )
    points = measuring.seconds(
        lambda: charts.tsne({"": made}, labels, list("abcdefghij"))
    )
    count = f"{asked.labels:,} features"
    return [
        part(f"linear probe on {count}", probe, "four penalties, five folds, refit"),
        part(f"k-NN of {count} among as many", neighbors, "k = 20"),
        part("t-SNE and its figure", points, f"{min(1_000, asked.labels):,} points"),
    ]


def grow(method: str, asked: Settings) -> list[dict[str, Any]]:
    """Speed with few and with many images, in turns; memory of each alone."""
    print(f"{method} with few and many images resident", flush=True)
    rows, turns = [], {}
    for count in asked.images:
        # A process never forgets its peak memory, so each count has one of its own.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append(pool.apply(memory, (method, count, asked)))
        session = start(method, count, asked)
        measuring.train(session, 2)  # in the first steps kernels are chosen
        turns[f"{count:,}"] = functools.partial(measuring.train, session, asked.steps)
    rates = list(measuring.in_turns(turns, asked.rounds).values())
    return [
        row
        | {"rate": statistics.median(found)}
        | {"of_smallest": measuring.ratio(found, rates[0])}
        for row, found in zip(rows, rates, strict=True)
    ]


def memory(method: str, count: int, asked: Settings) -> dict[str, Any]:
    """Peak memory of this process after a few steps with so many images resident."""
    session = start(method, count, asked)
    measuring.train(session, 2 * asked.steps)
    return {
        "method": method,
        "images": count,
        "peak_gb": measuring.peak_memory(),
        "images_gb": session.images.nbytes / 1e9,
    }


def start(method: str, count: int, asked: Settings) -> sessions.Session:
    """A run with so many images resident, before its first step."""
    chosen = settings.configure(
        method,
        "long",
        batch_size=asked.batch_size,
        size=asked.image_size,
        stem="imagenet",
        learning_rate=1e-6,  # noise must not blow the weights up
    )
    return sessions.start(chosen, measuring.noise(count), devices=1, nodes=1)


def place_by_place(method: str, asked: Settings) -> dict[str, Any]:
    """A method's steps with convolutions of small maps place by place, and torch's."""
    chosen = settings.configure(method, "minutes")
    print(f"{method}, small maps, {hardware.name()}", flush=True)
    images = measuring.noise(asked.small_steps * chosen.batch_size)
    session = sessions.start(chosen, images, devices=1, nodes=1)

    def ours() -> float:
        return measuring.train(session, asked.small_steps)

    def of_torch() -> float:
        plain = nn.Conv2d.forward
        with mock.patch.object(small_maps.SmallMapConv2d, "forward", plain):
            return ours()

    measuring.train(session, 2)  # in the first steps kernels are chosen
    turns = {"ours": ours, "torch": of_torch}
    rates = measuring.in_turns(turns, asked.small_rounds)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    times = measuring.ratio(rates["ours"], rates["torch"])
    return {"method": method, "side": chosen.image_size, **medians, "times": times}


def part(name: str, seconds: float, note: str) -> dict[str, Any]:
    """One row of the table."""
    print(f"{name}: {seconds:.1f} s", flush=True)
    return {"part": name, "seconds": seconds, "note": note}


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
