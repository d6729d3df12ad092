"""One record a finished run, and the tables made of the records."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import re
import statistics
import subprocess
from collections.abc import Sequence
from typing import Any

import pandas
import pandas.io.formats.style

from helpers import files, hardware

PROTOCOLS = ("baseline", "k-NN", "linear probe", "MLP head", "fine-tuning")
REQUIRED = (
    "method",
    "backbone",
    "protocol",
    "data",
    "labels",
    "pretraining_epochs",
    "images_seen",
    "batch_size",
    "top1_mean",
    "top1_std",
    "seeds",
    "minutes",
    "hardware",
)
COLUMNS = {
    "method": "method",
    "backbone": "backbone",
    "protocol": "protocol",
    "data": "data",
    "labels": "labels",
    "pretraining_epochs": "pre-training epochs",
    "images_seen": "images seen",
    "batch_size": "batch",
    "top1": "top-1 (%)",
    "top5": "top-5 (%)",
    "seeds": "n",
    "minutes": "minutes",
    "hardware": "hardware",
}


def record(
    *,
    method: str,
    protocol: str,
    data: str,
    labels: int,
    top1: Sequence[float],
    top5: Sequence[float | None] = (),
    minutes: float,
    about: dict[str, Any] | None = None,
    over: str = "seeds of the classifier",
    folds: int = 0,
    **more: Any,
) -> dict[str, Any]:
    """Put a result and everything it depends on into one plain dict.

    Args:
        method: how the backbone was made, such as ``PIRL`` or ``random``.
        protocol: one of ``PROTOCOLS``.
        data: name of the data set.
        labels: number of training labels of a repetition.
        top1: test accuracy in percent, one a repetition.
        top5: likewise; Nones where there is no top-5.
        minutes: of pre-training and evaluation together, one repetition's mean.
        about: of the backbone file.
        over: what differed between repetitions.
        folds: how many official folds of the labels the repetitions are; 0 for none.
        **more: kept as they are.
    """
    about = about or {}
    fives = [value for value in top5 if value is not None]
    return {
        "method": method,
        "backbone": _backbone(about),
        "protocol": protocol,
        "data": data,
        "labels": labels,
        "folds": folds,
        "pretraining_epochs": about.get("epochs_done", 0),
        "images_seen": about.get("images", 0),
        "batch_size": about.get("batch_size", 0),
        "recipe": about.get("recipe"),
        "top1": list(top1),
        "top1_mean": statistics.fmean(top1),
        "top1_std": statistics.stdev(top1) if len(top1) > 1 else 0.0,
        "top5_mean": statistics.fmean(fives) if fives else None,
        "seeds": len(top1),
        "over": over,
        "minutes": minutes,
        "hardware": hardware.name(),
        "commit": _commit(),
        "date": datetime.date.today().isoformat(),
        **more,
    }


def _backbone(about: dict[str, Any]) -> str:
    """Name of a backbone, with its stem where that is another than torchvision's."""
    name, stem = about.get("backbone", "resnet18"), about.get("stem", "imagenet")
    return name if stem == "imagenet" else f"{name}, {stem} stem"


def save(result: dict[str, Any], where: str | os.PathLike[str] | None = None) -> None:
    """Write a record; one of the same method, protocol, data and so on is replaced.

    Raises:
        ValueError: when the record lacks what a reader needs to judge it.
    """
    missing = [name for name in REQUIRED if result.get(name) is None]
    if missing:
        raise ValueError(f"A record needs {', '.join(missing)}: nothing was written.")
    epochs = f"{result['pretraining_epochs']}ep"
    folds = f"{result['folds']} folds" if result.get("folds") else ""
    words = [result[key] for key in ("data", "method", "backbone")]
    words += [epochs, result["protocol"], folds]
    name = re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")
    text = json.dumps(result, indent=1) + "\n"
    files.write(
        files.results_folder(where) / f"{name}.json", lambda p: p.write_text(text)
    )


def collect(where: str | os.PathLike[str] | None = None) -> list[dict[str, Any]]:
    """All records of a folder: by data, protocol, labels, then accuracy."""
    records = [
        json.loads(f.read_text())
        for f in sorted(files.results_folder(where).glob("*.json"))
    ]

    def place(one: dict[str, Any]) -> tuple[Any, ...]:
        known = one["protocol"] in PROTOCOLS
        protocol = PROTOCOLS.index(one["protocol"]) if known else len(PROTOCOLS)
        return one["data"], protocol, one["labels"], one["top1_mean"]

    return sorted(records, key=place)


def frame(records: Sequence[dict[str, Any]]) -> pandas.DataFrame:
    """The records as a table for people, a row each."""
    rows = []
    for one in records:
        shown = {
            **one,
            "top1": f"{one['top1_mean']:.1f}",
            "minutes": round(one["minutes"]),
        }
        if one["seeds"] > 1:
            shown["top1"] += f" ± {one['top1_std']:.1f}"
        five = one.get("top5_mean")
        shown["top5"] = "–" if five is None else f"{five:.1f}"
        shown["images_seen"] = f"{one['images_seen']:,}"
        shown["labels"] = f"{one['labels']:,}"
        if one.get("folds"):
            shown["labels"] = f"{one['folds']} folds × {one['labels']:,}"
        rows.append({title: shown[name] for name, title in COLUMNS.items()})
    return pandas.DataFrame(rows, columns=list(COLUMNS.values()))


def table(records: Sequence[dict[str, Any]]) -> pandas.io.formats.style.Styler:
    """The records as an inline table, the best of each protocol in bold."""
    shown = frame(records)
    best = _best(records)
    styler = shown.style.hide(axis="index")
    return styler.apply(
        lambda row: ["font-weight: bold" if row.name in best else ""] * len(row), axis=1
    )


def markdown(records: Sequence[dict[str, Any]]) -> str:
    """The same table as Markdown, for the README."""
    shown = frame(records)
    best = _best(records)
    lines = ["| " + " | ".join(shown.columns) + " |", "|" + "---|" * len(shown.columns)]
    for number, row in enumerate(shown.itertuples(index=False)):
        cells = [str(cell) for cell in row]
        if number in best:
            place = list(COLUMNS).index("top1")
            cells[place] = f"**{cells[place]}**"
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_table(file: pathlib.Path, name: str, text: str) -> None:
    """Put a table between the marks ``<!-- name -->`` and ``<!-- /name -->`` of a file.

    Raises:
        ValueError: when the marks are not there.
    """
    before, start, rest = file.read_text("utf-8").partition(f"<!-- {name} -->")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    if not end:
        raise ValueError(f"{file} has no place for {name}: mark it <!-- {name} -->.")
    whole = f"{before}{start}\n\n{text}\n\n{end}{after}"
    files.write(file, lambda path: path.write_text(whole, "utf-8"))


def _best(records: Sequence[dict[str, Any]]) -> set[int]:
    best: dict[tuple[str, str, int], int] = {}
    for number, one in enumerate(records):
        key = one["data"], one["protocol"], one["labels"]
        if key not in best or one["top1_mean"] > records[best[key]]["top1_mean"]:
            best[key] = number
    return set(best.values())


def _commit() -> str | None:
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            cwd=pathlib.Path(__file__).parent,
            check=True,
        )
        return found.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
