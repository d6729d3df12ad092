"""Backbones to take home: float16, compressed, in parts small enough to send.

    python -m benchmarks.gpu.parts runs/gpu --results results

joins the parts that a run left in its output folder, checks them, and writes its
records where the table of results finds them; ``tools.release`` then takes a backbone
into the project. Without this file the same is

    cat pirl.safetensors.gz.1of2 pirl.safetensors.gz.2of2 | gunzip > pirl.safetensors
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import math
import pathlib
import re
from typing import Any

import tyro

from helpers import files
from helpers.evaluation import results
from helpers.models import weight_files

LIMIT = 15 * 2**20  # bytes of a part
NAME = re.compile(r"(.+)\.gz\.(\d+)of(\d+)")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is unpacked, and where it goes."""

    output: tyro.conf.Positional[pathlib.Path]
    """Output folder of a run of benchmarks.gpu."""
    weights: pathlib.Path = pathlib.Path("runs/gpu-weights")
    """Folder for the backbones."""
    results: pathlib.Path | None = None
    """Folder for the records; none are written by default."""


def main(asked: Settings) -> None:
    """Join the parts of every backbone; write the records."""
    found = json.loads((asked.output / "results.json").read_text("utf-8"))
    for name in sorted({row["name"] for row in found["tables"].get("weights", [])}):
        path = join(asked.output, f"{name}.safetensors", asked.weights)
        about = weight_files.read_about(path)
        print(f"{path}: {weight_files.describe(about)}")
    if asked.results:
        for record in found["records"]:
            results.save(record, asked.results)
        print(f"{len(found['records'])} records in {asked.results}")


def split(source: pathlib.Path, folder: pathlib.Path, limit: int = LIMIT) -> list[str]:
    """Compress a file and write it in equal parts; parts of an older one go.

    Args:
        source: the file.
        folder: for the parts.
        limit: bytes of a part at most.

    Returns:
        The parts' names, in their order.
    """
    # Half of float16's bits are noise: more than the fastest level gains nothing.
    packed = gzip.compress(source.read_bytes(), compresslevel=1, mtime=0)
    count = math.ceil(len(packed) / limit)
    size = math.ceil(len(packed) / count)
    for old in find(folder, source.name):
        old.unlink()
    names = [f"{source.name}.gz.{n + 1}of{count}" for n in range(count)]
    for number, name in enumerate(names):
        part = packed[number * size : (number + 1) * size]
        files.write(folder / name, lambda path, part=part: path.write_bytes(part))
    return names


def join(folder: pathlib.Path, name: str, target: pathlib.Path) -> pathlib.Path:
    """Put the parts of a file together again.

    Args:
        folder: of the parts.
        name: of the file, such as ``pirl.safetensors``.
        target: folder for the whole file.

    Raises:
        ValueError: when a part is missing or damaged.
    """
    parts = find(folder, name)
    if not parts or len(parts) != int(NAME.fullmatch(parts[0].name)[3]):
        raise ValueError(f"Parts of {name} are missing in {str(folder)!r}: copy all.")
    try:
        whole = gzip.decompress(b"".join(part.read_bytes() for part in parts))
    except (OSError, EOFError) as error:
        raise ValueError(
            f"The parts of {name} are damaged: copy them again."
        ) from error
    files.write(target / name, lambda path: path.write_bytes(whole))
    return target / name


def find(folder: pathlib.Path, name: str) -> list[pathlib.Path]:
    """Parts of a file in a folder, in their order."""
    found = [
        (int(match[2]), path)
        for path in folder.glob(f"{name}.gz.*")
        if (match := NAME.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found)]


def describe(path: pathlib.Path, parts: list[str]) -> dict[str, Any]:
    """What the table of weights says of a file."""
    return {
        "parts": ", ".join(parts),
        "mib": path.stat().st_size / 2**20,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
