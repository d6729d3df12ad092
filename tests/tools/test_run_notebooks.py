"""The runner of `make run`, on notebooks of a few lines."""

import json
import pathlib

import nbformat
import pytest

from tools import run_notebooks

LESSON = [
    '# @title Setup: ask { display-mode: "form" }\n'
    "from helpers.notebook import questions\n"
    'images = questions.ask("Images?", {"demo": "", "stl10": ""}, "demo", "STL_DATA")',
    "import json, os, pathlib, sys\n"
    "# Train\n"
    "for percent in range(0, 101, 20):\n"
    '    print(f"\\r{percent} %", end="", file=sys.stderr, flush=True)\n'
    "print()\n"
    'folder = pathlib.Path(os.environ["STL_RESULTS"])\n'
    "folder.mkdir(parents=True)\n"
    'record = {"method": "byol", "protocol": "probe", "top1_mean": 91.239}\n'
    '_ = (folder / "byol.json").write_text(json.dumps(record))\n'
    'print("Results are in", folder, "for", os.environ["STL_OTHER"])',
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
    monkeypatch.setenv("STL_OTHER", "everyone")
    place = tmp_path / "my runs"
    place.mkdir()
    return place


def test_a_run_leaves_notebooks_results_and_a_report(folder, capfd):
    output = folder / "latest"
    lessons = (write(folder, "one", LESSON), write(folder, "two", ["1 + 1"]))
    settings = run_notebooks.Settings(output=output, notebooks=lessons, data="stl10")
    assert run_notebooks.main(settings) == 0

    printed, complaints = capfd.readouterr()
    assert complaints == ""
    assert "(1/2) one.ipynb cell 1/2: Setup: ask\n" in printed
    assert "(1/2) one.ipynb cell 2/2: Train\n" in printed
    assert "(2/2) two.ipynb cell 1/1: 1 + 1\n" in printed
    assert "\r20 %" in printed and "\r80 %" in printed  # the bar moved
    assert "Images? -> stl10" in printed
    table = printed[printed.index("method") :]
    assert "91.24" in table and "None" not in table and "nan" not in table.lower()
    assert str(output / "report.html") in table

    saved = text_of(output / "one.ipynb")
    assert "100 %" in saved and "80 %" not in saved  # only the bar's last state
    assert "latest/results for everyone" in saved
    assert f"in {output}" not in saved  # a relative path
    notebook = nbformat.read(output / "two.ipynb", as_version=4)
    assert notebook.cells[1].outputs[0].data["text/plain"] == "2"
    assert notebook.cells[1].execution_count == 1
    assert "execution" not in notebook.cells[1].metadata

    assert json.loads((output / "results.json").read_text()) == [
        {"method": "byol", "protocol": "probe", "top1_mean": 91.239}
    ]
    report = (output / "report.html").read_text()
    assert 'href="#two"' in report and 'id="two"' in report
    assert report.index("Images? -&gt; stl10") < report.rindex("Lesson two")


def test_a_failing_cell_is_one_sentence_and_keeps_what_was_computed(folder, capfd):
    lesson = write(folder, "bad", ["print('kept')", "raise KeyError('a\\nb')", "1"])
    settings = run_notebooks.Settings(output=folder / "out", notebooks=(lesson,))
    assert run_notebooks.main(settings) == 1
    complaint = capfd.readouterr().err
    assert complaint.startswith("bad.ipynb failed in code cell 2 (KeyError: ")
    assert complaint.endswith(f"{folder / 'out' / 'bad.ipynb'}.\n")
    assert complaint.count("\n") == 1
    cells = nbformat.read(folder / "out" / "bad.ipynb", as_version=4).cells
    assert cells[1].outputs[0].text == "kept\n"
    assert cells[2].outputs[0].output_type == "error"
    assert cells[3].execution_count is None


def test_only_what_an_earlier_run_made_is_removed(folder):
    output, lesson = folder / "out", write(folder, "one", [])
    run_notebooks.prepare(output, [lesson])
    (output / "checkpoints" / "byol").mkdir(parents=True)
    (output / "one.ipynb").write_text("old")
    (output / "notes.txt").write_text("mine")
    marker = output / run_notebooks.MARKER
    marker.write_text(marker.read_text() + "\n..\n../one.ipynb\n.\n")
    run_notebooks.prepare(output, [lesson])
    left = sorted(file.name for file in output.iterdir())
    assert left == [run_notebooks.MARKER, "notes.txt"]
    assert lesson.is_file()


def test_a_folder_of_somebody_else_is_refused(folder):
    lesson = write(folder, "one", [])
    (folder / "precious").mkdir()
    (folder / "precious" / "thesis.tex").write_text("x")
    for output in (folder / "precious", lesson):
        with pytest.raises(ValueError, match="no earlier run made: name an empty"):
            run_notebooks.prepare(output, [lesson])
    assert (folder / "precious" / "thesis.tex").is_file()


def test_a_missing_or_doubled_notebook_is_refused(folder):
    lesson = write(folder, "one", [])
    with pytest.raises(ValueError, match=r"no notebook .*other\.ipynb"):
        run_notebooks.prepare(folder / "out", [lesson, folder / "other.ipynb"])
    with pytest.raises(ValueError, match="Two notebooks"):
        run_notebooks.prepare(folder / "out", [lesson, lesson])
    run_notebooks.prepare(folder / "out", [lesson])
    own = write(folder / "out", "one", [])
    with pytest.raises(ValueError, match="Two notebooks"):
        run_notebooks.prepare(folder / "out", [own])
    assert own.is_file()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ('# @title Setup: fetch { display-mode: "form" }\nimport os', "Setup: fetch"),
        ("import os\n\n## Train now\n", "Train now"),
        ("\n1 + 1\n2", "1 + 1"),
        ("", ""),
        ("x" * 61, "x" * 57 + "..."),
    ],
)
def test_a_cell_is_named_by_its_first_comment_or_line(source, words):
    assert run_notebooks.describe(source) == words


def test_the_kernels_get_relative_folders(monkeypatch):
    monkeypatch.setenv("STL_EPOCHS", "7")
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(run_notebooks.PROJECT)
    environment = run_notebooks.kernel_environment(pathlib.Path("runs/latest"), None)
    assert environment["STL_CHECKPOINTS"] == "runs/latest/checkpoints"
    assert environment["STL_RESULTS"] == "runs/latest/results"
    assert environment["STL_EPOCHS"] == "7"
    assert "MPLBACKEND" not in environment
