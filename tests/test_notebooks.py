"""The notebooks: their form, and every cell through nbval on a handful of images."""

import ast
import copy
import json
import os
import pathlib
import re
import subprocess
import sys
import types

import nbformat
import pytest
import small

from helpers.evaluation import protocols, results
from helpers.figures import curves
from helpers.training import starting_points
from tools import notebook_sources, run_notebooks, set_address

PROJECT = pathlib.Path(__file__).resolve().parent.parent
# The last is for one method at a time, so `make run` leaves it out.
NOTEBOOKS = [
    PROJECT / name for name in (*run_notebooks.NOTEBOOKS, "train_other_methods.ipynb")
]
TINY = {
    "STL_DATA": "demo-tiny",
    "STL_EPOCHS": "2",
    "STL_SUPERVISED_EPOCHS": "2",
    "STL_SEEDS": "2",
}


def cells(notebook: pathlib.Path, kind: str = "code") -> list[dict]:
    content = json.loads(notebook.read_text("utf-8"))
    return [cell for cell in content["cells"] if cell["cell_type"] == kind]


def source(cell: dict) -> str:
    return "".join(cell["source"])


@pytest.fixture(params=NOTEBOOKS, ids=lambda file: file.stem)
def notebook(request):
    return request.param


def test_all_notebooks_are_in_the_story():
    assert sorted(PROJECT.glob("*.ipynb")) == sorted(NOTEBOOKS)


def test_it_starts_with_a_title_a_question_and_a_figure(notebook):
    first = source(cells(notebook, "markdown")[0])
    assert first.startswith("# ")
    assert "?" in first
    assert "](images/" in first
    assert "**Time**" in first


def test_the_setup_cell_is_the_same_everywhere(notebook):
    setup = [c for c in cells(notebook) if "setup" in c["metadata"].get("tags", [])]
    assert [source(cell) for cell in setup] == [
        set_address.setup_source(set_address.read())
    ]


def test_code_cells_are_short_and_never_ask_by_themselves(notebook):
    for cell in cells(notebook):
        assert len(source(cell).splitlines()) <= 30
        assert "input(" not in source(cell)
        assert max(map(len, source(cell).splitlines())) <= 88


def test_questions_are_all_in_one_cell(notebook):
    asking = [
        number
        for number, cell in enumerate(cells(notebook))
        if any(word in source(cell) for word in (".ask", ".choose("))
    ]
    assert len(asking) == 1


def test_saved_outputs_are_from_one_clean_run(notebook):
    code = cells(notebook)
    counts = [cell["execution_count"] for cell in code]
    if any(cell["outputs"] for cell in code):
        assert counts == list(range(1, len(code) + 1))
    text = json.dumps([cell["outputs"] for cell in code])
    assert '"output_type": "error"' not in text
    assert "Warning" not in text
    assert not re.search(r'"/\w+/[^"\n]*(checkpoints|results)', text), "an own folder"
    assert not any(folder in text for folder in ("/root/", "/home/", "/tmp/"))
    assert notebook.stat().st_size < 500_000


def test_the_source_it_shows_is_that_of_today(notebook):
    shown = nbformat.read(notebook, 4)
    today = copy.deepcopy(shown)
    notebook_sources.refresh(today)
    assert today == shown, "make sources brings it up to date"


def test_the_text_has_a_good_length(notebook):
    text = " ".join(source(cell) for cell in cells(notebook, "markdown"))
    unfolded = re.sub(r"(?s)<details>.*?</details>", "", text)
    assert 350 <= len(unfolded.split()) <= 1_500


def test_the_idea_is_typed_and_compared_with_the_code_that_runs(notebook):
    code = [source(cell) for cell in cells(notebook)]
    assert any(re.search(r"^def ", text, re.M) for text in code) or "baseline" in str(
        notebook
    )
    assert any("testing.assert_close(" in text for text in code)
    assert sum("show_source(" in text for text in code) >= 1


def test_it_ends_with_exercises_whose_answers_are_folded(notebook):
    (exercises,) = (
        source(cell)
        for cell in cells(notebook, "markdown")
        if "## Exercises" in source(cell)
    )
    assert exercises.count("<details>") == exercises.count("</details>") == 3
    assert len(re.findall(r"^\d\. ", exercises, re.M)) == 3


def test_the_figures_and_notebooks_it_links_to_exist(notebook):
    for cell in cells(notebook, "markdown"):
        for link in source(cell).split("](")[1:]:
            target = link.split(")")[0]
            if not target.startswith("http"):
                assert (PROJECT / target).is_file(), target


def test_cells_parse(notebook):
    for cell in cells(notebook):
        if "setup" not in cell["metadata"].get("tags", []):
            ast.parse(source(cell))


def test_every_backbone_is_fine_tuned_at_its_own_image_size(monkeypatch):
    sizes = {}

    def fine_tune(create, experiment, settings):
        sizes[experiment.method] = settings.view.size
        return types.SimpleNamespace(record={}, history=[])

    monkeypatch.setattr(protocols, "fine_tune", fine_tune)
    monkeypatch.setattr(results, "save", lambda record, mirror: None)
    backbones = [
        starting_points.StartingPoint("random", "random", {}, 64),
        starting_points.StartingPoint("PIRL", "a.safetensors", {"image_size": 40}, 56),
        starting_points.StartingPoint("BYOL", "b.safetensors", {"image_size": 64}, 88),
    ]
    chosen = types.SimpleNamespace(seeds=1, epochs=1, mirror=None)
    names = {"trained": backbones[1:], "dataset": small.dataset(), "chosen": chosen}
    names |= {"protocols": protocols, "results": results, "curves": curves}
    (cell,) = (
        cell
        for cell in cells(PROJECT / "fine_tuning.ipynb")
        if "fine_tune(" in source(cell)
    )
    exec(source(cell), names)
    assert sizes == {"PIRL": 40, "BYOL": 64}


def test_every_cell_runs_through_nbval(tmp_path):
    environment = {**os.environ, **TINY}
    environment["STL_CHECKPOINTS"] = str(tmp_path / "checkpoints")
    environment["STL_RESULTS"] = str(tmp_path / "results")
    environment.pop("PYTEST_CURRENT_TEST", None)
    # One process, in the order of the story: later notebooks need earlier ones.
    done = subprocess.run(
        [
            sys.executable,
            *("-m", "pytest", "--nbval-lax", "--nbval-current-env"),
            *("--nbval-cell-timeout", "1200", "-p", "no:cacheprovider"),
            *map(str, NOTEBOOKS),
        ],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-2_000:]
    records = list((tmp_path / "results").glob("*.json"))
    protocols = {json.loads(file.read_text())["protocol"] for file in records}
    assert len(protocols) == 5
