"""Runs the notebooks in order, as `make run` does, and shows on the terminal how far.

Everything lands in one folder, with one page to open in a browser: `report.html`.
"""

import dataclasses
import json
import logging
import os
import pathlib
import re
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any

import nbclient
import nbconvert
import nbformat
import pandas
import tyro

PROJECT = pathlib.Path(__file__).resolve().parent.parent
NOTEBOOKS = (
    "baseline_accuracy_ResNet18.ipynb",
    "train_PIRL.ipynb",
    "train_BYOL.ipynb",
    "feature_extraction.ipynb",
    "fine_tuning.ipynb",
)
MARKER = ".made-by-execute"
COLUMNS = ["method", "protocol", "top1_mean", "top1_std", "seeds", "minutes"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What `python -m helpers.execute` runs, and where it puts everything."""

    output: pathlib.Path = pathlib.Path("runs/latest")
    """Folder for all that the run makes; what an earlier run made in it is removed."""
    notebooks: tuple[pathlib.Path, ...] = tuple(PROJECT / name for name in NOTEBOOKS)
    """Notebooks to run, in this order."""
    data: str | None = None
    """Images to use, as in the notebooks' question; sets STL_DATA."""


class Client(nbclient.NotebookClient):
    """Executes a notebook, relays its text at once and saves after every cell."""

    def __init__(self, notebook: nbformat.NotebookNode, file: pathlib.Path, title: str):
        """Prepare to execute `notebook` into `file`; `title` heads its lines."""
        super().__init__(
            notebook,
            timeout=None,
            kernel_name="python3",
            iopub_timeout=60,
            extra_arguments=["--log-level=ERROR"],  # a kernel's advice spoils the bars
            record_timing=False,
            on_cell_execute=self.show_cell,
            on_cell_executed=self.save,
        )
        self.file, self.title, self.began = file, title, time.monotonic()
        self.position, self.line_is_open = 0, False

    def show_cell(self, cell: nbformat.NotebookNode, cell_index: int) -> None:
        """Print which cell starts; `cell_index` counts markdown cells too."""
        cells = [n for n, c in enumerate(self.nb.cells) if c.cell_type == "code"]
        self.position = cells.index(cell_index) + 1
        clock = _clock(time.monotonic() - self.began)
        place = f"[{clock}] {self.title} cell {self.position}/{len(cells)}"
        self.relay("\n" * self.line_is_open + f"{place}: {describe(cell.source)}\n")

    def save(self, **_: Any) -> None:
        """Write the notebook as far as it is executed, whole or not at all."""
        beside = self.file.with_suffix(".part")
        nbformat.write(self.nb, beside)
        os.replace(beside, self.file)

    def relay(self, text: str) -> None:
        """Print text as it is, so that a training bar redraws itself here too."""
        if text:
            print(text, end="", flush=True)
            self.line_is_open = not text.endswith("\n")

    def process_message(
        self, msg: dict[str, Any], cell: nbformat.NotebookNode, cell_index: int
    ) -> nbformat.NotebookNode | None:
        """Relay a cell's text on its way into the notebook."""
        if msg["msg_type"] == "stream":
            self.relay(msg["content"]["text"])
        return super().process_message(msg, cell, cell_index)

    def output(self, outs: list, *arguments: Any) -> nbformat.NotebookNode | None:
        """Add an output; text joins the text above it, a bar keeps its last state."""
        added = super().output(outs, *arguments)
        if outs and outs[-1].output_type == "stream":
            if outs[:-1] and outs[-2].get("name") == outs[-1].name:
                outs[-2].text += outs.pop().text
            outs[-1].text = re.sub(r"[^\n]*\r(?=[^\n])", "", outs[-1].text)
        return added


def main(settings: Settings) -> int:
    """Run it all; return 0, or 1 after one sentence that says what went wrong."""
    began = time.monotonic()
    try:
        prepare(settings.output, settings.notebooks)
        environment = kernel_environment(settings.output, settings.data)
        files = []
        for number, notebook in enumerate(settings.notebooks, start=1):
            title = f"({number}/{len(settings.notebooks)}) {notebook.name}"
            files.append(run(notebook, settings.output, environment, title))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    records = write_results(settings.output)
    report = write_report(files, settings.output)
    if records:
        table = pandas.DataFrame(records).reindex(columns=COLUMNS)
        table = table.where(table.notna(), float("nan"))
        print("\n" + table.to_string(index=False, na_rep="", float_format="%.2f"))
    print(f"\nDone in {_clock(time.monotonic() - began)}. Open {report} in a browser.")
    return 0


def prepare(output: pathlib.Path, notebooks: Sequence[pathlib.Path]) -> None:
    """Make the output folder, empty of what an earlier run made and of nothing else.

    Raises:
        ValueError: if the folder is another's, or a notebook is missing or doubled.
    """
    names = [notebook.name for notebook in notebooks]
    for notebook in notebooks:
        if not notebook.is_file():
            raise ValueError(f"There is no notebook {notebook}: check --notebooks.")
        if (
            names.count(notebook.name) > 1
            or notebook.resolve().parent == output.resolve()
        ):
            raise ValueError(
                f"Two notebooks would be {output / notebook.name}: run one."
            )
    marker = output / MARKER
    own = marker.read_text("utf-8").splitlines() if marker.is_file() else None
    if output.exists() and own is None and (output.is_file() or any(output.iterdir())):
        fix = "name an empty or a new folder with --output"
        raise ValueError(f"{output} holds files that no earlier run made: {fix}.")
    for old in [
        output / name for name in own or [] if re.fullmatch(r"\w[^/\\]*", name)
    ]:
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
    output.mkdir(parents=True, exist_ok=True)
    made = [*names, "checkpoints", "results", "results.json", "report.html"]
    marker.write_text("\n".join(made) + "\n", "utf-8")


def kernel_environment(output: pathlib.Path, data: str | None) -> dict[str, str]:
    """Return the environment of the kernels: this one's, with the run's folders."""
    environment = {**os.environ} | ({"STL_DATA": data} if data else {})
    environment.pop("MPLBACKEND", None)  # another backend would hide the figures
    # The kernels start in the project; an absolute path would show in the notebooks.
    folder = pathlib.PurePath(os.path.relpath(output, PROJECT)).as_posix()
    environment["STL_CHECKPOINTS"] = f"{folder}/checkpoints"
    environment["STL_RESULTS"] = f"{folder}/results"
    return environment


def run(
    notebook: pathlib.Path, output: pathlib.Path, environment: dict, title: str
) -> pathlib.Path:
    """Execute one notebook in the project's folder and return the executed copy.

    Raises:
        ValueError: if a cell fails or the kernel dies; the copy holds what was done.
    """
    file = output / notebook.name
    client = Client(nbformat.read(notebook, as_version=4), file, title)
    try:
        client.execute(cwd=str(PROJECT), env=environment)
    except nbclient.exceptions.CellExecutionError as error:
        problem = " ".join(f"{error.ename}: {error.evalue}".split())[:500]
    except nbclient.exceptions.DeadKernelError:
        problem = "the kernel was stopped or ran out of memory"
    else:
        problem = None
    finally:
        client.relay("\n" * client.line_is_open)
        client.save()
    if problem:
        where = f"{notebook.name} failed in code cell {client.position}"
        raise ValueError(f"{where} ({problem}); what was computed is in {file}.")
    return file


def write_results(output: pathlib.Path) -> list[dict[str, Any]]:
    """Gather the records of all runs, `results/*.json`, into `results.json`."""
    files = sorted((output / "results").glob("*.json"))
    records = [json.loads(file.read_text("utf-8")) for file in files]
    text = json.dumps(records, indent=1, ensure_ascii=False)
    (output / "results.json").write_text(text + "\n", "utf-8")
    return records


def write_report(files: Sequence[pathlib.Path], output: pathlib.Path) -> pathlib.Path:
    """Write all executed notebooks on one page, `report.html`, under their contents.

    Text and figures need no network; formulas are typeset only where there is one.
    """
    monospaced = "<style>.jp-RenderedMarkdown pre {font-family: monospace}</style>"
    contents, cells = [monospaced, "", "# All notebooks of this run", ""], []
    for file in files:
        notebook = nbformat.read(file, as_version=4)
        first = notebook.cells[0].source if notebook.cells else ""
        title = first.partition("\n")[0].lstrip("# ")
        contents.append(f"1. [{title or file.stem}](#{file.stem})")
        anchor = f'<hr><a id="{file.stem}"></a>'
        cells += [nbformat.v4.new_markdown_cell(anchor), *notebook.cells]
    cells.insert(0, nbformat.v4.new_markdown_cell("\n".join(contents)))
    for number, cell in enumerate(cells):
        cell.id = str(number)  # two notebooks may number their cells alike
    exporter = nbconvert.HTMLExporter(embed_images=True)
    exporter.log.setLevel(logging.ERROR)
    whole = nbformat.v4.new_notebook(cells=cells)
    where = {"metadata": {"path": str(PROJECT), "name": "Report"}}
    page, _ = exporter.from_notebook_node(whole, where)
    (output / "report.html").write_text(page, "utf-8")
    return output / "report.html"


def describe(source: str) -> str:
    """Return a cell's first comment, or its first line, in at most 60 characters."""
    lines = [line.strip() for line in source.splitlines() if line.strip()] or [""]
    first = next((line for line in lines if line.startswith("#")), lines[0])
    text = re.sub(r"^#+ *(@\w+ *)?|\{[^{}]*\}$", "", first).strip()
    return text if len(text) <= 60 else f"{text[:57]}..."


def _clock(seconds: float) -> str:
    """Return a duration in seconds as h:mm:ss."""
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Settings, description=__doc__)))
