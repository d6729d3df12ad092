"""The runner of `make run`, on notebooks of a few lines."""

import json
import pathlib
import re

import nbformat
import pytest

from tools import run_notebooks

LESSON = [
    '# @title Setup: ask { display-mode: "form" }\n'
    "from helpers.notebook import questions\n"
    'images = questions.ask("Images?", {"demo": "", "stl10": ""}, "demo", "STL_DATA")',
    "# Train\n"
    "import os, sys\n"
    "from helpers.evaluation import records, results\n"
    "for percent in range(0, 101, 20):\n"
    '    print(f"\\r{percent} %", end="", file=sys.stderr, flush=True)\n'
    "print()\n"
    'given = {"method": "BYOL", "protocol": "k-NN", "data": "demo", "labels": 9}\n'
    "shaped = records.conditions(seeds=1, **given)\n"
    "results.save(records.finished(shaped, top1=[91.239], minutes=2.0))\n"
    'print("Results are in", os.environ["STL_RESULTS"], os.environ["STL_OTHER"])',
]


def write(folder, name, sources):
    """Write a notebook with a title and the given code cells."""
    cells = [nbformat.v4.new_markdown_cell(f"# Lesson {name}")]
    cells += [nbformat.v4.new_code_cell(source) for source in sources]
    file = folder / f"{name}.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), file)
    return file


def text_of(file):
    """Return everything that the cells of a notebook printed."""
    cells = nbformat.read(file, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") for output in outputs)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a space in its path, and an environment without answers."""
    monkeypatch.delenv("STL_DATA", raising=False)
    monkeypatch.setenv("STL_OTHER", "for everyone")
    folder = tmp_path / "my runs"
    folder.mkdir()
    return folder


def test_a_run_leaves_notebooks_results_and_a_report(folder, capfd):
    output = folder / "latest"
    lessons = (write(folder, "one", LESSON), write(folder, "two", ["1 + 1"]))
    assert run_notebooks.main(output, lessons, "stl10") == 0

    printed, complaints = capfd.readouterr()
    assert complaints == ""
    assert "\none.ipynb 1/2: # @title Setup: ask\n" in printed
    assert "\none.ipynb 2/2: # Train\n" in printed
    assert "\ntwo.ipynb 1/1: 1 + 1\n" in printed
    assert "\r20 %" in printed and "\r80 %" in printed  # the bar moved
    assert "Images? -> stl10" in printed
    table = printed[printed.index("method") :]
    assert "91.24" in table
    assert str(output / "report.html") in table

    saved = text_of(output / "one.ipynb")
    assert "100 %" in saved and "80 %" not in saved  # only the bar's last state
    assert "latest/results for everyone" in saved
    assert f"in {output}" not in saved  # a relative path
    notebook = nbformat.read(output / "two.ipynb", as_version=4)
    assert notebook.cells[1].outputs[0].data["text/plain"] == "2"
    assert notebook.cells[1].execution_count == 1
    assert "execution" not in notebook.cells[1].metadata

    (record,) = json.loads((output / "results.json").read_text())
    assert record["top1_mean"] == 91.239
    report = (output / "report.html").read_text()
    assert 'href="#two.ipynb"' in report and 'id="two.ipynb"' in report
    assert "<td>91.2</td>" in report  # the table of results
    assert report.index("Images? -&gt; stl10") < report.rindex("Lesson two")


def said(capfd):
    """What stands on stderr, but for the last words of libzmq in a kernel that ends."""
    return re.sub(r"Assertion failed: .*signaler\.cpp.*\n", "", capfd.readouterr().err)


def test_a_failing_cell_is_one_sentence_and_keeps_what_was_computed(folder, capfd):
    lesson = write(folder, "bad", ["print('kept')", "raise KeyError('a\\nb')", "1"])
    assert run_notebooks.main(folder / "out", (lesson,)) == 1
    complaint = said(capfd)
    assert complaint.startswith("bad.ipynb failed in code cell 2 (KeyError: ")
    assert complaint.endswith(f"{folder / 'out' / 'bad.ipynb'}.\n")
    assert complaint.count("\n") == 1
    cells = nbformat.read(folder / "out" / "bad.ipynb", as_version=4).cells
    assert cells[1].outputs[0].text == "kept\n"
    assert cells[2].outputs[0].output_type == "error"
    assert cells[3].execution_count is None


def test_a_dead_kernel_is_one_sentence(folder, capfd):
    lesson = write(folder, "dead", ["import os; os._exit(1)"])
    assert run_notebooks.main(folder / "out", (lesson,)) == 1
    complaint = said(capfd)
    assert complaint.startswith("dead.ipynb failed in code cell 1 (the kernel died, ")
    assert complaint.count("\n") == 1


def test_nothing_is_resumed_and_nothing_else_is_removed(folder):
    output = folder / "out"
    run_notebooks.prepare(output, ["one.ipynb"])
    for name in ("checkpoints", "results"):
        (output / name / "byol").mkdir(parents=True)
    (output / "one.ipynb").write_text("old")
    (output / "notes.txt").write_text("mine")
    run_notebooks.prepare(output, ["one.ipynb"])
    left = sorted(file.name for file in output.iterdir())
    assert left == [run_notebooks.MARKER, "notes.txt"]


def test_a_folder_of_somebody_else_is_refused(folder, capfd):
    lesson = write(folder, "one", ["1"])
    (folder / "precious").mkdir()
    (folder / "precious" / "results").write_text("x")
    assert run_notebooks.main(folder / "precious", (lesson,)) == 1
    assert "no earlier run made: name an empty" in capfd.readouterr().err
    assert run_notebooks.main(lesson, (lesson,)) == 1  # a file
    assert run_notebooks.main(folder / "out", (folder / "other.ipynb",)) == 1
    assert "other.ipynb" in capfd.readouterr().err
    assert not (folder / "out").exists()
    files = [file.name for file in (folder / "precious").iterdir()]
    assert files == ["results"]


def test_the_kernels_get_relative_folders(monkeypatch):
    monkeypatch.setenv("STL_EPOCHS", "7")
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(run_notebooks.PROJECT)
    environment = run_notebooks.kernel_environment(pathlib.Path("runs/latest"), None)
    assert environment["STL_CHECKPOINTS"] == "runs/latest/checkpoints"
    assert environment["STL_RESULTS"] == "runs/latest/results"
    assert environment["STL_EPOCHS"] == "7"
    assert "MPLBACKEND" not in environment
