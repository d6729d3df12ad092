"""What a notebook needs around its lesson: questions, sources, Colab.

In a notebook, importing it lets every warning be one sentence, as it is on the command
line; Python would add the line of our code that it comes from.
"""

import sys
import warnings

from helpers import files

IPYTHON = sys.modules.get("IPython")  # a notebook has imported it already
if IPYTHON and IPYTHON.get_ipython():
    warnings.formatwarning = lambda message, *_, **__: (
        f"Note: {files.single_line(str(message))}\n"
    )
