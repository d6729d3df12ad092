"""The results of a run as Markdown, from what has been reported so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks import tables
from helpers.evaluation import records, results

Row = Mapping[str, Any]


def render(found: Mapping[str, Any]) -> str:
    """Every table that has rows, with a heading; ``supervisor.Board`` writes it."""
    about, rows = found["about"], found["tables"]
    machine = rows.get("machine", [{}])[-1]
    lines = ["# A run of `python -m benchmarks.gpu`", ""]
    if about.get("rehearse"):
        lines += ["**A rehearsal with tiny sizes: no number here means anything.**", ""]
    lines += [f"{name.replace('_', ' ')}: {value}  " for name, value in about.items()]
    lines += [f"{name.replace('_', ' ')}: {value}  " for name, value in machine.items()]
    texts = [("Stages", tables.markdown(STAGES, _each(found["stages"])))]
    if found["records"]:
        texts.append(("Test accuracy", results.markdown(_sorted(found["records"]))))
    for name, (title, columns) in TABLES.items():
        if name in rows:
            texts.append((title, tables.markdown(columns, _each(rows[name]))))
    parts = ["\n".join(lines)]
    parts += [f"## {title}\n\n{text}" for title, text in texts]
    for stage in found["stages"]:
        if stage.get("why"):
            parts.append(f"## Why {stage['name']} ended\n\n```\n{stage['why']}\n```")
    return "\n\n".join(parts) + "\n"


def _each(rows: Sequence[Row]) -> list[tuple[Row]]:
    return [(row,) for row in rows]


def _sorted(found: Sequence[Row]) -> list[Row]:
    order = records.PROTOCOLS.index
    return sorted(
        found, key=lambda one: (one["labels"], order(one["protocol"]), one["method"])
    )


def _text(name: str) -> Callable[[Row], str]:
    return lambda row: str(row.get(name, "–"))


def _number(name: str, scale: float = 1.0) -> Callable[[Row], str]:
    def show(row: Row) -> str:
        value = row.get(name)
        return tables.number(None if value is None else scale * value)

    return show


def _share(name: str) -> Callable[[Row], str]:
    return lambda row: tables.share(row.get(name))


def _one_line(name: str) -> Callable[[Row], str]:
    return lambda row: str(row[name]).replace("|", "/").replace("\n", " ")


STAGES = {
    "stage": _text("name"),
    "status": _text("status"),
    "seconds": _number("seconds"),
    "its time (s)": _number("budget"),
}
_WHAT = {
    "method": _text("method"),
    "side (px)": _text("side"),
    "stem": _text("stem"),
    "batch": _text("batch"),
}
TABLES: dict[str, tuple[str, dict[str, Callable[[Row], str]]]] = {
    "learned": (
        "Pre-training: recipe *gpu_hour*, epochs fitted to the time",
        {
            "run": _text("name"),
            "method": _text("method"),
            "epochs": _text("epochs"),
            "of planned": _text("planned"),
            "batch": _text("batch"),
            "images seen": lambda row: f"{row['images']:,}",
            "images/s": _number("images_per_second"),
            "compile": _text("compile"),
            "seconds of steps": _number("training_seconds"),
            "seconds in all": _number("wall_seconds"),
            "k-NN on training labels (%)": lambda row: f"{row['knn']:.1f}",
        },
    ),
    "curve": (
        "k-NN on training labels against seconds",
        {
            "run": _text("name"),
            "seconds": _number("wall_seconds"),
            "epoch": _text("epoch"),
            "images seen": lambda row: f"{row['images']:,}",
            "k-NN (%)": lambda row: f"{row['knn']:.1f}",
            "loss": _number("loss"),
            "spread": _number("spread"),
        },
    ),
    "trials": (
        "An epoch of the loop before it is planned",
        {
            "method": _text("method"),
            "batch": _text("batch"),
            "seconds": _number("epoch_seconds"),
        },
    ),
    "gauge": (
        "k-NN on training labels of random weights",
        {"backbone": _text("name"), "k-NN (%)": lambda row: f"{row['knn']:.1f}"},
    ),
    "speed": (
        "Training steps",
        {
            **_WHAT,
            "how": _text("mode"),
            "images/s": _number("ours"),
            "bare step": _number("bare"),
            "of the bare step": lambda row: tables.share(row.get("of_bare")),
            "TFLOP/s": _number("tflops"),
            "of the peak": _share("of_peak"),
            "peak memory (GB)": _number("peak_memory_gb"),
            "first two steps (s)": _number("first_steps_seconds"),
        },
    ),
    "steps": (
        "What a step waits for",
        {
            **_WHAT,
            "step (ms)": _number("milliseconds"),
            "GPU busy (ms)": _number("gpu_milliseconds"),
            "GPU idle": _share("gpu_idle"),
            "kernels": _number("kernels"),
            "CPU operations": _number("cpu_operations"),
        },
    ),
    "waiting": (
        "Does the CPU wait for the GPU within an epoch?",
        {
            "method": _text("method"),
            "batch": _text("batch"),
            "steps watched": _text("steps"),
            "result": _one_line("result"),
        },
    ),
    "profile": (
        "The longest parts of a step",
        {
            **_WHAT,
            "where": _text("where"),
            "name": _one_line("name"),
            "calls": _number("calls"),
            "ms": _number("milliseconds"),
            "share": _share("share"),
        },
    ),
    "weights": (
        "Backbones, float16",
        {
            "method": _text("name"),
            "run": _text("stage"),
            "k-NN on training labels (%)": lambda row: f"{row['knn']:.1f}",
            "MiB": _number("mib"),
            "parts": _text("parts"),
            "SHA-256 of the whole": _text("sha256"),
        },
    ),
    "left_out": ("Left out for lack of time", {"job": _one_line("job")}),
    "errors": (
        "Errors within stages",
        {"job": _one_line("job"), "error": _one_line("error")},
    ),
}
