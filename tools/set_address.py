"""Writes the project's address into pyproject.toml, README and notebooks.

    make address URL=https://github.com/OWNER/REPOSITORY

From it come the badges that open a notebook in Colab, the setup cell, which is the same
in every notebook, and the notebooks' links and pictures: a copy on Google Drive has no
files beside it, so they name the whole address. An empty URL unsets the address: Colab
then reads the project from Google Drive.
"""

import json
import pathlib
import re
import sys
import tomllib

PROJECT = pathlib.Path(__file__).resolve().parents[1]
# Colab opens GitHub's repositories only. No character here means anything to a shell.
ADDRESS = re.compile(r"https://github\.com/([a-z0-9-]+/[a-z0-9._-]+?)(\.git)?/?", re.I)
BADGE = re.compile(r"\n\n\[!\[Open in Colab\].*")
# Where a browser finds pictures, notebooks and other files of a repository.
PLACES = {
    r"images/\S+": "https://raw.githubusercontent.com/REPOSITORY/main/",
    r"\w+\.ipynb": "https://colab.research.google.com/github/REPOSITORY/blob/main/",
    r"docs/\S+": "https://github.com/REPOSITORY/blob/main/",
}

SETUP = """\
# @title Setup: fetch the project and what Colab lacks { display-mode: "form" }
import os
import pathlib
import shutil
import sys
import zipfile

if "google.colab" in sys.modules:
FETCH
    if not (project / "helpers").is_dir():
        raise RuntimeError(ADVICE)
    os.chdir(project)
    if str(project) not in sys.path:
        sys.path.insert(0, str(project))
    !pip install --quiet -r requirements-colab.txt\
"""
CLONE = """\
    project = pathlib.Path("/content/REPOSITORY")
    if not (project / "helpers").is_dir():
        !git clone --quiet --depth 1 ADDRESS {project}\
"""
CLONE_ADVICE = 'f"{project} lacks the project: see above why, run again."'
DRIVE_ADVICE = 'f"Upload {archive} whole, by this name, and run again."'
# Drive writes open files late: what is written often stays on Colab's own disk.
DRIVE = """\
    from google.colab import drive

    try:
        drive.mount("/content/drive")
    except Exception as error:
        raise OSError(f"Drive could not be mounted ({error!r}): allow it.") from None
    project = pathlib.Path("/content/drive/MyDrive/self-supervised-stl10")
    print(f"The project is read from your Google Drive: {project}.")
    archive, begun = project.with_suffix(".zip"), project / ".unpacking"
    is_new = begun.exists() or not (project / "helpers").is_dir()
    if is_new and zipfile.is_zipfile(archive):  # not while it is being uploaded
        begun.mkdir(parents=True, exist_ok=True)
        shutil.unpack_archive(archive, project.parent)
        begun.rmdir()
    os.environ.setdefault("STL_CHECKPOINTS", "/content/checkpoints")
    os.environ.setdefault("STL_DATA_ROOT", "/content/data")\
"""


def read(project: pathlib.Path = PROJECT) -> str:
    """Return the project's address, or "" while it has none."""
    settings = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))
    return settings["tool"]["project"]["address"]


def setup_source(address: str) -> str:
    """Return the source of the setup cell, the same for all notebooks."""
    fetch, advice = (CLONE, CLONE_ADVICE) if address else (DRIVE, DRIVE_ADVICE)
    source = SETUP.replace("FETCH", fetch).replace("ADVICE", advice)
    name = address.rpartition("/")[2]
    return source.replace("ADDRESS", address).replace("REPOSITORY", name)


def badge(address: str, notebook: str) -> str:
    """Return the Markdown of a badge that opens a notebook in Colab."""
    text = f"[![Open in Colab](images/colab-badge.svg)]({notebook})"
    return with_links(text, address)


def with_links(text: str, address: str) -> str:
    """Return Markdown whose links to files of the project are absolute, or relative.

    They are relative where there is no address; links elsewhere stay as they are.
    """
    repository = address.removeprefix("https://github.com/")
    for file, place in PLACES.items():
        known = re.escape(place).replace("REPOSITORY", r"[^/\s]+/[^/\s]+")
        start = place.replace("REPOSITORY", repository) if address else ""
        text = re.sub(rf"\]\((?:{known})?({file}?)\)", rf"]({start}\1)", text)
    return text


def with_setup(text: str, address: str, notebook: str) -> str:
    """Return a notebook's text with a badge below its title and the setup cell."""
    content = json.loads(text)
    title, *cells = content["cells"]
    setup = [cell for cell in cells if "setup" in cell["metadata"].get("tags", [])]
    lines = BADGE.sub("", "".join(title["source"])).splitlines(keepends=True)
    if not lines or not lines[0].startswith("# ") or len(setup) != 1:
        raise ValueError(f"{notebook} needs a '# ' title and one cell tagged 'setup'.")
    if address:
        lines[:1] = [lines[0].rstrip() + "\n", "\n", badge(address, notebook) + "\n"]
    title["source"] = lines
    for cell in content["cells"]:
        if cell["cell_type"] == "markdown":
            text = with_links("".join(cell["source"]), address)
            cell["source"] = text.splitlines(keepends=True)
    setup[0]["source"] = setup_source(address).splitlines(keepends=True)
    # Colab and JupyterLab each have their own way to fold a cell.
    setup[0]["metadata"] |= {"cellView": "form", "jupyter": {"source_hidden": True}}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def write(address: str, project: pathlib.Path = PROJECT) -> list[pathlib.Path]:
    """Write an address, or "" for none, everywhere and return the changed files.

    Raises:
        ValueError: if the address or a notebook is unusable; nothing is written then.
    """
    found = ADDRESS.fullmatch(address)
    if address and not found:
        form = "https://github.com/OWNER/REPOSITORY"
        raise ValueError(f"The address must look like {form}, not {address!r}.")
    address = f"https://github.com/{found[1]}" if found else ""
    settings, readme = project / "pyproject.toml", project / "README.md"
    text = readme.read_text("utf-8")
    # One badge per notebook, in the order in which the README links to them.
    names = dict.fromkeys(re.findall(r"\]\((\w+\.ipynb)\)", text)) if address else ()
    badges = "".join(f"- {badge(address, name)} {name}\n" for name in names)
    marks = r"(?s)(?<=<!-- badges -->\n).*?(?=<!-- /badges -->)"
    texts = {readme: re.sub(marks, badges, text)}
    head, table, rest = settings.read_text("utf-8").partition("[tool.project]\n")
    rest = re.sub(r'(?m)^address = ".*?"', f'address = "{address}"', rest, count=1)
    texts[settings] = head + table + rest
    for file in sorted(project.glob("*.ipynb")):
        texts[file] = with_setup(file.read_text("utf-8"), address, file.name)
    changed = [file for file in texts if file.read_text("utf-8") != texts[file]]
    for file in changed:
        file.write_text(texts[file], "utf-8", newline="\n")
    return changed


if __name__ == "__main__":
    try:
        names = [file.name for file in write(*sys.argv[1:])]
    except ValueError as problem:
        sys.exit(str(problem))
    print(f"Written: {', '.join(names)}." if names else "Everything was up to date.")
