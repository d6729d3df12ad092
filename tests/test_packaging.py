"""pyproject.toml is the only list of dependencies; what else names them agrees."""

import ast
import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = pathlib.Path(__file__).resolve().parents[1]
ABOUT = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = ABOUT["optional-dependencies"]
EVERYTHING = [
    *ABOUT["dependencies"],
    *(one for extra in EXTRAS.values() for one in extra),
]
# Loaded by a notebook's kernel before the setup cell runs: replacing one breaks it.
ON_COLAB = {
    *("torch", "torchvision", "numpy", "pandas", "pillow", "jinja2", "scikit-learn"),
    *("safetensors", "tensorboard", "matplotlib", "tqdm", "filelock", "ipython"),
    "psutil",
}


def lines(name):
    """The requirements in a file, without comments."""
    text = (PROJECT / name).read_text("utf-8")
    kept = [line.partition("#")[0].strip() for line in text.splitlines()]
    return [line for line in kept if line]


def named(requirements):
    """Requirements by name."""
    parsed = map(Requirement, requirements)
    return {canonicalize_name(one.name): one for one in parsed}


def test_colab_gets_what_it_lacks():
    needed = named(ABOUT["dependencies"])
    assert set(needed) >= ON_COLAB
    lacks = {name: one for name, one in needed.items() if name not in ON_COLAB}
    assert named(lines("requirements-colab.txt")) == lacks


def test_the_oldest_set_is_at_the_lower_bounds():
    needed = named(EVERYTHING)
    oldest = named(lines("constraints.txt"))
    # Of what the tests do not run on, any version will do.
    free = {"ruff", "setuptools", "packaging", "self-supervised-stl10"}
    assert set(needed) - free <= set(oldest)
    for name in set(needed) - free:
        one = needed[name]
        (lowest,) = (part for part in one.specifier if part.operator == ">=")
        (pinned,) = oldest[name].specifier
        assert pinned.operator == "=="
        assert pinned.version in one.specifier
        # As far as the bound goes: 2.11.0 is the oldest that >=2.11 allows.
        assert f"{pinned.version}.".startswith(f"{lowest.version}."), name


def test_no_limit_but_the_oldest_set_is_exact():
    parts = [part for one in EVERYTHING for part in Requirement(one).specifier]
    assert {part.operator for part in parts} == {">=", "<"}


def test_jupyterlab_opens_for_an_administrator_too(tmp_path):
    """In a container everybody is one, and JupyterLab asks to be told so."""
    if not shutil.which("make"):
        pytest.skip("there is no make")
    for user, told in (("0", True), ("1000", False)):
        file = tmp_path / user / "id"
        file.parent.mkdir()
        file.write_text(f"#!/bin/sh\necho {user}\n")
        file.chmod(0o755)
        path = f"{file.parent}{os.pathsep}{os.environ['PATH']}"
        shown = subprocess.run(
            ["make", "--dry-run", "lab"],
            cwd=PROJECT,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "jupyter lab" in shown.stdout
        assert ("--allow-root" in shown.stdout) is told


def imported(tree):
    """The packages a file imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name.partition(".")[0] for one in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


def test_every_import_is_a_dependency():
    files = PROJECT.glob("helpers/**/*.py")
    trees = [ast.parse(file.read_text("utf-8")) for file in files]
    names = {name for tree in trees for name in imported(tree)}
    assert names >= {"torch", "lightly", "sklearn"}
    makers = importlib.metadata.packages_distributions()
    needed = set(named([*ABOUT["dependencies"], *EXTRAS["notebooks"]]))
    # google is Colab's own; pillow_heif is used where somebody has installed it.
    ours = {*sys.stdlib_module_names, "helpers", "google", "pillow_heif"}
    for name in names - ours:
        assert needed & set(map(canonicalize_name, makers[name])), name


def test_the_installed_package_works_from_anywhere(tmp_path):
    source, installed = tmp_path / "source", tmp_path / "installed"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, source)
    skip = shutil.ignore_patterns("__pycache__")
    for name in ("helpers", "tests", "benchmarks"):
        shutil.copytree(PROJECT / name, source / name, ignore=skip)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    # Without a network: with the setuptools that is here.
    pip += ["--no-build-isolation", "--no-index", "--target", str(installed)]
    subprocess.run([*pip, str(source)], check=True)
    folders = {one.name for one in installed.iterdir()}
    assert {name for name in folders if not name.endswith(".dist-info")} == {"helpers"}
    files = {file.relative_to(source) for file in source.glob("helpers/**/*.py")}
    assert files == {
        file.relative_to(installed) for file in installed.glob("helpers/**/*.py")
    }
    # As where the notebooks' own packages are not installed: importing one fails.
    lacks = dict.fromkeys(named(EXTRAS["notebooks"]))
    run = f"""if True:
        import runpy, sys
        sys.modules.update({lacks})
        runpy.run_module("helpers", run_name="__main__")
    """
    listed = subprocess.run(
        [sys.executable, "-c", run, "list"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert listed.returncode == 0, listed.stderr
    assert "No backbones" in listed.stdout
