"""Source code of this package, shown in a notebook."""

import inspect
import pathlib
import sys
import textwrap
from typing import Any

import IPython.display


def show_source(*objects: Any) -> None:
    """Display the source of classes, functions or modules with file and line numbers.

    It is a fenced Markdown block, which every front end colours in its own theme.

    Raises:
        ValueError: for an object whose source Python does not know.
    """
    for shown in objects:
        shown = inspect.unwrap(shown) if callable(shown) else shown
        try:
            lines, start = inspect.getsourcelines(shown)
            caption = f"`{_relative(pathlib.Path(inspect.getfile(shown)))}`"
        except (TypeError, OSError):
            message = "has no source: pass a class, a function or a module"
            raise ValueError(f"{shown!r} {message}.") from None
        if not inspect.ismodule(shown):
            caption += f", lines {start} to {start + len(lines) - 1}"
        source = textwrap.dedent("".join(lines)).rstrip()
        fence = "~~~~" if "```" in source else "```"
        markdown = f"{caption}\n\n{fence}python\n{source}\n{fence}\n"
        bundle = {"text/plain": source, "text/markdown": markdown}
        IPython.display.display(bundle, raw=True)


def _relative(file: pathlib.Path) -> str:
    """Return a file's path relative to its import folder, so that no home is shown."""
    if not file.is_file():  # typed into a cell: the file exists only in the kernel
        return "this notebook"
    folders = {pathlib.Path(entry).resolve() for entry in ["", *sys.path]}
    parents = file.resolve().parents  # the deepest first
    root = next((parent for parent in parents if parent in folders), parents[0])
    return file.resolve().relative_to(root).as_posix()
