"""What importing the subpackage does in a notebook."""

import subprocess
import sys

WARN = """
import warnings
{shell}
import helpers.notebook
warnings.warn("odd\\nfile \\x1b[2J")
"""
IPYTHON = """
from IPython.core.interactiveshell import InteractiveShell
InteractiveShell.instance(history_length=0)
"""


def said(shell):
    words = [sys.executable, "-c", WARN.format(shell=shell)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return done.stderr


def test_a_notebook_shows_a_warning_as_one_sentence():
    assert said(IPYTHON) == "Note: odd file \\x1b[2J\n"


def test_elsewhere_a_warning_says_where_it_comes_from():
    assert said("").startswith("<string>:5: UserWarning: odd")
