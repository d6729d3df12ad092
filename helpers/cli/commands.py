"""The commands of the command line: read the flags, call the helpers, print."""

from __future__ import annotations

import argparse
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
from helpers.training import pretraining, settings

README, RESULTS = pathlib.Path("README.md"), pathlib.Path("docs/results.md")
IMAGENET_SIZE = 224  # side in pixels that torchvision's ImageNet weights are made for


def parse(arguments: Sequence[str]) -> tuple[Callable[[Any], None], Any]:
    """Turn a command line into a function and the flags to call it with.

    Args:
        arguments: name of the command and its flags; after ``pretrain``, the method
            with or without ``--method``.

    Raises:
        ValueError: for a command or a value that cannot be used.
        SystemExit: after ``--help``, and after a message about a wrong flag.
    """
    name, rest = arguments[0], list(arguments[1:])
    if name not in COMMANDS:
        raise ValueError(
            f"Unknown command {name!r}: choose one of {', '.join(COMMANDS)}."
        )
    kind, function = COMMANDS[name]
    default: Any = None
    program = f"python -m helpers {name}"
    if kind is flags.Pretrain:
        method = rest.pop(0) if rest and not rest[0].startswith("-") else None
        chosen = _peek(rest, "method", "recipe", "backbone", "init")
        if method and "method" in chosen:
            raise ValueError(f"Choose one method: {method} or {chosen['method']}.")
        chosen.setdefault("method", method or "byol")
        default = flags.Pretrain(settings.configure(**chosen))
        program += f" {chosen['method']}"
    if kind is flags.Evaluate:
        file = pathlib.Path(_peek(rest, "weights").get("weights", ""))
        is_ours = file.suffix == ".safetensors" and file.is_file()
        size = weight_files.read_about(file).get("image_size", 48) if is_ours else 48
        training = protocols.supervised_settings(size)
        default = flags.Evaluate(weights=tyro.MISSING, training=training)
    return function, tyro.cli(kind, default=default, prog=program, args=rest)


def pretrain(args: flags.Pretrain) -> None:
    """Pre-train a backbone."""
    location = args.location
    hardware.check_processes(location.devices, location.nodes)  # before reading images
    run = pretraining.pretrain(
        args.settings,
        args.images.load(),
        folder=location.checkpoints,
        mirror=location.mirror,
        resume=location.resume,
        devices=location.devices,
        nodes=location.nodes,
        stop_after=location.stop_after,
    )
    print(f"The backbone is {run.backbone_file}; logs are in {run.folder / 'logs'}.")


def evaluate(args: flags.Evaluate) -> None:
    """Score a backbone by every protocol asked for."""
    training, head = args.training, args.head
    backbone = choices.from_source(
        args.weights, args.backbone, args.stem, image_size=training.view.whole_size
    )
    if "fine-tuning" in args.protocols:
        backbones.check_side(*backbone.network, training.view.size)
    dataset = args.images.load()

    @functools.cache
    def features() -> protocols.Features:
        network = backbone.create()
        return protocols.encode(network, dataset, image_size=backbone.image_size)

    def score(protocol: str, label_set: str) -> protocols.Outcome:
        first_seed = (head if protocol == "mlp-head" else training).seed
        experiment = protocols.Experiment(
            dataset,
            backbone.name,
            backbone.about,
            seeds=args.seeds_from(first_seed),
            folds=label_set == "folds",
        )
        if protocol == "k-nn":
            return protocols.knn(features(), experiment)
        if protocol == "linear-probe":
            return protocols.linear_probe(features(), experiment)
        if protocol == "mlp-head":
            return protocols.mlp_head(features(), experiment, head)
        return protocols.fine_tune(backbone.create, experiment, training)

    records = []
    for protocol in args.protocols:
        for label_set in args.label_sets(dataset):
            outcome = score(protocol, label_set)
            results.save(outcome.record, args.results_folder)
            records.append(outcome.record)
            if args.figures and label_set == "all":
                figure = charts.confusion(outcome.scores.confusion, dataset.classes)
                _save_figure(figure, args.figures / f"confusion-{protocol}.png")
    if args.figures:
        labels = dataset.test.labels
        figure = charts.tsne(features().test, labels, dataset.classes)
        _save_figure(figure, args.figures / "t-sne.png")
    print(results.markdown(records))


def baseline(args: flags.Baseline) -> None:
    """Train from random weights."""
    training = args.training
    backbones.check(args.backbone, stem=args.stem)
    backbones.check_side(args.backbone, args.stem, training.view.size)
    dataset, records = args.images.load(), []
    for label_set in args.label_sets(dataset):
        outcome = protocols.baseline(
            dataset,
            training,
            backbone=args.backbone,
            stem=args.stem,
            seeds=args.seeds_from(training.seed),
            folds=label_set == "folds",
        )
        results.save(outcome.record, args.results_folder)
        records.append(outcome.record)
    print(results.markdown(records))


def convert(args: flags.Convert) -> None:
    """Convert a checkpoint of another project into a backbone file."""
    file, matched = conversion.backbone_file(
        args.path, args.folder, args.allow_unsafe_pickle
    )
    print(matched, f"The backbone is {file}.", sep="\n")


def export_backbone(args: flags.Export) -> None:
    """Write a backbone in another format."""
    usual = args.size or IMAGENET_SIZE
    backbone = choices.from_source(args.weights, args.backbone, image_size=usual)
    size = args.size or backbone.image_size
    export.export(backbone.create(), backbone.about, args.output, image_size=size)
    print(f"Written: {args.output}, {export.FORMATS[args.output.suffix]}.")


def list_backbones(args: flags.List) -> None:
    """Print the backbones in a folder with runs."""
    found = weight_files.find_backbones([args.folder])
    for file, about in found:
        print(f"{file}: {weight_files.describe(about)}")
    if not found:
        print(f"No backbones in {args.folder}: make one with `pretrain`.")


def show_results(args: flags.Results) -> None:
    """Print the table of results, or write the tables of README and docs."""
    records = results.collect(args.folder)
    if args.readme:
        results.write_table(README, "results", results.markdown_pivot(records))
        results.write_table(RESULTS, "results", results.markdown(records))
    else:
        print(results.markdown(records))


def _peek(arguments: Sequence[str], *names: str) -> dict[str, str]:
    """Read those flags first on which the defaults of the others depend."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in names:
        parser.add_argument(f"--{name}", nargs="?")
    found, _ = parser.parse_known_args(arguments)
    return {name: value for name, value in vars(found).items() if value}


def _save_figure(figure: pictures.Figure, file: pathlib.Path) -> None:
    files.write(file, lambda path: figure.savefig(path, dpi=150))


COMMANDS: dict[str, tuple[type, Callable[[Any], None]]] = {
    "pretrain": (flags.Pretrain, pretrain),
    "evaluate": (flags.Evaluate, evaluate),
    "baseline": (flags.Baseline, baseline),
    "convert": (flags.Convert, convert),
    "export": (flags.Export, export_backbone),
    "list": (flags.List, list_backbones),
    "results": (flags.Results, show_results),
}
