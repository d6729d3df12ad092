"""The rest of the story: imports, features, probe, map, and what more images cost.

    python -m benchmarks.story

A part that is measured on fewer images than its row says is extrapolated linearly, and
its note says so. With few and with many images training takes turns in one process; the
peak memory is that of a process of its own for every number of images.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import statistics
import subprocess
import sys
from typing import Any

import torch
import tyro

from benchmarks import growth, measuring, tables
from helpers.evaluation import probes
from helpers.figures import charts
from helpers.models import backbones, encoding, nearest_neighbors

ROOT = pathlib.Path(__file__).resolve().parents[1]
MODULES = ("helpers", "helpers.pretraining", "helpers.commands")


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
    """Training steps a turn; short turns, since machines change their mind."""
    batch_size: int = 128
    """Images a step."""
    output: pathlib.Path = pathlib.Path("benchmarks/story.json")
    """File for the figures."""


def main(asked: Settings) -> None:
    """Measure every part, print the tables, write the file."""
    parts = [*imports(), encoded(asked), *features(asked)]
    found = {
        "about": measuring.about("benchmarks.story", asked),
        "parts": parts,
        "growth": [row for name in asked.methods for row in grow(name, asked)],
    }
    print(tables.story(found), tables.growth(found), sep="\n\n")
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
    """What is done with features: noise around a centre a class, 512 wide."""
    torch.manual_seed(0)
    labels = torch.arange(asked.labels) % 10
    made = torch.randn(10, 512)[labels] + 3 * torch.randn(asked.labels, 512)
    probe = measuring.seconds(lambda: probes.linear_probe(made, labels))
    neighbors = measuring.seconds(
        lambda: nearest_neighbors.classify(made, labels, made)
    )
    points = measuring.seconds(lambda: charts.tsne(made, labels, list("abcdefghij")))
    count = f"{asked.labels:,} features"
    return [
        part(f"linear probe on {count}", probe, "four penalties, five folds, refit"),
        part(f"k-NN of {count} among as many", neighbors, "k = 20"),
        part("t-SNE and its figure", points, f"{min(1_000, asked.labels):,} points"),
    ]


def grow(method: str, asked: Settings) -> list[dict[str, Any]]:
    """Speed with few and with many images, in turns; memory of each alone."""
    print(f"{method} with few and many images resident", flush=True)
    sizes = [
        growth.Settings(method, count, asked.steps, asked.batch_size)
        for count in asked.images
    ]
    rows = [alone(size) for size in sizes]
    turns = {}
    for size in sizes:
        session = growth.start(size)
        measuring.train(session, 2)  # in the first steps kernels are chosen
        turns[f"{size.images:,}"] = functools.partial(
            measuring.train, session, asked.steps
        )
    rates = list(measuring.in_turns(turns, asked.rounds).values())
    return [
        row
        | {"rate": statistics.median(found)}
        | {"of_smallest": measuring.ratio(found, rates[0])}
        for row, found in zip(rows, rates, strict=True)
    ]


def alone(size: growth.Settings) -> dict[str, Any]:
    """The peak memory of a process of its own."""
    flags = [f"--{k.replace('_', '-')}={v}" for k, v in vars(size).items()]
    command = [sys.executable, "-m", "benchmarks.growth", *flags]
    done = subprocess.run(
        command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def part(name: str, seconds: float, note: str) -> dict[str, Any]:
    """One row of the table."""
    print(f"{name}: {seconds:.1f} s", flush=True)
    return {"part": name, "seconds": seconds, "note": note}


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
