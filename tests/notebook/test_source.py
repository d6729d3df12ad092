"""Sources are shown as they stand in their files, without folders of this machine."""

import pathlib
import subprocess
import sys

import IPython.display
import pytest

from helpers.notebook import questions
from helpers.notebook.source import show_source

PROJECT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def shown(monkeypatch):
    """What would be displayed, as one bundle per object."""
    bundles = []
    monkeypatch.setattr(
        IPython.display, "display", lambda bundle, raw: bundles.append(bundle)
    )
    return bundles


def test_a_source_is_shown_with_its_file_and_lines(shown):
    show_source(questions.Choice, questions.ask, questions)
    starts = ["@dataclasses.dataclass(frozen=True)", "def ask(", questions.__doc__[:9]]
    for bundle, start in zip(shown, starts, strict=True):
        assert bundle["text/plain"].removeprefix('"""').startswith(start)
    caption, _, code = shown[1]["text/markdown"].partition("\n\n")
    file, _, span = caption.partition(", lines ")
    assert file == "`helpers/notebook/questions.py`"
    first, last = map(int, span.split(" to "))
    lines = pathlib.Path(questions.__file__).read_text().splitlines()
    source = "\n".join(lines[first - 1 : last])
    assert code == f"```python\n{source}\n```\n"
    assert source == shown[1]["text/plain"]
    assert shown[2]["text/markdown"].startswith("`helpers/notebook/questions.py`\n\n")


def test_a_method_is_dedented_and_may_contain_a_fence(shown):
    class Lesson:
        def step(self):
            return "```"

    show_source(Lesson.step)
    assert shown[0]["text/plain"].startswith("def step")
    assert "~~~~python\ndef step" in shown[0]["text/markdown"]


@pytest.mark.parametrize("built_in", [len, int, 3])
def test_an_object_without_source_is_named(built_in):
    with pytest.raises(ValueError, match=r"has no source: pass a class, a function"):
        show_source(built_in)


def test_a_file_outside_the_import_folders_shows_no_home(shown, tmp_path, monkeypatch):
    """Only its name is shown; what is typed into a cell has no file."""
    file = tmp_path / "lesson.py"
    file.write_text("def step():\n    return 1\n")
    space = {}
    exec(compile(file.read_text(), str(file), "exec"), space)
    show_source(space["step"])
    assert shown[0]["text/markdown"].startswith("`lesson.py`, lines 1 to 2\n")
    monkeypatch.syspath_prepend(tmp_path.parent)
    show_source(space["step"])
    assert shown[1]["text/markdown"].startswith(f"`{tmp_path.name}/lesson.py`, lines 1")


def test_source_typed_into_a_cell_is_of_this_notebook():
    code = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_cell("def step():\\n    return 1\\n")
shell.run_cell("from helpers.notebook.source import show_source, _relative")
shell.run_cell("import inspect, pathlib")
shell.run_cell("print(_relative(pathlib.Path(inspect.getfile(step))))")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        check=True,
    )
    assert done.stdout == "this notebook\n"
