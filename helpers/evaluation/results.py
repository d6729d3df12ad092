"""Records of finished evaluations, and the tables made from them.

A record is one JSON file: an accuracy and all that it depends on.
"""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import re
import statistics
import subprocess
from collections.abc import Iterable, Sequence
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
WHOLE_PIPELINES = "seeds of everything"  # pre-training was repeated too


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
    """Collect a result and everything it depends on in one plain dict.

    Args:
        method: how the backbone was trained, such as ``PIRL``, or ``random``.
        protocol: one of ``PROTOCOLS``.
        data: name of the data set.
        labels: training labels used in each repetition.
        top1: test accuracy in percent, one value per repetition.
        top5: top-5 accuracy likewise; None where it is not defined.
        minutes: for pre-training and evaluation together, mean over the repetitions.
        about: metadata of the backbone file.
        over: what differs between the repetitions.
        folds: how many official folds of the labels were used; 0 means none.
        **more: further entries, stored unchanged.
    """
    about = about or {}
    known_top5 = [value for value in top5 if value is not None]
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
        "top5_mean": statistics.fmean(known_top5) if known_top5 else None,
        "seeds": len(top1),
        "over": over,
        "minutes": minutes,
        "hardware": hardware.name(),
        "commit": _commit(),
        "date": datetime.date.today().isoformat(),
        **more,
    }


def _backbone(about: dict[str, Any]) -> str:
    """Name a backbone, and its stem if that is not torchvision's."""
    name, stem = about.get("backbone", "resnet18"), about.get("stem", "imagenet")
    return name if stem == "imagenet" else f"{name}, {stem} stem"


def save(result: dict[str, Any], folder: str | os.PathLike[str] | None = None) -> None:
    """Write a record to a file named after what was measured.

    The name holds data, method, backbone, epochs, protocol and folds; an older record
    that agrees in all of these is overwritten.

    Raises:
        ValueError: if the record lacks what a reader needs to judge it.
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
    file = files.results_folder(folder) / f"{name}.json"
    files.write(file, lambda path: path.write_text(text))


def collect(folder: str | os.PathLike[str] | None = None) -> list[dict[str, Any]]:
    """Read all records of a folder, sorted by data, protocol, labels and accuracy."""
    records = [
        json.loads(file.read_text())
        for file in sorted(files.results_folder(folder).glob("*.json"))
    ]

    def sort_key(result: dict[str, Any]) -> tuple[Any, ...]:
        known = result["protocol"] in PROTOCOLS
        protocol = PROTOCOLS.index(result["protocol"]) if known else len(PROTOCOLS)
        return result["data"], protocol, result["labels"], result["top1_mean"]

    return sorted(records, key=sort_key)


def frame(records: Sequence[dict[str, Any]]) -> pandas.DataFrame:
    """Format the records for people, one row per record."""
    rows = []
    for result in records:
        top5, labels = result.get("top5_mean"), f"{result['labels']:,}"
        folds = f"{result['folds']} folds × " if result.get("folds") else ""
        shown = {
            **result,
            "labels": folds + labels,
            "images_seen": f"{result['images_seen']:,}",
            "top1": _accuracy(result),
            "top5": "–" if top5 is None else f"{top5:.1f}",
            "minutes": round(result["minutes"]),
        }
        rows.append({title: shown[name] for name, title in COLUMNS.items()})
    return pandas.DataFrame(rows, columns=list(COLUMNS.values()))


def table(records: Sequence[dict[str, Any]]) -> pandas.io.formats.style.Styler:
    """Show the records in a notebook, with the best of each protocol in bold."""
    best = _best(records)
    return (
        frame(records)
        .style.hide(axis="index")
        .set_properties((sorted(best), slice(None)), **{"font-weight": "bold"})
    )


def markdown(records: Sequence[dict[str, Any]]) -> str:
    """Return the same table as Markdown."""
    shown, top1 = frame(records), COLUMNS["top1"]
    for row in _best(records):
        shown.loc[row, top1] = f"**{shown.loc[row, top1]}**"
    return markdown_table(list(shown.columns), shown.itertuples(index=False))


def markdown_pivot(records: Sequence[dict[str, Any]]) -> str:
    """Return method × protocol as Markdown, with all conditions in one caption.

    Only the demo results of a ResNet-18 count whose repetitions are whole pipelines.
    The last column is the baseline for random weights, fine-tuning for the methods.

    Args:
        records: in the order of ``collect``.
    """
    columns = {name: name for name in PROTOCOLS[1:4]}
    columns |= {"baseline": "all layers", "fine-tuning": "all layers"}
    wanted = {"data": "demo", "backbone": "resnet18", "over": WHOLE_PIPELINES}
    chosen = [result for result in records if wanted.items() <= result.items()]
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for result in chosen:
        method, epochs = result["method"], result["pretraining_epochs"]
        name = method if epochs else "random weights"
        row = rows.setdefault((name, epochs), dict.fromkeys(columns.values(), "–"))
        row[columns[result["protocol"]]] = _accuracy(result)

    def every(key: str) -> str:
        return " or ".join(sorted({str(result[key]) for result in chosen}))

    table = markdown_table(
        ("pre-training", "epochs", *dict.fromkeys(columns.values())),
        [(*start, *row.values()) for start, row in rows.items()],
    )
    return (
        f"{table}\n\nTop-1 accuracy in percent on the test images of the demo, "
        f"ResNet-18, {every('labels')} labels: mean ± standard deviation over "
        f"{every('seeds')} whole pipelines, pre-training included, on "
        f"{every('hardware')}."
    )


def markdown_table(columns: Sequence[Any], rows: Iterable[Iterable[Any]]) -> str:
    """Return a Markdown table of anything that prints as a short text."""
    head, *body = (f"| {' | '.join(map(str, row))} |" for row in (columns, *rows))
    return "\n".join([head, "|" + "---|" * len(columns), *body])


def write_table(file: pathlib.Path, name: str, text: str) -> None:
    """Put a text between the marks ``<!-- name -->`` and ``<!-- /name -->`` of a file.

    Raises:
        ValueError: if the file lacks these marks.
    """
    before, start, rest = file.read_text("utf-8").partition(f"<!-- {name} -->")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    if not end:
        raise ValueError(
            f"{file} has no marks for {name}: add <!-- {name} --> and <!-- /{name} -->."
        )
    whole = f"{before}{start}\n\n{text}\n\n{end}{after}"
    files.write(file, lambda path: path.write_text(whole, "utf-8"))


def _accuracy(result: dict[str, Any]) -> str:
    """Top-1 in percent, with its standard deviation if there are repetitions."""
    deviation = f" ± {result['top1_std']:.1f}" if result["seeds"] > 1 else ""
    return f"{result['top1_mean']:.1f}{deviation}"


def _best(records: Sequence[dict[str, Any]]) -> set[int]:
    """Numbers of the records with the highest top-1 of their data, protocol, labels."""
    best: dict[tuple[str, str, int], int] = {}
    for number, result in enumerate(records):
        key = result["data"], result["protocol"], result["labels"]
        if result["top1_mean"] > records[best.setdefault(key, number)]["top1_mean"]:
            best[key] = number
    return set(best.values())


def _commit() -> str | None:
    """The commit of this code; None outside a git checkout."""
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
