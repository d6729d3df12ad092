"""Flags of any value: a command does what they say, or says what they may be.

`pytest tests/cli/test_hostile_flags.py --hypothesis-profile long` tries many more.
"""

import dataclasses
import re
import signal
import sys
import typing

import hostile
import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import methods
from helpers.cli import flags
from helpers.training import settings as training

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it limits memory")
USUAL = {  # values with which every command is done in a moment
    "pretrain": {"epochs": "2", "stop-after": "1", "batch-size": "4", "size": "20"},
    "evaluate": {"epochs": "1", "seeds": "1", "size": "20", "head.epochs": "1"},
    "baseline": {"epochs": "1", "seeds": "1", "size": "20"},
    "export": {},
}


def numbers_of(kind, prefix=""):
    """The flags of a dataclass that take numbers, and how many each of them takes."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        hint, name = hints[field.name], prefix + field.name.replace("_", "-")
        if dataclasses.is_dataclass(hint):
            yield from numbers_of(hint, "head." if name == "head" else "")
        elif count := len(re.findall(r"\b(?:int|float)\b", str(hint))):
            yield name, count


def lines():
    """Every command, or method to pre-train with, and its flags that take numbers."""
    found = {"evaluate": dict(numbers_of(flags.Evaluate))}
    found["baseline"] = dict(numbers_of(flags.Baseline))
    found["export"] = dict(numbers_of(flags.Export))
    for name, method in methods.METHODS.items():
        taken = dict(numbers_of(training.PretrainingSettings))
        taken |= dict(numbers_of(method.Options)) | dict(numbers_of(flags.Images))
        found[f"pretrain {name}"] = taken | dict(numbers_of(flags.RunLocation))
    for taken in found.values():
        taken.update({"labels": 1} if "workers" in taken else {})
    return found


LINES = lines()


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """Two class folders with six pictures each, of 32 px."""
    random, root = np.random.default_rng(0), tmp_path_factory.mktemp("pets")
    for number in range(12):
        file = root / ("cat" if number % 2 else "dog") / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(file)
    return root


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """Where command lines are run."""
    from limited import Commands  # Windows knows no limits

    started = Commands(tmp_path_factory.mktemp("printed"))
    yield started
    started.close()


def command(line, pets, folder, flag, values):
    """The words of a command line with this flag."""
    name = line.split()[0]
    usual = USUAL[name] | {flag: None}
    words = line.split()
    for other, value in usual.items():
        words += [f"--{other}", value] if value else []
    if name == "export":
        words += ["--weights", "random", "--output", str(folder / "x.pth")]
    else:
        words += ["--data", f"folder:{pets}"]
    if name == "evaluate":
        words += ["--weights", "random", "--protocols", "mlp-head", "fine-tuning"]
    return [*words, f"--{flag}", *values]


@settings(max_examples=2 * settings.default.max_examples)
@given(st.data())
def test_numbers_of_any_size(commands, pets, tmp_path, data):
    line = data.draw(st.sampled_from([*LINES]))
    flag, count = data.draw(st.sampled_from([*LINES[line].items()]))
    values = [data.draw(st.sampled_from(hostile.NUMBERS)) for _ in range(count)]
    status, printed, error = commands.run(command(line, pets, tmp_path, flag, values))
    if status == -signal.SIGALRM:  # too long
        return
    if status == 0:
        assert "nan" not in printed
        return
    if "For full helptext" in error:  # tyro's frame around what is wrong with a flag
        assert status == 2
        return
    assert hostile.is_sentence(error.rstrip("\n")), error
    full = error.startswith("The memory is full")
    assert status == (1 if full or "diverged" in error else 2), (status, error)
