"""Writes the source code that notebooks show anew, where it has changed since they ran.

    make sources

What a cell with ``show_source`` printed is the only output that no training stands
behind, so it can be brought up to date alone.
"""

import ast
import pathlib
import re

import nbformat

from helpers.notebook import source

PROJECT = pathlib.Path(__file__).resolve().parents[1]
SHOWN = re.compile(r"(`(\S+\.py)`), lines (\d+) to \d+\n")
DEFINED = re.compile(r"(?:class|def) (\w+)")


def refresh(notebook: nbformat.NotebookNode) -> None:
    """Write the source in the outputs of a notebook anew.

    Raises:
        LookupError: when what was shown is not in its file any more.
    """
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            markdown = output.get("data", {}).get("text/markdown", "")
            if shown := SHOWN.match(markdown):
                name = DEFINED.search(output.data["text/plain"])[1]
                caption, file, near = shown.groups()
                first, code = _find(PROJECT / file, name, int(near))
                output.data.update(source.bundle(code, caption, first))


def _find(file: pathlib.Path, name: str, near: int) -> tuple[int, str]:
    """First line and code of a definition; of several, the nearest to a line."""
    text = file.read_text("utf-8")
    found = []
    for node in ast.walk(ast.parse(text)):
        if getattr(node, "name", None) == name and hasattr(node, "decorator_list"):
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            lines = text.splitlines()[first - 1 : node.end_lineno]
            found.append((first, "\n".join(lines)))
    if not found:
        raise LookupError(f"{file.name} has no {name}: run the notebook again.")
    return min(found, key=lambda one: abs(one[0] - near))


def main() -> None:
    """Bring all notebooks up to date."""
    for file in sorted(PROJECT.glob("*.ipynb")):
        notebook = nbformat.read(file, 4)
        refresh(notebook)
        nbformat.write(notebook, file)


if __name__ == "__main__":
    main()
