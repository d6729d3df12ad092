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

import tqdm

from helpers import files
from helpers.training import signals


def main() -> int:
    """Run one command.

    Returns:
        Exit status: 0 for success, 2 for input that cannot be used, 1 for an error
        while running, 130 when stopped by Ctrl-C, 143 when terminated. Every failure
        prints one sentence.
    """
    arguments = sys.argv[1:] or ["--help"]
    if arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    try:
        with signals.handled(signals.stop_at_once):
            # Only here: it takes seconds, in which Ctrl-C is a sentence as well.
            from helpers.cli import commands

            command, flags = commands.parse(arguments)
            command(flags)
    except ValueError as error:
        return _stop(str(error), 2)
    except (OSError, FloatingPointError) as error:
        return _stop(str(error), 1)
    except (MemoryError, RuntimeError) as error:
        sentence = _about_memory(error)
        if not sentence:
            raise
        return _stop(sentence, 1)
    except KeyboardInterrupt as error:
        said = str(error) or "Stopped; what was saved is kept."
        return _stop(said, getattr(error, "status", 130))
    return 0


def _about_memory(error: MemoryError | RuntimeError) -> str | None:
    """A sentence if memory is full, None if the error is another one."""
    if type(error).__name__ == "OutOfMemoryError":  # torch's, for a GPU
        return "The device's memory is full: lower --batch-size or --size."
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return (
            "The memory is full: lower --batch-size, --size or --folder-image-size, or "
            "let images stay on the disk with --storage stream."
        )
    return None


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
