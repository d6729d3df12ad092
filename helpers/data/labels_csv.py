"""Labels in a table beside the images: ``labels.csv`` with the columns file and class.

``file`` is a path below the table's folder, or a name that only one image there has,
with or without its ending; a row without a class is an image without a label. Other
usual names of these columns are known too. A third column, ``split`` or any other that
holds nothing else, may say train, test, val or unlabeled; without one, folders of such
names say it. Columns are separated by commas, semicolons or tabs. Images in
``unlabeled/`` need no row.
"""

from __future__ import annotations

import codecs
import collections
import csv
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

from helpers.data import layout, split_names

USUAL_NAME = "labels.csv"
NO_IDENTITY = (0, 0)  # of a file on a drive that does not number its files
COLUMNS = {
    "file": ("file", "filename", "file_name", "path", "image", "image_id", "id"),
    "class": ("class", "label", "category", "target", "class_name"),
}


class NothingNamedError(Exception):
    """Says that a table names no image to learn from: it may be about another thing."""


def is_table(path: pathlib.Path) -> bool:
    """Whether a path is that of a table, by its ending."""
    return path.suffix.lower() == ".csv"


def beside(root: pathlib.Path, left_out: layout.LeftOut) -> pathlib.Path | None:
    """The table ``labels.csv`` of a folder, or of the only folder in it, if any."""
    for folder in dict.fromkeys((root, layout.innermost(root))):
        for path in sorted(folder.iterdir()):
            if path.name.lower() == USUAL_NAME and path.is_file():
                columns = _columns(_read(path)[0][1])
                if COLUMNS.keys() <= set(columns):
                    return path
                # It may be about something else.
                reason = "not used, because it lacks the columns file and class"
                left_out.add(reason, path.name)
        for path in sorted(folder.glob("*/*.csv")):
            name = path.parent.name
            is_split = name.casefold() in split_names.SPLITS
            if is_split and path.name.lower() == USUAL_NAME:
                reason = f"not read: one table beside {name}/ has to name all images"
                left_out.add(reason, f"{name}/{path.name}")
    return None


def find(table: pathlib.Path, left_out: layout.LeftOut) -> layout.Layout:
    """Find the images of a table.

    Args:
        table: the CSV file, in UTF-8 or with a mark that it is UTF-16.
        left_out: takes what is not used.

    Raises:
        NothingNamedError: when it names no image to learn from.
        ValueError: when it is no such table, or has test images of classes without
            images to learn from.
    """
    root, name = table.parent, table.name
    there = {
        layout.relative_name(file, root): file
        for file in layout.image_files(root, left_out, but=table)
    }
    rows = [(line, row, _below(row["file"], root)) for line, row in _rows(table)]
    wanted = {file for *_, file in rows if file is not None} - there.keys()
    short, several = _short_names(there, table.stem, wanted)
    by_identity = {_identity(path): file for file, path in there.items()}
    by_identity.pop(NO_IDENTITY, None)
    said = collections.defaultdict(list)
    for line, row, file in rows:
        file = file if file in there else short.get(file, file)
        if not row["file"]:
            left_out.add(f"row(s) of {name} without a file", f"line {line}")
        elif file is None:
            left_out.add(f"outside the folder of {name}", row["file"])
        elif file in several and file not in there:
            left_out.add(f"named in {name} by what several images are called", file)
        elif not (file in there or os.path.exists(root / file)):
            left_out.add(f"named in {name}, but not there", file)
        elif os.path.isdir(root / file):
            left_out.add(f"row(s) of {name} that name a folder", file)
        else:  # it may be named by a link, or in capitals that the system takes as well
            known = file if file in there else by_identity.get(_identity(root / file))
            if known:  # others were counted with their reason
                said[known].append((row["class"], _split(row, line, table)))
    folders = _splits_of_folders(said)
    parts = collections.defaultdict(lambda: collections.defaultdict(list))
    for file, path in sorted(there.items(), key=lambda item: item[0].split("/")):
        words = said.get(file, [])
        if len(set(words)) > 1:
            left_out.add(f"with two rows in {name} that differ", file)
            continue
        if len(words) > 1:
            left_out.add(f"more row(s) in {name} that say the same", file)
        kind, split = words[0] if words else ("", "")
        in_folder = split_names.SPLITS.get(file.partition("/")[0].casefold())
        split = split or folders.get(file, "train")
        if not words and in_folder != "unlabeled":
            left_out.add(f"not named in {name}", file)
        elif split in ("test", "val") and not kind:
            left_out.add(f"test images without a class in {name}", file)
        elif not kind or split == "unlabeled":
            parts["unlabeled"][""].append(path)
        else:
            parts[split][kind].append(path)
    if parts["test"]:
        for files in parts.pop("val", {}).values():
            for file in files:
                left_out.add("in split val, because there is a split test", file.name)
    train, test = parts["train"], parts["test"] or parts["val"]
    unlabeled = parts["unlabeled"][""]
    if not train and not unlabeled:
        raise NothingNamedError(
            f"{str(table)!r} names no image to learn from. {left_out.sentence()}"
        )
    unknown = test.keys() - train.keys()
    if unknown:
        raise ValueError(
            f"{str(table)!r} has test images of {layout.some_names(unknown)}, but none "
            "to learn from: name some in split train, or remove those rows."
        )
    return layout.divide(root, train, unlabeled, test, labels_from=name)


def _read(table: pathlib.Path) -> list[tuple[int, list[str]]]:
    """Number and text of the table's rows, the names of the columns first."""
    try:
        with open(table, "rb") as file:
            is_wide = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        encoding = "utf-16" if is_wide else "utf-8-sig"
        with open(table, encoding=encoding, newline="") as file:
            head = next((line for line in file if line.strip()), "")
            separator = max(",;\t", key=head.count)
            file.seek(0)
            numbered = enumerate(csv.reader(file, delimiter=separator), start=1)
            rows = [(line, row) for line, row in numbered if any(map(str.strip, row))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"{str(table)!r} cannot be read as a table ({error}): save it as CSV in "
            "UTF-8."
        ) from error
    if rows and rows[0][1][0].startswith("sep="):  # for Excel
        rows = rows[1:]
    return rows or [(1, [])]


def _columns(head: Sequence[str]) -> list[str]:
    """The table's own names of its columns, or ours where they mean the same."""
    columns = _names(head)
    for name, others in COLUMNS.items():
        used = next((other for other in others if other in columns), None)
        columns = [name if column == used else column for column in columns]
    return columns


def _names(head: Sequence[str]) -> list[str]:
    return [column.strip().lower() for column in head]


def _rows(table: pathlib.Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows by column, with their number; what is missing is empty."""
    (_, head), *rows = _read(table)
    columns = _columns(head)
    if "split" not in columns:
        columns = _with_splits(columns, [row for _, row in rows])
    if not COLUMNS.keys() <= set(columns):
        raise ValueError(
            f"{str(table)!r} needs the columns file and class (and split, if you "
            f"like) in its first line; it has {layout.some_names(_names(head))}."
        )
    for line, row in rows:
        named = dict.fromkeys((*COLUMNS, "split"), "")
        values = (layout.normal(value.strip()) for value in row)
        named |= dict(zip(columns, values, strict=False))
        if any(named.values()):
            yield line, named


def _with_splits(columns: list[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Call the column *split* that holds nothing but words for splits, if any does."""
    for number, column in enumerate(columns):
        values = {row[number].strip().casefold() for row in rows if len(row) > number}
        known = split_names.SPLITS.keys()
        if column not in COLUMNS and values & known and values <= {"", *known}:
            return [*columns[:number], "split", *columns[number + 1 :]]
    return columns


def _splits_of_folders(names: Iterable[str]) -> dict[str, str]:
    """Splits by the folders that images lie in, where these are both train and test."""
    found = {}
    for name in names:
        folders = name.casefold().split("/")[:-1]
        known = [one for one in folders if one in split_names.SPLITS]
        if known:
            found[name] = split_names.SPLITS[known[0]]
    return found if split_names.has_both(found) else {}


def _short_names(
    there: Mapping[str, pathlib.Path], folder: str, wanted: Set[str]
) -> tuple[dict[str, str], set[str]]:
    """Whole names by those parts of them that are wanted, if unique.

    A part is a name without its first folders, without its ending, or without both. Of
    several with the same part, one in this ``folder`` is meant; the second value has
    the parts that stay open.
    """
    whole = collections.defaultdict(set)
    for name in there:
        parts = name.split("/")
        for start in range(len(parts)):
            short = "/".join(parts[start:])
            for part in {short, short.rpartition(".")[0]} & wanted:
                whole[part].add(name)
    for short, names in whole.items():
        if len(names) > 1:
            inside = {one for one in names if one.startswith(f"{folder}/")}
            whole[short] = inside or names
    unique = {short: min(names) for short, names in whole.items() if len(names) == 1}
    return unique, whole.keys() - unique.keys()


def _identity(path: pathlib.Path) -> tuple[int, int]:
    """What tells a file from every other one, by whatever name it is opened."""
    status = os.stat(path)
    return (status.st_dev, status.st_ino) if status.st_ino else NO_IDENTITY


def _below(file: str, root: pathlib.Path) -> str | None:
    """A file's name below a folder; None when it is not in it."""
    if not os.path.exists(root / file):  # written on Windows?
        file = file.replace("\\", "/")
    path = os.path.normpath(os.path.join(os.path.abspath(root), file))
    name = layout.normal(os.path.relpath(path, os.path.abspath(root)))
    is_below = name != "." and name.split(os.sep)[0] != ".."
    return name.replace(os.sep, "/") if is_below else None


def _split(row: dict[str, str], line: int, table: pathlib.Path) -> str:
    """The split of a row, under its usual name; empty where none is named."""
    split = split_names.SPLITS.get(row["split"].casefold(), "")
    if row["split"] and not split:
        raise ValueError(
            f"Line {line} of {str(table)!r} has split {row['split']!r}: write train, "
            "test, val or unlabeled, or nothing."
        )
    return split
