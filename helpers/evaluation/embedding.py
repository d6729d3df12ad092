"""Features of images in files: written with their paths, and searched.

Images that cannot be read are left out and named; the others keep their order.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import importlib.util
import os
import pathlib
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas
import torch
import tqdm
from torch import Tensor, nn
from torch.nn import functional

from helpers import files, views
from helpers.data import decoding, layout
from helpers.figures import pictures
from helpers.models import encoding

CHUNK = 256  # images that are in memory at a time
FORMATS = (".npz", ".parquet")
NEIGHBORS = 9  # found for an image, which makes a row of ten with it


@dataclasses.dataclass(frozen=True)
class Embedding:
    """Features of the images in some files.

    Attributes:
        paths: of the images that could be read.
        features: float32 (N, D), one row per path.
        unread: why the others could not, by their paths.
    """

    paths: tuple[pathlib.Path, ...]
    features: Tensor
    unread: Mapping[pathlib.Path, str]


def find(places: Sequence[str | os.PathLike[str]]) -> list[pathlib.Path]:
    """Find the images of files and folders, each once.

    Args:
        places: files, which are taken whatever their names end in, and folders, whose
            images are found at any depth and sorted; a warning says what else is in
            them.

    Raises:
        ValueError: when the folders hold no image and no file is given.
    """
    found, left_out = [], layout.LeftOut()
    for place in places:
        # Elsewhere the same folder is called folder:PATH.
        place = files.expand_home(str(place).removeprefix("folder:"))
        found += layout.image_files(place, left_out) if place.is_dir() else [place]
    also = left_out.sentence()
    if not found:
        names = ", ".join(repr(str(place)) for place in places) or "nothing"
        raise ValueError(f"No images were found in {names}: check the path. {also}")
    if also:
        warnings.warn(also, stacklevel=2)
    return list(dict.fromkeys(found))


def embed(
    backbone: nn.Module,
    paths: Sequence[pathlib.Path],
    *,
    image_size: int,
    stored_size: int | None = None,
    fit: str = "crop",
) -> Embedding:
    """Compute the features of the images in files, part by part.

    Args:
        backbone: maps (B, 3, S, S) to (B, D); left in the mode it came in.
        paths: of the images.
        image_size: side S in pixels of what the backbone sees.
        stored_size: side to which an image is resized first, as a data set would have
            stored it; S if None.
        fit: how an image becomes a square, one of ``decoding.FITS``.

    Raises:
        ValueError: when none of the images can be read.
    """
    read, unread, features = [], {}, []
    for part, images, broken in _parts(paths, stored_size or image_size, fit):
        unread |= broken
        if part:
            read += part
            features.append(encoding.encode(backbone, images, image_size=image_size))
    if not read:
        first = complaint(*next(iter(unread.items())))
        raise ValueError(f"None of the images can be used. {first}")
    return Embedding(tuple(read), torch.cat(features), unread)


def complaint(path: pathlib.Path, reason: str) -> str:
    """Say in a sentence that an image was left out, and why."""
    if not path.exists():
        return files.not_there("file or folder", path)
    return files.printable(f"{str(path)!r} cannot be read: {reason}.")


def check(path: pathlib.Path) -> None:
    """Raise a ValueError for a file in which features cannot be written."""
    if path.suffix not in FORMATS:
        raise ValueError(
            f"{path.name} has no known ending: choose one of {', '.join(FORMATS)}."
        )
    engines = map(importlib.util.find_spec, ("pyarrow", "fastparquet"))
    if path.suffix == ".parquet" and not any(engines):
        raise ValueError(
            f"{path.name} needs the package pyarrow: pip install pyarrow, or choose a "
            "file that ends in .npz."
        )


def save(
    path: pathlib.Path, embedding: Embedding, *, image_size: int, weights: str
) -> None:
    """Write features with the paths of their images, and how they were computed.

    An ``.npz`` holds the arrays ``features`` float32 (N, D), ``paths`` (N,), ``side``,
    ``mean``, ``std`` and ``weights``; a ``.parquet`` a column ``path`` and columns
    ``0`` to ``D - 1``, the rest in the table's attributes.

    Args:
        path: of the file; see ``FORMATS``.
        embedding: what to write.
        image_size: side in pixels of what the backbone saw.
        weights: the backbone's name and digest.
    """
    check(path)
    paths = [str(file) for file in embedding.paths]
    made = {"side": image_size, "mean": views.MEAN, "std": views.STD}
    made["weights"] = weights
    features = embedding.features.numpy()
    if path.suffix == ".npz":
        arrays = {"features": features, "paths": np.array(paths), **made}
        files.write(path, lambda p: np.savez(p, **arrays))
    else:
        table = pandas.DataFrame(features, columns=map(str, range(features.shape[1])))
        table.insert(0, "path", [files.printable(name) for name in paths])
        table.attrs = made
        files.write(path, lambda p: table.to_parquet(p, index=False))


def nearest(
    features: Tensor, query: Tensor, count: int = NEIGHBORS
) -> tuple[Tensor, Tensor]:
    """Find the images whose features are most like those of a given image.

    Args:
        features: float32 (N, D).
        query: float32 (D,).
        count: images to find; all of them where there are fewer.

    Returns:
        Their cosine similarities float32 (count,), largest first, and their indexes.
    """
    similarity = functional.normalize(features, dim=1) @ functional.normalize(
        query, dim=0
    )
    found = similarity.sort(descending=True, stable=True)
    return found.values[:count], found.indices[:count]


def neighbors_figure(
    query: Tensor, neighbors: Tensor, cosines: Tensor
) -> pictures.Figure:
    """Draw an image, uint8 (3, H, W), and then those most like it (k, 3, H, W)."""
    titles = ["image", *(f"{cosine:.3f}" for cosine in cosines.tolist())]
    return pictures.image_grid(torch.cat([query[None], neighbors]), titles)


def read(paths: Sequence[pathlib.Path], size: int, fit: str = "crop") -> Tensor:
    """Read images as uint8 (N, 3, size, size), leaving out those that cannot be."""
    return torch.cat([images for _, images, _ in _parts(paths, size, fit)])


def _parts(
    paths: Sequence[pathlib.Path], size: int, fit: str = "crop"
) -> Iterator[tuple[list[pathlib.Path], Tensor, dict[pathlib.Path, str]]]:
    """Read images part by part: paths, images uint8 (B, 3, size, size), broken ones."""
    examine: Callable = functools.partial(decoding.examine, size=size, fit=fit)
    starts = range(0, len(paths), CHUNK)
    bar = tqdm.tqdm(
        starts,
        "images",
        leave=False,
        file=sys.stderr,  # what is printed may go into a file
        unit_scale=CHUNK,
        disable=len(starts) < 8,
    )
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for start in bar:
            part = paths[start : start + CHUNK]
            pairs = list(zip(part, pool.map(examine, part), strict=True))
            good = [image.pixels for _, image in pairs if image.pixels is not None]
            images = np.stack(good) if good else np.empty((0, 3, size, size), np.uint8)
            yield (
                [path for path, image in pairs if image.pixels is not None],
                torch.from_numpy(images),
                {path: image.reason for path, image in pairs if image.pixels is None},
            )
