"""The benchmarks measure what they say; their figures become tables."""

import contextlib
import dataclasses
import itertools
import json
import subprocess
import sys

import pytest
import small
import torch

from benchmarks import (
    measuring,
    peers,
    quality,
    story,
    tables,
    throughput,
    views,
)
from helpers import methods
from helpers.evaluation import protocols, results
from helpers.models import small_maps
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
    options = settings.configure(name, "published", size=size).options
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
    with pytest.raises(ValueError, match="no place for speed: mark it <!-- speed -->"):
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
    forward = small_maps.Convolution.forward

    def train(session, steps):  # which forward a turn has
        now = small_maps.Convolution.forward
        seen.append((steps, now is forward, now is torch.nn.Conv2d.forward))
        return 6.0 if now is forward else 4.0

    monkeypatch.setattr(measuring, "train", train)
    asked = story.Settings(small_rounds=2, small_steps=1)
    row = story.place_by_place("byol", asked)
    assert seen[1:] == 2 * [(1, True, False), (1, False, True)]
    assert row == {"method": "byol", "side": 40, "ours": 6, "torch": 4, "times": 1.5}
    assert "| byol | 40 | 6 | 4 | 1.50 |" in tables.small_maps({"small_maps": [row]})
    assert "round 2 of 2: ours 6.0, torch 4.0" in capsys.readouterr().out


def test_classifiers_of_a_seed_count_as_one(dataset, small_backbone, monkeypatch):
    seen = []
    train = supervised.train_on_images

    def noted(classifier, images, settings, **more):
        seen.append(settings.seed)
        return train(classifier, images, settings, **more)

    short = dataclasses.replace(protocols.supervised_settings(20, 1), batch_size=8)
    monkeypatch.setattr(protocols, "supervised_settings", lambda *_: short)
    monkeypatch.setattr(supervised, "train_on_images", noted)
    asked = quality.Settings(classifiers=2)
    records = []
    for seed in (0, 1):
        records += quality.one_seed("random", None, dataset, asked, 20, seed)
    assert seen == [0, 1, 2, 3]
    merged = {one["protocol"]: one for one in quality.merge(records)}
    assert set(merged) == {"k-NN", "linear probe", "MLP head", "baseline"}
    first, second = (one for one in records if one["protocol"] == "baseline")
    assert len(first["top1"]) == 2
    assert merged["baseline"]["top1"] == [first["top1_mean"], second["top1_mean"]]
    assert merged["baseline"]["over"] == "seeds of everything"


def test_importing_the_package_alone_loads_nothing_heavy():
    code = "import helpers, sys; print({'torch', 'numpy', 'PIL'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tables.HERE.parent,
    )
    assert done.stdout == "set()\n"
