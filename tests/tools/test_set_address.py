"""The project's address, and what is written into the notebooks from it."""

import json
import pathlib
import subprocess
import sys
import types

import nbformat
import pytest
from IPython.core import interactiveshell

from helpers import files
from tools import set_address

URL = "https://github.com/some-owner/some.project"
PYPROJECT = """\
[project]
name = "x"  # keep
address = "not this one"

[tool.project]
address = ""  # for badges

[tool.ruff]
line-length = 88
"""


@pytest.fixture
def project(tmp_path):
    """A project with a settings file and two notebooks."""
    folder = tmp_path / "my project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PYPROJECT)
    for name in ("one", "two"):
        setup = nbformat.v4.new_code_cell("", metadata={"tags": ["setup"]})
        title = nbformat.v4.new_markdown_cell(f"# Über {name}\n\nA question.")
        cells = [title, setup, nbformat.v4.new_code_cell("1 + 1")]
        file = folder / f"{name}.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=cells), file)
    return folder


def texts(project):
    return {file.name: file.read_text() for file in sorted(project.iterdir())}


def test_setting_and_unsetting_touches_nothing_else(project):
    set_address.write("", project)
    before = texts(project)
    assert [file.name for file in set_address.write(URL + ".git/", project)] == [
        "pyproject.toml",
        "one.ipynb",
        "two.ipynb",
    ]
    assert set_address.read(project) == URL
    assert (project / "pyproject.toml").read_text() == PYPROJECT.replace(
        'address = ""', f'address = "{URL}"'
    )
    assert set_address.write(URL, project) == []
    set_address.write("", project)
    assert texts(project) == before
    assert set_address.read(project) == ""


def test_the_notebooks_get_badge_and_setup_cell(project):
    set_address.write(URL, project)
    sources = []
    for name in ("one.ipynb", "two.ipynb"):
        text = (project / name).read_text()
        assert text == json.dumps(json.loads(text), indent=1, ensure_ascii=False) + "\n"
        assert "Über" in text
        notebook = nbformat.reads(text, as_version=4)
        nbformat.validate(notebook)
        title, setup, code = notebook.cells
        lines = title.source.splitlines()
        assert lines[0].startswith("# ") and lines[4] == "A question."
        assert lines[2] == set_address.badge(URL, name)
        assert f"some-owner/some.project/blob/main/{name})" in lines[2]
        assert setup.source == set_address.setup_source(URL)
        assert setup.metadata["tags"] == ["setup"]
        assert setup.metadata["cellView"] == "form"
        assert code.source == "1 + 1"
        sources.append(setup.source)
    assert sources[0] == sources[1]


def test_without_an_address_there_is_no_badge(project):
    set_address.write("", project)
    notebook = nbformat.read(project / "one.ipynb", as_version=4)
    assert notebook.cells[0].source == "# Über one\n\nA question."
    assert "git clone" not in notebook.cells[1].source
    assert "MyDrive/self-supervised-stl10" in notebook.cells[1].source


def test_the_badge_image_is_in_the_project():
    image = set_address.badge(URL, "one.ipynb").partition("](")[2].partition(")")[0]
    text = (set_address.PROJECT / image.removeprefix("(")).read_text()
    assert text.startswith("<svg") and "Open in Colab" in text


@pytest.mark.parametrize(
    "wrong",
    [
        "github.com/a/b",
        "https://gitlab.com/a/b",
        "https://github.com/a",
        "https://github.com/a/b/tree/main",
        "https://github.com/a/b; rm -rf ~",
        'https://github.com/a/b"',
    ],
)
def test_a_wrong_address_is_one_sentence_and_writes_nothing(project, wrong):
    before = texts(project)
    with pytest.raises(ValueError, match="must look like https://") as error:
        set_address.write(wrong, project)
    assert "\n" not in str(error.value)
    assert texts(project) == before


def test_a_notebook_without_setup_cell_stops_everything(project):
    file = project / "two.ipynb"
    file.write_text(file.read_text().replace('"setup"', '"other"'))
    before = texts(project)
    with pytest.raises(ValueError, match=r"two\.ipynb needs"):
        set_address.write(URL, project)
    assert texts(project) == before


def test_the_setting_is_added_where_it_is_missing(tmp_path):
    set_address.write(URL, tmp_path)
    assert set_address.read(tmp_path) == URL
    (tmp_path / "pyproject.toml").write_text(
        "[tool.project]\nother = 1\n[a]\naddress = 2"
    )
    set_address.write(URL, tmp_path)
    assert set_address.read(tmp_path) == URL
    assert (tmp_path / "pyproject.toml").read_text().endswith("[a]\naddress = 2")


def test_the_command_line_says_what_is_wrong():
    command = [sys.executable, "-m", "tools.set_address", "ftp://example.org"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=set_address.PROJECT, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.startswith("The address must look like")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def shell(monkeypatch, tmp_path):
    """Run a setup cell as Colab would, with commands that only note their call."""
    commands = []

    def system(command):
        command = running.var_expand(command, depth=1)
        commands.append(command)
        if command.startswith("git clone"):
            (pathlib.Path(command.split()[-1]) / "helpers").mkdir(parents=True)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("STL_CHECKPOINTS", "STL_DATA_ROOT"):
        monkeypatch.setenv(name, "")  # so that the end of the test unsets it
        monkeypatch.delenv(name)
    running = interactiveshell.InteractiveShell()
    monkeypatch.setattr(running, "system", system)

    def run(source):
        content = tmp_path / "content"
        return running.run_cell(source.replace('"/content/', f'"{content}/'))

    return types.SimpleNamespace(run=run, commands=commands)


@pytest.fixture
def colab(monkeypatch):
    """Stand in for `google.colab`, whose Drive holds nothing."""
    package = types.ModuleType("google.colab")
    package.drive = types.SimpleNamespace(mount=lambda folder: None)
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", package)


@pytest.mark.parametrize("url", ["", URL])
def test_the_setup_cell_does_nothing_elsewhere(shell, tmp_path, url):
    shell.run(set_address.setup_source(url)).raise_error()
    assert shell.commands == []
    assert pathlib.Path.cwd() == tmp_path


def test_the_setup_cell_clones_once_on_colab(shell, colab, tmp_path):
    for _ in range(2):
        shell.run(set_address.setup_source(URL)).raise_error()
    folder = tmp_path / "content" / "some.project"
    assert shell.commands == [
        f"git clone --quiet --depth 1 {URL} {folder}",
        *["pip install --quiet -r requirements-colab.txt"] * 2,
    ]
    assert pathlib.Path.cwd() == folder
    assert sys.path.count(str(folder)) == 1


def test_the_setup_cell_reads_the_project_from_drive(shell, colab, tmp_path, capsys):
    failed = shell.run(set_address.setup_source(""))
    assert "copy it there" in str(failed.error_in_exec)
    folder = tmp_path / "content" / "drive" / "MyDrive" / "self-supervised-stl10"
    (folder / "helpers").mkdir(parents=True)
    shell.run(set_address.setup_source("")).raise_error()
    assert f"is read from your Google Drive: {folder}.\n" in capsys.readouterr().out
    assert pathlib.Path.cwd() == folder
    assert shell.commands == ["pip install --quiet -r requirements-colab.txt"]
    content = tmp_path / "content"
    assert files.checkpoints_folder() == content / "checkpoints"
    assert files.data_folder() == content / "data"
