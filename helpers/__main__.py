"""The command line: ``python -m helpers COMMAND --help`` explains every flag.

pretrain   learn from images without labels; run it again to go on
evaluate   k-NN, linear probe, MLP head and fine-tuning of a backbone
baseline   train from random weights on the labels alone
convert    make a backbone file of another project's checkpoint
export     write a backbone for use elsewhere: .pth, .safetensors, .pt2
list       the backbones that are here
results    print the table of results, or write it into README and docs
"""

from __future__ import annotations

import sys

import torch

from helpers.cli import commands


def main() -> int:
    """Run one command.

    Returns:
        0; 2 after a sentence about input that cannot be used, 1 after one about
        something that went wrong on the way, 130 when stopped by Ctrl-C.
    """
    arguments = sys.argv[1:] or ["--help"]
    if arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    try:
        command, asked = commands.parse(arguments)
        command(asked)
    except ValueError as error:
        return _stop(str(error), 2)
    except (OSError, FloatingPointError) as error:
        return _stop(str(error), 1)
    except torch.OutOfMemoryError:
        return _stop("The device's memory is full: lower --batch-size or --size.", 1)
    except KeyboardInterrupt:
        return _stop("Stopped; what was saved is kept.", 130)
    return 0


def _stop(sentence: str, status: int) -> int:
    print(sentence, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
