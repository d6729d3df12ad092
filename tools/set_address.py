"""The project's address: one setting, from which badges and setup cells are written.

`python -m helpers.address https://github.com/OWNER/REPOSITORY` writes the setting into
pyproject.toml and brings every notebook up to date; `python -m helpers.address ''`
unsets it, and the notebooks then look for the project in a folder on Google Drive.
"""

import json
import os
import pathlib
import re
import sys
import tomllib

import nbformat
import tyro

PROJECT = pathlib.Path(__file__).resolve().parent.parent
BRANCH = "main"
BADGE_START = "[![Open in Colab]"
SETUP_TAG = "setup"
SHAPE = re.compile(r"https://github\.com/([A-Za-z0-9-]+)/([A-Za-z0-9._-]+?)(\.git)?/?")

SETUP = """\
# @title Setup: fetch the project and what Colab lacks {{ display-mode: "form" }}
import os
import pathlib
import sys

if "google.colab" in sys.modules:
{fetch}
    if not (project / "helpers").is_dir():
        raise RuntimeError(f"{{project}} lacks the project: {advice}, run again.")
    os.chdir(project)
    if str(project) not in sys.path:
        sys.path.insert(0, str(project))
    !pip install --quiet -r requirements-colab.txt\
"""

CLONE = """\
    address = "{address}"
    project = pathlib.Path("/content/{repository}")
    if not (project / "helpers").is_dir():
        !git clone --quiet --depth 1 {{address}} {{project}}\
"""

MOUNT = """\
    from google.colab import drive

    try:
        drive.mount("/content/drive")
    except Exception as error:
        print(f"Google Drive could not be mounted: {error!r}.")
    project = pathlib.Path("/content/drive/MyDrive/self-supervised-stl10")
    print(f"The project is read from your Google Drive: {project}.")
    # Drive writes open files late: what is written often stays on this machine.
    os.environ.setdefault("STL_CHECKPOINTS", "/content/checkpoints")
    os.environ.setdefault("STL_DATA_ROOT", "/content/data")\
"""


def read(project: pathlib.Path = PROJECT) -> str:
    """Return the project's address, or "" while it is not set.

    Raises:
        ValueError: if the setting is not the address of a GitHub repository.
    """
    file = project / "pyproject.toml"
    settings = tomllib.loads(file.read_text("utf-8")) if file.is_file() else {}
    return check(settings.get("tool", {}).get("project", {}).get("address", ""))


def check(address: str) -> str:
    """Return an address in its shortest form; "" stands for none.

    Raises:
        ValueError: if it is not the address of a GitHub repository, the only kind that
            Colab opens. The pattern also keeps shell characters out of the setup cell.
    """
    match = SHAPE.fullmatch(address.strip())
    if match:
        return f"https://github.com/{match[1]}/{match[2]}"
    if address.strip():
        raise ValueError(
            "The address must look like https://github.com/OWNER/REPOSITORY, not "
            f"{address!r} ('' unsets it)."
        )
    return ""


def setup_source(address: str) -> str:
    """Return the source of the setup cell, which is the same in every notebook."""
    if not address:
        return SETUP.format(fetch=MOUNT, advice="copy it there")
    repository = address.rpartition("/")[2]
    fetch = CLONE.format(address=address, repository=repository)
    return SETUP.format(fetch=fetch, advice="see above why")


def badge(address: str, notebook: str) -> str:
    """Return the markdown line that opens a notebook in Colab, "" without address."""
    if not address:
        return ""
    place = address.removeprefix("https://github.com/")
    link = f"https://colab.research.google.com/github/{place}/blob/{BRANCH}/{notebook}"
    return f"{BADGE_START}(images/colab-badge.svg)]({link})"


def updated_notebook(text: str, name: str, address: str) -> str:
    """Return a notebook's text with the badge and the setup cell of an address.

    Args:
        text: the notebook, as JSON.
        name: the notebook's file name, which the badge links to.
        address: the project's address, or "".

    Raises:
        ValueError: if the notebook has no title or no cell tagged "setup".
    """
    content = json.loads(text)
    titles = [cell for cell in content["cells"] if cell["cell_type"] == "markdown"][:1]
    setups = [
        cell
        for cell in content["cells"]
        if cell["cell_type"] == "code" and SETUP_TAG in cell["metadata"].get("tags", [])
    ]
    # A cell's source is stored as one text or as a list of lines.
    head = "".join(titles[0]["source"]) if titles else ""
    if not head.startswith("# ") or len(setups) != 1:
        raise ValueError(
            f"{name} needs '# ' and a title in its first markdown cell and one code "
            f"cell tagged {SETUP_TAG!r}: add them, then write the address again."
        )
    head = _with_badge(head, address, name)
    titles[0]["source"] = head.splitlines(keepends=True)
    setups[0]["source"] = setup_source(address).splitlines(keepends=True)
    # Colab and JupyterLab each have their own way to fold a cell.
    setups[0]["metadata"] |= {"cellView": "form", "jupyter": {"source_hidden": True}}
    nbformat.validate(nbformat.from_dict(content))
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def write(address: str, project: pathlib.Path = PROJECT) -> list[pathlib.Path]:
    """Write an address into pyproject.toml and every notebook of the project.

    Args:
        address: a GitHub repository, or "" for none.
        project: the folder with pyproject.toml and the notebooks.

    Returns:
        The files that changed. Nothing is written unless all of it can be.

    Raises:
        ValueError: if the address or a notebook is not as it must be.
    """
    address = check(address)
    settings = project / "pyproject.toml"
    text = settings.read_text("utf-8") if settings.is_file() else ""
    texts = {settings: _with_setting(text, address)}
    for notebook in sorted(project.glob("*.ipynb")):
        text = notebook.read_text("utf-8")
        texts[notebook] = updated_notebook(text, notebook.name, address)
    changed = []
    for file, text in texts.items():
        if not file.is_file() or file.read_text("utf-8") != text:
            beside = file.with_name(file.name + ".new")
            beside.write_text(text, "utf-8", newline="\n")
            os.replace(beside, file)
            changed.append(file)
    return changed


def main(address: tyro.conf.Positional[str]) -> None:
    """Write the project's address into pyproject.toml and every notebook.

    Args:
        address: https://github.com/OWNER/REPOSITORY, or '' to unset it.
    """
    try:
        changed = write(address)
    except ValueError as error:
        sys.exit(str(error))
    names = ", ".join(file.name for file in changed)
    print(f"Written: {names}." if names else "Everything was up to date.")


def _with_setting(text: str, address: str) -> str:
    """Return pyproject.toml with the address, leaving every other byte as it is."""
    line = f'address = "{address}"'
    table = re.search(r"^\[tool\.project\][^\n]*\n", text, flags=re.MULTILINE)
    if table is None:
        return f"{text}{chr(10) if text else ''}[tool.project]\n{line}\n"
    head, body = text[: table.end()], text[table.end() :]
    end = re.search(r"^\[", body, flags=re.MULTILINE)
    own, rest = (body[: end.start()], body[end.start() :]) if end else (body, "")
    own, count = re.subn(r"^address *= *([\"']).*?\1", line, own, flags=re.MULTILINE)
    return head + (own if count else f"{line}\n{own}") + rest


def _with_badge(source: str, address: str, name: str) -> str:
    """Return the title cell with its badge below the title, or without any."""
    bare = re.sub(r"\n*^" + re.escape(BADGE_START) + ".*$", "", source, flags=re.M)
    title, newline, rest = bare.partition("\n")
    return f"{title}\n\n{badge(address, name)}{newline}{rest}" if address else bare


if __name__ == "__main__":
    tyro.cli(main)
