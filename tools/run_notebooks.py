"""Runs the notebooks in order, as `make run` does, and shows their progress.

Everything goes into one folder, with one page to open in a browser: `report.html`.
"""

import contextlib
import io
import json
import os
import pathlib
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import nbclient
import nbconvert
import nbformat
import pandas
import tyro

from helpers.evaluation import results

PROJECT = pathlib.Path(__file__).resolve().parents[1]
NOTEBOOKS = (
    "baseline_accuracy_ResNet18.ipynb",
    "train_PIRL.ipynb",
    "train_BYOL.ipynb",
    "feature_extraction.ipynb",
    "fine_tuning.ipynb",
)
MARKER = ".made-by-execute"  # as earlier versions named it
COLUMNS = ["method", "protocol", "top1_mean", "top1_std", "seeds", "minutes"]


class Client(nbclient.NotebookClient):
    """Executes a notebook and prints what its cells print, progress bars too."""

    def process_message(self, msg: dict[str, Any], *args: Any) -> Any:
        """Print a cell's text on its way into the notebook."""
        if msg["msg_type"] == "stream":
            print(msg["content"]["text"], end="", flush=True)
        return super().process_message(msg, *args)


def main(
    output: pathlib.Path = pathlib.Path("runs/latest"),
    notebooks: tuple[pathlib.Path, ...] = tuple(PROJECT / name for name in NOTEBOOKS),
    data: str | None = None,
) -> int:
    """Run the notebooks; return 1 after one sentence that says what went wrong.

    Args:
        output: folder for everything; what an earlier run made in it is removed.
        notebooks: in the order in which they run.
        data: images to use, as in the notebooks' question.
    """
    began = time.monotonic()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file may lack letters of a bar
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        loaded = {file.name: nbformat.read(file, as_version=4) for file in notebooks}
        prepare(output, list(loaded))
        for name, notebook in loaded.items():
            run(notebook, output / name, kernel_environment(output, data))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    records = results.collect(output / "results")
    text = json.dumps(records, indent=1, ensure_ascii=False)
    (output / "results.json").write_text(text + "\n", "utf-8")
    (output / "report.html").write_text(report(loaded, records), "utf-8")
    table = pandas.DataFrame(records, columns=COLUMNS)
    print("\n" + table.to_string(index=False, float_format="%.2f"))
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    print(f"\nDone in {minutes}:{seconds:02} minutes. Open {output / 'report.html'}.")
    return 0


def prepare(output: pathlib.Path, names: Sequence[str]) -> None:
    """Make the output folder, without what an earlier run left in it.

    Raises:
        ValueError: if it holds files of somebody else.
    """
    marker = output / MARKER
    output.mkdir(parents=True, exist_ok=True)
    if any(output.iterdir()) and not marker.exists():
        fix = "name an empty or a new folder with --output"
        raise ValueError(f"{output} holds files that no earlier run made: {fix}.")
    marker.touch()
    for folder in (output / "checkpoints", output / "results"):
        if folder.exists():
            shutil.rmtree(folder)
    for name in (*names, "results.json", "report.html"):
        (output / name).unlink(missing_ok=True)


def kernel_environment(output: pathlib.Path, data: str | None) -> dict[str, str]:
    """Return this process's environment with the run's folders and answers."""
    environment = {**os.environ} | ({"STL_DATA": data} if data else {})
    environment.pop("MPLBACKEND", None)  # another backend would hide the figures
    # The kernels start in the project; an absolute path would show in the notebooks.
    folder = output.absolute().as_posix()
    with contextlib.suppress(ValueError):  # another drive of Windows
        folder = pathlib.PurePath(os.path.relpath(output, PROJECT)).as_posix()
    environment["STL_CHECKPOINTS"] = f"{folder}/checkpoints"
    environment["STL_RESULTS"] = f"{folder}/results"
    return environment


def run(
    notebook: nbformat.NotebookNode, copy: pathlib.Path, environment: dict[str, str]
) -> None:
    """Execute a notebook in the project's folder and save the executed copy.

    Raises:
        ValueError: if a cell fails or the kernel dies; the copy holds what was done.
    """
    code = [n for n, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    current = 0

    def show(cell: nbformat.NotebookNode, cell_index: int) -> None:
        nonlocal current
        current = code.index(cell_index) + 1
        first = cell.source.partition("\n")[0].partition(" {")[0]
        print(f"\n{copy.name} {current}/{len(code)}: {first[:60]}", flush=True)

    client = Client(
        notebook,
        timeout=None,
        iopub_timeout=60,
        extra_arguments=["--log-level=ERROR"],  # a kernel's advice spoils the bars
        coalesce_streams=True,  # of a bar only its last state is kept
        record_timing=False,
        on_cell_execute=show,
    )
    try:
        client.execute(cwd=str(PROJECT), env=environment)
    except nbclient.exceptions.CellExecutionError as error:
        problem = " ".join(f"{error.ename}: {error.evalue}".split())[:500]
    except nbclient.exceptions.DeadKernelError:
        problem = "the kernel died, perhaps for lack of memory"
    else:
        return
    finally:
        nbformat.write(notebook, copy)
    where = f"{copy.name} failed in code cell {current}"
    raise ValueError(f"{where} ({problem}); what was computed is in {copy}.")


def report(
    notebooks: Mapping[str, nbformat.NotebookNode], records: Sequence[dict[str, Any]]
) -> str:
    """Return one HTML page with the results and all executed notebooks.

    Text and figures need no network; formulas are typeset only where there is one.
    """
    links = "\n".join(f"1. [{name}](#{name})" for name in notebooks)
    start = f"# All notebooks of this run\n\n{links}\n\n{results.markdown(records)}"
    cells = [nbformat.v4.new_markdown_cell(start)]
    for name, notebook in notebooks.items():
        anchor = f'<hr><a id="{name}"></a>'
        cells += [nbformat.v4.new_markdown_cell(anchor), *notebook.cells]
    for number, cell in enumerate(cells):
        cell.id = str(number)  # two notebooks may number their cells alike
    exporter = nbconvert.HTMLExporter(embed_images=True)
    whole = nbformat.v4.new_notebook(cells=cells)
    where = {"metadata": {"path": str(PROJECT), "name": "Report"}}
    return exporter.from_notebook_node(whole, where)[0]


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
