"""How the package is built: imports go one way, files are small, names speak."""

import ast
import pathlib
import re

import nbformat
import pytest
from IPython.core import inputtransformer2

import helpers

PACKAGE = pathlib.Path(helpers.__file__).parent
NOTEBOOKS = sorted(PACKAGE.parent.glob("*.ipynb"))
# A room imports from itself and from the rooms before a "<" on its left.
ORDER = (
    "hardware, files < data, views < models, methods, figures"
    " < training < notebook < evaluation < cli < __main__"
)
FLOOR = {
    room: floor
    for floor, rooms in enumerate(ORDER.split("<"))
    for room in re.findall(r"\w+", rooms)
}


def modules():
    """Every module's name, as it is imported below ``helpers``, and its file."""
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        if name:
            found[name] = file
    return found


def imported(source, known):
    """Names of the modules of this package that some code imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the package"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "helpers":
                while rest and rest not in known:  # a function or class of a module
                    rest = rest.rpartition(".")[0]
                found.add(rest or name)
    return found


def room(module):
    """The room a module is in."""
    return module.partition(".")[0]


def test_every_room_has_its_floor():
    assert {room(name) for name in modules()} == set(FLOOR)


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_go_one_way(name):
    used = imported(modules()[name].read_text("utf-8"), modules())
    others = {room(other) for other in used} - {room(name)}
    wrong = sorted(other for other in others if FLOOR[other] >= FLOOR[room(name)])
    assert wrong == [], f"{name} imports from {', '.join(wrong)}"


def test_no_modules_of_a_room_import_each_other_in_a_circle():
    graph = {
        name: imported(file.read_text("utf-8"), modules())
        for name, file in modules().items()
    }

    def visit(name, path):
        assert name not in path, f"a circle: {' -> '.join([*path, name])}"
        for other in graph.pop(name, ()):
            visit(other, [*path, name])

    for name in modules():
        visit(name, [])


def test_an_import_is_found_wherever_and_however_it_is_written():
    source = """
def late():
    import helpers.views
    from helpers.methods import losses as forgotten
    from helpers.methods.byol import regression
    from helpers.methods import base
    from torch import views
"""
    found = imported(source, modules())
    assert found == {"views", "methods.losses", "methods.byol", "methods.base"}


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebooks_import_modules_that_exist(file):
    cells = nbformat.read(file, as_version=4).cells
    transform = inputtransformer2.TransformerManager().transform_cell
    code = "\n".join(transform(c.source) for c in cells if c.cell_type == "code")
    assert imported(code, modules()) <= set(modules())


def test_the_map_of_the_package_is_true():
    listed = re.findall(r"^``(\w+)``  ", helpers.__doc__, flags=re.MULTILINE)
    folders = {
        path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()
    }
    assert set(listed) == folders
    assert len(listed) == len(folders) == 9
    floors = [FLOOR[name] for name in listed]
    assert floors == sorted(floors)
    assert ORDER in " ".join(helpers.__doc__.split())


@pytest.mark.parametrize("name", sorted(modules()))
def test_files_are_small(name):
    assert len(modules()[name].read_text("utf-8").splitlines()) <= 400


def test_folders_are_small():
    assert len(list(PACKAGE.glob("*.py"))) == 4
    for folder in PACKAGE.rglob("*/"):
        if folder.name != "__pycache__":
            assert len(list(folder.glob("*.py"))) <= 16, folder


def test_no_file_is_called_utils():
    names = {part for name in modules() for part in name.split(".")}
    assert not names & {"util", "utils", "misc", "common", "helpers"}
