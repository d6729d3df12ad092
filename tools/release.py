r"""Takes a backbone into `weights/`, the ones to take home, and writes their cards.

    python -m tools.release checkpoints/<run>/backbone.safetensors
    python -m helpers evaluate --weights weights/<method>.safetensors \
        --data imagenette --results-folder results
    python -m tools.release

The first line halves the file, since float16 is enough to hand on. There is one of each
method: another takes its place only if it has learned from the same images and has the
better k-NN accuracy on their training labels, which pre-training does not see. The
second measures what was released. The last line writes the cards and the table again,
with the accuracies of all records that belong to these weights.
"""

from __future__ import annotations

import pathlib
import sys
from typing import Any

import tyro

from helpers import files, methods
from helpers.evaluation import records, results
from helpers.models import model_card, weight_files

LARGEST = 23_000_000  # bytes of a file, which every clone downloads
PAGE = "README.md"
NEEDED = ("method", "data", "knn", "epochs_done", "evaluation_size")


def main(
    backbone: tyro.conf.Positional[pathlib.Path | None] = None,
    licence: str | None = None,
) -> int:
    """Release a backbone, if there is one; write cards and table.

    Args:
        backbone: file to release.
        licence: a sentence on what may be done with the images that it has learned
            from; known for the data sets of this project.
    """
    try:
        if backbone:
            print(f"Released: {release(backbone, licence)}.")
        write_cards()
    except (OSError, ValueError) as error:
        print(files.single_line(str(error)), file=sys.stderr)
        return 1
    return 0


def release(backbone: pathlib.Path, licence: str | None = None) -> pathlib.Path:
    """Halve a backbone file into the folder of released ones.

    Args:
        backbone: file to release.
        licence: see ``main``.

    Returns:
        The new file, named after the method.

    Raises:
        ValueError: when the file cannot be used or is too large, was not learned
            without labels, or is no better than the one of its method that is there.
    """
    about = weight_files.read_about(backbone)
    check(backbone, about, licence)
    target = weight_files.RELEASED / f"{about['method']}.safetensors"
    if target.is_file():
        check_better(about, target)

    def save(half: pathlib.Path) -> None:
        weight_files.save_half(backbone, half, {"licence": licence} if licence else {})
        size = half.stat().st_size
        if size > LARGEST:
            raise ValueError(
                f"{backbone} is too large to be released, {size / 1e6:.0f} MB in "
                "float16: take a ResNet-18."
            )

    return files.write(target, save)


def check(backbone: pathlib.Path, about: dict[str, Any], licence: str | None) -> None:
    """Raise a ValueError unless a backbone can be described and compared."""
    missing = [key for key in NEEDED if not about.get(key)]
    if missing:
        raise ValueError(
            f"{backbone} does not say its {', '.join(missing)}: release the backbone "
            "of a pre-training with labels to score it by."
        )
    kind = methods.get(about["method"])
    if kind.needs_labels or about.get("init", "random") != "random":
        raise ValueError(
            f"{backbone} has not learned without labels, or not from random weights: "
            "release another one."
        )
    if not licence and not model_card.licence(about):
        raise ValueError(
            f"{backbone} has learned from {about['data']}: say with --licence what "
            "may be done with these images."
        )


def check_better(about: dict[str, Any], released: pathlib.Path) -> None:
    """Raise a ValueError unless a backbone is better than the one that is there."""
    there = weight_files.read_about(released)
    if there["data"] != about["data"]:
        raise ValueError(
            f"{released} has learned from {there['data']} and cannot be compared with "
            f"one from {about['data']}: remove it first, if it is to go."
        )
    if there["knn"] >= about["knn"]:
        raise ValueError(
            f"{released} stays: its k-NN accuracy is {there['knn']:.1f} %, and that of "
            f"the other {about['knn']:.1f} %."
        )


def write_cards(shown: pathlib.Path = results.SHIPPED) -> None:
    """Write a model card for every released backbone, and the table of all."""
    folder = weight_files.RELEASED
    rows = ["| file | method | learned from | epochs | k-NN (%) | card |"]
    rows += ["|---|---|---|---|---|---|"]
    for file, about in weight_files.released():
        card = file.with_suffix(".md")
        text = card_of(file, about, shown)
        files.write(card, lambda path, text=text: path.write_text(text, "utf-8"))
        cells = [f"[{file.name}]({file.name})", about["method"], about["data"]]
        cells += [str(about["epochs_done"]), f"{about['knn']:.1f}"]
        rows.append(f"| {' | '.join(cells)} | [{card.name}]({card.name}) |")
    results.write_table(folder / PAGE, "weights", "\n".join(rows))


def card_of(file: pathlib.Path, about: dict[str, Any], shown: pathlib.Path) -> str:
    """The model card of a backbone, with the records of exactly these weights."""
    digest = records.weights(weight_files.load_backbone(file)[0])
    measured = {}
    for one in results.collect(shown):
        if one.get("weights") == digest:
            what = f"{one['protocol']}, {one['labels']:,} labels of {one['data']}"
            what += f", {one['folds']} folds" if one["folds"] else ""
            epochs = (one.get("settings") or {}).get("epochs")
            what += f", {epochs} epochs" if epochs else ""
            if what in measured:
                raise ValueError(
                    f"{shown} has several records of {file.name} for {what}: keep the "
                    "one that belongs on its card."
                )
            measured[what] = f"{results.accuracy(one)} (n = {one['seeds']})"
    side = about["evaluation_size"]
    return model_card.write(
        file.name, about, image_size=side, outputs="features", measured=measured
    )


if __name__ == "__main__":
    sys.exit(tyro.cli(main, description=__doc__))
