"""Processes share every batch equally, and together they have what one has."""

import types

import pytest
import torch

from helpers.training import engine

CPU = torch.device("cpu")


def fabric(rank, processes):
    return types.SimpleNamespace(device=CPU, global_rank=rank, world_size=processes)


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_shares_of_all_processes_are_the_batches_of_one(processes):
    order = torch.randperm(30)
    shares = [
        engine.own_batches(order, 8, fabric(rank, processes))
        for rank in range(processes)
    ]
    together = [torch.cat(parts) for parts in zip(*shares, strict=True)]
    assert len(together) == 3  # 30 = 3 * 8 + 6
    assert torch.equal(torch.cat(together), order[:24])
    assert {len(share) for batches in shares for share in batches} == {8 // processes}


def test_the_random_numbers_of_all_processes_are_those_of_one():
    def table(rank, processes):
        return engine.step_random(0, 3, 8, fabric(rank, processes)).table(5)

    assert torch.equal(torch.cat([table(0, 2), table(1, 2)]), table(0, 1))


def test_what_torchrun_has_started_is_read_from_the_environment(monkeypatch):
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert engine.launched() == (1, 1)
    monkeypatch.setenv("WORLD_SIZE", "12")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert engine.launched() == (4, 3)


def test_a_single_process_of_a_slurm_job_is_alone(monkeypatch):
    """Also where the job has more tasks, of which Slurm tells every process."""
    told = {"NTASKS": "2", "JOB_ID": "7", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    for name, value in (told | {"JOB_NAME": "train", "NODELIST": "n1"}).items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert engine.start("32-true").world_size == 1


def test_a_batch_is_shared_equally_or_not_at_all():
    engine.check_batch(24, 8)
    with pytest.raises(ValueError, match="A batch of 24 cannot be shared equally by 7"):
        engine.check_batch(24, 7)
    with pytest.raises(ValueError, match="is one image for each of 8 processes"):
        engine.check_batch(8, 8)
    engine.check_batch(1, 1)


@pytest.mark.parametrize(("processes", "kind"), [(1, "cuda"), (2, "cpu"), (2, "cuda")])
def test_batchnorm_sees_the_whole_batch_on_several_gpus(processes, kind):
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    names = list(network.state_dict())
    engine.share_statistics(
        network,
        types.SimpleNamespace(device=torch.device(kind), world_size=processes),
    )
    shared = isinstance(network[1], torch.nn.SyncBatchNorm)
    assert shared == (processes == 2 and kind == "cuda")
    assert list(network.state_dict()) == names


def test_what_the_first_process_finds_or_raises_reaches_all():
    sent = []

    def broadcast(rank):
        return lambda mine: sent.append(mine) or mine if rank == 0 else sent[-1]

    def refuse():
        raise ValueError("This run is going on")

    ranks = [
        types.SimpleNamespace(global_rank=rank, broadcast=broadcast(rank))
        for rank in (0, 1)
    ]
    for rank in ranks:
        action = (lambda: 7) if rank.global_rank == 0 else None
        assert engine.on_first(rank, action) == 7
    for rank in ranks:
        with pytest.raises(ValueError, match="This run is going on"):
            engine.on_first(rank, refuse)
