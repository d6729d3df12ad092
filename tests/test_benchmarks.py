"""The benchmarks measure what they say; their figures become tables."""

import collections
import contextlib
import dataclasses
import itertools
import json
import os
import subprocess
import sys
import time
import types

import gpu_workers
import pytest
import small
import torch
from torchvision.io import write_png

from benchmarks import (
    long_run,
    measuring,
    peers,
    quality,
    short_runs,
    story,
    tables,
    throughput,
    views,
)
from benchmarks.gpu import parts, plan, speed, stages, supervisor, worker
from benchmarks.gpu import project as gpu_project
from benchmarks.gpu import summary as gpu_summary
from helpers import hardware, methods
from helpers.evaluation import protocols, records, results
from helpers.models import backbones, small_maps, weight_files
from helpers.training import pretraining, sessions, settings, supervised
from helpers.views.randomness import StepRandom


def test_contenders_take_turns_and_rounds_are_compared_with_themselves():
    order, rates = [], itertools.count(1)

    def contender(name):
        def measure():
            order.append(name)
            return float(next(rates))

        return measure

    found = measuring.in_turns({name: contender(name) for name in "abc"}, rounds=2)
    assert order == list("abcabc")
    assert found == {"a": [1, 4], "b": [2, 5], "c": [3, 6]}
    assert measuring.ratio([1, 4, 9], [2, 2, 3]) == 2


def test_a_turn_is_made_to_last():
    asked = []

    def measure(steps):  # a step of 10 images takes half a second
        asked.append(steps)
        return 20.0

    assert measuring.steps_lasting(8, measure, batch_size=10) == 16
    assert asked == [1, 1, 2, 4]
    assert measuring.steps_lasting(0.1, measure, batch_size=10) == 2


@pytest.mark.usefixtures("small_backbone")
def test_the_loop_itself_is_measured_for_the_asked_number_of_steps(
    dataset, monkeypatch
):
    chosen = settings.configure("simclr", **small.SETTINGS)
    session = sessions.start(chosen, dataset, devices=1, nodes=1)
    epochs = []

    def train_epoch(some, before, bar):
        epoch = len(before)
        epochs.append((len(list(some.shuffled(epoch))), epoch))
        return {"seconds": 2.0}, None

    monkeypatch.setattr(pretraining, "train_epoch", train_epoch)
    assert session.steps == 3
    assert measuring.train(session, 7) == 7 * 16 / 6
    assert epochs == [(3, 2), (3, 2), (1, 2)]
    assert len(list(session.shuffled(0))) == 3


@pytest.mark.parametrize(
    "name", [m for m in throughput.MEASURED if m in methods.METHODS]
)
@pytest.mark.parametrize("size", [40, 96])
def test_the_peers_views_fit_our_networks(name, size):
    options = settings.configure(name, "long", size=size).options
    method = methods.get(name)(small.backbone(), 4, options)
    images = small.images(4, side=measuring.SIDE)
    ours = peers.pictures(method.views(images, StepRandom(0, 0, 4)))
    transform = peers.TRANSFORMS[name]([tuple(view.shape) for view in ours])
    photographs = peers.Photographs(images, 6, transform)
    loader = torch.utils.data.DataLoader(photographs, batch_size=4)
    theirs, index = next(iter(loader))
    assert [view.shape for view in theirs] == [view.shape for view in ours]
    assert all(abs(view.mean()) < 2 and 0.05 < view.std() < 3 for view in theirs)
    assert index.tolist() == [0, 1, 2, 3]
    assert (len(photographs), photographs[5][1]) == (6, 1)
    labels = torch.full((4,), -1)
    assert torch.isfinite(method.loss(peers.as_ours(theirs), index, labels))


@pytest.mark.usefixtures("small_backbone")
def test_a_method_is_measured_from_end_to_end(monkeypatch, tmp_path, capsys):
    peaks = {"methods": ("byol",), "image_size": 24, "batch_size": 4, "images": 16}
    asked = throughput.Settings(
        **peaks, rounds=2, seconds=0.0, workers=0, output=tmp_path / "latest.json"
    )
    throughput.main(asked)
    found = json.loads(asked.output.read_text())
    assert set(found) == {"about", "byol"}
    assert found["about"]["versions"]["torch"] == torch.__version__
    one = found["byol"]
    for name in ("ours", "limit", "lightly", "of_limit", "over_lightly", "tflops"):
        assert one[name] > 0, name
    assert 0.1 < one["peak_memory_gb"] < 100
    assert len(one["rounds"]["ours"]) == 2
    assert tables.throughput(found) in capsys.readouterr().out


def test_operations_are_those_of_the_convolutions_and_products():
    options = settings.configure("simclr", hidden_dim=8, output_dim=4).options
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.Flatten()
    )
    network.feature_dim = 6 * 8 * 8
    method = methods.get("simclr")(network, 5, options)
    shown = tuple(torch.randn(5, 3, 8, 8) for _ in range(2))
    counted = throughput.count_flops(method, shown, torch.arange(5))
    # A view: the images' gradient is not needed, so two products and not three.
    convolution = 2 * (2 * 5 * 6 * 3 * 9 * 64)
    heads = 3 * 2 * 5 * (384 * 8 + 8 * 4)
    products = 2 * (convolution + heads)
    assert products < counted < products + 20 * 100 * 4 * 2


def test_views_are_measured_and_what_is_missing_says_so(monkeypatch):
    images = small.images(4, side=32)
    go = views.batched(views.ours(16), images, torch.device("cpu"))
    assert go(2) > 0
    monkeypatch.setattr(views, "kornia", None)
    asked = views.Settings(batch_size=4, rounds=1, seconds=0.0, workers=0)
    found = views.measure(16, torch.device("cpu"), asked)
    notes = {name: note for name, rate, note in found if rate is None}
    assert notes == dict.fromkeys(
        ["kornia, eager", "kornia, compiled"], "not installed: pip install kornia"
    )
    assert {name for name, rate, _ in found if rate} == {
        "ours, plain torch",
        "lightly, PIL in workers",
    }


FIGURES = {
    "about": {
        "hardware": "a machine",
        "precision": "bf16-mixed",
        "versions": {"torch": "2.11"},
        "date": "2026-01-02",
        "command": "python -m benchmarks.throughput",
    },
    "byol": {
        "ours": 1234.5,
        "limit": 1300.0,
        "lightly": 45.67,
        "of_limit": 0.9496,
        "over_lightly": 27.03,
        "tflops": 3.2149,
        "of_peak": None,
        "peak_memory_gb": 2.06,
        "stl10_epoch_seconds": 85.05,
    },
}


def test_figures_become_a_table():
    head, _, row = tables.throughput(FIGURES).splitlines()
    assert head.startswith("| method | ours (images/s) | the limit | lightly |")
    assert row == (
        "| byol | 1,234 | 1,300 | 45.7 | 0.95 | 27.0 | 3.21 | – | 2.1 | 1.42 |"
    )


def test_tables_are_written_where_their_marks_are(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tables, "HERE", tmp_path)
    readme = tmp_path / "README.md"
    marks = "\n".join(
        f"<!-- {name} -->\nold\n<!-- /{name} -->" for name in tables.TABLES
    )
    readme.write_text(f"before\n{marks}\nafter\n")
    (tmp_path / "latest.json").write_text(json.dumps(FIGURES))
    tables.main()
    text = readme.read_text()
    assert tables.throughput(FIGURES) in text
    assert "a machine, bf16-mixed; torch 2.11; 2026-01-02; `python -m bench" in text
    assert text.count("old") == len(tables.TABLES) - 1
    assert text.startswith("before\n<!-- throughput -->")
    assert text.endswith(f"<!-- /{list(tables.TABLES)[-1]} -->\nafter\n")
    assert "views: there is no views.json" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no marks for speed: add <!-- speed -->"):
        results.write_table(readme, "speed", "table")


def test_the_readme_has_a_place_for_every_table():
    text = (tables.HERE / "README.md").read_text()
    for name in tables.TABLES:
        assert f"<!-- {name} -->" in text
        assert f"<!-- /{name} -->" in text


@pytest.mark.usefixtures("small_backbone")
def test_growth_is_measured_in_turns_and_memory_in_another_process(monkeypatch):
    asked = story.Settings(
        image_size=24, images=(8, 16), rounds=2, steps=1, batch_size=4
    )
    alone = []
    monkeypatch.setattr(story.multiprocessing, "get_context", lambda kind: Here(alone))
    few, many = story.grow("byol", asked)
    assert alone == [("byol", 8, asked), ("byol", 16, asked)]
    assert (few["of_smallest"], few["images"], many["images"]) == (1, 8, 16)
    assert many["images_gb"] == 2 * few["images_gb"]
    for row in (few, many):
        assert row["rate"] > 0
        assert 0.1 < row["peak_gb"] < 100
    assert tables.growth({"growth": [few, many]}).count("\n") == 3


class Here:
    """A context whose pools work in this process, and note what they are given."""

    def __init__(self, given):
        self.given = given

    def Pool(self, count):
        return contextlib.nullcontext(self)

    def apply(self, work, arguments):
        self.given.append(arguments)
        return work(*arguments)


def test_small_maps_take_turns_with_torchs_convolution(monkeypatch, capsys):
    seen = []
    forward = small_maps.SmallMapConv2d.forward

    def train(session, steps):  # which forward a turn has
        now = small_maps.SmallMapConv2d.forward
        seen.append((steps, now is forward, now is torch.nn.Conv2d.forward))
        return 6.0 if now is forward else 4.0

    monkeypatch.setattr(measuring, "train", train)
    asked = story.Settings(small_rounds=2, small_steps=1)
    row = story.place_by_place("byol", asked)
    assert seen[1:] == 2 * [(1, True, False), (1, False, True)]
    assert row == {"method": "byol", "side": 40, "ours": 6, "torch": 4, "times": 1.5}
    assert "| byol | 40 | 6 | 4 | 1.50 |" in tables.small_maps({"small_maps": [row]})
    assert "round 2 of 2: ours 6.0, torch 4.0" in capsys.readouterr().out


def test_classifiers_of_a_seed_count_as_one(
    dataset, small_backbone, monkeypatch, tmp_path
):
    seen = []
    train = supervised.train_on_images

    def noted(classifier, images, settings, **more):
        seen.append(settings.seed)
        return train(classifier, images, settings, **more)

    short = dataclasses.replace(protocols.supervised_settings(20, 1), batch_size=8)
    monkeypatch.setattr(protocols, "supervised_settings", lambda *_: short)
    monkeypatch.setattr(supervised, "train_on_images", noted)
    asked = quality.Settings(classifiers=2, output=tmp_path)
    found = []
    for seed in (0, 1):
        found += quality.one_seed("random", None, dataset, asked, 20, seed)
    assert seen == [0, 1, 2, 3]
    merged = {one["protocol"]: one for one in quality.merge(found)}
    assert set(merged) == {"k-NN", "linear probe", "MLP head", "baseline"}
    first, second = (one for one in found if one["protocol"] == "baseline")
    assert len(first["top1"]) == 2
    assert merged["baseline"]["top1"] == [first["top1_mean"], second["top1_mean"]]
    assert merged["baseline"]["over"] == "seeds of everything"


def test_longer_supervised_training_is_measured_alone(
    dataset, small_backbone, tmp_path
):
    asked = quality.Settings(classifiers=1, supervised_epochs=1, output=tmp_path)
    (one,) = quality.one_seed("random", None, dataset, asked, 20, seed=0)
    assert (one["protocol"], one["settings"]["epochs"]) == ("baseline", 1)


@pytest.mark.usefixtures("small_backbone")
def test_short_runs_get_equal_time_and_are_not_computed_twice(
    tmp_path, dataset, monkeypatch, capsys
):
    tiny = small.SETTINGS | {"size": 20}
    growing = tiny | {"image_size_schedule": ((0.5, 24),)}
    monkeypatch.setattr(
        short_runs, "WAYS", {"simclr": {"hour": tiny, "growing": growing}}
    )
    monkeypatch.setattr(short_runs.data, "load", lambda _: dataset)
    count = len(dataset.pretraining)
    rates = {20: 2 * count, 24: count / 2}  # half a second an epoch, and two seconds
    monkeypatch.setattr(
        short_runs.pace, "images_per_second", lambda chosen: rates[chosen.image_size]
    )
    asked = short_runs.Settings(
        methods=("simclr",),
        minutes=2.5 / 60,
        seeds=2,
        work=tmp_path / "work",
        output=tmp_path / "short_runs.json",
    )
    short_runs.main(asked)
    hour, growing = json.loads(asked.output.read_text())["rows"][::-1]
    assert (hour["way"], hour["epochs"]) == ("hour", 5)
    assert (growing["way"], growing["epochs"]) == ("growing", 2)
    assert hour["minutes"] == growing["minutes"] == pytest.approx(2.5 / 60)
    assert len(hour["each"]) == len(growing["each"]) == 2
    monkeypatch.setattr(pretraining, "pretrain", None)  # nothing is left to train
    short_runs.main(asked)
    table = tables.short_runs(json.loads(asked.output.read_text()))
    assert f"| simclr | hour | {hour['mean']:.1f} |" in table
    for number in range(2):
        file = asked.work / f"simclr-hour-{number}.json"
        found = json.loads(file.read_text())
        assert (found["seed"], len(found["curve"])) == (number, 5)
        assert found["knn"] == hour["each"][number]


@pytest.mark.usefixtures("small_backbone")
def test_a_long_run_leaves_its_curve(tmp_path, dataset, capsys):
    changes = small.SETTINGS | {"epochs": 5, "monitor_every": 2}
    chosen = settings.configure("simclr", "hour", **changes)
    run = pretraining.pretrain(chosen, dataset, folder=tmp_path / "checkpoints")
    asked = long_run.Settings(run.backbone_file.parent, tmp_path / "long_run.json")
    long_run.main(asked)
    found = json.loads(asked.output.read_text())
    measured = [entry for entry in run.history if "knn" in entry]
    assert [row["epoch"] for row in found["curve"]] == [2, 4, 5]
    assert [row["knn"] for row in found["curve"]] == [one["knn"] for one in measured]
    last = found["curve"][-1]
    assert last["images"] == run.history[-1]["images"]
    assert 60 * last["minutes"] == pytest.approx(
        sum(entry["seconds"] for entry in run.history)
    )
    assert found["about"]["hardware"] == hardware.name()
    row = f"| 5 | {last['images']:,} | {tables.number(last['minutes'])} |"
    assert row in tables.long_run(found)
    assert tables.long_run(found) in capsys.readouterr().out


def test_peaks_are_known_by_the_device_and_no_other(monkeypatch):
    monkeypatch.setattr(hardware, "device", lambda: torch.device("cuda"))
    known = {
        "NVIDIA H100 80GB HBM3": 989,
        "NVIDIA H100 PCIe": 756,
        "NVIDIA L40S": 362,
        "Tesla T4": 65,
        "NVIDIA A100-SXM4-40GB": 312,
        "NVIDIA L40": None,
        "NVIDIA GeForce RTX 4090": None,
    }
    for name, peak in known.items():
        monkeypatch.setattr(hardware, "name", lambda name=name: name)
        assert throughput.peak() == peak, name
    monkeypatch.undo()
    assert throughput.peak() is None  # a CPU has none


def test_a_stage_that_goes_wrong_costs_itself_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(supervisor, "LEAST_GRACE", 0.2)
    shares = dict.fromkeys(("fine", "raises", "hangs", "dies", "breaks", "after"), 1)
    shares["endless"] = 9
    board = supervisor.Board(tmp_path, {"minutes": 15 / 60}, json.dumps)
    supervisor.supervise(
        shares, board, gpu_workers.work, ("a note",), tmp_path / "log.txt"
    )
    assert time.time() - board.end < 5
    found = json.loads((tmp_path / "results.json").read_text())
    assert found == json.loads((tmp_path / "summary.md").read_text())
    assert {stage["name"]: stage["status"] for stage in found["stages"]} == {
        "fine": "done",
        "raises": "failed",
        "hangs": "took too long and was ended",
        "dies": "ended with its process",
        "breaks": "failed",
        "after": "done",
        "endless": "took too long and was ended",
    }
    why = {stage["name"]: stage.get("why") for stage in found["stages"]}
    assert (why["fine"], why["raises"]) == (None, "it raised")
    assert why["breaks"] == "it broke"
    assert why["hangs"] == why["dies"] == "a worker prints\n"
    rows = found["tables"]["seen"]
    assert [row["stage"] for row in rows] == list(shares)
    assert rows[-1]["before"] == list(shares)
    processes = [row["process"] for row in rows]
    assert len(set(processes)) == 4  # one hung, one died, one was broken
    assert processes[0] == processes[1] == processes[2]
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
    budgets = [row["budget"] for row in rows]
    assert budgets[0] < 1.1
    assert budgets[5] > 1.1 * budgets[0]  # what others leave flows on
    assert "after: a line" in capsys.readouterr().out


def test_a_run_ends_in_time_and_a_worker_that_cannot_start_is_no_trap(tmp_path):
    board = supervisor.Board(tmp_path, {"minutes": 0.2}, lambda found: 1 / 0)
    supervisor.supervise(
        {"first": 1, "second": 1}, board, time.sleep, ("no",), tmp_path / "log.txt"
    )
    stages = board.results["stages"]
    assert [one["status"] for one in stages] == 2 * ["its process did not start"]
    assert "TypeError" in stages[1]["why"]
    assert "no tables were made" in (tmp_path / "summary.md").read_text()


def folder_of_pictures(root):
    """Three classes, a colour each: 24 training and 12 test images of 32 px."""
    for split, count in (("train", 24), ("test", 12)):
        some = small.split(count, seed=count)
        for number, (image, label) in enumerate(zip(*vars(some).values(), strict=True)):
            folder = root / split / "abc"[label]
            folder.mkdir(parents=True, exist_ok=True)
            write_png(image, str(folder / f"{number}.png"))


def test_the_quarter_hour_on_a_gpu_is_rehearsed(tmp_path, monkeypatch, capsys):
    folder_of_pictures(tmp_path / "pictures")
    output = tmp_path / "out"
    compiling = '{"longer": {"compile": "on"}}'
    command = [sys.executable, "-m", "benchmarks.gpu", "--rehearse", "--toy"]
    command += ["--data", f"folder:{tmp_path / 'pictures'}", "--output", str(output)]
    command += ["--labels", "4", "--changes", compiling, "--commit", "abc1234"]
    command += ["--broken", "byol", "--minutes", "30"]  # it takes one; others may work
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command,
        cwd=tables.HERE.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1_000,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((output / "results.json").read_text())
    summary = (output / "summary.md").read_text()

    expected = dict.fromkeys(plan.SHARES, "done") | {"byol": "failed"}
    assert {one["name"]: one["status"] for one in found["stages"]} == expected, summary
    assert "byol was asked to fail" in summary
    assert "s left] labels: done" in done.stdout
    rows = found["tables"]
    assert "errors" not in rows, rows["errors"]
    assert "left_out" not in rows
    for name, (title, _) in gpu_summary.TABLES.items():
        if name not in ("errors", "left_out"):
            assert f"## {title}" in summary
    modes = {row["mode"] for row in rows["speed"]}
    assert modes == {"eager", "compiled", "CUDA graphs", "lightly, all cores"}
    assert {row["method"] for row in rows["waiting"]} == set(plan.METHODS)
    learned = {row["name"]: row for row in rows["learned"]}
    assert set(learned) == {"pirl", "simclr", "longer"}
    assert learned["longer"]["compile"] == "on"
    best = max(("pirl", "simclr"), key=lambda name: learned[name]["knn"])
    assert learned["longer"]["method"] == best
    assert {row["name"] for row in rows["curve"]} == set(learned)

    protocols_of = collections.defaultdict(set)
    for record in found["records"]:
        assert record["commit"] == "abc1234"
        protocols_of[record["method"], record["labels"]].add(record["protocol"])
    frozen = {"k-NN", "linear probe"}
    for count in (12, 24):
        assert protocols_of["random", count] == {*frozen, "baseline"}
        assert protocols_of["PIRL", count] == {*frozen, "fine-tuning"}
        assert protocols_of["SimCLR", count] == {*frozen, "fine-tuning"}

    names = {path.name for path in output.iterdir()}
    assert names == {
        "results.json",
        "summary.md",
        "pirl.safetensors.gz.1of1",
        "simclr.safetensors.gz.1of1",
    }
    asked = parts.Settings(output, tmp_path / "weights", tmp_path / "results")
    parts.main(asked)
    # Where "longer" had no time for more epochs than the first run, it takes its place.
    distinct = {records.name(record) for record in found["records"]}
    assert len(results.collect(tmp_path / "results")) == len(distinct)
    monkeypatch.setattr(backbones, "build", backbones.build)  # is put back
    gpu_project.use_toy_network()
    for row in rows["weights"]:
        file = tmp_path / "weights" / f"{row['name']}.safetensors"
        _, about = weight_files.load_backbone(file)
        assert (about["method"], about["dtype"]) == (row["name"], "float16")
    assert "pirl, resnet18, folder:pictures, 2 epochs" in capsys.readouterr().out


def test_a_backbone_is_halved_split_joined_and_loaded(tmp_path):
    torch.manual_seed(0)
    backbone = backbones.build()
    about = {"backbone": "resnet18", "stem": "imagenet", "method": "pirl"}
    weight_files.save_backbone(tmp_path / "whole.safetensors", backbone, about)
    halved, out = tmp_path / "pirl.safetensors", tmp_path / "out"
    weight_files.save_half(tmp_path / "whole.safetensors", halved)
    parts.split(halved, out, limit=2**20)  # an older file's parts, which go
    written = parts.split(halved, out)
    assert written == ["pirl.safetensors.gz.1of2", "pirl.safetensors.gz.2of2"]
    assert sorted(path.name for path in out.iterdir()) == written
    assert all((out / name).stat().st_size <= parts.LIMIT for name in written)
    joined = parts.join(out, "pirl.safetensors", tmp_path / "weights")
    assert joined.read_bytes() == halved.read_bytes()
    loaded, kept = weight_files.load_backbone(joined)
    assert kept == about | {"dtype": "float16"}
    for name, tensor in backbone.state_dict().items():
        there = loaded.state_dict()[name]
        assert there.dtype == tensor.dtype
        expected = tensor.half().float() if tensor.is_floating_point() else tensor
        assert torch.equal(there, expected)
    (out / written[1]).write_bytes(b"something else")
    with pytest.raises(ValueError, match="damaged: copy them again"):
        parts.join(out, "pirl.safetensors", tmp_path)
    (out / written[1]).unlink()
    with pytest.raises(ValueError, match="missing in"):
        parts.join(out, "pirl.safetensors", tmp_path)


def test_what_is_asked_of_the_gpu_is_checked_first():
    with pytest.raises(ValueError, match="Unknown stage 'sped': choose among data"):
        plan.Settings("demo", stages=("sped",))
    with pytest.raises(ValueError, match="changes must be JSON"):
        plan.Settings("demo", changes="epochs=3")
    assert plan.Settings("demo").sizes == plan.Sizes()


def bench(tmp_path, seconds, changes="{}", **rows):
    """What a stage is given, its reports in a list instead of a pipe."""
    asked = plan.Settings("demo", output=tmp_path, changes=changes, rehearse=True)
    sent = []
    connection = types.SimpleNamespace(send=sent.append)
    found = {"tables": rows, "records": []}
    made = worker.Bench(asked, tmp_path, found, time.time() + seconds, connection)
    return made, sent


@pytest.mark.parametrize("seconds, pays", [(30, False), (120, True)])
def test_the_longer_run_is_compiled_where_that_pays(tmp_path, seconds, pays):
    what = {"method": "simclr", "side": 24, "stem": "pool", "batch": 4}
    rows = [
        {**what, "mode": "eager", "ours": 100.0},
        {**what, "mode": "compiled", "ours": 150.0, "first_steps_seconds": 10.0},
        {**what, "mode": "eager", "ours": 100.0, "batch": 6},
        {**what, "mode": "compiled", "ours": 101.0, "batch": 6},
        {**what, "side": 32, "mode": "compiled", "ours": 9.0},
    ]
    made, _ = bench(tmp_path, seconds, speed=rows)
    # Views grow once: two sizes are compiled.
    assert stages.compiling(made, "simclr") == (pays, 1.5, 20)
    assert stages.compiling(bench(tmp_path, seconds)[0], "pirl") == (False, 1, 0)
    one_size = json.dumps({"longer": {"image_size_schedule": []}})
    made, _ = bench(tmp_path, 120, one_size, speed=rows)
    assert stages.compiling(made, "simclr") == (True, 1.5, 10)


def test_changes_of_a_method_hold_for_its_longer_run_but_for_the_epochs():
    changes = {
        "pirl": {"epochs": 90, "temperature": 0.2, "scale": [0.3, 1]},
        "longer": {"image_size_schedule": [[0.75, 96]]},
    }
    asked = plan.Settings("demo", changes=json.dumps(changes))
    alone = stages.recipe_changes(asked, "pirl", "pirl")
    assert alone == {"epochs": 90, "temperature": 0.2, "scale": (0.3, 1)}
    longer = stages.recipe_changes(asked, "pirl", "longer")
    del alone["epochs"]
    assert longer == alone | {"image_size_schedule": ((0.75, 96),)}
    assert stages.recipe_changes(asked, "byol", "byol") == {}
    chosen = gpu_project.configure("pirl", **longer)
    assert (chosen.image_size, chosen.options.temperature) == (96, 0.2)


def test_the_better_backbone_of_a_method_is_kept(tmp_path):
    file = tmp_path / "longer.safetensors"
    file.write_bytes(b"weights")
    weights = [{"name": "pirl", "knn": 50.0}, {"name": "byol", "knn": 70.0}]
    made, sent = bench(tmp_path / "out", 10, weights=weights)
    stages.keep(made, "pirl", file, 50.0)
    assert [message[0] for message in sent] == ["say"]
    stages.keep(made, "pirl", file, 50.1)
    assert sent[1][2]["parts"] == "pirl.safetensors.gz.1of1"
    joined = parts.join(tmp_path / "out", "pirl.safetensors", tmp_path)
    assert joined.read_bytes() == b"weights"


@pytest.mark.usefixtures("small_backbone")
def test_a_training_that_is_late_ends_with_the_backbone_it_has(
    tmp_path, dataset, monkeypatch
):
    monkeypatch.setattr(gpu_project, "load", lambda _: dataset)
    monkeypatch.setattr(gpu_project, "few_labels", lambda *_: dataset)
    changes = {"pirl": {"epochs": 50, "batch_size": 8, "precision": "32-true"}}
    made, sent = bench(tmp_path, 0.5, json.dumps(changes))
    hurried = dataclasses.replace(made.asked, rehearse=False)
    tiny = dataclasses.replace(plan.REHEARSAL, max_epochs=50)
    monkeypatch.setattr(plan, "Sizes", lambda: tiny)
    epochs, train_epoch = [], pretraining.train_epoch

    def watched(*given):
        entry, losses = train_epoch(*given)
        epochs.append(entry["epoch"])
        return entry, losses

    monkeypatch.setattr(pretraining, "train_epoch", watched)
    stages.learn("pirl", dataclasses.replace(made, asked=hurried))
    rows = {message[1]: message[2] for message in sent if message[0] == "row"}
    assert 1 <= rows["learned"]["epochs"] < rows["learned"]["planned"] == 50
    assert rows["learned"]["epochs"] == epochs[-1]
    assert rows["weights"]["name"] == "pirl"
    assert rows["records"]["protocol"] == "linear probe"
    assert rows["records"]["pretraining_epochs"] == rows["learned"]["epochs"]


@pytest.fixture
def gpu_at_hand(tmp_path, dataset, small_backbone, monkeypatch):
    """A stage on a machine that seems to have a GPU, its reports, and how to watch."""
    modes = []
    monkeypatch.setattr(gpu_project, "load", lambda _: dataset)
    monkeypatch.setattr(speed, "on_gpu", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    made, sent = bench(tmp_path, 10)
    return made, sent, modes


WHAT = {"method": "simclr", "side": 24, "stem": "pool", "batch": 6}


def test_waiting_is_looked_for_between_the_first_step_and_the_last(
    gpu_at_hand, monkeypatch
):
    made, sent, modes = gpu_at_hand
    speed.waiting(made, **WHAT)
    assert modes == ["error", "default", "default"]
    assert sent[0][2]["result"] == "no waiting"
    assert sent[0][2]["steps"] == 2
    after_step = methods.get("simclr").after_step

    def read_back(method, progress):
        if modes[-1] == "error":
            raise RuntimeError("called a synchronizing CUDA operation")
        after_step(method, progress)

    monkeypatch.setattr(methods.get("simclr"), "after_step", read_back)
    speed.waiting(made, **WHAT)
    result = sent[2][2]["result"]
    assert result.startswith("waits after step 1: ")
    assert "pretraining.py:" in result
    assert result.endswith("called a synchronizing CUDA operation")
    assert modes[-1] == "default"


def test_a_profile_says_how_long_the_gpu_has_nothing_to_do(gpu_at_hand, monkeypatch):
    made, sent, _ = gpu_at_hand

    def event(key, device, milliseconds, count=1, named=False):
        return types.SimpleNamespace(
            key=key,
            device_type=device,
            self_device_time_total=1e3 * milliseconds,
            self_cpu_time_total=1e3 * milliseconds,
            count=count,
            is_user_annotation=named,
        )

    gpu, cpu = torch.autograd.DeviceType.CUDA, torch.autograd.DeviceType.CPU
    events = [
        event("kernel", gpu, 3, count=30),
        event("another", gpu, 1),
        event("Optimizer.step", gpu, 4, named=True),
        event("aten::conv", cpu, 20, count=2),
    ]
    found = types.SimpleNamespace(key_averages=lambda: events)
    watching = contextlib.nullcontext(found)
    monkeypatch.setattr(speed.profiler, "profile", lambda activities: watching)
    monkeypatch.setattr(measuring, "train", lambda *_: 600.0)  # a step of 10 ms
    speed.profile(made, **WHAT)
    *longest, step = [message[2] for message in sent]
    assert [row["name"] for row in longest] == ["kernel", "another", "aten::conv"]
    assert [row["share"] for row in longest] == [0.75, 0.25, 1]
    assert (longest[0]["calls"], longest[0]["milliseconds"]) == (30, 3)
    assert step["milliseconds"] == pytest.approx(10)
    assert step["gpu_milliseconds"] == pytest.approx(4)
    assert step["gpu_idle"] == pytest.approx(0.6)
    assert (step["kernels"], step["cpu_operations"]) == (31, 2)


def test_a_measurement_that_fails_is_a_row_and_one_without_time_too(tmp_path):
    made, sent = bench(tmp_path, 5)

    def steps(bench, **what):
        raise torch.OutOfMemoryError("CUDA out of memory")

    speed.attempt(made, 6, steps, batch=1_024)
    late = dataclasses.replace(
        made, asked=dataclasses.replace(made.asked, rehearse=False)
    )
    speed.attempt(late, 6, steps, batch=256)
    rows = {message[1]: message[2] for message in sent if message[0] == "row"}
    assert rows["errors"]["job"] == "steps, 1024"
    assert "out of memory" in rows["errors"]["error"]
    assert rows["left_out"] == {"job": "steps, 256"}


def test_an_epoch_is_timed_at_every_size_that_views_grow_to(tmp_path, monkeypatch):
    seconds = {20: 1.0, 32: 3.0}

    def start(chosen, dataset):
        assert chosen.image_size_schedule == ()
        return types.SimpleNamespace(settings=chosen, steps=5)

    def train(run, steps):
        images = run.steps * run.settings.batch_size
        return images / (seconds[run.settings.image_size] if steps > 3 else 1e9)

    monkeypatch.setattr(gpu_project, "load", lambda _: None)
    monkeypatch.setattr(gpu_project, "start", start)
    monkeypatch.setattr(measuring, "train", train)
    growing = {"image_size": 20, "image_size_schedule": ((0.75, 32),)}
    made, _ = bench(tmp_path, 10)
    assert stages.epoch_seconds(made, "simclr", growing) == 0.75 * 1 + 0.25 * 3


@pytest.mark.parametrize(
    "seconds, expected",
    [
        (60, [("", 0), ("pirl", 0), "frozen"]),
        (130, [("", 0), ("pirl", 0), "frozen", ("", 1)]),
    ],
)
def test_no_training_with_labels_begins_that_could_not_end(
    tmp_path, monkeypatch, seconds, expected
):
    """On a clock of its own: 20 seconds with few labels, 70 with all of them."""
    clock, done = [1_000.0], []
    monkeypatch.setattr(stages.time, "time", lambda: clock[0])
    monkeypatch.setattr(stages.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(gpu_project, "load", lambda _: 1)
    monkeypatch.setattr(gpu_project, "few_labels", lambda *_: 0)
    monkeypatch.setattr(gpu_project, "about", lambda _: {"stem": "pool"})

    def supervised(create, method, made, side, dataset, **changes):
        done.append((method or "", dataset))
        clock[0] += (20, 70)[dataset]
        return {"method": method, "protocol": "x", "data": "y", "top1_mean": 1.0}

    def frozen(*_):
        done.append("frozen")
        return []

    monkeypatch.setattr(gpu_project, "supervised", supervised)
    monkeypatch.setattr(gpu_project, "frozen", frozen)
    run = {"method": "pirl", "knn": 50.0, "file": "pirl.safetensors", "name": "pirl"}
    made, _ = bench(tmp_path, 0, learned=[run])
    asked = dataclasses.replace(made.asked, rehearse=False)
    stages.labels(dataclasses.replace(made, asked=asked, deadline=clock[0] + seconds))
    assert done == expected


def test_records_of_two_seeds_become_that_of_one_training():
    shared = {"method": "random", "protocol": "baseline", "data": "x", "labels": 3}
    about = {"seed": 7, "images": 9}

    def record(numbers, top1, top5, minutes):
        """As an evaluation with these seeds writes it."""
        return records.finished(
            records.conditions(
                **shared, seeds=len(numbers), seed_numbers=numbers, about=about
            ),
            top1=top1,
            top5=top5,
            minutes=minutes,
            balanced=top1,
            largest_share=10.0 + numbers[-1],
        )

    first, second, third = (
        record([seed], [30.0 + 10 * seed], [80.0 + seed], 1.0 + seed)
        for seed in range(3)
    )
    merged = gpu_project.merge(gpu_project.merge(first, second), third)
    assert merged == record([0, 1, 2], [30.0, 40.0, 50.0], [80.0, 81.0, 82.0], 2.0)
    few = gpu_project.merge(first | {"top5_mean": None}, second)
    assert few["top5_mean"] is None


def test_states_are_saved_now_and_then(tmp_path, dataset, small_backbone, monkeypatch):
    saved = []
    monkeypatch.setattr(
        sessions, "save", lambda session, *others: saved.append(len(others[-1].history))
    )
    chosen = settings.configure("simclr", **small.SETTINGS)
    keep = {"on_epoch": lambda history: None}
    gpu_project.pretrain(chosen, dataset, tmp_path, **keep)
    assert saved == [1, 4]


def test_importing_the_package_alone_loads_nothing_heavy():
    code = "import helpers, sys; print({'torch', 'numpy', 'PIL'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tables.HERE.parent,
    )
    assert done.stdout == "set()\n"
