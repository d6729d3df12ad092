"""The commands of the command line: call the helpers with the flags, and print."""

from __future__ import annotations

import functools
import os
import pathlib
import sys
from typing import Any

import tqdm
from torch import nn

from helpers import files, hardware, views
from helpers.cli import flags, report
from helpers.evaluation import embedding, prediction, protocols, results
from helpers.figures import charts, pictures
from helpers.models import (
    backbones,
    classifier_files,
    conversion,
    export,
    heads,
    model_card,
    weight_files,
)
from helpers.training import gauges, pretraining, starting_points

README, RESULTS = pathlib.Path("README.md"), pathlib.Path("docs/results.md")
IMAGENET_SIZE = 224  # side in pixels that torchvision's ImageNet weights are made for
COLLAPSED = "The embeddings have collapsed: lower the learning rate and try again."
SHOWN = 96  # side in pixels of the images in a picture of neighbours


def pretrain(args: flags.Pretrain) -> None:
    """Pre-train a backbone."""
    location = args.location
    # Before images are read, which may take minutes.
    args.settings.check_sides()
    hardware.check_processes(location.devices, location.nodes)
    _check_folders(location.checkpoints, location.mirror)
    dataset = args.images.load(args.settings.largest_side)
    chosen = args.settings.suited_to(dataset)

    def on_epoch(history: list[dict[str, Any]]) -> None:
        begins = gauges.is_collapsed(history) and not gauges.is_collapsed(history[:-1])
        if begins and len(history) < chosen.epochs:  # at the end it is said too
            tqdm.tqdm.write(f"Epoch {len(history)}: {COLLAPSED}")

    run = pretraining.pretrain(
        chosen,
        dataset,
        folder=location.checkpoints,
        mirror=location.mirror,
        on_epoch=on_epoch,
        resume=location.resume,
        extend=location.extend,
        devices=location.devices,
        nodes=location.nodes,
        stop_after=location.stop_after,
        save_minutes=location.save_minutes,
    )
    if not hardware.is_first_process():
        return
    print(f"The backbone is {run.backbone_file}; logs are in {run.folder / 'logs'}.")
    if gauges.is_collapsed(run.history):
        print(COLLAPSED)


def evaluate(args: flags.Evaluate) -> None:
    """Score a backbone by every protocol asked for."""
    training, head = args.training, args.head
    backbone = starting_points.from_source(
        args.weights, args.backbone, args.stem, image_size=training.view.whole_size
    )
    if "fine-tuning" in args.protocols:
        backbones.check_side(*backbone.network[:2], training.view.size)
    _check_file(args.classifier, args.weights)
    _prepare_folders(args, args.figures)
    if {*args.protocols} != {"fine-tuning"}:
        print(_whole_images(backbone))
    dataset = args.images.load(max(backbone.image_size, training.view.whole_size))

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
            mirror=args.mirror,
            resume=args.resume,
        )
        if protocol == "k-nn":
            return protocols.knn(features(), experiment)
        if protocol == "linear-probe":
            return protocols.linear_probe(features(), experiment)
        if protocol == "mlp-head":
            return protocols.mlp_head(features(), experiment, head)
        return protocols.fine_tune(backbone.create, experiment, training)

    with report.Report(args) as kept:
        for protocol in args.protocols:
            for label_set in args.label_sets(dataset):
                try:
                    outcome = score(protocol, label_set)
                # The other protocols may still run.
                except (ValueError, FloatingPointError) as error:
                    kept.refuse(protocol, error)
                    continue
                kept.add(outcome, dataset.classes)
                if args.figures and label_set == "all":
                    figure = charts.confusion(outcome.scores.confusion, dataset.classes)
                    pictures.save(figure, args.figures / f"confusion-{protocol}.png")
        if args.figures and kept.records:
            labels = dataset.test.labels
            try:
                maps = {backbone.name: features().test}
                figure = charts.tsne(maps, labels, dataset.classes)
                pictures.save(figure, args.figures / "t-sne.png")
            except ValueError as error:  # too few test images
                kept.remarks.append(str(error))


def baseline(args: flags.Baseline) -> None:
    """Train from random weights."""
    training = args.training
    backbones.check(args.backbone, stem=args.stem)
    backbones.check_side(args.backbone, args.stem, training.view.size)
    _check_file(args.classifier)
    _prepare_folders(args)
    dataset = args.images.load(training.view.whole_size)
    with report.Report(args) as kept:
        for label_set in args.label_sets(dataset):
            outcome = protocols.baseline(
                dataset,
                training,
                backbone=args.backbone,
                stem=args.stem,
                seeds=args.seeds_from(training.seed),
                folds=label_set == "folds",
                mirror=args.mirror,
                resume=args.resume,
            )
            kept.add(outcome, dataset.classes)


def convert(args: flags.Convert) -> None:
    """Convert a checkpoint of another project into a backbone file."""
    file, matched = conversion.backbone_file(
        args.path, args.folder, args.allow_unsafe_pickle
    )
    print(matched)
    if "evaluation_size" not in weight_files.read_about(file):
        print("The side of its images is not known: give --size wherever you use it.")
    print(f"The backbone is {file}.")


def export_network(args: flags.Export) -> None:
    """Write a backbone or a classifier in another format."""
    _check_file(args.output, args.weights)
    network, about, side = _network(args.weights, args.backbone, args.size)
    path = args.output
    export.export(network, about, path, image_size=side)
    outputs = "class logits" if "classes" in about else "features"
    print(
        f"Written: {path}, {export.FORMATS[path.suffix]}.",
        f"It maps RGB images of {side} x {side} px to {outputs}. "
        f"{model_card.preparation(about, side)}: {views.MEAN} and {views.STD}.",
        sep="\n",
    )
    if args.card:
        card = path.with_name(f"{path.name}.md")
        text = model_card.write(path.name, about, image_size=side, outputs=outputs)
        files.write(card, lambda beside: beside.write_text(text, "utf-8"))
        print(f"The model card is {card}.")


def predict(args: flags.Predict) -> None:
    """Print the likeliest classes of images, and write them to a file."""
    _check_file(args.output, args.weights, *args.images)
    found = prediction.predict(args.weights, args.images)
    _print_left_out(found.images)
    print(*found.lines(), sep="\n")
    if args.output:
        found.save(args.output)
        print(f"Written: {args.output}.")


def embed(args: flags.Embed) -> None:
    """Write the features of images, with their paths."""
    _check_file(args.output, args.weights, args.images)
    network, prepared = _features_of(args)
    found = embedding.embed(network, embedding.find([args.images]), **prepared)
    _print_left_out(found)
    side = prepared["image_size"]
    source = pathlib.Path(args.weights)
    name = f"{source.name} {files.digest(source)}" if source.is_file() else args.weights
    embedding.save(args.output, found, image_size=side, weights=name)
    count, width = found.features.shape
    print(f"Written: {args.output}, {width} features of {count:,} images, {side} px.")


def search(args: flags.Search) -> None:
    """Print the images that are most like a given one, and draw them."""
    _check_file(args.output, args.weights, args.photo)
    network, prepared = _features_of(args)
    photo = embedding.embed(network, [pathlib.Path(args.photo)], **prepared)
    others = [
        path
        for path in embedding.find([args.images])
        if path.resolve() != photo.paths[0].resolve()
    ]
    _check_file(args.output, *map(str, others))
    if not others:
        raise ValueError(
            f"{args.images!r} has no image to compare with {args.photo!r}."
        )
    found = embedding.embed(network, others, **prepared)
    _print_left_out(found)
    cosines, index = embedding.nearest(found.features, photo.features[0])
    nearest = [found.paths[number] for number in index.tolist()]
    for path, cosine in zip(nearest, cosines.tolist(), strict=True):
        print(f"{cosine:.3f}  {files.printable(path)}")
    if args.output:
        fit = prepared.get("fit", "crop")
        shown = embedding.read([*photo.paths, *nearest], SHOWN, fit)
        figure = embedding.neighbors_figure(shown[0], shown[1:], cosines)
        pictures.save(figure, args.output)
        print(f"Written: {args.output}.")


def list_files(args: flags.List) -> None:
    """Print the backbones and the classifiers in a folder with runs."""
    _check_is_there(args.folder)
    name, read = classifier_files.CLASSIFIER_FILE, classifier_files.read_about
    for found, describe, nothing in (
        (
            weight_files.find_backbones([args.folder]),
            weight_files.describe,
            "No backbones in {}: make one with `pretrain`.",
        ),
        (
            weight_files.find([args.folder], name, read),
            classifier_files.describe,
            "No classifiers in {}: make one with `baseline` or `evaluate`.",
        ),
    ):
        for file, about in found:
            print(f"{files.printable(file)}: {files.printable(describe(about))}")
        if not found:
            print(nothing.format(args.folder))
    for file, _ in weight_files.released():
        print(f"{files.printable(file)}: {starting_points.from_file(file).line}")


def show_results(args: flags.Results) -> None:
    """Print the table of results, or write the tables of README and docs."""
    _check_is_there(args.folder)
    shipped = results.SHIPPED if args.readme else None
    found = results.collect(args.folder or shipped)
    if args.readme:
        results.write_table(README, "results", results.markdown_pivot(found))
        results.write_table(RESULTS, "results", results.markdown(found))
    else:
        print(results.markdown(found))


def _network(
    weights: str, backbone: str | None = None, size: int | None = None
) -> tuple[nn.Module, dict[str, Any], int]:
    """The network of a file or name, its metadata, and the side of its images."""
    if classifier_files.is_classifier(weights):
        classifier, about = classifier_files.load(weights)
        return classifier, _shown_at(size, about), size or about["image_size"]
    side = size or IMAGENET_SIZE
    chosen = starting_points.from_source(weights, backbone, image_size=side)
    known = "evaluation_size" in chosen.about or chosen.network[1] == "imagenet"
    if not (size or known):
        raise ValueError(f"The side of {weights}'s images is not known: give --size.")
    return chosen.create(), _shown_at(size, chosen.about), size or chosen.image_size


def _shown_at(size: int | None, about: dict[str, Any]) -> dict[str, Any]:
    """Metadata with images kept as large as was asked for, if they were smaller."""
    kept = about.get("stored_size")
    return about | {"stored_size": max(kept, size)} if size and kept else about


def _whole_images(backbone: starting_points.StartingPoint) -> str:
    """Say at which side the frozen protocols show the images, and why."""
    if "evaluation_size" in backbone.about:
        why = "the side its file names; --size is for fine-tuning"
    else:
        why = "four thirds of --size, because these weights name no side"
    side = backbone.image_size
    return f"Frozen protocols show whole images at {side} px, {why}."


def _features_of(args: flags.Embed | flags.Search) -> tuple[nn.Module, dict[str, Any]]:
    """The backbone of a file or name, and how its images are prepared."""
    network, about, side = _network(args.weights, size=args.size)
    if isinstance(network, heads.Classifier):
        network = network.backbone
    return network, {**prediction.prepared(about), "image_size": side}


def _check_folders(*folders: pathlib.Path | None) -> None:
    """Raise an OSError now where nothing could be written after the work."""
    for folder in folders:
        if folder and hardware.is_first_process():
            files.check_folder(folder)


def _prepare_folders(args: flags.EvaluationFlags, *more: pathlib.Path | None) -> None:
    """Check where a supervised training keeps what it makes; make the mirror."""
    _check_folders(files.checkpoints_folder(), args.results_folder, args.mirror, *more)
    if args.mirror and hardware.is_first_process():
        args.mirror.mkdir(parents=True, exist_ok=True)


def _check_is_there(folder: pathlib.Path | None) -> None:
    """Raise a ValueError for a folder that was named and does not exist."""
    if folder and folder != files.checkpoints_folder() and not folder.is_dir():
        raise ValueError(files.not_there("folder", folder))


def _check_file(file: pathlib.Path | None, *read: str) -> None:
    """Check that a file can be written, and is not one of those that are read."""
    if file and file.is_dir():
        raise ValueError(f"{str(file)!r} is a folder: give the path of a file.")
    others = [one for one in read if os.path.exists(one)]
    if file and file.exists() and any(map(file.samefile, others)):
        raise ValueError(
            f"{str(file)!r} is read here and would be lost: name another file to write."
        )
    _check_folders(file.parent if file else None)


def _print_left_out(found: embedding.Embedding) -> None:
    for path, reason in found.unread.items():
        print(f"Left out: {embedding.complaint(path, reason)}", file=sys.stderr)
