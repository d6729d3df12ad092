"""The faults that tests must see, in short form: see ``python -m tests.mutants``."""

import collections
import importlib
import pathlib
import subprocess
import sys

from helpers import methods

PROJECT = pathlib.Path(__file__).resolve().parents[1]
# The faults of one file, and one that changes a word of its text only.
FEW = """
import sys
from tests.mutants import __main__ as mutants
few = mutants.faults(["methods/ema.py"])
word = mutants.Fault("methods/ema.py", "methods/test_ema.py", "Slow copies", "Copies")
mutants.faults = lambda only: [*few, word]
sys.exit(mutants.main())
"""


def test_every_fault_can_still_be_planted():
    mutants = importlib.import_module("tests.mutants.__main__")
    every = mutants.faults([])
    assert [(str(one), why) for one in every if (why := mutants.complaint(one))] == []
    assert len(every) >= 150
    assert len(set(every)) == len(every)
    assert all(one.find != one.replace for one in every)
    by_file = collections.Counter(fault.file for fault in every)
    assert {f"methods/{name}.py" for name in methods.METHODS} <= set(by_file)
    moved = every[0]._replace(find="a text that is nowhere")
    assert mutants.complaint(moved) == "its text is there 0 times"
    file = every[0].test.split("::")[0]
    for test in ("x.py", f"{file}::test_that_nobody_wrote"):
        assert (
            mutants.complaint(every[0]._replace(test=test)) == "its test is not there"
        )


def test_a_few_faults_are_seen_and_a_word_is_not():
    done = subprocess.run(
        [sys.executable, "-c", FEW], cwd=PROJECT, capture_output=True, text=True
    )
    assert "| all | 7 | 6 | 1 |" in done.stdout, done.stdout + done.stderr
    assert "it survives: methods/ema.py: Slow copies → Copies" in done.stdout
    assert done.returncode == 1
