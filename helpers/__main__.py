"""The command line: ``python -m helpers COMMAND --help`` explains every flag.

pretrain   pre-train a backbone without labels: pretrain pirl --epochs 5
evaluate   score a backbone by k-NN, linear probe, MLP head and fine-tuning
baseline   train from random weights on the labels alone
convert    convert a checkpoint of another project
export     write a network for use elsewhere: .pth, .safetensors, .pt2, .onnx, .ts
predict    predict the classes of new images with a saved classifier
embed      write the features of images, with their paths
search     find the images most similar to a given one
list       list the backbones and classifiers on this machine
results    print the table of results, or write the tables of README and docs
"""

from __future__ import annotations

import io
import os
import re
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
        while running, 130 when stopped by Ctrl-C, 143 when terminated, 129 when the
        terminal was closed. Every failure prints one sentence.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file may lack letters of a name
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = sys.argv[1:] or ["--help"]
    if arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    try:
        with signals.handled(signals.stop_at_once):
            # Only here: it takes seconds, in which Ctrl-C is a sentence as well.
            from helpers.cli import command_line

            command, flags = command_line.parse(arguments)
            command(flags)
    except ValueError as error:
        return _stop(str(error), 2)
    except FloatingPointError as error:
        return _stop(str(error), 1)
    except BrokenPipeError:  # whoever reads what is printed, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        return _stop(_about_files(error), 1)
    except (MemoryError, RuntimeError) as error:
        sentences = (_about_memory, _about_processes, _about_compiling)
        sentence = next(filter(None, (about(error) for about in sentences)), None)
        if not sentence:
            raise
        return _stop(sentence, 1)
    except KeyboardInterrupt as error:
        said = str(error) or "Stopped; what was saved is kept."
        return _stop(said, getattr(error, "status", 130))
    return 0


def _about_memory(error: MemoryError | RuntimeError) -> str | None:
    """A sentence if memory is full, None if the error is another one."""
    # torch's, of its own type for a GPU; other parts of it and Apple's say it in words.
    words = re.search("out of memory|ALLOC_FAILED", str(error))
    if type(error).__name__ == "OutOfMemoryError" or words:
        return "The device's memory is full: lower --batch-size or --size."
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return (
            "The memory is full: lower --batch-size, --size or --folder-image-size, or "
            "let images stay on the disk with --storage stream."
        )
    return None


def _about_compiling(error: MemoryError | RuntimeError) -> str | None:
    """A sentence if torch's compiler fails, None otherwise."""
    modules = [kind.__module__ for kind in type(error).__mro__]
    if not any(
        name.startswith(("torch._dynamo", "torch._inductor")) for name in modules
    ):
        return None
    cause = getattr(error, "inner_exception", error)
    lines = str(cause).splitlines() or [""]
    reason = f"{type(cause).__name__}: {lines[0]}"
    return f"The network cannot be compiled here ({reason}): give --compile off."


def _about_processes(error: MemoryError | RuntimeError) -> str | None:
    """A sentence if another process of the run has gone, None otherwise."""
    if "DataLoader worker" in str(error):
        return (
            "A process that decodes images has ended, probably for lack of memory or "
            "of room in /dev/shm: lower --workers or --batch-size, and run again to go "
            "on; what was saved is kept."
        )
    kinds = {kind.__name__ for kind in type(error).__mro__}
    said = re.search("gloo|NCCL|Connection (closed|reset) by peer", str(error))
    if os.environ.get("WORLD_SIZE", "1") == "1" or not (said or "DistError" in kinds):
        return None
    return (
        "Another process of this run has ended or cannot be reached. What was saved is "
        "kept: see what that process has said, and start all of them again."
    )


def _about_files(error: OSError) -> str:
    """The error's own sentence, or one made of what the system says."""
    if error.strerror is None:
        return str(error)
    where = f" {str(error.filename)!r}" if error.filename else ""
    return (
        f"The system refuses{where}: {error.strerror}. Check the path, its rights and "
        "the free space, and run again; what was saved is kept."
    )


def _stop(sentence: str, status: int) -> int:
    print(files.single_line(sentence), file=sys.stderr)
    return status


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning as one plain sentence, on a line that no progress bar is on.

    Of several processes on a machine, one says what all of them notice.
    """
    if os.environ.get("LOCAL_RANK", "0") == "0":
        tqdm.tqdm.write(f"Note: {files.single_line(str(message))}", file=sys.stderr)


if __name__ == "__main__":
    warnings.showwarning = _warn
    sys.exit(main())
