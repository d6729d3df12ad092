"""The command line: ``python -m helpers COMMAND --help`` explains every flag.

pretrain   learn from images without labels; run it again to go on
evaluate   k-NN, linear probe, MLP head and fine-tuning of a backbone file
baseline   train from random weights on the labels alone
convert    make a backbone file of another project's checkpoint
list       the backbones that are here
results    print the table of results, or write it into the README
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from helpers import commands

COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "pretrain": commands.pretrain,
    "evaluate": commands.evaluate,
    "baseline": commands.baseline,
    "convert": commands.convert,
    "list": commands.list_backbones,
    "results": commands.show_results,
}


def main() -> int:
    """Run one command; wrong input is one sentence and exit status 1."""
    name, arguments = (sys.argv[1] if len(sys.argv) > 1 else "--help"), sys.argv[2:]
    if name not in COMMANDS:
        print(__doc__)
        return 0 if name in ("-h", "--help") else 2
    try:
        COMMANDS[name](arguments)
    except (ValueError, OSError, FloatingPointError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
