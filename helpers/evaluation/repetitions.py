"""Repetitions of a protocol, over seeds or official folds, and what they give.

What takes long is kept as it is computed, in a folder named after everything that
shapes the result, ``checkpoints/<data>-<method>-...-<digest>/``:

``state-00002-1a2b3c4d.pt``   scores of the repetitions that have ended, here two, and
                              the weights of the last one
``seed-2/state-00007-...pt``  the training that is under way, here after seven epochs
``classifier.safetensors``    what a person takes home; see ``Outcome.save_classifier``

Asked again, the work goes on where it stopped; finished, its result is shown. More
repetitions begin with those that are there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from helpers import files, hardware
from helpers.data.dataset import Dataset
from helpers.evaluation import probes, records
from helpers.models import backbones, classifier_files, heads
from helpers.training import checkpoints, engine, ownership, supervised


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A backbone, the data set it is evaluated on, and the repetitions.

    Attributes:
        dataset: its labelled images train the classifier, its test split scores it.
        method: how the backbone was made, for the table, such as ``PIRL``.
        about: metadata of the backbone file; empty for random weights.
        seeds: of the classifier; each seed is one repetition on all labels.
        folds: repeat over the official folds of the labels instead (STL-10 has ten
            of 1,000); the number of a fold is its seed.
        folder: where trainings and classifiers are kept; the folder for runs if None.
        mirror: second folder for copies, such as one on Google Drive, or None.
        resume: go on with what is kept of the same work, or show its result; False
            deletes it and begins again.
        on_epoch: called after every epoch of a training with its history so far.

    Raises:
        ValueError: for ``folds`` of a data set that has none, or one without labels,
            without a second class, or without test images.
    """

    dataset: Dataset
    method: str
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seeds: Sequence[int] = (0, 1, 2)
    folds: bool = False
    folder: str | os.PathLike[str] | None = None
    mirror: str | os.PathLike[str] | None = None
    resume: bool = True
    on_epoch: Callable[[list[dict[str, Any]]], object] | None = None

    def __post_init__(self) -> None:
        """Check that there are classes, test images, and folds to repeat over."""
        if not self.dataset.train_count or not len(self.dataset.test):
            lacks, advice = "labels", "put images into a folder per class"
            if self.dataset.train_count:
                lacks, advice = "test images", "give every class two images, or a test/"
            raise ValueError(
                f"{self.dataset.name} has no {lacks}, so nothing can be scored: "
                f"{advice}."
            )
        if len(self.dataset.classes) < 2:
            raise ValueError(
                f"{self.dataset.name} has a single class, so there is nothing to tell "
                "apart: give it at least two class folders."
            )
        if self.folds and not self.dataset.folds:
            raise ValueError(
                f"{self.dataset.name} has no official folds: take stl10 with all its "
                "labels."
            )

    def once(self) -> Experiment:
        """The same experiment with one seed, for protocols that need no more."""
        return dataclasses.replace(self, seeds=(0,))

    def repetitions(self) -> list[Repetition]:
        """One repetition per seed, or one per official fold."""
        if self.folds:
            folds = enumerate(self.dataset.folds)
            return [Repetition(fold, seed, f"fold {seed}") for seed, fold in folds]
        index = torch.arange(self.dataset.train_count)
        return [Repetition(index, seed, f"seed {seed}") for seed in self.seeds]

    def store(self, name: str) -> checkpoints.Store:
        """Where the work of this name is kept."""
        mirror = pathlib.Path(self.mirror) / name if self.mirror else None
        return checkpoints.Store(files.checkpoints_folder(self.folder) / name, mirror)


class Repetition(NamedTuple):
    """One training run of an experiment."""

    index: Tensor  # int64 (L,), which of the labelled images it learns from
    seed: int  # of everything random in it
    name: str  # beside its progress bar: "seed 0" or "fold 3"


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How one repetition is trained and scored.

    Attributes:
        name: in the table.
        fit: trains a classifier, keeping its states in a store where there is one;
            returns it and its training curve.
        predict: maps a classifier to its outputs (M, C) for the test images.
        network: lets a classifier take images; None where there is no such network.
        weights: digest of the network with which every repetition begins.
        image_size: side of the images that the network sees, in pixels.
        settings: of the training, where there is one.
        pack: turns a classifier into tensors to be kept; None keeps nothing, for what
            takes seconds.
        unpack: makes the classifier of these tensors.
        minutes_before: time that every repetition would have needed before.
    """

    name: str
    fit: Callable[[Repetition, checkpoints.Store | None], tuple[Any, list]]
    predict: Callable[[Any], Tensor]
    network: Callable[[Any], heads.Classifier | None]
    weights: str
    image_size: int
    settings: supervised.HeadSettings | None = None
    pack: Callable[[Any], dict[str, Any]] | None = None
    unpack: Callable[[dict[str, Any]], Any] | None = None
    minutes_before: float = 0.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a protocol.

    Attributes:
        record: for the results table, over all repetitions.
        scores: of the last repetition.
        outputs: of the last repetition for the test images, (M, C).
        classifier: of the last repetition.
        history: training curve of the last repetition; empty for k-NN and the probe.
        network: of the last repetition, from images to logits; None for k-NN.
        about: what a classifier file says of it.
        store: folder of this work, and its mirror.
    """

    record: dict[str, Any]
    scores: probes.Scores
    outputs: Tensor
    classifier: Any
    history: list[dict[str, Any]]
    network: heads.Classifier | None
    about: dict[str, Any]
    store: checkpoints.Store

    def save_classifier(self, path: pathlib.Path | None = None) -> pathlib.Path:
        """Write the last repetition's classifier to a file, and to the mirror.

        It is the last because choosing the best would be choosing on the test images.

        Args:
            path: of the file; by default one in the folder of this work.

        Returns:
            Where it is.

        Raises:
            ValueError: for k-NN, which has no weights.
            OSError: in one sentence, when the file cannot be written.
        """
        if self.network is None:
            raise ValueError("k-NN has no weights to save: save a linear probe's.")
        path = path or self.store.folder / classifier_files.CLASSIFIER_FILE
        classifier_files.save(path, self.network, self.about)
        mirror = self.store.mirror
        if mirror and mirror.parent.is_dir():
            try:
                classifier_files.save(mirror / path.name, self.network, self.about)
            except OSError as error:  # this machine has the file
                warnings.warn(f"No copy was made: {error}", stacklevel=2)
        elif mirror:
            warnings.warn(
                f"No copy was made: the mirror {str(mirror.parent)!r} is not there.",
                stacklevel=2,
            )
        return path


def repeat(protocol: Protocol, experiment: Experiment) -> Outcome:
    """Fit one classifier per repetition, score what it predicts, and record all."""
    dataset, about, settings = experiment.dataset, experiment.about, protocol.settings
    runs = experiment.repetitions()
    chosen = dataclasses.asdict(settings) if settings else {}
    chosen.pop("seed", None)  # every repetition has its own
    shaped = records.conditions(
        method=experiment.method,
        protocol=protocol.name,
        data=dataset.name,
        labels=len(runs[0].index),
        seeds=len(runs),
        about=about,
        over="official folds" if experiment.folds else "seeds of the classifier",
        folds=len(runs) if experiment.folds else 0,
        seed_numbers=[run.seed for run in runs],
        settings=chosen,
        image_size=protocol.image_size,
        stored_size=dataset.test.images.shape[-1],
        fit=dataset.fit,
        content=records.content(dataset),
        weights=protocol.weights,
    )
    stores = []  # of this work; of the same with fewer seeds, to begin with those
    for count in range(len(runs), 0, -1):
        first = {"seeds": count, "seed_numbers": shaped["seed_numbers"][:count]}
        stores.append(experiment.store(records.name(shaped | first)))
    work = _Work(experiment, protocol, stores[0], stores[1:])
    with contextlib.ExitStack() as stack:
        state = work.load(len(runs), stack)
        scores, minutes = state["scores"], state["minutes"]
        classifier = work.classifier
        for run in runs[len(scores) :]:
            started = time.perf_counter()
            classifier, history = work.fit(run)
            # What an earlier sitting trained stands in the training curve alone.
            trained = sum(entry["seconds"] for entry in history)
            spent = trained or time.perf_counter() - started
            minutes.append(protocol.minutes_before + spent / 60)
            state["machines"].append(hardware.name())
            state |= {"history": history, "outputs": protocol.predict(classifier)}
            scores.append(probes.score(state["outputs"], dataset.test.labels))
            if len(scores) == len(runs):
                state["record"] = records.finished(
                    shaped,
                    top1=[one.top1 for one in scores],
                    top5=[one.top5 for one in scores],
                    minutes=about.get("minutes", 0.0) + sum(minutes) / len(minutes),
                    pretrained_on=about.get("hardware", ""),
                    measured_on=state["machines"],
                    balanced=[one.balanced for one in scores],
                    largest_share=scores[-1].largest_share,
                )
            work.save(state, classifier, run)
    record, last = state["record"], scores[-1]
    described = {
        "network": backbones.metadata(*backbones.named_in(about)),
        "classes": dataset.classes,
        "image_size": protocol.image_size,
        "stored_size": record["stored_size"],
        "fit": dataset.fit,
        "method": experiment.method,
        "protocol": protocol.name,
        "data": dataset.name,
        "files": dataset.files,
        "labels": len(runs[-1].index),
        "repetition": runs[-1].name,
        "settings": dataclasses.asdict(settings) if settings else {},
        "pretraining": dict(about),
        "top1": last.top1,
        "balanced": last.balanced,
        "result": record,
    }
    return Outcome(
        record,
        last,
        state["outputs"],
        classifier,
        state["history"],
        protocol.network(classifier),
        described,
        work.store,
    )


@dataclasses.dataclass
class _Work:
    """What is kept of the repetitions of a protocol.

    Attributes:
        experiment: says whether to go on with what is kept.
        protocol: turns classifiers into tensors and back.
        store: folder of this work, and its mirror.
        shorter: those of fewer repetitions to begin with, the most first.
        classifier: of the last repetition that was finished before, or None.
    """

    experiment: Experiment
    protocol: Protocol
    store: checkpoints.Store
    shorter: Sequence[checkpoints.Store] = ()
    classifier: Any = None

    def load(self, count: int, stack: contextlib.ExitStack) -> dict[str, Any]:
        """Load what was computed before; of several processes, one reads for all.

        Args:
            count: of the repetitions.
            stack: until it is closed, no other process may do this work.
        """
        nothing = {"scores": [], "minutes": [], "machines": [], "record": None}
        nothing |= {"history": [], "outputs": None}  # of the last repetition
        if not self.protocol.pack:
            return nothing
        devices, nodes = engine.launched()
        fabric = engine.start(devices=devices, nodes=nodes)

        def begin() -> dict[str, Any] | None:
            is_owned = stack.enter_context(ownership.own(self.store.folder))
            if not self.experiment.resume:
                self.store.clear()
                for run in self.experiment.repetitions():
                    _remove(self._part(run))
            self.store.begin(is_owned=is_owned)
            saved = self.store.load_state()
            for store in self.shorter if self.experiment.resume else ():
                if saved is None and (saved := store.load_state()):
                    saved["record"] = None
                    self.store.loaded = store.loaded
            return saved

        saved = engine.on_first(fabric, begin)
        if saved is None:
            return nothing
        with self.store.restoring():
            self.classifier = self.protocol.unpack(saved.pop("classifier"))
            scores = [probes.Scores(**one) for one in saved["scores"]]
            saved.setdefault("machines", [])  # older states have none
            state = {key: saved[key] for key in nothing} | {"scores": scores}
            self._check(state, count)
        if fabric.global_rank == 0:
            said = f"goes on after {len(scores)} of {count} repetitions."
            if state["record"]:
                said = "finished before, and its result is shown; resume=False "
                said += "(--no-resume) measures it again."
            what = f"{self.protocol.name}, {self.experiment.method}"
            print(files.printable(f"{what}: {said}"))
        return state

    def _check(self, state: dict[str, Any], count: int) -> None:
        """Raise an error for a state that is not of this work; see ``load``."""
        dataset = self.experiment.dataset
        test, classes = len(dataset.test), len(dataset.classes)
        done = len(state["scores"])
        shapes = [tuple(one.confusion.shape) for one in state["scores"]]
        shapes += [(test, classes), tuple(state["outputs"].shape)]
        good = 0 < done <= count and len(state["minutes"]) == done
        good &= set(shapes) <= {(classes, classes), (test, classes)}
        if not good or (state["record"] is None) != (done < count):
            raise ValueError(f"it has {done} of {count} repetitions")
        if state["record"] is not None:
            records.check(state["record"])
        checkpoints.check_history(state["history"], len(state["history"]))

    def fit(self, run: Repetition) -> tuple[Any, list[dict[str, Any]]]:
        """Train for a repetition, or go on with its training."""
        return self.protocol.fit(run, self._part(run) if self.protocol.pack else None)

    def save(self, state: dict[str, Any], classifier: Any, run: Repetition) -> None:
        """Keep the repetitions so far; what cannot be saved does not stop them."""
        if not self.protocol.pack or not hardware.is_first_process():
            return
        scores = [dataclasses.asdict(one) for one in state["scores"]]
        kept = {"scores": scores, "classifier": self.protocol.pack(classifier)}
        try:
            self.store.save_state(state | kept, len(scores))
            _remove(self._part(run))
        except OSError as error:
            warnings.warn(str(error), stacklevel=2)

    def _part(self, run: Repetition) -> checkpoints.Store:
        """Where the training of a repetition is kept until it ends."""
        name = run.name.replace(" ", "-")
        mirror = self.store.mirror
        # One that is gone is not made again in the place where a drive was.
        copies = mirror / name if mirror and mirror.is_dir() else None
        return checkpoints.Store(self.store.folder / name, copies)


def _remove(store: checkpoints.Store) -> None:
    """Delete the folder of a training that has ended, with what a kill left there."""
    for folder in filter(None, (store.folder, store.mirror)):
        for file in folder.glob("*"):
            with contextlib.suppress(OSError):
                files.remove(file)
        shutil.rmtree(folder, ignore_errors=True)
