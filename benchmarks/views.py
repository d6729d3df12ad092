"""How fast random views are made: this project's, kornia's, and lightly's with PIL.

    python -m benchmarks.views

Every maker crops, resizes, flips, changes colours and blurs each image of a batch with
parameters of its own, from the same uint8 images of 96 px to normalised floats.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import torch
import tyro
from lightly import transforms
from torch import Tensor, nn
from torch.utils import data

from benchmarks import measuring, peers, tables
from helpers import hardware, views
from helpers.views.randomness import StepRandom
from helpers.views.settings import ViewSettings

try:
    import kornia.augmentation as kornia
except ImportError:  # not needed by the project
    kornia = None

Measure = Callable[[int], float]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is measured, and how long."""

    image_sizes: tuple[int, ...] = (32, 64, 96)
    """Sides of the views in pixels."""
    batch_size: int = 256
    """Images at a time."""
    rounds: int = 3
    """Turns of each maker; medians are reported."""
    seconds: float = 4.0
    """About how long a turn lasts."""
    threads: int | None = None
    """CPU threads; all by default."""
    workers: int | None = None
    """Worker processes of lightly's pipeline; one a core by default."""
    output: pathlib.Path = pathlib.Path("benchmarks/views.json")
    """File for the figures."""


def main(asked: Settings) -> None:
    """Measure every maker at every size, print the table, write the file."""
    if asked.threads:
        torch.set_num_threads(asked.threads)
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    rows: dict[str, dict[str, Any]] = {}
    columns = []
    for device in map(torch.device, devices):
        for size in asked.image_sizes:
            columns.append(f"{size} px, {device.type}")
            print(columns[-1], flush=True)
            for name, rate, note in measure(size, device, asked):
                row = rows.setdefault(name, {"name": name, "rates": {}, "note": note})
                row["rates"][columns[-1]] = rate
    about = measuring.about("benchmarks.views", asked) | {"columns": columns}
    found = {"about": about, "rows": list(rows.values())}
    print(tables.views(found))
    measuring.write(asked.output, found)


def measure(
    size: int, device: torch.device, asked: Settings
) -> list[tuple[str, float | None, str]]:
    """Views a second of every maker at one size: name, rate and a note."""
    images = measuring.noise(asked.batch_size).pretraining.images
    makers = {
        "ours, plain torch": lambda: batched(ours(size), images, device),
        "kornia, eager": lambda: batched(of_kornia(size), images, device),
        "kornia, compiled": lambda: batched(compiled(of_kornia(size)), images, device),
        "lightly, PIL in workers": lambda: in_workers(size, images, asked),
    }
    turns, notes = {}, {}
    for name, create in makers.items():
        if device.type != "cpu" and name.startswith("lightly"):
            continue  # PIL knows no device
        try:
            go = create()
            steps = measuring.steps_lasting(asked.seconds, go, asked.batch_size)
        except (RuntimeError, ImportError) as error:
            notes[name] = str(error).splitlines()[0]
        else:
            turns[name] = functools.partial(go, steps)
    rates = measuring.in_turns(turns, asked.rounds)
    medians = [(name, statistics.median(found), "") for name, found in rates.items()]
    return medians + [(name, None, note) for name, note in notes.items()]


def batched(
    make: Callable[[Tensor, int], Tensor], images: Tensor, device: torch.device
) -> Measure:
    """Measure a maker that takes a whole batch on the device."""
    there = images.to(device)

    def go(steps: int) -> float:
        def repeat() -> None:
            for step in range(steps):
                make(there, step)

        return steps * len(there) / measuring.seconds(repeat)

    return go


def ours(size: int) -> Callable[[Tensor, int], Tensor]:
    """This project's views."""
    chosen = ViewSettings(size=size, blur=0.5)

    def make(images: Tensor, step: int) -> Tensor:
        random = StepRandom(0, step, len(images), images.device)
        return views.random_view(images, chosen, random)

    return make


def of_kornia(size: int) -> Callable[[Tensor, int], Tensor]:
    """The same changes by kornia.

    Raises:
        ImportError: when it is not installed.
    """
    if kornia is None:
        raise ImportError("not installed: pip install kornia")
    chosen = ViewSettings(size=size, blur=0.5)
    strengths = (chosen.brightness, chosen.contrast, chosen.saturation, chosen.hue)
    width = 2 * round(0.05 * size) + 1  # about a tenth of the view, as SimCLR has it
    changes = nn.Sequential(
        kornia.RandomResizedCrop((size, size), scale=chosen.scale),
        kornia.RandomHorizontalFlip(p=chosen.flip),
        kornia.ColorJitter(*strengths, p=chosen.jitter),
        kornia.RandomGrayscale(p=chosen.grayscale),
        kornia.RandomGaussianBlur((width, width), chosen.blur_sigma, p=chosen.blur),
        kornia.Normalize(torch.tensor(views.MEAN), torch.tensor(views.STD)),
    )

    def make(images: Tensor, step: int) -> Tensor:
        return changes(images.float() / 255)

    return make


def compiled(make: Callable[[Tensor, int], Tensor]) -> Callable[[Tensor, int], Tensor]:
    """The same, compiled as far as it can be."""
    torch.compiler.reset()
    return torch.compile(make)


def in_workers(size: int, images: Tensor, asked: Settings) -> Measure:
    """Measure lightly's views, made by PIL in worker processes."""
    workers = hardware.workers() + 1 if asked.workers is None else asked.workers
    transform = transforms.SimCLRTransform(input_size=size)

    def go(steps: int) -> float:
        photographs = peers.Photographs(images, steps * len(images) // 2, transform)
        loader = data.DataLoader(photographs, len(images) // 2, num_workers=workers)
        return steps * len(images) / measuring.seconds(lambda: list(loader))

    return go


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # kornia's and the compiler's advice
        main(tyro.cli(Settings, description=__doc__))
