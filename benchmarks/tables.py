"""Tables of the benchmarks, for the terminal and for benchmarks/README.md.

    python -m benchmarks.tables

writes them into the README from the files that the benchmarks left beside it.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from helpers.evaluation import results

HERE = pathlib.Path(__file__).parent
VERSIONS = ("python", "torch", "torchvision", "lightly")


def main() -> None:
    """Write every table whose figures are there."""
    for name, (file, make) in TABLES.items():
        path = HERE / file
        if path.exists():
            found = json.loads(path.read_text())
            text = f"{make(found)}\n\n{origin(found)}"
            results.write_table(HERE / "README.md", name, text)
            print(f"{name}: from {file}")
        else:
            print(f"{name}: there is no {file}; see README.md for how to make it")


def throughput(found: Mapping[str, Any]) -> str:
    """Training steps: a row a method."""
    columns = {
        "method": lambda name, one: name,
        "ours (images/s)": lambda name, one: number(one["ours"]),
        "the limit": lambda name, one: number(one["limit"]),
        "lightly": lambda name, one: number(one["lightly"]),
        "of the limit": lambda name, one: f"{one['of_limit']:.2f}",
        "times lightly": lambda name, one: f"{one['over_lightly']:.1f}",
        "TFLOP/s": lambda name, one: number(one["tflops"]),
        "of the peak": lambda name, one: share(one["of_peak"]),
        "peak memory (GB)": lambda name, one: f"{one['peak_memory_gb']:.1f}",
        "STL-10 epoch (min)": lambda name, one: number(one["stl10_epoch_seconds"] / 60),
    }
    methods = {name: one for name, one in found.items() if name != "about"}
    return markdown(columns, [(name, one) for name, one in methods.items()])


def views(found: Mapping[str, Any]) -> str:
    """Random views: a row a maker, a column a side."""
    columns = {"views/s": lambda row: row["name"]}
    for name in found["about"]["columns"]:
        columns[name] = lambda row, name=name: number(row["rates"].get(name))
    columns["note"] = lambda row: row["note"]
    return markdown(columns, [(row,) for row in found["rows"]])


def story(found: Mapping[str, Any]) -> str:
    """The rest of the story: a row a part."""
    columns = {
        "part": lambda row: row["part"],
        "seconds": lambda row: number(row["seconds"]),
        "note": lambda row: row["note"],
    }
    return markdown(columns, [(row,) for row in found["parts"]])


def growth(found: Mapping[str, Any]) -> str:
    """Training steps with few and with many images resident."""
    columns = {
        "method": lambda row: row["method"],
        "images": lambda row: f"{row['images']:,}",
        "images/s": lambda row: number(row["rate"]),
        "of the smallest set's": lambda row: f"{row['of_smallest']:.2f}",
        "peak memory (GB)": lambda row: f"{row['peak_gb']:.2f}",
        "of which images": lambda row: f"{row['images_gb']:.2f}",
    }
    return markdown(columns, [(row,) for row in found["growth"]])


def small_maps(found: Mapping[str, Any]) -> str:
    """Training steps with convolutions of small maps place by place, and torch's."""
    columns = {
        "method": lambda row: row["method"],
        "side (px)": lambda row: str(row["side"]),
        "ours (images/s)": lambda row: number(row["ours"]),
        "with torch's": lambda row: number(row["torch"]),
        "times torch's": lambda row: f"{row['times']:.2f}",
    }
    return markdown(columns, [(row,) for row in found["small_maps"]])


def short_runs(found: Mapping[str, Any]) -> str:
    """What the recipe *hour* and changes of it reach in equal time."""
    columns = {
        "method": lambda row: row["method"],
        "way": lambda row: row["way"],
        "k-NN (%)": lambda row: f"{row['mean']:.1f}",
        "each run": lambda row: ", ".join(f"{one:.1f}" for one in row["each"]),
        "epochs": lambda row: str(row["epochs"]),
        "images seen": lambda row: f"{row['images']:,}",
        "core-minutes": lambda row: number(row["minutes"]),
    }
    return markdown(columns, [(row,) for row in found["rows"]])


def long_run(found: Mapping[str, Any]) -> str:
    """How one long run learned: a row for every look at k-NN."""
    columns = {
        "epoch": lambda row: str(row["epoch"]),
        "images seen": lambda row: f"{row['images']:,}",
        "minutes": lambda row: number(row["minutes"]),
        "loss": lambda row: f"{row['loss']:.2f}",
        "k-NN on training labels (%)": lambda row: f"{row['knn']:.1f}",
    }
    return markdown(columns, [(row,) for row in found["curve"]])


def gpu(found: Mapping[str, Any]) -> str:
    """What a GPU has shown: steps, what one of them waits for, and what was learned."""
    from benchmarks.gpu import summary  # which needs this file

    rows = found["tables"]
    return "\n\n".join(
        markdown(summary.TABLES[name][1], [(row,) for row in rows[name]])
        for name in ("speed", "steps", "waiting", "learned")
        if name in rows
    )


TABLES = {
    "throughput": ("latest.json", throughput),
    "views": ("views.json", views),
    "story": ("story.json", story),
    "growth": ("story.json", growth),
    "small_maps": ("story.json", small_maps),
    "short_runs": ("short_runs.json", short_runs),
    "long_run": ("long_run.json", long_run),
    "gpu": ("gpu.json", gpu),
    "gpu_learning": ("gpu_learning.json", gpu),
}


def markdown(columns: Mapping[str, Any], rows: Sequence[tuple]) -> str:
    """A Markdown table; every column has a function of a row's values."""
    cells = [[make(*row) for make in columns.values()] for row in rows]
    return results.markdown_table(list(columns), cells)


def origin(found: Mapping[str, Any]) -> str:
    """One line: where, with what, when and how."""
    about = dict(found["about"])
    if "tables" in found:  # of a run on a GPU, where a stage names the machine
        (machine,) = found["tables"]["machine"]
        about |= machine
        about["versions"] = {name: machine[name] for name in VERSIONS}
    versions = ", ".join(f"{name} {text}" for name, text in about["versions"].items())
    return (
        f"{about['hardware']}, {about['precision']}; {versions}; {about['date']}; "
        f"`{about['command']}`"
    )


def number(value: float | None) -> str:
    """Three digits that matter; a dash for nothing."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def share(value: float | None) -> str:
    """A share in percent; a dash for nothing."""
    return "–" if value is None else f"{100 * value:.0f} %"


if __name__ == "__main__":
    main()
