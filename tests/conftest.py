"""What all tests share: no answers from outside, every file in a folder of its own."""

import builtins
import os
import pathlib
import signal
import sys

import hypothesis
import pytest
import torch
import torchvision

# The project need not be installed, nor pytest be started by `python -m`.
PROJECT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))
sys.path.insert(0, str(PROJECT / "tests"))
sys.path.insert(0, str(PROJECT / "tests" / "methods"))  # what every method is asked

import small  # noqa: E402

from helpers.data import demo  # noqa: E402
from helpers.models import backbones, weight_files  # noqa: E402

# A suite that nohup, a job scheduler or a shell's "&" has started would ignore what
# tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):  # Windows has none
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Workers side by side, and what they start, wait for each other's threads otherwise.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)

# The same examples in every run; `--hypothesis-profile long` draws others, and more.
SLOW = (hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture)
shared = {"deadline": None, "database": None, "suppress_health_check": SLOW}
hypothesis.settings.register_profile(
    "suite", max_examples=60, derandomize=True, **shared
)
hypothesis.settings.register_profile("long", max_examples=1_000, **shared)
hypothesis.settings.load_profile("suite")


# They take minutes with few tests: begun last, they would keep one worker alone.
LONGEST = ("test_notebooks.py", "test_browser.py", "test_on_colab.py")


def pytest_collection_modifyitems(items):
    """Begin with the longest files."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """Forget answers set outside; keep what is written apart."""
    for name in [name for name in os.environ if name.startswith("STL_")]:
        monkeypatch.delenv(name)
    for name in ("CHECKPOINTS", "RESULTS", "DATA_ROOT"):
        monkeypatch.setenv(f"STL_{name}", str(tmp_path / name.lower()))
    # What is released may change at any time.
    monkeypatch.setattr(weight_files, "RELEASED", tmp_path / "released")


@pytest.fixture(scope="session")
def dataset():
    """Three classes a straight line can tell apart: 24 + 24 + 18 images of 32 px."""
    return small.dataset()


@pytest.fixture
def stl10(tmp_path, monkeypatch):
    """Folder with STL-10's binary files, of fewer images."""
    small.stl10(tmp_path, demo.CLASSES)
    monkeypatch.setattr(
        torchvision.datasets.STL10, "_check_integrity", lambda self: True
    )
    return tmp_path


@pytest.fixture
def small_backbone(monkeypatch):
    """Let ``backbones.build`` build a network of a few thousand weights."""
    monkeypatch.setattr(backbones, "build", small.backbone)
    return small.backbone


@pytest.fixture
def keyboard(monkeypatch):
    """Answer `input()` from a list; beyond its end there is no keyboard."""

    def install(*answers):
        left, prompts = list(answers), []

        def typed(prompt=""):
            prompts.append(prompt)
            if not left:
                raise EOFError
            return left.pop(0)

        monkeypatch.setattr(builtins, "input", typed)
        return prompts

    return install
