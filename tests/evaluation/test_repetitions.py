"""Repetitions that are stopped go on, and end as if they had never stopped."""

import dataclasses
import itertools
import random
import shutil
import signal
import subprocess
import sys
import warnings

import killed_evaluation
import pytest
import torch
from killed_evaluation import PROTOCOLS, evaluate

from helpers import hardware
from helpers.data.dataset import Split
from helpers.evaluation import records
from helpers.models import classifier_files, weight_files
from helpers.training import checkpoints, ownership, watch

pytestmark = pytest.mark.usefixtures("small_backbone")
BY_CHANCE = ("minutes", "date", "commit")


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Compute in float32, and save after every epoch, however short it is."""
    monkeypatch.setattr(hardware, "precision", lambda: "32-true")
    monkeypatch.setattr(watch, "SAVING_PAYS", 0)


@pytest.fixture
def steps(monkeypatch):
    """Count the steps of all optimizers, and stop at one of them."""
    step = torch.optim.AdamW.step

    class Steps:
        taken, stop = 0, None

    def counted(optimizer, *args, **kwargs):
        if Steps.stop is not None and Steps.taken >= Steps.stop:
            raise KeyboardInterrupt
        Steps.taken += 1
        return step(optimizer, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", counted)
    return Steps


def weights(outcome):
    head = outcome.classifier
    if hasattr(head, "mean"):
        return {"mean": head.mean, "std": head.std, **head.head.state_dict()}
    return head.state_dict()


def assert_same(one, other):
    """Whether two outcomes are equal bit for bit, but for the time they took."""
    for key in (one.record.keys() | other.record.keys()) - set(BY_CHANCE):
        assert one.record[key] == other.record[key], key
    assert weights(one).keys() == weights(other).keys()
    for name, value in weights(one).items():
        assert torch.equal(value, weights(other)[name]), name
    assert one.scores.top1 == other.scores.top1
    assert torch.equal(one.scores.confusion, other.scores.confusion)
    assert torch.equal(one.outputs, other.outputs)
    curves = [[e["loss"] for e in outcome.history] for outcome in (one, other)]
    assert curves[0] == curves[1]
    taken = [dict(outcome.about, result=None) for outcome in (one, other)]
    assert taken[0] == taken[1]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_what_was_stopped_goes_on_to_the_same_end(name, dataset, tmp_path, steps):
    whole = evaluate(name, dataset, tmp_path / "whole")
    total, steps.taken = steps.taken, 0
    per_epoch = total // 3 // 4
    # Within the first epoch, between two, in the second repetition, at the very end.
    for stop in (1, per_epoch + 1, total // 2, total - 1):
        steps.stop = stop
        with pytest.raises(KeyboardInterrupt):
            evaluate(name, dataset, tmp_path / "stopped")
        assert steps.taken == stop
        for folder in (tmp_path / "stopped").rglob("seed-*"):
            (folder / ".1-state.tmp").touch()  # as a kill leaves it
        steps.taken -= stop % per_epoch  # what is lost is a part of an epoch
    steps.stop = None
    assert_same(evaluate(name, dataset, tmp_path / "stopped"), whole)
    assert steps.taken == total
    (folder,) = (tmp_path / "stopped").iterdir()  # nothing of a training that ended
    assert not [path for path in folder.iterdir() if path.is_dir()]


def test_what_was_killed_goes_on_to_the_same_end(dataset, tmp_path):
    name, epochs, threads = "fine_tune", 12, torch.get_num_threads()
    killed = str(tmp_path / "killed")
    process = subprocess.Popen(
        [
            *(sys.executable, killed_evaluation.__file__, name),
            *(killed, str(threads), str(epochs)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    saved = (line for line in process.stdout if "saved" in line)
    list(itertools.islice(saved, random.randint(1, 30)))
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    assert list((tmp_path / "killed").rglob("state-*.pt"))
    places = killed, tmp_path / "whole"
    assert_same(*(evaluate(name, dataset, place, epochs) for place in places))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_what_is_finished_is_shown_and_said(name, dataset, tmp_path, steps, capsys):
    first = evaluate(name, dataset, tmp_path)
    total = steps.taken
    capsys.readouterr()
    again = evaluate(name, dataset, tmp_path)
    assert steps.taken == total
    assert again.record == first.record  # when and how long it was measured, too
    assert_same(again, first)
    assert "finished before, and its result is shown" in capsys.readouterr().out
    assert_same(evaluate(name, dataset, tmp_path, resume=False), first)
    assert steps.taken == 2 * total
    assert "finished before" not in capsys.readouterr().out


def test_more_repetitions_begin_with_those_that_are_there(dataset, tmp_path, steps):
    whole = evaluate("fine_tune", dataset, tmp_path / "whole", seeds=(0, 1, 2))
    each, steps.taken = steps.taken // 3, 0
    for count in (1, 2):
        evaluate("fine_tune", dataset, tmp_path / "more", seeds=range(count))
    evaluate("fine_tune", dataset, tmp_path / "more", seeds=(1, 2))
    assert steps.taken == (2 + 2) * each  # other seeds are another work
    assert_same(evaluate("fine_tune", dataset, tmp_path / "more"), whole)
    assert steps.taken == (2 + 2 + 1) * each
    evaluate("fine_tune", dataset, tmp_path / "more", seeds=range(4), resume=False)
    assert steps.taken == (2 + 2 + 1 + 4) * each


def test_the_hardware_is_that_of_every_repetition(dataset, tmp_path, monkeypatch):
    for machine, count, known in (("T4", 1, "T4"), ("laptop", 2, "T4 or laptop")):
        monkeypatch.setattr(hardware, "name", lambda machine=machine: machine)
        outcome = evaluate("fine_tune", dataset, tmp_path, seeds=range(count))
        assert outcome.record["hardware"] == known


def test_the_tenth_fold_costs_a_fold_at_most(dataset, tmp_path, steps, monkeypatch):
    folds = tuple(torch.arange(24)[start : start + 12] for start in range(10))
    folded = dataclasses.replace(dataset, folds=folds)
    monkeypatch.setattr(watch, "SAVING_PAYS", 1e9)  # nothing within a repetition
    monkeypatch.setattr(watch, "LONGEST_WAIT", 1e9)
    whole = evaluate("fine_tune", folded, tmp_path / "whole", 1, folds=True)
    total, steps.taken = steps.taken, 0
    steps.stop = total - 1
    with pytest.raises(KeyboardInterrupt):
        evaluate("fine_tune", folded, tmp_path / "stopped", 1, folds=True)
    steps.stop = None
    ended = evaluate("fine_tune", folded, tmp_path / "stopped", 1, folds=True)
    assert steps.taken <= total - 1 + total / 10
    assert_same(ended, whole)
    assert ended.record["folds"] == 10


@pytest.mark.parametrize("name", PROTOCOLS)
def test_another_machine_goes_on_from_the_mirror(name, dataset, tmp_path, steps):
    mirror = tmp_path / "drive"
    whole = evaluate(name, dataset, tmp_path / "whole")
    total, steps.taken = steps.taken, 0
    steps.stop = total - 1
    with pytest.raises(KeyboardInterrupt):
        evaluate(name, dataset, tmp_path / "here", mirror=mirror)
    steps.stop = None
    ended = evaluate(name, dataset, tmp_path / "there", mirror=mirror)
    assert steps.taken < total + total / 6
    assert_same(ended, whole)
    classifier = ended.save_classifier()
    (copy,) = mirror.rglob(classifier_files.CLASSIFIER_FILE)
    assert copy.read_bytes() == classifier.read_bytes()
    assert copy.parent.name == classifier.parent.name


def test_a_mirror_that_cannot_be_written_is_a_sentence(dataset, tmp_path):
    (tmp_path / "full").write_text("a file, where a folder is needed")
    with pytest.warns(UserWarning, match="No copy was made"):
        outcome = evaluate("mlp_head", dataset, tmp_path, mirror=tmp_path / "full")
        file = outcome.save_classifier()
    assert classifier_files.is_classifier(file)


def test_a_mirror_that_goes_in_between_is_not_made_again(
    dataset, tmp_path, steps, monkeypatch
):
    drive = tmp_path / "drive"
    save_state = checkpoints.Store.save_state

    def unmounted(store, *place):
        save_state(store, *place)
        if store.folder.name != "seed-1":
            return
        if drive.exists():
            shutil.rmtree(drive)

    monkeypatch.setattr(checkpoints.Store, "save_state", unmounted)
    with pytest.warns(UserWarning, match="No copy was made"):
        outcome = evaluate("fine_tune", dataset, tmp_path / "here", mirror=drive)
        outcome.save_classifier()
    assert not drive.exists()


def test_two_processes_never_do_the_same_work(dataset, tmp_path, monkeypatch):
    outcome = evaluate("mlp_head", dataset, tmp_path)
    monkeypatch.setattr(ownership, "PATIENCE", 0.1)
    with (
        ownership.own(outcome.store.folder),
        pytest.raises(ValueError, match="This run is already being trained by process"),
    ):
        evaluate("mlp_head", dataset, tmp_path)
    evaluate("mlp_head", dataset, tmp_path)


@pytest.mark.parametrize("change", ["images", "labels", "settings", "weights", "seeds"])
def test_other_work_never_goes_on_from_this(change, dataset, tmp_path, monkeypatch):
    evaluate("fine_tune", dataset, tmp_path)
    other, repetitions, epochs = dataset, {}, 4
    if change == "images":
        other = dataclasses.replace(
            dataset, test=Split(255 - dataset.test.images, dataset.test.labels)
        )
    elif change == "labels":
        other = dataclasses.replace(
            dataset, test=Split(dataset.test.images, dataset.test.labels.flip(0))
        )
    elif change == "settings":
        epochs = 3
    elif change == "seeds":
        repetitions = {"seeds": (1, 2, 3)}
    else:
        seed = torch.manual_seed
        monkeypatch.setattr(torch, "manual_seed", lambda number: seed(number + 1))
    evaluate("fine_tune", other, tmp_path, epochs, **repetitions)
    assert len(list(tmp_path.iterdir())) == 2


def test_nothing_of_it_is_taken_for_a_pretrained_backbone(dataset, tmp_path):
    outcome = evaluate("fine_tune", dataset, tmp_path)
    outcome.save_classifier()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert weight_files.find_backbones([tmp_path]) == []
    (folder,) = tmp_path.iterdir()
    assert folder.name == records.name(outcome.record)


def test_a_full_disk_does_not_cost_the_result(dataset, tmp_path, monkeypatch):
    whole = evaluate("fine_tune", dataset, tmp_path / "whole")

    def full(*_):
        raise OSError("Cannot write state.tmp into 'here' (no space left).")

    monkeypatch.setattr(checkpoints.Store, "save_state", full)
    with pytest.warns(UserWarning, match="no space left"):
        assert_same(evaluate("fine_tune", dataset, tmp_path / "full"), whole)


@pytest.mark.parametrize("place", ["repetitions", "training"])
def test_a_state_that_does_not_fit_is_a_sentence(place, dataset, tmp_path, steps):
    steps.stop = 13 if place == "repetitions" else 5
    with pytest.raises(KeyboardInterrupt):
        evaluate("fine_tune", dataset, tmp_path)
    steps.stop = None
    (folder,) = tmp_path.iterdir()
    store = checkpoints.Store(folder if place == "repetitions" else folder / "seed-0")
    assert store.load_state()
    store.save_state({"other": 1, "classifier": {}, "network": {}}, 99)
    with pytest.raises(ValueError, match=r"does not fit .* again with .*resume=F"):
        evaluate("fine_tune", dataset, tmp_path)
    evaluate("fine_tune", dataset, tmp_path, resume=False)
