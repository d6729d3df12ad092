"""The project's address, and what is written into README and notebooks from it."""

import json
import pathlib
import shutil
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
address = "not this one"

[tool.project]
address = ""  # for badges

[tool.ruff]
line-length = 88
"""
README = """\
# A project

<!-- badges -->
<!-- /badges -->

The notebooks: [two](two.ipynb), then [one](one.ipynb).
"""
INSTALL = "pip install --quiet -r requirements-colab.txt"


@pytest.fixture
def project(tmp_path):
    """A project with settings, a README and two notebooks."""
    folder = tmp_path / "my project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "README.md").write_text(README)
    for name in ("one", "two"):
        setup = nbformat.v4.new_code_cell("", metadata={"tags": ["setup"]})
        title = nbformat.v4.new_markdown_cell(f"# Über {name}\n\nA question.")
        cells = [title, setup, nbformat.v4.new_code_cell("1 + 1")]
        file = folder / f"{name}.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=cells), file)
    set_address.write("", folder)
    return folder


def texts(project):
    return {file.name: file.read_text() for file in sorted(project.iterdir())}


def test_setting_and_unsetting_touches_nothing_else(project):
    before = texts(project)
    changed = set_address.write(URL + ".git/", project)
    assert {file.name for file in changed} == set(before)
    assert set_address.read(project) == URL
    settings = (project / "pyproject.toml").read_text()
    assert settings == PYPROJECT.replace('address = ""', f'address = "{URL}"')
    assert set_address.write(URL, project) == []
    set_address.write("", project)
    assert texts(project) == before
    assert set_address.read(project) == ""


def test_links_and_pictures_are_found_from_a_copy_of_a_notebook_elsewhere(project):
    text = (
        "![p](images/p.png), [next](two.ipynb), [text](docs/text.md), "
        "[far](https://github.com/some/thing), [paper](https://arxiv.org/abs/1)"
    )
    file = project / "one.ipynb"
    notebook = nbformat.read(file, as_version=4)
    notebook.cells.append(nbformat.v4.new_markdown_cell(text))
    nbformat.write(notebook, file)
    set_address.write("", project)
    before = texts(project)

    def links():
        return nbformat.read(file, as_version=4).cells[-1].source

    assert links() == text
    for owner in ("some-owner", "another"):
        url = f"https://github.com/{owner}/it"
        set_address.write(url, project)
        raw = f"https://raw.githubusercontent.com/{owner}/it/main"
        colab = f"https://colab.research.google.com/github/{owner}/it/blob/main"
        assert links() == (
            f"![p]({raw}/images/p.png), [next]({colab}/two.ipynb), "
            f"[text]({url}/blob/main/docs/text.md), "
            "[far](https://github.com/some/thing), [paper](https://arxiv.org/abs/1)"
        )
    set_address.write("", project)
    assert texts(project) == before


def test_badges_and_setup_cell_are_written(project):
    one, two = (set_address.badge(URL, f"{name}.ipynb") for name in ("one", "two"))
    assert "some-owner/some.project/blob/main/one.ipynb)" in one
    image = one.partition("](")[2].partition(")")[0]
    place, _, image = image.partition("/main/")
    assert place == "https://raw.githubusercontent.com/some-owner/some.project"
    assert "Open in Colab" in (set_address.PROJECT / image).read_text()
    set_address.write(URL, project)
    listed = f"<!-- badges -->\n- {two} two.ipynb\n- {one} one.ipynb\n<!-- /badges -->"
    assert listed in (project / "README.md").read_text()
    text = (project / "one.ipynb").read_text()
    assert text == json.dumps(json.loads(text), indent=1, ensure_ascii=False) + "\n"
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    title, setup, code = notebook.cells
    assert title.source == f"# Über one\n\n{one}\n\nA question."
    assert setup.source == set_address.setup_source(URL)
    assert setup.metadata["tags"] == ["setup"]
    assert setup.metadata["cellView"] == "form"
    assert code.source == "1 + 1"


@pytest.mark.parametrize("end", ["", "/b/tree/main", "/b; rm -rf ~", '/b"', "/b\n"])
def test_a_wrong_address_is_one_sentence_and_writes_nothing(project, end):
    before = texts(project)
    for wrong in (f"https://github.com/a{end}", f"https://gitlab.com/a/b{end}"):
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


def test_the_command_says_what_is_wrong():
    command = [sys.executable, "-m", "tools.set_address", "ftp://example.org"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=set_address.PROJECT
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
    """Stand in for `google.colab`, whose Drive is an empty folder."""
    package = types.ModuleType("google.colab")
    package.drive = types.SimpleNamespace(mount=lambda folder: None)
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
    clone = f"git clone --quiet --depth 1 {URL} {folder}"
    assert shell.commands == [clone, INSTALL, INSTALL]
    assert pathlib.Path.cwd() == folder
    assert sys.path.count(str(folder)) == 1


def test_the_setup_cell_unpacks_the_project_on_drive(shell, colab, tmp_path, capsys):
    folder = tmp_path / "content" / "drive" / "MyDrive" / "self-supervised-stl10"
    folder.parent.mkdir(parents=True, exist_ok=True)
    # What `make zip` writes and a user uploads.
    (tmp_path / folder.name / "helpers").mkdir(parents=True)
    (tmp_path / folder.name / "helpers" / "__init__.py").touch()
    shutil.make_archive(str(folder), "zip", tmp_path, folder.name)
    whole = folder.with_suffix(".zip").read_bytes()
    for there in (b"", whole[: len(whole) // 2]):
        folder.with_suffix(".zip").write_bytes(there)
        failed = shell.run(set_address.setup_source(""))
        assert "whole, by this name, and run again" in str(failed.error_in_exec)
    folder.with_suffix(".zip").write_bytes(whole)
    for _ in range(2):
        shell.run(set_address.setup_source("")).raise_error()
    said = capsys.readouterr().out
    assert f"is read from your Google Drive: {folder}.\n" in said
    assert pathlib.Path.cwd() == folder
    assert (folder / "helpers").is_dir()
    assert shell.commands == [INSTALL, INSTALL]
    # What was unpacked by hand is left as it is, and a part of it is made whole.
    (folder / "helpers" / "mine").touch()
    shell.run(set_address.setup_source("")).raise_error()
    assert (folder / "helpers" / "mine").is_file()
    (folder / ".unpacking").mkdir()
    (folder / "helpers" / "__init__.py").unlink()
    shell.run(set_address.setup_source("")).raise_error()
    assert (folder / "helpers" / "__init__.py").is_file()
    assert not (folder / ".unpacking").exists()
    content = tmp_path / "content"
    assert files.checkpoints_folder() == content / "checkpoints"
    assert files.data_folder() == content / "data"


def test_the_zip_holds_the_project_in_the_folder_that_is_looked_for(tmp_path):
    made = ["make", "zip", f"ZIP={tmp_path / 'made.zip'}"]
    done = subprocess.run(made, cwd=set_address.PROJECT, capture_output=True, text=True)
    if "not a git repository" in done.stderr:
        pytest.skip("only a git checkout can be zipped")
    assert done.returncode == 0, done.stderr
    shutil.unpack_archive(tmp_path / "made.zip", tmp_path / "drive")
    (folder,) = (tmp_path / "drive").iterdir()
    assert folder.name == "self-supervised-stl10"
    makefile = (set_address.PROJECT / "Makefile").read_text()
    assert f"ZIP := runs/{folder.name}.zip\n" in makefile
    assert {"helpers", "requirements-colab.txt", "train_PIRL.ipynb"} <= {
        file.name for file in folder.iterdir()
    }
