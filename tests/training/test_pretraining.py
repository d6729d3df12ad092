"""The loop: stopped or not, the weights are the same; what fails says so."""

import dataclasses
import itertools
import json
import math
import operator
import os
import signal
import subprocess
import sys
import types

import killed_run
import pytest
import small
import torch

from helpers import hardware, methods
from helpers.models import backbones, weight_files
from helpers.training import checkpoints, optimizers, pretraining, settings, signals
from helpers.views.randomness import StepRandom

pytestmark = pytest.mark.usefixtures("small_backbone")


def configure(name="byol", **changes):
    return settings.configure(name, **small.SETTINGS | changes)


def state(run):
    return checkpoints.Store(run.folder).load_state()


def assert_same(one, other, path=""):
    """Whether two states are equal bit for bit, but for the time they took."""
    assert type(one) is type(other), path
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one.keys() - {"seconds"}:
            assert_same(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), path
        for number, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{path}/{number}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), path
    else:
        assert one == other, path


def test_a_finished_backbone_is_not_replaced_where_its_states_are_gone(
    dataset, tmp_path
):
    chosen = configure("simclr")
    places = {"folder": tmp_path / "here", "mirror": tmp_path / "there"}
    run = pretraining.pretrain(chosen, dataset, **places)
    copied = places["mirror"] / run.folder.name / weight_files.BACKBONE_FILE
    before = run.backbone_file.read_bytes()
    for state in tmp_path.rglob("state-*.pt"):
        state.unlink()
    gone = r"is finished, but its states \(state-\*.pt\) are gone: use it as it is"
    for _ in range(2):
        with pytest.raises(ValueError, match=gone):
            pretraining.pretrain(chosen, dataset, **places)
        assert copied.read_bytes() == before
        run.backbone_file.unlink(missing_ok=True)  # as on a new machine
    again = pretraining.pretrain(chosen, dataset, **places, resume=False)
    assert len(again.history) == 4
    for state in tmp_path.rglob("state-*.pt"):
        state.unlink()
    for file in (again.backbone_file, copied):
        file.write_bytes(b"damaged")
    assert len(pretraining.pretrain(chosen, dataset, **places).history) == 4


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [(name, "sgd") for name in methods.METHODS]
    + [
        (name, optimizer)
        for name in ("pirl", "byol")
        for optimizer in ("adamw", "lars", "larc")
    ],
)
def test_two_sittings_equal_one_bit_for_bit(name, optimizer, dataset, tmp_path):
    chosen = configure(name, optimizer=optimizer)
    whole = pretraining.pretrain(chosen, dataset, folder=tmp_path / "whole")
    stopped = pretraining.pretrain(
        chosen, dataset, folder=tmp_path / "parts", stop_after=2
    )
    assert len(stopped.history) == 2
    torch.manual_seed(1234)  # whatever happened in between
    parts = pretraining.pretrain(chosen, dataset, folder=tmp_path / "parts")
    assert len(parts.history) == 4
    assert ("bank.entries" in state(parts)["method"]) == (name == "pirl")
    assert state(whole)["optimizer"]["state"]
    assert_same(state(whole), state(parts))
    assert_same(whole.backbone.state_dict(), parts.backbone.state_dict())


def test_a_run_that_goes_on_says_so(dataset, tmp_path, capsys):
    chosen = configure(epochs=2)
    shown = []
    for stop_after in (1, None, None):
        pretraining.pretrain(chosen, dataset, folder=tmp_path, stop_after=stop_after)
        shown.append(capsys.readouterr().out)
    assert "Going on" not in shown[0]
    assert "Going on after epoch 1 of 2." in shown[1]
    assert "only rises" not in "".join(shown)
    assert "This run is already finished; its results are shown." in shown[2]


def test_a_run_that_is_all_warm_up_says_so(dataset, tmp_path, capsys):
    for warmup, is_said in ((0.5, False), (1.0, True)):
        chosen = configure(epochs=1, warmup_epochs=warmup)
        pretraining.pretrain(chosen, dataset, folder=tmp_path)
        said = "rate only rises in this training, whose warm-up takes 1 epoch(s): give"
        assert (said in capsys.readouterr().out) == is_said


def test_the_hardware_is_that_of_those_who_trained(dataset, tmp_path, monkeypatch):
    """Not that of a machine that shows a finished run, and writes its backbone."""
    places = {"folder": tmp_path / "here", "mirror": tmp_path / "drive"}
    for machine, stop_after, known in (
        ("T4", 1, "T4"),
        ("L4", 2, "T4, then L4"),
        ("L4", 3, "T4, then L4"),
        ("T4", None, "T4, then L4"),
        ("laptop", None, "T4, then L4"),
    ):
        monkeypatch.setattr(hardware, "name", lambda machine=machine: machine)
        if machine == "laptop":
            places["folder"] = tmp_path / "there"
        run = pretraining.pretrain(
            configure(), dataset, **places, stop_after=stop_after
        )
        for folder in places.values():
            file = folder / run.folder.name / run.backbone_file.name
            assert weight_files.read_about(file)["hardware"] == known


def test_a_bar_is_closed_when_training_is_stopped(dataset, tmp_path, capsys):
    def stop(history):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretraining.pretrain(configure(), dataset, folder=tmp_path, on_epoch=stop)
    assert capsys.readouterr().out.endswith("\n")  # what follows has its own line


def test_drawn_negatives_and_z_survive_two_sittings_bit_for_bit(dataset, tmp_path):
    options = {"loss": "vissl_nce", "negatives": 7, "pretext": "both", "head": "linear"}
    chosen = configure("pirl", **options)
    whole = pretraining.pretrain(chosen, dataset, folder=tmp_path / "whole")
    first = pretraining.pretrain(
        chosen, dataset, folder=tmp_path / "parts", stop_after=1
    )
    z = state(first)["method"]["criterion.log_z"]
    assert z.isfinite()
    torch.manual_seed(1234)
    parts = pretraining.pretrain(chosen, dataset, folder=tmp_path / "parts")
    assert_same(state(whole), state(parts))
    assert torch.equal(state(parts)["method"]["criterion.log_z"], z)
    everything = configure("pirl", **options | {"negatives": 0})
    other = pretraining.pretrain(everything, dataset, folder=tmp_path)
    assert other.history[0]["loss"] != whole.history[0]["loss"]


def test_a_plateau_is_gone_on_with_bit_for_bit(dataset, tmp_path):
    """The rate falls before and after the stop."""
    # So slow that the loss moves by chance; no patience with epochs that are no better.
    chosen = configure(
        "simclr", epochs=6, schedule="plateau", patience=0, learning_rate=1e-4
    )
    whole = pretraining.pretrain(chosen, dataset, folder=tmp_path / "whole")
    for stop in (3, None):
        parts = pretraining.pretrain(
            chosen, dataset, folder=tmp_path / "parts", stop_after=stop
        )
    assert_same(state(whole), state(parts))
    losses = [entry["loss"] for entry in whole.history]
    peak = chosen.peak_learning_rate
    for number, entry in enumerate(whole.history):
        expected = peak * optimizers.plateau(losses[:number], 0)
        assert entry["learning_rate"] == pytest.approx(expected, rel=1e-6, abs=0)
    rates = [entry["learning_rate"] for entry in whole.history]
    assert rates[-1] < rates[3] < rates[0]


def test_every_step_has_the_schedules_rate_from_the_first_on(dataset, tmp_path):
    rates = []

    class Watching(torch.optim.SGD):
        def step(self, *args):
            rates.append(self.param_groups[0]["lr"])
            return super().step(*args)

    chosen = configure("simclr", warmup_epochs=1.0, final_factor=0.2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "SGD", Watching)
        pretraining.pretrain(chosen, dataset, folder=tmp_path)
    peak = chosen.peak_learning_rate
    expected = [
        peak * optimizers.schedule(step, total=12, warmup=3, final=0.2)
        for step in range(12)
    ]
    assert rates == pytest.approx(expected)
    assert rates[0] == pytest.approx(peak / 3)


def test_starting_over_forgets_what_was_saved(dataset, tmp_path):
    chosen = configure()
    places = {"folder": tmp_path / "here", "mirror": tmp_path / "drive"}
    first = pretraining.pretrain(chosen, dataset, **places, stop_after=3)
    again = pretraining.pretrain(chosen, dataset, **places, stop_after=1, resume=False)
    assert [entry["epoch"] for entry in again.history] == [1]
    assert again.history[0]["loss"] == first.history[0]["loss"]
    for folder in (again.folder, tmp_path / "drive" / again.folder.name):
        assert [file.name[:11] for file in folder.glob("state-*")] == ["state-00001"]
    on = pretraining.pretrain(chosen, dataset, **places, stop_after=2)
    assert len(on.history) == 2


def test_gradients_are_clipped_to_a_norm_of_all_together(dataset, tmp_path):
    norms = []

    class Watching(torch.optim.SGD):
        def step(self, *args):
            weights = [p for g in self.param_groups for p in g["params"]]
            norms.append(torch.cat([p.grad.flatten() for p in weights]).norm().item())
            return super().step(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "SGD", Watching)
        for limit in (0.0, 0.01):
            chosen = configure("simclr", epochs=1, gradient_clip=limit)
            pretraining.pretrain(chosen, dataset, folder=tmp_path)
    assert len(norms) == 6
    assert min(norms[:3]) > 0.02
    assert norms[3:] == pytest.approx([0.01] * 3, rel=1e-3)


def test_another_seed_gives_other_weights(dataset, tmp_path):
    one, other = (
        pretraining.pretrain(configure(seed=seed), dataset, folder=tmp_path)
        for seed in (0, 1)
    )
    assert one.folder != other.folder
    weights = [next(run.backbone.parameters()) for run in (one, other)]
    assert not torch.equal(*weights)


def test_a_finished_run_is_returned_without_training(dataset, tmp_path, monkeypatch):
    chosen = configure(image_size_schedule=((0.5, 28),))
    first = pretraining.pretrain(chosen, dataset, folder=tmp_path)
    before = {f: f.stat().st_mtime_ns for f in first.folder.glob("[!.]*")}
    monkeypatch.setattr(pretraining, "train_epoch", None)
    again = pretraining.pretrain(chosen, dataset, folder=tmp_path)
    assert again.history == first.history
    assert again.method.options.view == first.method.options.view
    assert again.method.options.view.size == 28
    assert_same(again.backbone.state_dict(), first.backbone.state_dict())
    after = {f: f.stat().st_mtime_ns for f in first.folder.glob("[!.]*")}
    assert after == before


@pytest.mark.parametrize("name", methods.METHODS)
def test_the_history_has_what_people_and_figures_need(name, dataset, tmp_path):
    seen = []
    run = pretraining.pretrain(
        configure(name, monitor_every=3),
        dataset,
        folder=tmp_path,
        on_epoch=lambda history: seen.append(len(history)),
    )
    assert seen == [1, 2, 3, 4]
    for number, entry in enumerate(run.history, start=1):
        assert entry["epoch"] == number
        assert entry["images"] == number * 48
        assert math.isfinite(entry["loss"])
        assert 0 < entry["spread"] < 1.5
        assert entry["seconds"] > 0
    assert ["knn" in entry for entry in run.history] == [False, False, True, True]
    assert 0 <= run.history[-1]["knn"] <= 100
    peak = 0.5 * 16 / 256
    rates = [entry["learning_rate"] for entry in run.history]
    assert max(rates) <= peak + 1e-9
    assert rates == sorted(rates, reverse=True)
    stored = json.loads((run.folder / "history.json").read_text())
    assert stored == run.history
    assert run.minutes == pytest.approx(sum(e["seconds"] for e in stored) / 60)


@pytest.mark.parametrize("labels", [[0] * 24, [0, 1, 2]], ids=["one class", "one each"])
def test_an_accuracy_that_could_only_be_one_number_is_not_shown(
    labels, tmp_path, capsys
):
    """Of a single class k-NN is always right, with one image per class never."""
    few = dataclasses.replace(small.dataset(), train_count=len(labels))
    few.pretraining.labels[:] = -1
    few.pretraining.labels[: len(labels)] = torch.tensor(labels)
    run = pretraining.pretrain(configure(epochs=1), few, folder=tmp_path)
    assert "knn" not in run.history[-1]
    assert "k-NN" not in capsys.readouterr().out
    assert "k-NN" not in weight_files.describe(
        weight_files.read_about(run.backbone_file)
    )


def test_the_backbone_is_handed_on_with_its_story(dataset, tmp_path):
    run = pretraining.pretrain(configure(), dataset, folder=tmp_path)
    loaded, about = weight_files.load_backbone(run.backbone_file)
    assert_same(dict(loaded.state_dict()), dict(run.backbone.state_dict()))
    assert about["epochs_done"] == 4
    assert about["knn"] == run.history[-1]["knn"]
    assert about["processes"] == 1


def test_training_moves_all_of_the_backbone(dataset, tmp_path):
    chosen = configure(epochs=1)
    run = pretraining.pretrain(chosen, dataset, folder=tmp_path)
    torch.manual_seed(chosen.seed)
    start = small.backbone().state_dict()
    for name, value in run.backbone.state_dict().items():
        assert not torch.equal(value, start[name]), name


def test_every_image_is_seen_once_an_epoch_in_another_order(dataset, tmp_path):
    order = []

    class Watching(methods.METHODS["simclr"]):
        def loss(self, views, index, labels):
            order.append(index.tolist())
            assert torch.equal(labels, dataset.pretraining.labels[index])
            return super().loss(views, index, labels)

    known = methods.METHODS | {"simclr": Watching}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "METHODS", known)
        pretraining.pretrain(configure("simclr", epochs=2), dataset, folder=tmp_path)
    epochs = [[n for batch in order[e : e + 3] for n in batch] for e in (0, 3)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(48))] * 2
    assert epochs[0] != epochs[1]
    assert epochs[0] != list(range(48))


def test_every_hook_is_called_in_its_place_and_progress_runs_once(dataset, tmp_path):
    calls, steps = [], 12

    class Watching(methods.METHODS["simclr"]):
        def before_step(self, progress):
            calls.append(("before", progress))

        def views(self, images, random):
            calls.append(("views",))
            return super().views(images, random)

        def loss(self, *batch):
            calls.append(("loss",))
            loss = super().loss(*batch)
            loss.register_hook(lambda _: calls.append(("backward",)))
            return loss

        def after_backward(self):
            assert self.backbone[0].weight.grad.any()
            calls.append(("after backward",))
            self.old = self.backbone[0].weight.detach().clone()

        def after_step(self, progress):
            assert not torch.equal(self.backbone[0].weight, self.old)
            calls.append(("after", progress))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "METHODS", methods.METHODS | {"simclr": Watching})
        for epochs in (3, None):
            pretraining.pretrain(
                configure("simclr"), dataset, folder=tmp_path, stop_after=epochs
            )
    expected = [
        call
        for n in range(steps)
        for call in [
            *(("before", n / steps), ("views",), ("loss",), ("backward",)),
            *(("after backward",), ("after", (n + 1) / steps)),
        ]
    ]
    assert calls == expected


def test_the_loop_is_ten_lines_of_torch(dataset, tmp_path):
    chosen = configure("simclr", epochs=2, seed=3)
    run = pretraining.pretrain(chosen, dataset, folder=tmp_path)
    torch.manual_seed(3)
    method = methods.get("simclr")(small.backbone(), 48, chosen.options).train()
    peak, decay = chosen.peak_learning_rate, chosen.weight_decay
    optimizer = optimizers.build(
        method.groups(), "sgd", learning_rate=peak, weight_decay=decay
    )
    for step in range(6):
        epoch, part = divmod(step, 3)
        shuffle = torch.Generator().manual_seed(3 * 100_003 + epoch)
        index = torch.randperm(48, generator=shuffle).split(16)[part]
        batch, labels = dataset.pretraining[index].images, torch.full((16,), -1)
        factor = chosen.rate_factor(step, 3, [])
        optimizers.set_learning_rate(optimizer, peak, factor)
        loss = method(method.views(batch, StepRandom(3, step, 16)), index, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    expected = method.state_dict()
    for name, value in run.method.state_dict().items():
        assert torch.allclose(value, expected[name], atol=1e-5), name


def test_the_bank_of_a_run_is_filled_once_before_its_first_step(dataset, tmp_path):
    calls = []

    class Watching(methods.METHODS["pirl"]):
        def start(self, batches):
            calls.append(f"start, training {self.training}")
            super().start(batches)

        def before_step(self, progress):
            calls.append("step")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "METHODS", methods.METHODS | {"pirl": Watching})
        for stop in (1, 2):
            pretraining.pretrain(
                configure("pirl"), dataset, folder=tmp_path, stop_after=stop
            )
    assert calls == ["start, training True", *["step"] * 6]


@pytest.mark.parametrize("name", ["byol", "supcon"])
def test_no_pretraining_touches_the_test_split(name, dataset, tmp_path):
    sealed = dataclasses.replace(dataset, test=small.Sealed())
    run = pretraining.pretrain(configure(name), sealed, folder=tmp_path)
    assert all("knn" in entry for entry in run.history)


def test_stopping_before_the_first_epoch_is_refused(dataset, tmp_path):
    with pytest.raises(ValueError, match="stop_after must be at least 1, not 0"):
        pretraining.pretrain(configure(), dataset, folder=tmp_path, stop_after=0)


def test_fewer_images_than_a_batch_is_one_sentence(dataset, tmp_path):
    few = dataclasses.replace(dataset, pretraining=dataset.pretraining[:10])
    with pytest.raises(ValueError, match=r"10 image\(s\) to learn .* at most 10"):
        pretraining.pretrain(configure(), few, folder=tmp_path)
    assert not any(tmp_path.rglob("state-*"))


@pytest.mark.parametrize("spoil", [operator.mul, operator.add])
def test_a_loss_that_is_no_number_keeps_the_state_before(spoil, dataset, tmp_path):
    """Whether its gradients, and so the weights, are numbers or not."""
    chosen = configure("simclr")
    before = pretraining.pretrain(chosen, dataset, folder=tmp_path, stop_after=2)
    kept = state(before)

    class Broken(methods.METHODS["simclr"]):
        def loss(self, views, index, labels):
            return spoil(super().loss(views, index, labels), float("nan"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "METHODS", methods.METHODS | {"simclr": Broken})
        with pytest.raises(FloatingPointError, match="Training diverged in epoch 3"):
            pretraining.pretrain(chosen, dataset, folder=tmp_path)
    assert_same(state(before), kept)
    after = pretraining.pretrain(chosen, dataset, folder=tmp_path)
    whole = pretraining.pretrain(chosen, dataset, folder=tmp_path / "whole")
    assert_same(state(after), state(whole))


@pytest.mark.parametrize("epoch", [1, 3])
@pytest.mark.parametrize("value", [float("nan"), 1e25])
def test_weights_that_diverge_in_the_last_step_are_not_saved(
    epoch, value, dataset, tmp_path
):
    """The losses of the epoch are all fine: each is from before its step's update."""
    chosen, steps = configure("simclr"), []

    class Diverging(methods.METHODS["simclr"]):
        def after_step(self, progress):
            steps.append(progress)
            if len(steps) == 3:
                with torch.no_grad():
                    next(self.backbone.parameters()).fill_(value)

    if epoch > 1:
        before = pretraining.pretrain(
            chosen, dataset, folder=tmp_path, stop_after=epoch - 1
        )
        kept, weights = state(before), before.backbone_file.read_bytes()
    advice = "--init .*backbone.safetensors and a lower" if epoch > 1 else "Start again"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "METHODS", methods.METHODS | {"simclr": Diverging})
        words = f"diverged in epoch {epoch}: .*{advice}"
        with pytest.raises(FloatingPointError, match=words):
            pretraining.pretrain(chosen, dataset, folder=tmp_path)
    if epoch == 1:
        assert not any(tmp_path.rglob("[!.]*.*"))
    else:
        assert_same(state(before), kept)
        assert before.backbone_file.read_bytes() == weights


def test_diverged_weights_are_not_saved_within_an_epoch_either(dataset, tmp_path):
    class Broken(methods.METHODS["simclr"]):
        def loss(self, views, index, labels):
            return super().loss(views, index, labels) * float("nan")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "METHODS", methods.METHODS | {"simclr": Broken})
        with pytest.raises(FloatingPointError, match="diverged in epoch 1"):
            pretraining.pretrain(
                configure("simclr"), dataset, folder=tmp_path, save_minutes=1e-9
            )
    assert not any(tmp_path.rglob("state-*"))


SMALL = torch.zeros(1)


@pytest.mark.parametrize(
    "harm",
    [
        lambda saved: saved.pop("method"),
        lambda saved: saved["method"].popitem(),
        lambda saved: saved["method"].update(backbone=torch.zeros(1)),
        lambda saved: saved.update(optimizer={"state": {}, "param_groups": []}),
        lambda saved: saved.update(optimizer=7),
        lambda saved: saved["optimizer"]["param_groups"][0].update(params=[5]),
        lambda saved: saved["optimizer"]["state"][0].update(momentum_buffer=SMALL),
        lambda saved: saved["optimizer"]["state"][0].update(exp_avg=SMALL),
        lambda saved: saved["history"][0].update(loss="3"),
        lambda saved: saved["part"].update(spreads=SMALL),
        lambda saved: saved["history"][0].pop("loss"),
        lambda saved: saved.update(history=[7]),
        lambda saved: saved["history"].append(dict(saved["history"][0])),
        lambda saved: saved["part"].update(done=99),
        lambda saved: saved["part"].update(losses=torch.zeros(7)),
        lambda saved: saved["part"].update(spreads=torch.zeros(1)),
    ],
)
def test_a_whole_state_of_something_else_is_one_sentence(harm, dataset, tmp_path):
    chosen = configure("simclr", epochs=2)
    run = pretraining.pretrain(chosen, dataset, folder=tmp_path, stop_after=1)
    store, saved = checkpoints.Store(run.folder), state(run)
    harm(saved)
    store.clear()
    store.save_state(saved, 1)
    with pytest.raises(ValueError, match=r"state-00001-.*\.pt does not fit this tra"):
        pretraining.pretrain(chosen, dataset, folder=tmp_path)
    again = pretraining.pretrain(chosen, dataset, folder=tmp_path, resume=False)
    assert len(again.history) == 2


def test_a_new_machine_goes_on_from_the_mirror(dataset, tmp_path):
    chosen, drive = configure(), tmp_path / "drive"
    pretraining.pretrain(
        chosen, dataset, folder=tmp_path / "old", mirror=drive, stop_after=3
    )
    run = pretraining.pretrain(chosen, dataset, folder=tmp_path / "new", mirror=drive)
    whole = pretraining.pretrain(chosen, dataset, folder=tmp_path / "whole")
    assert_same(state(run), state(whole))
    assert (drive / run.folder.name / weight_files.BACKBONE_FILE).is_file()


def test_a_finished_run_of_another_machine_has_its_backbone_here(dataset, tmp_path):
    chosen, drive = configure(), tmp_path / "drive"
    pretraining.pretrain(chosen, dataset, folder=tmp_path / "old", mirror=drive)
    run = pretraining.pretrain(chosen, dataset, folder=tmp_path / "new", mirror=drive)
    stored, about = weight_files.load_backbone(run.backbone_file)
    assert about["epochs_done"] == chosen.epochs
    assert_same(stored.state_dict(), run.backbone.state_dict())
    written = run.backbone_file.stat().st_mtime_ns
    pretraining.pretrain(chosen, dataset, folder=tmp_path / "new", mirror=drive)
    assert run.backbone_file.stat().st_mtime_ns == written


def test_a_run_whose_state_is_whole_has_its_backbone(dataset, tmp_path, monkeypatch):
    """The state is written last: a run that counts as finished is."""

    def stop(store, state, *place):
        raise KeyboardInterrupt

    chosen = configure()
    pretraining.pretrain(chosen, dataset, folder=tmp_path, stop_after=3)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoints.Store, "save_state", stop)
        pretraining.pretrain(chosen, dataset, folder=tmp_path)
    (file,) = tmp_path.glob("*/backbone.safetensors")
    assert weight_files.read_about(file)["epochs_done"] == chosen.epochs
    run = pretraining.pretrain(chosen, dataset, folder=tmp_path)
    assert len(run.history) == chosen.epochs


def test_a_damaged_state_costs_one_epoch_and_changes_nothing(dataset, tmp_path):
    chosen = configure("pirl")
    whole = pretraining.pretrain(chosen, dataset, folder=tmp_path / "whole")
    run = pretraining.pretrain(chosen, dataset, folder=tmp_path, stop_after=3)
    (newest,) = run.folder.glob("state-00003-*")
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="state-00003-.* is damaged"):
        run = pretraining.pretrain(chosen, dataset, folder=tmp_path)
    assert_same(state(run), state(whole))


def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(dataset, tmp_path):
    threads = str(torch.get_num_threads())  # another number rounds otherwise
    process = subprocess.Popen(
        [sys.executable, killed_run.__file__, str(tmp_path / "killed"), threads],
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if "saved 3" in line:
            break
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    chosen = configure("pirl", epochs=300)
    (folder,) = (tmp_path / "killed").iterdir()
    reached = len(checkpoints.Store(folder).load_state()["history"])
    assert 3 <= reached < 200
    runs = [
        pretraining.pretrain(
            chosen, dataset, folder=tmp_path / place, stop_after=reached + 2
        )
        for place in ("killed", "whole")
    ]
    assert runs[0].folder == folder
    assert len(runs[0].history) == reached + 2
    assert_same(state(runs[0]), state(runs[1]))


def stop_at(monkeypatch, name, step, number=signal.SIGTERM):
    """Let a signal come while a step, counted from 1 over the run, is computed."""
    seen = []

    class Interrupted(methods.METHODS[name]):
        def loss(self, views, index, labels):
            seen.append(1)
            if len(seen) == step:
                os.kill(os.getpid(), number)
            return super().loss(views, index, labels)

    monkeypatch.setitem(methods.METHODS, name, Interrupted)


@pytest.mark.parametrize("name", methods.METHODS)
def test_a_run_goes_on_in_the_middle_of_an_epoch_bit_for_bit(
    name, dataset, tmp_path, capsys
):
    chosen = configure(name)
    whole = pretraining.pretrain(chosen, dataset, folder=tmp_path / "whole")
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, name, 5)
        with pytest.raises(signals.StoppedError) as stopped:
            pretraining.pretrain(chosen, dataset, folder=tmp_path / "parts")
    assert signal.getsignal(signal.SIGTERM) == before
    assert stopped.value.status == 143
    assert str(stopped.value) == (
        "Stopped after step 2 of 3 of epoch 2 of 4; run the same command or cell again "
        "to go on."
    )
    (file,) = tmp_path.glob("parts/*/state-00001-000002-*.pt")
    assert len(torch.load(file)["history"]) == 1
    torch.manual_seed(1234)  # whatever happened in between
    capsys.readouterr()
    parts = pretraining.pretrain(chosen, dataset, folder=tmp_path / "parts")
    assert "Going on after step 2 of 3 of epoch 2 of 4." in capsys.readouterr().out
    assert_same(state(whole), state(parts))
    assert_same(whole.backbone.state_dict(), parts.backbone.state_dict())
    assert_same(whole.history, parts.history)


@pytest.mark.parametrize(("step", "done"), [(1, 1), (3, 3), (6, 3)])
def test_a_run_stopped_at_the_edge_of_an_epoch_goes_on_bit_for_bit(
    step, done, dataset, tmp_path
):
    """In its first epoch, before any other state, and after an epoch's last step."""
    chosen = configure("pirl", negatives=7)
    whole = pretraining.pretrain(chosen, dataset, folder=tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, "pirl", step, signal.SIGINT)
        with pytest.raises(KeyboardInterrupt, match=f"after step {done} of 3"):
            pretraining.pretrain(chosen, dataset, folder=tmp_path / "parts")
    parts = pretraining.pretrain(chosen, dataset, folder=tmp_path / "parts")
    assert_same(state(whole), state(parts))


def test_a_state_is_saved_within_an_epoch_when_it_is_time(dataset, tmp_path):
    saved = []

    class Watching(checkpoints.Store):
        def save_state(self, state, epoch, step=0):
            saved.append((epoch, step))
            super().save_state(state, epoch, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "Store", Watching)
        for minutes, folder in ((1e-9, "often"), (1e9, "seldom")):
            run = pretraining.pretrain(
                configure(epochs=2),
                dataset,
                folder=tmp_path / folder,
                save_minutes=minutes,
            )
            assert len(run.history) == 2
    often = [(0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3), (2, 0)]
    assert saved == [*often, (1, 0), (2, 0)]
    with pytest.raises(ValueError, match="save_minutes must be above 0, not nan"):
        pretraining.pretrain(
            configure(), dataset, folder=tmp_path, save_minutes=float("nan")
        )


def test_a_signal_between_epochs_stops_after_the_epoch(dataset, tmp_path):
    def ask(history):
        os.kill(os.getpid(), signal.SIGHUP)

    with pytest.raises(KeyboardInterrupt, match="Stopped after epoch 1 of 4; run"):
        pretraining.pretrain(configure(), dataset, folder=tmp_path, on_epoch=ask)
    assert len(list(tmp_path.glob("*/state-*"))) == 1


def test_the_time_before_a_stop_within_an_epoch_is_counted(
    dataset, tmp_path, monkeypatch
):
    """A clock that goes on by a second whenever it is looked at."""
    seconds = itertools.count()
    clock = types.SimpleNamespace(perf_counter=lambda: next(seconds))
    monkeypatch.setattr(pretraining, "time", clock)
    whole = pretraining.pretrain(configure(), dataset, folder=tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, "byol", 5)
        with pytest.raises(signals.StoppedError):
            pretraining.pretrain(configure(), dataset, folder=tmp_path / "parts")
    parts = pretraining.pretrain(configure(), dataset, folder=tmp_path / "parts")
    taken = [[e["seconds"] for e in run.history] for run in (whole, parts)]
    assert taken == [[4] * 4] * 2


def test_layers_that_draw_random_numbers_go_on_bit_for_bit(
    dataset, tmp_path, monkeypatch
):
    def with_dropout(*args, **kwargs):
        network = small.backbone(*args, **kwargs)
        network.append(torch.nn.Dropout(0.3))
        return network

    monkeypatch.setattr(backbones, "build", with_dropout)
    chosen = configure("simclr")
    whole = pretraining.pretrain(chosen, dataset, folder=tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, "simclr", 5)
        with pytest.raises(KeyboardInterrupt):
            pretraining.pretrain(chosen, dataset, folder=tmp_path / "parts")
    parts = pretraining.pretrain(chosen, dataset, folder=tmp_path / "parts")
    assert_same(state(whole), state(parts))
