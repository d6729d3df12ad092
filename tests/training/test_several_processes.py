"""Two processes on CPUs learn what one learns with the same global batch."""

import socket
import subprocess
import sys

import pytest
import torch
import two_processes

from helpers import hardware, methods
from helpers.methods import memory


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What two processes computed."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    command += [f"--master-port={port}", two_processes.__file__, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3_000:]
    results = torch.load(folder / "results.pt", weights_only=True)
    for rank in (0, 1):
        labelled = torch.load(folder / f"labelled-{rank}.pt", weights_only=True)
        results[f"labelled by {rank}"] = labelled
    return results


@pytest.mark.parametrize("name", two_processes.VARIANTS)
def test_two_processes_train_as_one(
    name, together, tmp_path, monkeypatch, small_backbone
):
    monkeypatch.setattr(torch.nn, "BatchNorm1d", two_processes.group_norm)
    many, one = together["train"][name], two_processes.train(name, tmp_path, devices=1)
    assert torch.allclose(many["loss"], one["loss"], rtol=1e-4)
    assert (many["weights"] - one["weights"]).abs().max() < 5e-4  # at a rate of 0.5
    assert one["loss"][-1] != one["loss"][0]


@pytest.mark.parametrize("name", two_processes.LABELLED)
def test_two_processes_learn_from_labels_as_one(name, together, monkeypatch):
    monkeypatch.setattr(torch.nn, "BatchNorm1d", two_processes.group_norm)
    monkeypatch.setattr(hardware, "precision", lambda: "32-true")
    one = two_processes.train_with_labels(name)
    many, other = (together[f"labelled by {rank}"][name] for rank in (0, 1))
    # To the digit the same in both processes, the time it took included.
    assert many["history"] == other["history"]
    assert torch.equal(many["weights"], other["weights"])
    assert (many["weights"] - one["weights"]).abs().max() < 1e-4
    for entry, expected in zip(many["history"], one["history"], strict=True):
        assert entry["loss"] == pytest.approx(expected["loss"], rel=1e-4)
        assert entry.get("validation") == expected.get("validation")
    assert "validation" in one["history"][-1]
    assert one["history"][-1]["loss"] < one["history"][0]["loss"]


def test_processes_on_cpus_refuse_statistics_that_they_cannot_share(together):
    assert together["refused"] == (
        "Processes on CPUs cannot share BatchNorm's statistics: train a classifier in "
        "a single process, or on GPUs."
    )


@pytest.mark.parametrize("name", methods.METHODS)
def test_two_processes_have_the_gradients_and_buffers_of_one(
    name, together, monkeypatch
):
    monkeypatch.setattr(torch.nn, "BatchNorm1d", two_processes.group_norm)
    many, one = together["step"][name], two_processes.step(name)
    assert one["gradients"].abs().max() > 1e-3
    for part, value in one.items():
        assert (many[part] - value).abs().max() < 2e-6 * (1 + value.abs().max()), part


def test_processes_that_split_batches_keep_the_running_statistics_of_one(together):
    assert together["running alike"]
    one = two_processes.running_statistics()
    assert torch.allclose(together["running"], one, atol=1e-6)
    assert one.abs().max() > 1e-3


def test_the_bank_learns_of_all_processes(monkeypatch):
    """The other process's rows arrive by all_gather and are written alike."""
    bank = memory.MemoryBank(6, 4)
    other = {torch.int64: torch.tensor([4, 1]), torch.float32: torch.randn(2, 4)}

    def all_gather(everybody, mine):
        everybody[0].copy_(mine)
        everybody[1].copy_(other[mine.dtype])

    before, expected = bank.entries.clone(), memory.MemoryBank(6, 4)
    expected.load_state_dict(bank.state_dict())
    index, features = torch.tensor([0, 5]), torch.randn(2, 4)
    expected.update(
        torch.tensor([0, 5, 4, 1]), torch.cat([features, other[torch.float32]])
    )
    for name, value in {
        "is_initialized": lambda: True,
        "get_world_size": lambda: 2,
        "all_gather": all_gather,
    }.items():
        monkeypatch.setattr(memory.distributed, name, value)
    bank.update(index, features)
    assert torch.equal(bank.entries, expected.entries)
    assert not torch.equal(bank.entries[1], before[1])
