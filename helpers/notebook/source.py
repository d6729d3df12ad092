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
        first = 0 if inspect.ismodule(shown) else start
        IPython.display.display(bundle("".join(lines), caption, first), raw=True)


def bundle(code: str, caption: str, first: int = 0) -> dict[str, str]:
    """What a notebook displays of some code: the text, and a block of Markdown.

    Args:
        code: whole lines of it.
        caption: names where it is.
        first: number of its first line, for the caption; 0 leaves numbers out.
    """
    source = textwrap.dedent(code).rstrip()
    if first:
        caption += f", lines {first} to {first + source.count(chr(10))}"
    fence = "~~~~" if "```" in source else "```"
    markdown = f"{caption}\n\n{fence}python\n{source}\n{fence}\n"
    return {"text/plain": source, "text/markdown": markdown}


def _relative(file: pathlib.Path) -> str:
    """Return a file's path relative to its import folder, so that no home is shown."""
    if not file.is_file():  # typed into a cell: the file exists only in the kernel
        return "this notebook"
    folders = {pathlib.Path(entry).resolve() for entry in ["", *sys.path]}
    parents = file.resolve().parents  # the deepest first
    root = next((parent for parent in parents if parent in folders), parents[0])
    return file.resolve().relative_to(root).as_posix()
