"""The stages by name, and those that learn: pre-training, longer, and with labels."""

from __future__ import annotations

import functools
import itertools
import math
import pathlib
import time
from collections.abc import Callable
from typing import Any

from benchmarks import measuring
from benchmarks.gpu import parts, plan, project, speed
from benchmarks.gpu.worker import Bench

TRIAL = 0.05  # of the time left: an epoch that takes more is the last that is tried
TRIED = 10  # steps that tell how long an epoch takes
GAUGES = 12  # k-NN checks of a pre-training, at most
WORTH = 1.3  # times the images per second that make a larger batch worth it
MARGIN = 0.97  # of the time that a training is planned to take
TOO_LONG = 1.15  # times its time, after which a training is stopped
FEW_SECONDS = 20.0  # of a training with few labels, until one has been timed
ALL_TIMES = 3.5  # times as long takes one with all of them: 89 to 26 s on an H100


def data(bench: Bench) -> None:
    """Read the images, once; name the machine."""
    started = time.perf_counter()
    dataset = project.load(bench.asked.data)
    seconds = time.perf_counter() - started
    bench.say(f"{dataset.describe()}, read in {seconds:.1f} s")
    about = project.machine()
    bench.report("machine", **about, data=dataset.describe(), reading_seconds=seconds)
    changes = dict(bench.asked.sizes.changes)
    stem, _, side = project.stem_and_side("simclr", **changes)
    found = project.gauge(None, dataset, side, stem)
    bench.report("gauge", name="random", knn=found)


def learn(method: str, bench: Bench) -> None:
    """Pre-train for the stage's time, keep the backbone, score it frozen."""
    pretrain(bench, method, method, compile="off")


def longer(bench: Bench) -> None:
    """The best method once more with what is left, compiled where that pays.

    Best is the highest k-NN accuracy on training labels.
    """
    learned = bench.rows("learned")
    best = max(learned, key=lambda row: row["knn"], default={"method": speed.FIRST})
    pays, gain, cost = compiling(bench, best["method"])
    pretrain(
        bench,
        best["method"],
        "longer",
        compile="on" if pays else "off",
        gain=gain if pays else 1.0,
        cost=cost if pays else 0.0,
    )


def compiling(bench: Bench, method: str) -> tuple[bool, float, float]:
    """Whether compiling pays in this stage, its gain, and its cost in seconds.

    Steps are compiled anew for every size that views grow to. The gain is that of the
    smaller batch, if known: pre-training has such a batch.
    """
    (side, stem), *_ = bench.asked.sizes.views
    rates: dict[tuple[str, int], dict[str, Any]] = {
        (row["mode"], row["batch"]): row
        for row in bench.rows("speed")
        if (row["method"], row["side"], row["stem"]) == (speed.FIRST, side, stem)
    }
    changes = recipe_changes(bench.asked, method, "longer")
    sizes = len(project.configure(method, **changes).image_sizes)
    for batch in bench.asked.sizes.speed_batches:
        eager, fast = rates.get(("eager", batch)), rates.get(("compiled", batch))
        if eager and fast:
            gain = fast["ours"] / eager["ours"]
            cost = sizes * fast["first_steps_seconds"]
            return (bench.left - cost) * gain > 1.05 * bench.left, gain, cost
    return False, 1.0, 0.0


def pretrain(
    bench: Bench,
    method: str,
    stage: str,
    *,
    compile: str,
    gain: float = 1.0,
    cost: float = 0.0,
) -> None:
    """Pre-train for what the stage has left, with a schedule that ends in time.

    Args:
        bench: the stage's.
        method: to train.
        stage: its name, whose changes of the recipe are taken.
        compile: as in the settings.
        gain: times the measured images per second.
        cost: seconds of compiling.
    """
    asked, dataset = bench.asked, project.load(bench.asked.data)
    scoring = 0.0 if asked.rehearse else min(12.0, 0.2 * bench.left)
    stop = bench.deadline - scoring
    changes = recipe_changes(asked, method, stage)
    batch, seconds = changes.pop("batch_size", None), math.inf
    fitting = [n for n in asked.sizes.train_batches if n <= len(dataset.pretraining)]
    for size in [batch] if batch else fitting:
        epoch = epoch_seconds(bench, method, changes | {"batch_size": size})
        bench.report("trials", method=method, batch=size, epoch_seconds=epoch)
        if batch in (None, size) or WORTH * epoch < seconds:
            batch, seconds = size, epoch
        if epoch > TRIAL * bench.left:
            break
    stem, _, side = project.stem_and_side(method, **changes)
    check = functools.partial(project.gauge, None, dataset, side, stem)
    check()  # kernels are chosen in the first
    checks = GAUGES * measuring.seconds(check)
    usable = MARGIN * (stop - time.time()) - checks - cost
    epochs = max(1, min(int(usable / (seconds / gain)), asked.sizes.max_epochs))
    # An epoch of so few images is short: as many steps of warm-up as on larger sets.
    changes = {"warmup_epochs": min(10.0, 0.1 * epochs), "epochs": epochs} | changes
    every = math.ceil(changes["epochs"] / GAUGES)
    given = {"batch_size": batch, "monitor_every": every, "compile": compile}
    chosen = project.configure(method, **given | changes)
    bench.say(
        f"{method}: {chosen.epochs} epochs, batch {batch}, compile {chosen.compile}"
    )
    begun = time.time()
    latest = begun + TOO_LONG * (stop - begun)

    def on_epoch(history: list[dict[str, Any]]) -> None:
        entry = history[-1]
        wall = time.time() - begun
        if "knn" in entry:
            bench.report("curve", name=stage, wall_seconds=wall, **entry)
            bench.say(
                f"epoch {entry['epoch']} of {chosen.epochs}, loss {entry['loss']:.3f}, "
                f"k-NN {entry['knn']:.1f} % on training labels"
            )
        if time.time() > latest and not asked.rehearse:
            raise project.OutOfTimeError

    folder = bench.work / stage
    file = project.pretrain(
        chosen, dataset, folder, on_epoch=on_epoch, compiler=asked.sizes.compiler
    )
    wall = time.time() - begun
    made = project.about(file)
    small = bench.work / f"{stage}.safetensors"
    project.halve(file, small)
    knn = project.gauge(small, dataset, made["evaluation_size"])
    training = 60 * made["minutes"]
    bench.report(
        "learned",
        name=stage,
        method=method,
        epochs=made["epochs_done"],
        planned=chosen.epochs,
        images=made["images"],
        batch=batch,
        compile=chosen.compile,
        wall_seconds=wall,
        training_seconds=training,
        images_per_second=made["images"] / training,
        knn=knn,
        file=str(small),
    )
    bench.say(f"{method}: {made['images']:,} images in {wall:.0f} s, k-NN {knn:.1f} %")
    keep(bench, method, small, knn)
    few = project.few_labels(asked.data, asked.labels)
    for record in project.frozen(
        project.opener(small, made["stem"]),
        method,
        made,
        made["evaluation_size"],
        (dataset, few),
    ):
        bench.record(record)


def recipe_changes(asked: plan.Settings, method: str, stage: str) -> dict[str, Any]:
    """Changes of the recipe: the sizes', the method's, and the stage's on top."""
    by_stage = asked.changes_by_stage
    changes = dict(asked.sizes.changes) | by_stage.get(method, {})
    if stage != method:
        changes.pop("epochs", None)  # the longer run has more of them
        changes |= by_stage.get(stage, {})
    return {name: _tuples(value) for name, value in changes.items()}


def _tuples(value: Any) -> Any:
    """JSON's lists as tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def epoch_seconds(bench: Bench, method: str, changes: dict[str, Any]) -> float:
    """Seconds of an epoch's steps, in the mean over the sizes views grow to."""
    dataset, mean = project.load(bench.asked.data), 0.0
    for share, side in project.configure(method, **changes).image_sizes:
        alike = {"image_size": side, "image_size_schedule": (), "compile": "off"}
        run = project.start(project.configure(method, **changes | alike), dataset)
        measuring.train(run, 3)  # kernels are chosen in the first
        images = run.steps * run.settings.batch_size
        mean += share * images / measuring.train(run, TRIED)
    return mean


def keep(bench: Bench, method: str, file: pathlib.Path, knn: float) -> None:
    """Write a backbone's parts, unless a better one of the method is there."""
    there = [row["knn"] for row in bench.rows("weights") if row["name"] == method]
    if there and max(there) >= knn:
        bench.say(f"{method}: the backbone of the shorter run stays, it is better")
        return
    named = file.with_name(f"{method}.safetensors")
    if named != file:
        named.write_bytes(file.read_bytes())
    written = parts.split(named, bench.asked.output)
    about = parts.describe(named, written)
    bench.report("weights", name=method, knn=knn, stage=file.stem, **about)


def labels(bench: Bench) -> None:
    """Fine-tuning and the baseline, with few labels and with all of them.

    The baseline and the best backbone come first, with random weights frozen between
    few labels and all, then the other methods' best, and further seeds for as long as
    there is time.
    """
    asked, sizes = bench.asked, bench.asked.sizes
    ranked = sorted(bench.rows("learned"), key=lambda row: row["knn"])
    best_runs = {row["method"]: row for row in ranked}  # the last of each is its best
    starts = [None, *sorted(best_runs.values(), key=lambda row: -row["knn"])]
    sets = [project.few_labels(asked.data, asked.labels), project.load(asked.data)]
    stem, side, whole = project.stem_and_side(speed.FIRST, **dict(sizes.changes))
    batch, rate = sizes.all_labels
    changes = [{}, {"batch_size": batch, "learning_rate": rate}]
    taken: dict[int, float] = {}  # seconds of the last training with few or all labels
    found: dict[tuple[str, int], dict[str, Any]] = {}

    def train(start: dict[str, Any] | None, kind: int, seed: int) -> None:
        like_few = taken.get(0, FEW_SECONDS) * (ALL_TIMES if kind else 1)
        if not asked.rehearse and bench.left < 1.2 * taken.get(kind, like_few):
            return
        file = pathlib.Path(start["file"]) if start else None
        made = project.about(file) if file else {"stem": stem}
        began = time.perf_counter()
        record = project.supervised(
            project.opener(file, made["stem"]),
            start["method"] if start else None,
            made,
            made.get("image_size", side),
            sets[kind],
            seed=seed,
            epochs=sizes.fine_tuning[kind],
            **changes[kind],
        )
        taken[kind] = time.perf_counter() - began
        key = (start["name"] if start else "", kind)
        found[key] = project.merge(found[key], record) if key in found else record
        bench.record(found[key])

    for start in starts[:2]:
        train(start, 0, 0)
    if asked.rehearse or bench.left > 8:
        create = project.opener(None, stem)
        for record in project.frozen(create, None, {"stem": stem}, whole, sets):
            bench.record(record)
    for start in starts[:2]:
        train(start, 1, 0)
    for kind, start in itertools.product((0, 1), starts[2:]):
        train(start, kind, 0)
    for seed in range(1, sizes.max_seeds):
        for kind, start in itertools.product((0, 1), starts):
            train(start, kind, seed)


STAGES: dict[str, Callable[[Bench], None]] = {
    "data": data,
    "speed": speed.speed,
    **{method: functools.partial(learn, method) for method in plan.METHODS},
    "compiled": speed.compiled,
    "longer": longer,
    "labels": labels,
}
