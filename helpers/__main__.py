"""The command line: ``python -m helpers COMMAND --help`` explains every flag.

pretrain   pre-train a backbone without labels: pretrain pirl --epochs 5
evaluate   score a backbone by k-NN, linear probe, MLP head and fine-tuning
baseline   train from random weights on the labels alone
convert    convert a checkpoint of another project
export     write a network for use elsewhere: .pth, .safetensors, .pt2, .onnx, .ts
predict    say the classes of new images, by a classifier from a file
embed      write the features of images, with their paths
search     find the images that are most like a given one
list       list the backbones on this machine
results    print the table of results, or write the tables of README and docs
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import torch
import tqdm

from helpers import files
from helpers.cli import commands


def main() -> int:
    """Run one command.

    Returns:
        Exit status: 0 for success, 2 for input that cannot be used, 1 for an error
        while running, 130 when stopped by Ctrl-C. Every failure prints one sentence.
    """
    arguments = sys.argv[1:] or ["--help"]
    if arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    try:
        command, flags = commands.parse(arguments)
        command(flags)
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


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning as one plain sentence, on a line that no progress bar is on."""
    sentence = " ".join(str(message).split())
    tqdm.tqdm.write(f"Note: {files.printable(sentence)}", file=sys.stderr)


if __name__ == "__main__":
    warnings.showwarning = _warn
    sys.exit(main())
