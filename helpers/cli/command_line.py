"""Read a command line: which command it calls, and with which flags."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from helpers import data, files, methods
from helpers.cli import commands, flags
from helpers.data.dataset import unlimited_name
from helpers.evaluation import protocols
from helpers.models import weight_files
from helpers.training import settings, starting_points

COMMANDS: dict[str, tuple[type, Callable[[Any], None]]] = {
    "pretrain": (flags.Pretrain, commands.pretrain),
    "evaluate": (flags.Evaluate, commands.evaluate),
    "baseline": (flags.Baseline, commands.baseline),
    "convert": (flags.Convert, commands.convert),
    "export": (flags.Export, commands.export_network),
    "predict": (flags.Predict, commands.predict),
    "embed": (flags.Embed, commands.embed),
    "search": (flags.Search, commands.search),
    "list": (flags.List, commands.list_files),
    "results": (flags.Results, commands.show_results),
}


def parse(arguments: Sequence[str]) -> tuple[Callable[[Any], None], Any]:
    """Turn a command line into a function and the flags to call it with.

    Args:
        arguments: name of the command and its flags; after ``pretrain``, the method
            with or without ``--method``.

    Raises:
        ValueError: for a command or a value that cannot be used.
        SystemExit: after ``--help``, and after a message about a wrong flag.
    """
    name, rest = arguments[0], list(map(_at_home, arguments[1:]))
    if name not in COMMANDS:
        raise ValueError(
            f"Unknown command {name!r}: choose one of {', '.join(COMMANDS)}."
        )
    kind, function = COMMANDS[name]
    program, default, unnamed = f"python -m helpers {name}", None, ""
    if kind is flags.Pretrain:
        default, rest = _pretraining(rest)
        program += f" {default.settings.method}"
    elif kind is flags.Evaluate:
        default, rest, unnamed = _evaluation(rest)
    parsed = tyro.cli(kind, default=default, prog=program, args=rest)
    if unnamed:  # after --help
        raise ValueError(f"{unnamed}: name its folder with --data folder:PATH.")
    return function, parsed


def _pretraining(rest: list[str]) -> tuple[flags.Pretrain, list[str]]:
    """Defaults of ``pretrain`` for what was chosen, and the flags still to be read."""
    method = rest.pop(0) if rest and not rest[0].startswith("-") else None
    chosen = _peek(rest, "method", "recipe", "backbone", "init")
    # What is not a number is refused later, with the other flags.
    numbers = _peek(rest, "epochs", "size").items()
    chosen |= {name: int(value) for name, value in numbers if value.isdecimal()}
    if method and "method" in chosen:
        raise ValueError(f"Choose one method: {method} or {chosen['method']}.")
    method = method or chosen.get("method")
    if not method and not {"--help", "-h"} & {*rest}:
        raise ValueError(
            "Name a method, as in `python -m helpers pretrain pirl`: "
            f"{', '.join(methods.METHODS)}."
        )
    chosen["method"] = method or "byol"  # whose flags --help shows
    if "init" in chosen:
        # Another project's checkpoint is converted first.
        first = starting_points.pretraining_settings(chosen["init"])
        chosen = first | chosen | {"init": first["init"]}
        rest = _flag("init").parse_known_args(rest)[1]
    return flags.Pretrain(settings.from_recipe(**chosen)), rest


def _evaluation(rest: list[str]) -> tuple[flags.Evaluate, list[str], str]:
    """Defaults of ``evaluate``, flags to be read; if its images must be named, why."""
    chosen = _peek(rest, "weights", "data", "size")
    file, unnamed = pathlib.Path(chosen.get("weights", "")), ""
    weights, about = tyro.MISSING, {}
    if file.is_file() and file.suffix == ".safetensors":
        about = weight_files.read_about(file)
    if file.is_file() and "backbone" not in about:  # it is converted first
        first = starting_points.from_file(file)
        own = {name: about[name] for name in ("data", "image_size") if name in about}
        weights, about = first.source, own | first.about  # own, of a classifier
        rest = _flag("weights").parse_known_args(rest)[1]
    training = protocols.supervised_settings(about.get("image_size", 48))
    source = unlimited_name(about.get("data", ""))
    # Images of a folder are prepared as those that it has learned from.
    kept, fit = about.get("stored_size"), about.get("fit", "crop")
    if kept and re.fullmatch(r"[0-9]{1,5}", chosen.get("size", "")):
        # Larger views need larger images.
        shown = protocols.supervised_settings(int(chosen["size"])).view.whole_size
        kept = max(kept, shown)
    images = flags.Images(folder_image_size=kept, folder_fit=fit)
    if source in data.NAMES:
        images = dataclasses.replace(images, data=source)
    elif source.startswith("folder:") and "data" not in chosen:
        unnamed = f"{file} has learned from {files.printable(source)}"
    default = flags.Evaluate(weights=weights, training=training, images=images)
    return default, rest, unnamed


def _at_home(word: str) -> str:
    """A word with ``~`` as the home folder, which shells write out only at times."""
    flag, path = re.fullmatch(r"(--[\w-]+=)?(.*)", word, re.DOTALL).groups()
    return f"{flag or ''}{files.expand_home(path)}" if path[:2] in ("~", "~/") else word


def _peek(arguments: Sequence[str], *names: str) -> dict[str, str]:
    """Read those flags first on which the defaults of the others depend."""
    found, _ = _flag(*names).parse_known_args(arguments)
    return {name: value for name, value in vars(found).items() if value}


def _flag(*names: str) -> argparse.ArgumentParser:
    """A parser that knows these flags alone."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in names:
        parser.add_argument(f"--{name}", nargs="?")
    return parser
