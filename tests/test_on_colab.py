"""The notebooks as Colab runs them: only the notebook is there, the rest comes by zip.

A stand-in for ``google.colab`` refuses and grants what the real one does. Paths under
``/content`` are moved into a folder of the test.
"""

import os
import pathlib
import re
import shutil

import nbclient
import nbformat
import pytest

from tools import run_notebooks

PROJECT = pathlib.Path(__file__).resolve().parent.parent
NAMES = (*run_notebooks.NOTEBOOKS, "train_other_methods.ipynb")
DRIVE = """
class MessageError(Exception):
    "What Colab raises when the user closes its window."

def mount(folder, **options):
    if {refuses}:
        raise MessageError("Error: credential propagation was unsuccessful")
    print("Mounted at", folder)
"""
FILES = """
def upload():
    return {}

def download(name):
    print("downloading", name)
"""


class Machine:
    """A fresh virtual machine with a Drive that outlives it."""

    def __init__(self, folder, drive):
        self.content = folder / "content"
        self.packages = folder / "packages"
        self.tools = folder / "bin"
        colab = self.packages / "google" / "colab"
        for made in (self.content, colab, self.tools):
            made.mkdir(parents=True)
        (self.content / "drive").symlink_to(drive)
        (colab / "__init__.py").write_text("")
        (colab / "files.py").write_text(FILES)
        self.refuses(False)
        pip = self.tools / "pip"  # what is installed is the subject of another test
        pip.write_text("#!/bin/sh\n")
        pip.chmod(0o755)
        start = self.packages / "sitecustomize.py"
        start.write_text("import google.colab\n")  # Colab's kernels do

    def refuses(self, whether):
        file = self.packages / "google" / "colab" / "drive.py"
        file.write_text(DRIVE.format(refuses=whether))

    def run(self, name, until=None, **answers):
        """Run a notebook to a cell that holds a text; return all that was printed."""
        notebook = nbformat.read(PROJECT / name, as_version=4)
        for cell in notebook.cells:
            cell.source = cell.source.replace("/content", str(self.content))
        if until:
            last = next(n for n, c in enumerate(notebook.cells) if until in c.source)
            notebook.cells = notebook.cells[: last + 1]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("STL_")}
        path = f"{self.tools}{os.pathsep}{environment['PATH']}"
        environment |= answers | {"PATH": path, "PYTHONPATH": str(self.packages)}
        client = nbclient.NotebookClient(notebook, timeout=None)
        try:
            client.execute(cwd=str(self.content), env=environment)
        except nbclient.exceptions.CellExecutionError as error:
            return str(error)
        outputs = [out for cell in notebook.cells for out in cell.get("outputs", ())]
        return "".join(out.get("text", "") for out in outputs)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """The zip that ``make zip`` packs, without the parts that no notebook needs."""
    folder = tmp_path_factory.mktemp("zip") / "self-supervised-stl10"
    for name in ("helpers", "images", "results"):
        shutil.copytree(
            PROJECT / name, folder / name, ignore=shutil.ignore_patterns("*.pyc")
        )
    shutil.copy(PROJECT / "requirements-colab.txt", folder)
    return shutil.make_archive(folder, "zip", folder.parent, folder.name)


@pytest.fixture
def drive(tmp_path, archive):
    """A Google Drive to which the zip was uploaded."""
    mine = tmp_path / "drive" / "MyDrive"
    mine.mkdir(parents=True)
    shutil.copy(archive, mine)
    return mine.parent


def machine(tmp_path, drive, number=1):
    made = Machine(tmp_path / f"machine {number}", drive)
    project = drive / "MyDrive" / "self-supervised-stl10"
    # The helpers know Colab's folder by name, so the copy names the test's.
    if not project.exists():
        shutil.unpack_archive(project.with_suffix(".zip"), project.parent)
    for file in (project / "helpers").rglob("*.py"):
        text = file.read_text("utf-8")
        moved = re.sub(r'"/[^"\n]*?content(?=/drive)', f'"{made.content}', text)
        if moved != text:
            file.write_text(moved, "utf-8")
    return made


@pytest.mark.parametrize("name", NAMES)
def test_the_first_cells_fetch_the_project_ask_and_load(name, tmp_path, drive):
    said = machine(tmp_path, drive).run(name, "data.load(", STL_DATA="demo-tiny")
    assert "demo-tiny: 10 classes" in said
    assert "-> drive" in said  # copies are kept there unless the user says otherwise
    assert "Error" not in said


def test_what_was_learned_outlives_the_machine(tmp_path, drive):
    short = {"STL_DATA": "demo-tiny", "STL_EPOCHS": "1", "STL_RECIPE": "minutes"}
    name, until = "train_PIRL.ipynb", "pretraining.pretrain("
    first = machine(tmp_path, drive).run(name, until, **short)
    assert "images seen" in first
    kept = drive / "MyDrive" / "self-supervised-stl10" / "checkpoints"
    assert len(list(kept.glob("*/backbone.safetensors"))) == 1
    again = machine(tmp_path, drive, 2).run(name, until, **short)
    assert "This run is already finished" in again
    notebook = machine(tmp_path, drive, 3)
    listed = notebook.run("feature_extraction.ipynb", "data.load(", **short)
    assert "all methods trained on these images (PIRL)" in listed


def test_a_refused_drive_says_what_to_do(tmp_path, drive):
    refusing = machine(tmp_path, drive)
    refusing.refuses(True)
    (refusing.content / "drive").unlink()  # nothing is mounted
    said = refusing.run("train_BYOL.ipynb", "data.load(", STL_DATA="demo-tiny")
    assert "could not be mounted" in said
    assert "allow" in said.lower()
    assert "copy it there" not in said
