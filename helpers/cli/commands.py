"""What each command of the command line does; ``flags`` says what it is asked."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from helpers import files, hardware
from helpers.cli import flags
from helpers.evaluation import protocols, results
from helpers.figures import charts, pictures
from helpers.models import backbones, conversion, export, weight_files
from helpers.notebook import choices
from helpers.training import pretraining, settings, supervised

README, RESULTS = pathlib.Path("README.md"), pathlib.Path("docs/results.md")
IMAGENET_SIZE = 224  # side in pixels that torchvision's ImageNet weights are made for


def parse(arguments: Sequence[str]) -> tuple[Callable[[Any], None], Any]:
    """Which function a command line asks to call, and with what.

    Args:
        arguments: name of the command and its flags.

    Raises:
        ValueError: for a command or a value that cannot be used.
        SystemExit: after ``--help``, and after saying which flag is wrong.
    """
    name, given = arguments[0], list(arguments[1:])
    if name not in COMMANDS:
        raise ValueError(
            f"Unknown command {name!r}: choose one of {', '.join(COMMANDS)}."
        )
    kind, function = COMMANDS[name]
    default: Any = None
    if kind is flags.Pretrain:
        deciding = _values(given, ("method", "recipe", "backbone", "init"))
        default = flags.Pretrain(settings.configure(**{"method": "byol"} | deciding))
    if kind is flags.Evaluate:
        training = _fine_tuning(_values(given, ("weights",)).get("weights", "random"))
        default = flags.Evaluate(weights=tyro.MISSING, training=training)
    program = f"python -m helpers {name}"
    return function, tyro.cli(kind, default=default, prog=program, args=given)


def pretrain(asked: flags.Pretrain) -> None:
    """Pre-train a backbone."""
    where = asked.where
    hardware.check_processes(where.devices, where.nodes)  # before images are read
    run = pretraining.pretrain(
        asked.settings,
        asked.images.load(),
        folder=where.checkpoints,
        mirror=where.mirror,
        resume=where.resume,
        devices=where.devices,
        nodes=where.nodes,
        stop_after=where.stop_after,
    )
    print(f"The backbone is {run.backbone_file}; logs are in {run.folder / 'logs'}.")


def evaluate(asked: flags.Evaluate) -> None:
    """Score a backbone by every protocol asked for."""
    chosen = choices.from_source(asked.weights, asked.backbone, asked.stem)
    training, head = asked.training, asked.head
    if "fine-tuning" in asked.protocols:
        backbones.check_side(*chosen.network, training.view.size)
    dataset = asked.images.load()
    size = chosen.about.get("evaluation_size", training.view.whole_size)

    @functools.cache
    def features() -> protocols.Features:
        return protocols.encode(chosen.create(), dataset, image_size=size)

    def score(protocol: str, folds: bool) -> protocols.Outcome:
        shared = {"method": chosen.name, "about": chosen.about, "folds": folds}
        if protocol == "k-nn":
            return protocols.knn(features(), dataset, **shared)
        if protocol == "linear-probe":
            return protocols.linear_probe(features(), dataset, **shared)
        if protocol == "mlp-head":
            shared |= {"settings": head, "seeds": asked.repetitions(head.seed)}
            return protocols.mlp_head(features(), dataset, **shared)
        shared |= {"settings": training, "seeds": asked.repetitions(training.seed)}
        return protocols.fine_tune(chosen.create, dataset, **shared)

    records = []
    for protocol in asked.protocols:
        for folds in asked.divisions(dataset):
            outcome = score(protocol, folds)
            results.save(outcome.record, asked.results_folder)
            records.append(outcome.record)
            if asked.figures and not folds:
                drawing = charts.confusion(outcome.scores.confusion, dataset.classes)
                _draw(drawing, asked.figures / f"confusion-{protocol}.png")
    if asked.figures:
        labels = dataset.test.labels
        drawing = charts.tsne(features().test, labels, dataset.classes)
        _draw(drawing, asked.figures / "t-sne.png")
    print(results.markdown(records))


def baseline(asked: flags.Baseline) -> None:
    """Train from random weights."""
    about = {"backbone": asked.backbone, "stem": asked.stem}
    backbones.check(asked.backbone, stem=asked.stem)
    backbones.check_side(asked.backbone, asked.stem, asked.training.view.size)
    create = functools.partial(backbones.build, asked.backbone, stem=asked.stem)
    dataset, records = asked.images.load(), []
    for folds in asked.divisions(dataset):
        outcome = protocols.fine_tune(
            create,
            dataset,
            method="random",
            about=about,
            protocol="baseline",
            settings=asked.training,
            seeds=asked.repetitions(asked.training.seed),
            folds=folds,
        )
        results.save(outcome.record, asked.results_folder)
        records.append(outcome.record)
    print(results.markdown(records))


def convert(asked: flags.Convert) -> None:
    """Make a backbone file of another project's checkpoint."""
    file, matched = conversion.backbone_file(
        asked.path, asked.folder, asked.allow_unsafe_pickle
    )
    print(matched, f"The backbone is {file}.", sep="\n")


def export_backbone(asked: flags.Export) -> None:
    """Write a backbone in another format."""
    chosen = choices.from_source(asked.weights, asked.backbone)
    size = asked.size or chosen.about.get("evaluation_size", IMAGENET_SIZE)
    export.export(chosen.create(), chosen.about, asked.output, image_size=size)
    print(f"Written: {asked.output}, {export.FORMATS[asked.output.suffix]}.")


def list_backbones(asked: flags.List) -> None:
    """Print the backbones in a folder of runs."""
    found = weight_files.find_backbones([asked.folder])
    for file, about in found:
        print(f"{file}: {weight_files.describe(about)}")
    if not found:
        print(f"No backbones in {asked.folder}: make one with `pretrain`.")


def show_results(asked: flags.Results) -> None:
    """Print the table of results, or write the tables of README and docs."""
    records = results.collect(asked.folder)
    if asked.readme:
        results.write_table(README, "results", results.markdown_pivot(records))
        results.write_table(RESULTS, "results", results.markdown(records))
    else:
        print(results.markdown(records))


def _fine_tuning(weights: str) -> supervised.FineTuningSettings:
    """Fine-tuning at the side in pixels at which the backbone has learned."""
    file = pathlib.Path(weights)
    is_ours = file.suffix == ".safetensors" and file.is_file()
    about = weight_files.read_about(file) if is_ours else {}
    return protocols.supervised_settings(about.get("image_size", 48))


def _values(given: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Values of those flags that the others' defaults depend on."""
    found = {}
    for place, flag in enumerate(given):
        name, equals, value = flag.removeprefix("--").partition("=")
        if flag.startswith("--") and name in names:
            if equals or place + 1 < len(given):
                found[name] = value if equals else given[place + 1]
    return found


def _draw(drawing: pictures.Figure, file: pathlib.Path) -> None:
    files.write(file, lambda path: drawing.savefig(path, dpi=150))


COMMANDS: dict[str, tuple[type, Callable[[Any], None]]] = {
    "pretrain": (flags.Pretrain, pretrain),
    "evaluate": (flags.Evaluate, evaluate),
    "baseline": (flags.Baseline, baseline),
    "convert": (flags.Convert, convert),
    "export": (flags.Export, export_backbone),
    "list": (flags.List, list_backbones),
    "results": (flags.Results, show_results),
}
