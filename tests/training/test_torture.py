"""The torture of trainings, in its short form."""

import pathlib
import subprocess
import sys

PROJECT = pathlib.Path(__file__).resolve().parents[2]


def test_a_few_kills_change_nothing():
    command = [sys.executable, "-m", "tests.torture", "--kills", "4"]
    done = subprocess.run(
        [*command, "--methods", "byol", "--seed", "1"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| all | 4 | 4 | 0 |" in done.stdout
