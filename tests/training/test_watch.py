"""A training saves when it is time, stops when it is asked to, in all processes."""

import functools
import signal
import types

import pytest
import torch

from helpers.training import watch


class Fabric:
    """Several processes in one: whatever all of them bring is reduced at the end."""

    device = torch.device("cpu")

    def __init__(self, rank, processes, others=()):
        self.global_rank, self.world_size = rank, processes
        self.others, self.asked = list(others), 0

    def all_reduce(self, mine, *, reduce_op):
        assert reduce_op == "max"
        self.asked += 1
        return torch.stack([mine, *map(torch.tensor, self.others)]).amax(dim=0)


@pytest.fixture
def clock(monkeypatch):
    now = types.SimpleNamespace(time=100.0)
    monkeypatch.setattr(watch.time, "monotonic", lambda: now.time)
    return now


def test_one_process_saves_when_the_minutes_are_over(clock):
    watching = watch.Watch(Fabric(0, 1), save_minutes=2)
    clock.time += 119
    assert not watching.after_step()
    clock.time += 1
    assert watching.after_step()
    watching.save(lambda: None)
    assert not watching.after_step()
    watching.stop_if_asked("nothing")
    watching.note(signal.SIGTERM, None)
    assert watching.after_step()
    with pytest.raises(KeyboardInterrupt, match="Stopped after this"):
        watching.stop_if_asked("this")


def test_after_an_epoch_one_saves_where_that_takes_little_of_the_time(clock):
    watching = watch.Watch(Fabric(0, 1), save_minutes=2)
    assert watching.agree(is_epochs_end=True)  # nothing is known of the cost yet

    for cost, pays in ((0.5, 10), (10, watch.LONGEST_WAIT)):
        later = clock.time + cost
        watching.save(functools.partial(setattr, clock, "time", later))
        clock.time += pays - 1
        assert not watching.agree(is_epochs_end=True)
        clock.time += 1
        assert watching.agree(is_epochs_end=True)
        assert not watching.agree()  # not within an epoch


def test_a_second_ctrl_c_does_not_wait():
    watching = watch.Watch(Fabric(0, 1), save_minutes=2)
    watching.note(signal.SIGTERM, None)
    watching.note(signal.SIGINT, None)
    with pytest.raises(KeyboardInterrupt):
        watching.note(signal.SIGINT, None)
    many = watch.Watch(Fabric(0, 2), save_minutes=2)
    for _ in range(2):  # torchrun sends it again: it is the same Ctrl-C
        many.note(signal.SIGINT, None)


def test_many_processes_agree_every_few_seconds_and_not_every_step(clock):
    fabric = Fabric(0, 2, others=[[0, 0, 0]])
    watching = watch.Watch(fabric, save_minutes=1)
    for _ in range(1_000):
        clock.time += 0.01
        assert not watching.after_step()
    assert 5 <= fabric.asked <= 20  # 10 seconds
    waited = 0
    clock.time += 60
    while not watching.after_step():
        waited += 1
    assert 0 < waited <= watch.AGREE_EVERY / 0.01


def test_all_stop_when_one_is_asked_to_and_the_first_decides_on_time(clock):
    other = watch.Watch(Fabric(1, 2, others=[[signal.SIGTERM, 0, 7]]), save_minutes=1)
    clock.time += 1_000  # the second process's clock does not matter
    assert other.after_step()
    assert (other.signal, other.left) == (signal.SIGTERM, 7)
    calm = watch.Watch(Fabric(1, 2, others=[[0, 0, 7]]), save_minutes=1)
    clock.time += 1_000
    assert not calm.after_step()
    with pytest.raises(KeyboardInterrupt) as stopped:
        other.stop_if_asked("that")
    assert stopped.value.status == 143
