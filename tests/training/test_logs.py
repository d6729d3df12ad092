"""A run's logs: a row an epoch, whole when a run goes on, and single steps' losses."""

import csv

import pytest
import small
import torch
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.summary.writer import event_file_writer

from helpers.training import logs, pretraining, settings


@pytest.fixture(autouse=True)
def files_in_order(monkeypatch):
    """Files of one second are read by name, where a process's tenth is before 9."""
    zero = event_file_writer.AtomicCounter(0)
    monkeypatch.setattr(event_file_writer, "_global_uid", zero)


def entry(epoch, **more):
    return {"epoch": epoch, "loss": 1.0 / epoch, "seconds": 2.0, **more}


def rows(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def scalars(folder):
    events = event_accumulator.EventAccumulator(str(folder))
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def test_nothing_is_written_before_there_is_something(tmp_path):
    logs.Log(tmp_path / "logs", [entry(1)], 3).close()
    assert not (tmp_path / "logs").exists()


def test_an_epoch_is_a_row_even_when_later_ones_have_more_columns(tmp_path):
    log = logs.Log(tmp_path, [], 3)
    log.add(entry(1), torch.zeros(3))
    log.add(entry(2, knn=50.0), torch.zeros(3))
    log.add(entry(3), torch.zeros(3))
    log.close()
    found = rows(tmp_path)
    assert [row["epoch"] for row in found] == ["1", "2", "3"]
    assert [row["knn"] for row in found] == ["", "50.0", ""]
    assert [float(row["loss"]) for row in found] == [1.0, 0.5, 1 / 3]


def test_a_table_that_is_open_elsewhere_ends_no_training(tmp_path, monkeypatch):
    log = logs.Log(tmp_path, [], 3)
    log.add(entry(1), torch.zeros(3))

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(log.table.experiment, "save", refuse)
        with pytest.warns(UserWarning, match=r"The logs in .*Permission den") as said:
            log.add(entry(2), torch.zeros(3))
            log.add(entry(3), torch.zeros(3))
    assert len(said) == 1
    log.add(entry(4), torch.zeros(3))
    log.close()
    assert [row["epoch"] for row in rows(tmp_path)] == ["1", "2", "3", "4"]
    assert [step for step, _ in scalars(tmp_path)["epoch/loss"]] == [3, 6, 9, 12]


def test_a_table_that_cannot_be_begun_is_begun_later(tmp_path, monkeypatch):
    log = logs.Log(tmp_path / "logs", [entry(1)], 3)
    (tmp_path / "logs").write_text("in the way")
    with pytest.warns(UserWarning, match="The logs in"):
        log.add(entry(2), torch.zeros(3))
    (tmp_path / "logs").unlink()
    log.add(entry(3), torch.zeros(3))
    log.close()
    assert [row["epoch"] for row in rows(tmp_path / "logs")] == ["1", "2", "3"]


def test_a_run_that_goes_on_keeps_all_rows_and_doubles_none(tmp_path, recwarn):
    first = logs.Log(tmp_path, [], 3)
    for number in (1, 2):
        first.add(entry(number), torch.zeros(3))
    first.close()
    # The second epoch was not saved before the stop: it is done again.
    second = logs.Log(tmp_path, [entry(1)], 3)
    for number in (2, 3):
        second.add(entry(number), torch.zeros(3))
    second.close()
    assert [row["epoch"] for row in rows(tmp_path)] == ["1", "2", "3"]
    assert not [one for one in recwarn if "directory" in str(one.message)]
    found = scalars(tmp_path)
    assert [step for step, _ in found["epoch/loss"]] == [3, 6, 9]
    assert [step for step, _ in found["step/loss"]] == list(range(1, 10))


def test_a_run_that_begins_again_leaves_nothing_of_the_earlier_one(tmp_path):
    for number in (3, 1):
        log = logs.Log(tmp_path, [], 3)
        for epoch in range(1, number + 1):
            log.add(entry(epoch), torch.zeros(3))
        log.close()
    assert [step for step, _ in scalars(tmp_path)["epoch/loss"]] == [3]


@pytest.mark.parametrize("known", [0, 1, 2, 3])
def test_a_run_that_trains_no_more_gets_the_rows_that_it_lacks(known, tmp_path):
    first = logs.Log(tmp_path, [], 3)
    for number in range(1, known + 1):
        first.add(entry(number), torch.zeros(3))
    first.close()
    history = [entry(number) for number in (1, 2, 3)]
    files = set(tmp_path.iterdir())
    log = logs.Log(tmp_path, history, 3)
    log.catch_up()
    log.close()
    assert [row["epoch"] for row in rows(tmp_path)] == ["1", "2", "3"]
    assert [step for step, _ in scalars(tmp_path)["epoch/loss"]] == [3, 6, 9]
    assert (set(tmp_path.iterdir()) == files) is (known == 3)  # or nothing is written


@pytest.mark.parametrize(("steps", "kept"), [(3, 3), (20, 20), (21, 11), (100, 20)])
def test_some_steps_of_every_epoch_are_kept(steps, kept, tmp_path):
    log = logs.Log(tmp_path, [], steps)
    for epoch in (1, 2):
        log.add(entry(epoch), torch.arange(steps) + 100.0 * epoch)
    log.close()
    found = scalars(tmp_path)
    assert found["epoch/loss"] == [(steps, 1.0), (2 * steps, 0.5)]
    assert len(found["step/loss"]) == 2 * kept
    for number, value in found["step/loss"]:
        epoch, step = divmod(number - 1, steps)
        assert value == 100 * (1 + epoch) + step


@pytest.mark.usefixtures("small_backbone")
def test_a_run_leaves_its_history_in_its_folder(dataset, tmp_path):
    chosen = settings.configure("simclr", **small.SETTINGS)
    for stop in (1, 3, None):
        run = pretraining.pretrain(chosen, dataset, folder=tmp_path, stop_after=stop)
    found = rows(run.folder / "logs")
    assert [float(row["loss"]) for row in found] == [e["loss"] for e in run.history]
    assert [float(row["knn"]) for row in found] == [e["knn"] for e in run.history]
    steps = scalars(run.folder / "logs")["step/loss"]
    assert [number for number, _ in steps] == list(range(1, 13))
    for number, row in enumerate(run.history):
        values = [value for _, value in steps[3 * number : 3 * number + 3]]
        assert sum(values) / 3 == pytest.approx(row["loss"], rel=1e-5)
