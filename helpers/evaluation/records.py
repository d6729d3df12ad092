"""Records of finished evaluations: an accuracy and all that it depends on.

Two evaluations are the same if everything that shaped them is: data, labels, backbone,
protocol, settings, seeds. The name of a record ends in a digest of all that, so that
another evaluation never takes its place.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import pathlib
import re
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from helpers import files, hardware
from helpers.data import streaming
from helpers.data.dataset import Dataset
from helpers.models import backbones

PROTOCOLS = ("baseline", "k-NN", "linear probe", "MLP head", "fine-tuning")
# What a reader needs to judge a record, and what it may hold: texts, whole numbers,
# and numbers from 0 to a limit.
TEXTS = ("method", "backbone", "protocol", "data", "hardware")
COUNTS = ("labels", "pretraining_epochs", "images_seen", "batch_size", "seeds", "folds")
AMOUNTS = {"top1_mean": 100, "top1_std": 100, "top5_mean": 100, "minutes": 1e9}
OPTIONAL = ("folds", "top5_mean")
REQUIRED = tuple(name for name in (*TEXTS, *COUNTS, *AMOUNTS) if name not in OPTIONAL)
LONGEST_TEXT = 1_000
LARGEST_COUNT = 10**15
# What was found, and under which circumstances: all other entries shaped the result.
OUTCOMES = (
    "top1",
    "top1_mean",
    "top1_std",
    "top5_mean",
    "balanced",
    "largest_share",
    "minutes",
    "hardware",
    "commit",
    "date",
)
# Of a backbone's metadata, what is no setting of its pre-training or stands elsewhere.
NO_SETTINGS = (
    "minutes",
    "knn",
    "hardware",
    "processes",
    "mean",
    "std",
    "stored_size",
    "fit",
    "epochs_done",
    "images",
    "backbone",
    "stem",
)
COMPARED = 10_000  # images of a split that are read to tell it from another


def conditions(
    *,
    method: str,
    protocol: str,
    data: str,
    labels: int,
    seeds: int,
    about: Mapping[str, Any] | None = None,
    over: str = "seeds of the classifier",
    folds: int = 0,
    **more: Any,
) -> dict[str, Any]:
    """Collect everything that shapes a result in one plain dict.

    Args:
        method: how the backbone was trained, such as ``PIRL``, or ``random``.
        protocol: one of ``PROTOCOLS``.
        data: name of the data set.
        labels: training labels used in each repetition.
        seeds: number of repetitions.
        about: metadata of the backbone file.
        over: what differs between the repetitions.
        folds: how many official folds of the labels were used; 0 means none.
        **more: further entries, such as ``settings``, ``content`` and ``weights``.
    """
    about = about or {}
    shaped = {
        "method": method,
        "backbone": backbones.describe(about),
        "protocol": protocol,
        "data": data,
        "labels": labels,
        "folds": folds,
        "pretraining_epochs": about.get("epochs_done", 0),
        "images_seen": about.get("images", 0),
        "batch_size": about.get("batch_size", 0),
        "recipe": about.get("recipe"),
        "seeds": seeds,
        "over": over,
        "pretraining": {k: v for k, v in about.items() if k not in NO_SETTINGS},
        **more,
    }
    return json.loads(json.dumps(shaped))  # as it comes back from a file


def finished(
    conditions: Mapping[str, Any],
    *,
    top1: Sequence[float],
    top5: Sequence[float | None] = (),
    minutes: float,
    pretrained_on: str = "",
    measured_on: Sequence[str] = (),
    **more: Any,
) -> dict[str, Any]:
    """Add to the conditions of an evaluation what was found.

    Args:
        conditions: see there.
        top1: test accuracy in percent, one value per repetition.
        top5: top-5 accuracy likewise; None where it is not defined.
        minutes: for pre-training and evaluation together, mean over the repetitions.
        pretrained_on: the hardware of the pre-training, which the minutes include.
        measured_on: that of every repetition; this machine's if there are none.
        **more: further entries, stored unchanged.
    """
    here = " or ".join(dict.fromkeys(measured_on)) or hardware.name()
    machines = [one for one in (pretrained_on, here) if one]
    known_top5 = [value for value in top5 if value is not None]
    return {
        **conditions,
        "top1": list(top1),
        "top1_mean": statistics.fmean(top1),
        "top1_std": statistics.stdev(top1) if len(top1) > 1 else 0.0,
        "top5_mean": statistics.fmean(known_top5) if known_top5 else None,
        "minutes": minutes,
        "hardware": ", then ".join(dict.fromkeys(machines)),
        "commit": _commit(),
        "date": datetime.date.today().isoformat(),
        **more,
    }


def merge(
    same: Sequence[Mapping[str, Any]],
    *,
    top1: Sequence[float],
    top5: Sequence[float | None],
    minutes: Sequence[float],
    **changes: Any,
) -> dict[str, Any]:
    """Make one record of several that differ in seeds, and so in weights.

    Args:
        same: the records.
        top1: what counts as the accuracies of one repetition each, in percent.
        top5: likewise; a single None means that there is no mean.
        minutes: of these repetitions.
        **changes: conditions that are now others.
    """
    shaped = {key: value for key, value in same[0].items() if key not in OUTCOMES}
    for key in ("seed_numbers", "weights"):
        shaped |= {key: [one[key] for one in same]} if key in shaped else {}
    seeds = [one.get("pretraining", {}).get("seed") for one in same]
    if len(set(seeds)) > 1:
        shaped["pretraining"] = {**shaped["pretraining"], "seed": seeds}
    return finished(
        shaped | {"seeds": len(top1)} | changes,
        top1=top1,
        top5=[] if None in top5 else top5,
        minutes=statistics.fmean(minutes),
        hardware=" or ".join(dict.fromkeys(one["hardware"] for one in same)),
    )


def name(record: Mapping[str, Any]) -> str:
    """Name a record, or its conditions: readable words and a digest.

    The digest is that of all entries but what was found. Records that differ in any
    condition have different names, and the same measurement repeated has the same.
    """
    identity = {k: v for k, v in record.items() if k not in OUTCOMES}
    text = json.dumps(identity, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    folds = f"{record['folds']} folds" if record.get("folds") else ""
    words = [record[key] for key in ("data", "method", "backbone")]
    words += [f"{record['pretraining_epochs']}ep", record["protocol"], folds]
    readable = re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")
    return f"{readable[:120]}-{digest}"


def read(file: pathlib.Path) -> dict[str, Any]:
    """Read a record, which may come from anyone.

    Raises:
        ValueError: in a sentence that names the file, when it is not a whole record.
    """
    try:
        if not file.is_file() or file.stat().st_size > 1 << 20:
            raise ValueError("It is no file of at most 1 MiB.")
        record = files.parse_json(file.read_text("utf-8"))
        check(record)
    except (ValueError, OSError) as error:
        plain = type(error) is ValueError
        reason = files.printable(str(error)) if plain else "It is no text to be read."
        raise ValueError(
            f"{files.printable(file)} is not a record of a result. {reason} Repair it "
            "or remove it."
        ) from None
    return record


def check(record: Any) -> None:
    """Raise a ValueError for a record that no table can be made of."""
    if not isinstance(record, dict):
        raise ValueError("It holds no named entries.")
    missing = [key for key in REQUIRED if record.get(key) is None]
    if missing:
        raise ValueError(f"It lacks {', '.join(missing)}.")
    for key in (*TEXTS, *COUNTS, *AMOUNTS):
        value = record.get(key)
        if value is None:
            continue
        if key in TEXTS:
            good = isinstance(value, str) and len(value) <= LONGEST_TEXT
        elif key in COUNTS:
            least = 1 if key == "seeds" else 0
            good = type(value) is int and least <= value <= LARGEST_COUNT
        else:
            limit = AMOUNTS[key]
            good = type(value) in (int, float) and -1e-9 <= value <= limit + 1e-9
        if not good:
            raise ValueError(f"Its {key} is {repr(value)[:40]}.")
    for key in ("settings", "pretraining"):
        if not isinstance(record.get(key) or {}, dict):
            raise ValueError(f"Its {key} have no names.")


def content(dataset: Dataset) -> str:
    """Digest of what a data set trains and scores classifiers with.

    It is the same wherever the images are kept, and another one when pictures or labels
    are replaced, whatever their names.
    """
    known = (*dataset.classes, dataset.files)
    digest = hashlib.sha256("\0".join(known).encode(errors="surrogateescape"))
    for split, is_known in ((dataset.train, dataset.files), (dataset.test, "")):
        digest.update(str(tuple(split.images.shape)).encode())
        digest.update(split.labels.numpy().tobytes())
        if is_known:  # the digest of the files covers them
            continue
        stride = math.ceil(max(1, len(split)) / COMPARED)
        index = torch.arange(0, len(split), stride).split(256)
        for batch, _ in streaming.batches(split.images, index, torch.device("cpu")):
            digest.update(batch.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def weights(network: nn.Module) -> str:
    """Digest of a network's weights and buffers, with their names."""
    digest = hashlib.sha256()
    for key, tensor in sorted(network.state_dict().items()):
        digest.update(key.encode())
        plain = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(plain.numpy().tobytes())
    return digest.hexdigest()[:16]


def _commit() -> str | None:
    """The commit of this code; None where it does not lie in its own repository."""
    project = pathlib.Path(__file__).resolve().parents[2]
    if not (project / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            cwd=project,
            check=True,
        )
        return found.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
