"""How the package is built: imports go down only, files are small, names speak."""

import ast
import pathlib
import re

import nbformat
import pytest
from IPython.core import inputtransformer2

import helpers

PACKAGE = pathlib.Path(helpers.__file__).parent
NOTEBOOKS = sorted(PACKAGE.parent.glob("*.ipynb"))
# From top to bottom: a module imports only from rows below its own.
LAYERS = [
    {"__main__", "execute", "address"},
    {"commands"},
    {"flags"},
    {"pretraining", "protocols", "choices"},
    {"sessions"},
    {"settings"},
    {"evaluation", "supervised"},
    {"methods", "classifiers"},
    {"methods.supcon", "methods.vicreg"},
    {
        *("methods.pirl", "methods.byol", "methods.simclr", "methods.simsiam"),
        *("methods.moco", "methods.swav", "methods.barlow_twins", "methods.dino"),
    },
    {"methods.pirl_options"},
    {"methods.base", "results", "plots", "conversion", "export"},
    {"checkpoints", "curves", "training"},
    {"pictures"},
    {"views", "losses", "targets"},
    {"memory"},
    {"geometry", "colors", "photometric", "data", "colab"},
    {"folder", "demo"},
    {"demo_scenes"},
    {"splits", "demo_shapes", "backbones", "optimizers"},
    {"streaming"},
    {"randomness", "view_settings", "hardware", "notebook", "logs", "convolution"},
]
ROW = {name: row for row, names in enumerate(LAYERS) for name in names}


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


def test_every_module_has_its_row():
    assert set(modules()) == set(ROW)
    assert sum(len(names) for names in LAYERS) == len(ROW)


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_go_down_only(name):
    used = imported(modules()[name].read_text("utf-8"), modules())
    assert used <= set(ROW)
    upwards = [other for other in used if ROW[other] <= ROW[name]]
    assert upwards == [], f"{name} is not above {', '.join(upwards)}"


def test_an_import_is_found_wherever_and_however_it_is_written():
    source = """
def late():
    import helpers.views
    from helpers import losses as forgotten
    from helpers.methods.byol import regression
    from helpers.methods import base
    from torch import views
"""
    found = imported(source, modules())
    assert found == {"views", "losses", "methods.byol", "methods.base"}


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebooks_import_modules_that_exist(file):
    cells = nbformat.read(file, as_version=4).cells
    transform = inputtransformer2.TransformerManager().transform_cell
    code = "\n".join(transform(c.source) for c in cells if c.cell_type == "code")
    assert imported(code, modules()) <= set(ROW)


def test_the_map_of_the_package_is_true():
    first_column = re.findall(r"^(``.*?``)  ", helpers.__doc__, flags=re.MULTILINE)
    listed = [name for cell in first_column for name in re.findall(r"``(\S+)``", cell)]
    top = [name for name in ROW if "." not in name]
    assert sorted(listed) == sorted(top)
    rows = [ROW[name] for name in listed]
    assert rows == sorted(rows)


@pytest.mark.parametrize("name", sorted(modules()))
def test_files_are_small(name):
    assert len(modules()[name].read_text("utf-8").splitlines()) <= 250


def test_no_file_is_called_utils():
    names = {part for name in modules() for part in name.split(".")}
    assert not names & {"util", "utils", "misc", "common", "helpers"}
