"""Records in files, and the tables made from them.

A table shows what differs between its rows; what they share is in its caption.
Everything that a record holds is escaped: records may come from anyone.
"""

from __future__ import annotations

import html
import json
import os
import pathlib
import re
import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import pandas
import pandas.io.formats.style

from helpers import files
from helpers.evaluation import records
from helpers.training import checkpoints

Record = Mapping[str, Any]
SHIPPED = pathlib.Path(__file__).resolve().parents[2] / "results"  # with the project
TOP1 = "top-1 (%)"
ALWAYS = ("method", "protocol", TOP1, "top-5 (%)", "minutes")
MEASURED_BY = "measured by"
NONE, UNKNOWN = "–", "?"
# Entries without a column of their own that may differ, and their titles.
KNOWN = {
    "content": "images",
    "stored_size": "kept at (px)",
    "fit": "cut by",
    "seed_numbers": "seeds",
}
MOST_SETTINGS = 6  # columns for settings that differ
WHOLE_PIPELINES = "seeds of everything"  # pre-training was repeated too
# Protocols that compete with each other, where all else is equal.
GROUPS = {"baseline": "all layers", "fine-tuning": "all layers"}


def save(
    result: Record,
    folder: str | os.PathLike[str] | None = None,
    mirror: str | os.PathLike[str] | None = None,
) -> None:
    """Write a record to a file of its own; see ``records.name``.

    The same measurement repeated replaces its record.

    Args:
        result: the record.
        folder: for records; one's own if None.
        mirror: folder for copies of checkpoints, such as one on Google Drive, in which
            records have a folder as well; or None.

    Raises:
        ValueError: if the record lacks what a reader needs to judge it.
        OSError: in one sentence, when the file cannot be written.
    """
    try:
        records.check(result)
    except ValueError as error:
        raise ValueError(f"This is no record. {error} Nothing was written.") from None
    copies = _mirrored(mirror)
    if copies and not copies.parent.is_dir():  # not to be made where a drive was
        warnings.warn(
            f"No copy was made: the mirror {str(copies.parent)!r} is not there.",
            stacklevel=2,
        )
        copies = None
    store = checkpoints.Store(files.results_folder(folder), copies)
    store.save_json(f"{records.name(result)}.json", result)


def collect(
    folder: str | os.PathLike[str] | None = None,
    mirror: str | os.PathLike[str] | None = None,
) -> list[dict[str, Any]]:
    """Read all records, sorted by data, protocol, labels and accuracy.

    A file that is not a whole record is left out with a warning.

    Args:
        folder: with the records; None takes one's own and those that came with the
            project, which have an entry ``shipped``.
        mirror: see ``save``; its records are read too.
    """
    own = files.results_folder(folder)
    places = [(own, {}), (_mirrored(mirror), {})]
    if folder is None and own.resolve() != SHIPPED:
        places.append((SHIPPED, {"shipped": True}))
    found: dict[str, dict[str, Any]] = {}
    for place, mark in places:
        for file in sorted(place.glob("*.json")) if place else ():
            try:
                found.setdefault(file.name, records.read(file) | mark)
            except ValueError as error:
                warnings.warn(str(error), stacklevel=2)

    def sort_key(result: Record) -> tuple[Any, ...]:
        known = result["protocol"] in records.PROTOCOLS
        order = records.PROTOCOLS.index(result["protocol"]) if known else 99
        return result["data"], order, result["labels"], result["top1_mean"]

    return sorted(found.values(), key=sort_key)


def frame(found: Sequence[Record]) -> pandas.DataFrame:
    """Format records for people: a row per record, a column for all that differs."""
    return _layout(found)[0]


def table(found: Sequence[Record]) -> pandas.io.formats.style.Styler:
    """Show records in a notebook, with the best of those that can be compared in bold.

    What all rows share is in the caption.
    """
    shown, shared = _layout(found)
    cells = [
        {"selector": "", "props": "font-size: 85%; border-collapse: collapse"},
        {"selector": "caption", "props": "caption-side: bottom; text-align: left"},
        {
            "selector": "th, td",
            "props": "text-align: left; white-space: normal; padding: 0.3em 0.5em",
        },
    ]
    return (
        shown.style.hide(axis="index")
        .format(escape="html")
        .format_index(escape="html", axis=1)
        .set_caption(html.escape(shared))
        .set_table_styles(cells)
        .set_properties((sorted(_best(found)), [TOP1]), **{"font-weight": "bold"})
    )


def markdown(found: Sequence[Record]) -> str:
    """Return the same table as Markdown, with its caption below."""
    shown, shared = _layout(found)
    shown = shown.map(_escape)
    for row in _best(found):
        shown.loc[row, TOP1] = f"**{shown.loc[row, TOP1]}**"
    columns = map(_escape, shown.columns)
    text = markdown_table(list(columns), shown.itertuples(index=False))
    return f"{text}\n\n{_escape(shared)}" if shared else text


def markdown_pivot(found: Sequence[Record]) -> str:
    """Return method × protocol as Markdown, with all conditions in one caption.

    Only the demo results of a ResNet-18 count whose repetitions are whole pipelines.
    *All layers* is the baseline for random weights and fine-tuning for the methods,
    with a column for every number of epochs.

    Args:
        found: in the order of ``collect``.

    Raises:
        ValueError: when their conditions differ, or two records claim the same cell.
    """
    frozen = records.PROTOCOLS[1:4]
    wanted = {"data": "demo", "backbone": "resnet18", "over": WHOLE_PIPELINES}
    chosen = [
        result
        for result in found
        if wanted.items() <= result.items() and result["protocol"] in (*frozen, *GROUPS)
    ]

    def column_of(result: Record) -> str:
        epochs = (result.get("settings") or {}).get("epochs")
        group = GROUPS.get(result["protocol"])
        if group and epochs:
            return f"{group}, {_escape(str(epochs))} epochs"
        return group or result["protocol"]

    # By the number of epochs: of names that differ in it alone, 120 is longer than 30.
    trained = {column_of(one) for one in chosen} - {*frozen}
    columns = [*frozen, *sorted(trained, key=lambda name: (len(name), name))]
    rows: dict[tuple[str, int], dict[str, str]] = {}
    conditions: dict[str, tuple[Hashable, ...]] = {}
    for result in chosen:
        method, epochs = result["method"], result["pretraining_epochs"]
        name = _escape(method) if epochs else "random weights"
        row = rows.setdefault((name, epochs), dict.fromkeys(columns, NONE))
        column = column_of(result)
        same = conditions.setdefault(column, _comparable(result))
        if row[column] != NONE or same != _comparable(result):
            raise ValueError(
                "The short table shows one record per method and protocol, all of the "
                f"same labels and settings, but two differ: see {method!r}, "
                f"{result['protocol']}, and keep one of them in its folder."
            )
        row[column] = accuracy(result)

    def every(key: str) -> str:
        return _escape(" or ".join(sorted({str(result[key]) for result in chosen})))

    text = markdown_table(
        ("pre-training", "epochs", *columns),
        [(*start, *row.values()) for start, row in rows.items()],
    )
    return (
        f"{text}\n\nTop-1 accuracy in percent on the test images of the demo, "
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


def _layout(found: Sequence[Record]) -> tuple[pandas.DataFrame, str]:
    """The columns that differ, and a sentence with those that do not."""
    rows = [_cells(result) for result in found]
    settings, more = _differing(found)
    for row, values in zip(rows, settings, strict=True):
        # A foreign setting may be called as a column is.
        row |= {f"setting {k}" if k in row else k: v for k, v in values.items()}
    seen = [tuple(row[key] for key in row if key not in ALWAYS[2:]) for row in rows]
    for row, result, key in zip(rows, found, seen, strict=True):
        twice = seen.count(key) > 1  # nothing but the weights tells them apart
        row["weights"] = _cut(_shown(result.get("weights", UNKNOWN))) if twice else NONE
    shown, shared, applying = {}, [], []  # shared by all rows, by all it applies to
    for title in rows[0] if rows else ALWAYS:
        cells = {row[title] for row in rows}
        values = cells - {NONE}
        if title in ALWAYS[:3] or len(values) > 1 or (title in ALWAYS and values):
            shown[title] = [row[title] for row in rows]
        elif values and values != {UNKNOWN} and title != MEASURED_BY:
            (applying if NONE in cells else shared).append(f"{title} {values.pop()}")
    columns = {
        files.printable(title): [files.printable(value) for value in values]
        for title, values in (shown or dict.fromkeys(ALWAYS, ())).items()
    }
    sentences = [f"All rows: {'; '.join(shared)}."] if shared else []
    if applying:
        sentences.append(f"Where it applies: {'; '.join(applying)}.")
    if more:
        sentences.append(f"Rows differ in {more} more settings.")
    return pandas.DataFrame(columns, dtype=object), files.printable(" ".join(sentences))


def _cells(result: Record) -> dict[str, str]:
    """What is shown of a record, by the titles of the columns."""
    top5, folds = result.get("top5_mean"), result.get("folds")
    pretrained = result["pretraining_epochs"] > 0
    foreign = "converted" in (result.get("pretraining") or {})  # and does not tell
    before = result["pretraining_epochs"] or (UNKNOWN if foreign else 0)
    trained = result["protocol"] in ("MLP head", *GROUPS)
    epochs = (result.get("settings") or {}).get("epochs", UNKNOWN)
    return {
        "method": result["method"],
        "protocol": result["protocol"],
        TOP1: accuracy(result),
        "top-5 (%)": NONE if top5 is None else f"{top5:.1f}",
        "n": str(result["seeds"]),
        "data": result["data"],
        "labels": (f"{folds} folds × " if folds else "") + f"{result['labels']:,}",
        "supervised epochs": _cut(_shown(epochs)) if trained else NONE,
        "side (px)": _cut(_shown(result.get("image_size", UNKNOWN))),
        "pre-training epochs": str(before),
        "images seen": f"{result['images_seen']:,}" if pretrained else NONE,
        "pre-training batch": str(result["batch_size"]) if pretrained else NONE,
        "backbone": result["backbone"],
        "minutes": str(round(result["minutes"])),
        "hardware": result["hardware"],
        MEASURED_BY: "the project" if result.get("shipped") else "you",
    }


def _differing(found: Sequence[Record]) -> tuple[list[dict[str, str]], int]:
    """Settings that differ between records which could be taken for the same.

    Returns:
        For every record those settings by their titles, and how many more there are.
    """
    flat = [_settings(result) for result in found]
    values: dict[tuple[str, Hashable], set[str]] = {}
    known: dict[Hashable, set[str]] = {}
    for one in flat:
        for title, (family, _) in one.items():
            known.setdefault(family, set()).add(title)
    for one in flat:
        for family in {family for family, _ in one.values()}:
            for title in known[family]:
                value = one.get(title, (family, UNKNOWN))[1]
                values.setdefault((title, family), set()).add(value)
    differing = {title for (title, _), seen in values.items() if len(seen) > 1}
    declared = dict.fromkeys(title for one in flat for title in one)  # in their order
    titles = [title for title in declared if title in differing]
    rows = [
        {title: _cut(one.get(title, ("", NONE))[1]) for title in titles[:MOST_SETTINGS]}
        for one in flat
    ]
    return rows, len(titles[MOST_SETTINGS:])


def _settings(result: Record) -> dict[str, tuple[Hashable, str]]:
    """Other conditions of a record: among which they are compared, and their value."""
    data, protocol = result["data"], result["protocol"]
    alike = (data, GROUPS.get(protocol, protocol))
    found = {"repetitions over": (alike, _shown(result.get("over", UNKNOWN)))}
    for key, title in KNOWN.items():
        if key in result:
            family = alike if key == "seed_numbers" else data
            found[title] = (family, _shown(result[key]))
    # These have columns of their own; early records lack the second.
    has_column = {"epochs", "size"} if "image_size" in result else {"epochs"}
    for name, value in _flat(result.get("settings") or {}):
        if name not in has_column:
            found[name] = (alike, value)
    for name, value in _flat(result.get("pretraining") or {}):
        if name not in ("epochs", "batch size"):
            found[f"pre-training {name}"] = ((data, result["method"]), value)
    return found


def _flat(settings: Mapping[str, Any], depth: int = 3) -> list[tuple[str, str]]:
    """Names and values of settings, and of those that are in one of them."""
    found = []
    for key, value in settings.items():
        if isinstance(value, dict) and depth:
            found += _flat(value, depth - 1)
        else:
            found.append((key.replace("_", " "), _shown(value)))
    return found


def _shown(value: Any) -> str:
    """A value of a record as text."""
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    if value is None:  # not a dash, which says that there is no such setting
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"


def _escape(text: str) -> str:
    """Make a text plain in Markdown, in HTML and on a terminal."""
    text = html.escape(files.printable(text), quote=False)
    return re.sub(r"([\\`*\[\]|$])", r"\\\1", text)


def accuracy(result: Record) -> str:
    """Top-1 in percent, with its standard deviation if there are repetitions."""
    deviation = f" ± {result['top1_std']:.1f}" if result["seeds"] > 1 else ""
    return f"{result['top1_mean']:.1f}{deviation}"


def _comparable(result: Record) -> tuple[Hashable, ...]:
    """Equal for records of which one can be called better: all but the weights."""
    group = GROUPS.get(result["protocol"], result["protocol"])
    same = (_shown(result.get(key)) for key in ("data", "content", "labels"))
    settings = json.dumps(result.get("settings"), sort_keys=True)
    return *same, result.get("folds") or 0, result["backbone"], group, settings


def _best(found: Sequence[Record]) -> set[int]:
    """Numbers of the records with the highest top-1 of several comparable ones."""
    groups: dict[tuple[Hashable, ...], list[int]] = {}
    for number, result in enumerate(found):
        groups.setdefault(_comparable(result), []).append(number)
    best = set()
    for numbers in groups.values():
        if len(numbers) > 1:
            highest = max(found[number]["top1_mean"] for number in numbers)
            best |= {n for n in numbers if found[n]["top1_mean"] == highest}
    return best


def _mirrored(mirror: str | os.PathLike[str] | None) -> pathlib.Path | None:
    """The folder for records in a folder for copies."""
    return pathlib.Path(mirror) / "results" if mirror else None
