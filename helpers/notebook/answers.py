"""The questions of each kind of notebook: asked at once, before anything is loaded.

Every answer is checked while it is asked, so that a wrong one is asked again. Answers
for pre-training are kept beside the checkpoints: after a disconnect, *Run all* offers
to go on with the last run, or to show it again if it is finished.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import torch

from helpers import data, files, methods
from helpers.data import layout
from helpers.models import weight_files
from helpers.notebook import choices, colab, pace, questions
from helpers.training.settings import RANGES, configure
from helpers.training.starting_points import StartingPoint

FILE = "answers.json"
RECIPES = {
    "minutes": "for the demo images",
    "hour": "for photographs on a small machine",
    "gpu_hour": "for a GPU: 120 epochs, or as many as fit into an hour",
    "long": "for a GPU, from the literature: 200 epochs, or what fits into an hour",
}
# Images per epoch of pre-training, known before anything is downloaded.
IMAGES = {"stl10": 105_000, "imagenette": 9_469, "cifar10": 50_000, "cifar100": 50_000}
PRESET = (
    "STL_METHOD",
    "STL_DATA",
    "STL_LABELS",
    "STL_RECIPE",
    "STL_EPOCHS",
    "STL_INIT",
)


@dataclasses.dataclass(frozen=True)
class Images:
    """Which images, and where to keep what is made from them.

    Attributes:
        source: name of the data set, for ``data.load``.
        labels: how many labels to keep, for ``data.load``.
        mirror: folder on Google Drive for copies of what is kept, or None.
    """

    source: str
    labels: str | None
    mirror: pathlib.Path | None


@dataclasses.dataclass(frozen=True)
class Pretraining(Images):
    """Answers for pre-training: also the method, and what its recipe leaves open.

    Attributes:
        method: name of the method.
        recipe: name of one of its recipes.
        epochs: passes over the images.
        init: where the initial weights come from, for ``starting_points``.
    """

    method: str
    recipe: str
    epochs: int
    init: str


@dataclasses.dataclass(frozen=True)
class Supervised(Images):
    """Answers for training with labels.

    Attributes:
        seeds: number of repetitions.
        epochs: passes over the labelled images.
        image_size: side of the views in pixels.
        stem: first layers of the baseline's network.
        backbones: to start from, see ``choices.ask``; none for the baseline.
    """

    seeds: int
    epochs: int = 0
    image_size: int = 0
    stem: str = "imagenet"
    backbones: Sequence[StartingPoint] = ()


def ask_pretraining(method: str | None = None) -> Pretraining:
    """Ask what pre-training needs; offer the last run first, finished or not.

    Args:
        method: of the notebook; None asks for one of those without a notebook of their
            own.
    """
    mirror = _ask_mirror("Where to keep checkpoints?")
    folders = _folders(mirror)
    # Answers given by the environment are not asked for again.
    last = None if any(map(os.environ.get, PRESET)) else _find(method, folders)
    if last:
        kept, done = last
        state = "unfinished" if done < kept["epochs"] else "finished"
        words = f"{kept['method']}, {kept['source']}, {done} of {kept['epochs']} epochs"
        options = {"yes": f"{state}: {words}", "no": "begin another run"}
        if questions.ask("Use the last run?", options, "yes", "STL_GO_ON") == "yes":
            return Pretraining(**kept, mirror=mirror)
    chosen = method or _ask_method()
    source, labels = _ask_images(labelled=methods.get(chosen).needs_labels)
    known = methods.get(chosen).recipes
    recipes = {name: about for name, about in RECIPES.items() if name in known}
    usual = _usual_recipe(chosen, source)
    recipe = questions.ask("Which recipe?", recipes, usual, "STL_RECIPE")
    epochs = _usual_epochs(chosen, recipe, source)
    answers = Pretraining(
        method=chosen,
        source=source,
        labels=labels,
        mirror=mirror,
        recipe=recipe,
        epochs=questions.ask_number(
            "How many epochs?", epochs, "STL_EPOCHS", maximum=RANGES["epochs"][1]
        ),
        init=choices.ask_init(folders),
    )
    _remember(method, answers, folders)
    return answers


def ask_baseline() -> Supervised:
    """Ask what training from random weights needs."""
    mirror = _ask_mirror("Where to keep results?")
    source, labels = _ask_images(labelled=True)
    # The network and the views of the backbones that it will be compared with.
    alike = configure("byol", _usual_recipe("byol", source))
    return Supervised(
        source=source,
        labels=labels,
        mirror=mirror,
        epochs=questions.ask_number("How many epochs?", 30, "STL_SUPERVISED_EPOCHS"),
        image_size=questions.ask_number(
            "Side of the network's input (px)?", alike.image_size, "STL_IMAGE_SIZE", 32
        ),
        stem=alike.stem,
        seeds=_ask_seeds(),
    )


def ask_evaluation(*, fine_tuning: bool = False) -> Supervised:
    """Ask which backbones to evaluate, and on which images.

    Args:
        fine_tuning: whether they will be trained, for a number of epochs.
    """
    mirror = _ask_mirror("Where are the checkpoints?")
    source, labels = _ask_images(labelled=True)
    name = data.name_of(source, labels)
    return Supervised(
        source=source,
        labels=labels,
        mirror=mirror,
        backbones=choices.ask(_folders(mirror), name),
        epochs=questions.ask_number("How many epochs?", 30, "STL_SUPERVISED_EPOCHS")
        if fine_tuning
        else 0,
        seeds=_ask_seeds(),
    )


def ask_folder() -> pathlib.Path | None:
    """Ask for a folder of one's own images, on Drive or here; nothing is None."""

    def check(typed: str) -> pathlib.Path | None:
        typed = typed.removeprefix("folder:")  # as other questions call it
        path = files.expand_home(typed)
        if typed and not path.is_dir():
            raise ValueError(f"There is no folder {typed!r}: type its path or nothing.")
        if typed and not layout.image_files(path):
            raise ValueError(f"There are no images in {typed!r}: type another folder.")
        return path if typed else None

    question = "Folder with images of your own (nothing for none)?"
    return questions.ask(question, None, "", "STL_FOLDER", check)


def _usual_recipe(method: str, source: str) -> str:
    """The recipe for this machine and these images."""
    if source.startswith("demo"):
        return "minutes"
    if torch.cuda.is_available():
        return "gpu_hour" if "gpu_hour" in methods.get(method).recipes else "long"
    return "hour"


def _usual_epochs(method: str, recipe: str, source: str) -> int:
    """The recipe's epochs; on a GPU so many of them as an hour has time for.

    Those of *hour* are for the photographs: of a larger data set, fewer show as many.
    """
    epochs = methods.get(method).recipes[recipe]["epochs"]
    count = 0
    if not os.environ.get("STL_EPOCHS"):
        is_own = source.startswith("folder:")
        count = data.count(source) if is_own else IMAGES.get(source, 0)
    if count and recipe == "hour":
        least = math.ceil(configure(method, recipe).warmup_epochs) + 1
        fewer = max(least, round(epochs * IMAGES["imagenette"] / count))
        if fewer < epochs:
            print(
                f"The recipe's {epochs} epochs are meant for {IMAGES['imagenette']:,} "
                f"images. With {count:,}, {fewer} epochs take about as long."
            )
        return min(fewer, epochs)
    large = recipe in ("gpu_hour", "long")
    if not (count and large and torch.cuda.is_available()):
        return epochs
    print("Measuring how fast this machine trains ...")
    fitting = pace.epochs_within(60, configure(method, recipe), count)
    if fitting < epochs:
        print(f"About {fitting} of the recipe's {epochs} epochs take an hour here.")
    return fitting


def _ask_mirror(question: str) -> pathlib.Path | None:
    kept = {"here": "this machine only", "drive": "Google Drive too"}
    usual = "drive" if colab.in_colab() else "here"
    return colab.mirror(questions.ask(question, kept, usual, "STL_STORAGE"))


def _folders(mirror: pathlib.Path | None) -> list[pathlib.Path]:
    return [files.checkpoints_folder(), *([mirror] if mirror else [])]


def _ask_method() -> str:
    known = [name for name in methods.METHODS if name not in ("pirl", "byol")]
    titles = {name: methods.text(name).partition("\n")[0] for name in known}
    return questions.ask("Which method?", titles, "simclr", "STL_METHOD")


def _ask_images(*, labelled: bool = False) -> tuple[str, str | None]:
    """Ask for images and labels; a folder or a number that cannot be is asked again.

    Args:
        labelled: whether images without any labels are of no use.
    """

    def check_source(typed: str) -> str:
        data.check(typed, labelled=labelled)
        return typed

    def check_labels(typed: str | None) -> str | None:
        data.check(source, typed)
        return typed

    usual = "stl10" if torch.cuda.is_available() else "demo"
    source = questions.ask("Which images?", data.NAMES, usual, "STL_DATA", check_source)
    return source, questions.ask_labels(check=check_labels)


def _ask_seeds() -> int:
    return questions.ask_number("How many repetitions?", 3, "STL_SEEDS", maximum=10)


def _remember(
    method: str | None, answers: Pretraining, folders: Sequence[pathlib.Path]
) -> None:
    """Keep answers beside the checkpoints, here and on Drive."""
    kept = dataclasses.asdict(answers)
    del kept["mirror"]  # another machine may have another
    for folder in folders:
        text = json.dumps({**_read(folder), method or "other": kept}, indent=1)
        try:
            files.write(
                folder / FILE, lambda path, text=text: path.write_text(text, "utf-8")
            )
        except OSError as error:  # the run will say what it means for itself
            print(f"The answers could not be kept: {error}")


def _read(folder: pathlib.Path) -> dict[str, Any]:
    try:
        content = files.parse_json((folder / FILE).read_text("utf-8"))
        return content if isinstance(content, dict) else {}
    except (OSError, ValueError):  # none yet, or not ours
        return {}


def _found_again(init: str, folders: Sequence[pathlib.Path]) -> str:
    """Where the initial weights are: of a run's file only a copy may be left."""
    path = pathlib.Path(init)
    copies = [folder / path.parent.name / path.name for folder in folders]
    there = [copy for copy in copies if copy.is_file()]
    is_named = len(path.parts) < 2  # random, imagenet
    return init if is_named or path.is_file() or not there else str(there[0])


def _find(
    method: str | None, folders: Sequence[pathlib.Path]
) -> tuple[dict[str, Any], int] | None:
    """The last answers for a method, and how many epochs their run has done."""
    names = {field.name for field in dataclasses.fields(Pretraining)} - {"mirror"}
    known = [_read(folder).get(method or "other") for folder in folders]
    kept = next((k for k in known if isinstance(k, dict) and k.keys() == names), None)
    if kept is None:
        return None
    try:
        data.check(kept["source"], kept["labels"])
        name = data.name_of(kept["source"], kept["labels"])
        kept = kept | {"init": _found_again(kept["init"], folders)}
        methods.get(kept["method"]).recipes[kept["recipe"]]  # or it is not known
        wanted = {key: kept[key] for key in ("method", "recipe", "epochs")}
        wanted |= {"data": name, "init": weight_files.identify(kept["init"])}
        if type(kept["epochs"]) is not int:
            return None
    except (ValueError, TypeError, AttributeError, LookupError, OSError):  # or gone
        return None
    done = [
        about.get("epochs_done", 0)
        for _, about in weight_files.find_backbones(folders)
        if wanted.items() <= about.items()
    ]
    return kept, max(done, default=0)
