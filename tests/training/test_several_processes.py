"""Two processes on CPUs learn what one learns with the same global batch."""

import socket
import subprocess
import sys

import pytest
import torch
import two_processes

from helpers import hardware, methods
from helpers.methods import memory

# Sums in another order round differently, and rounding grows from step to step, more on
# some processors than on others. What single steps share is compared more closely.
ROUNDING = 1e-3


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
    results["folder"] = folder
    for rank in (0, 1):
        labelled = torch.load(folder / f"labelled-{rank}.pt", weights_only=True)
        results[f"labelled by {rank}"] = labelled
        said = torch.load(folder / f"said-{rank}.pt", weights_only=True)
        results[f"said by {rank}"] = said
    return results


@pytest.mark.parametrize("name", two_processes.VARIANTS)
def test_two_processes_train_as_one(
    name, together, tmp_path, monkeypatch, small_backbone
):
    many, one = together["train"][name], two_processes.train(name, tmp_path, devices=1)
    assert torch.allclose(many["loss"], one["loss"], rtol=ROUNDING)
    assert (many["weights"] - one["weights"]).abs().max() < ROUNDING
    assert one["loss"][-1] != one["loss"][0]


def test_two_processes_stop_after_the_same_step_and_go_on(together):
    """The signal reached the second alone; its note reaches the first a step later."""
    for rank in (0, 1):
        sentence, status = together[f"said by {rank}"]
        assert sentence.startswith("Stopped after step 2 of 3 of epoch 2 of 7; run")
        assert status == "143"
    gone_on, whole = together["stopped"], together["train"]["byol"]
    assert torch.equal(gone_on["weights"], whole["weights"])
    assert torch.allclose(gone_on["loss"], whole["loss"], rtol=1e-6)


def test_a_run_goes_on_with_another_number_of_processes(together, small_backbone):
    """Two have trained for three epochs; one trains the rest."""
    gone_on = two_processes.train("moco", together["folder"] / "elastic", devices=1)
    whole = together["train"]["moco"]
    assert len(gone_on["loss"]) == two_processes.EPOCHS
    assert torch.allclose(gone_on["loss"], whole["loss"], rtol=ROUNDING)
    assert (gone_on["weights"] - whole["weights"]).abs().max() < ROUNDING


@pytest.mark.parametrize("name", two_processes.LABELLED)
def test_two_processes_learn_from_labels_as_one(name, together, monkeypatch):
    monkeypatch.setattr(hardware, "precision", lambda: "32-true")
    one = two_processes.train_with_labels(name)
    many, other = (together[f"labelled by {rank}"][name] for rank in (0, 1))
    # To the digit the same in both processes, the time it took included.
    assert many["history"] == other["history"]
    assert torch.equal(many["weights"], other["weights"])
    # AdamW makes a step of its own size of a gradient that is nothing but rounding.
    assert (many["weights"] - one["weights"]).abs().max() < 1e-3
    for entry, expected in zip(many["history"], one["history"], strict=True):
        assert entry["loss"] == pytest.approx(expected["loss"], rel=1e-4)
        assert entry.get("validation") == expected.get("validation")
    assert "validation" in one["history"][-1]
    assert one["history"][-1]["loss"] < one["history"][0]["loss"]


@pytest.mark.parametrize("name", methods.METHODS)
def test_two_processes_have_the_gradients_and_buffers_of_one(
    name, together, monkeypatch
):
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
