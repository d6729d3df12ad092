"""The memory bank, queues and prototypes, against their definitions."""

import pytest
import torch

from helpers.methods import memory


def test_the_bank_is_the_running_mean_of_what_was_seen():
    torch.manual_seed(0)
    bank = memory.MemoryBank(10, 4, momentum=0.5)
    assert torch.allclose(bank.entries.norm(dim=1), torch.ones(10))
    before, features = bank.entries.clone(), 5 * torch.randn(3, 4)
    seen = torch.tensor([7, 2, 5])
    bank.update(seen, features)
    for place, number in enumerate(seen.tolist()):
        unit = features[place] / features[place].norm()
        mean = 0.5 * before[number] + 0.5 * unit
        assert torch.allclose(bank.entries[number], mean / mean.norm(), atol=1e-6)
    rest = [number for number in range(10) if number not in seen]
    assert torch.equal(bank.entries[rest], before[rest])
    assert torch.allclose(bank.entries.norm(dim=1), torch.ones(10))


def test_the_momentum_says_how_much_of_the_old_entry_stays():
    for momentum in (0.0, 0.9):
        bank = memory.MemoryBank(1, 2, momentum)
        bank.entries.copy_(torch.tensor([[1.0, 0.0]]))
        bank.update(torch.tensor([0]), torch.tensor([[0.0, 8.0]]))
        expected = torch.tensor([momentum, 1 - momentum])
        assert torch.allclose(bank.entries[0], expected / expected.norm())


def test_filling_replaces_entries_and_the_state_keeps_them():
    bank, other = memory.MemoryBank(6, 3), memory.MemoryBank(6, 3)
    features = torch.randn(2, 3)
    before = bank.entries.clone()
    bank.fill(torch.tensor([1, 4]), features)
    unit = torch.nn.functional.normalize(features, dim=1)
    assert torch.allclose(bank.entries[[1, 4]], unit)
    assert torch.equal(bank.entries[[0, 2, 3, 5]], before[[0, 2, 3, 5]])
    assert not list(bank.parameters())
    other.load_state_dict(bank.state_dict())
    assert torch.equal(other.entries, bank.entries)


def test_an_entry_is_as_old_as_the_updates_since_its_own():
    bank, other = memory.MemoryBank(5, 3), memory.MemoryBank(5, 3)
    bank.fill(torch.arange(5), torch.randn(5, 3))
    assert bank.age.tolist() == [0] * 5
    for seen in ([0, 1], [1, 4], [2, 4]):
        bank.update(torch.tensor(seen), torch.randn(2, 3))
    assert bank.age.tolist() == [2, 1, 0, 3, 0]
    other.load_state_dict(bank.state_dict())
    assert torch.equal(other.age, bank.age)


def test_neighbors_are_the_nearest_entries_of_other_images():
    bank = memory.MemoryBank(9, 4)
    found = bank.neighbors(torch.tensor([3, 7]), k=3)
    for row, number in enumerate((3, 7)):
        rest = [n for n in range(9) if n != number]
        rest.sort(key=lambda n: -(bank.entries[n] @ bank.entries[number]).item())
        assert found[row].tolist() == rest[:3]
    assert bank.neighbors(torch.tensor([0]), k=20).shape == (1, 8)


def test_the_queue_lets_the_oldest_go_first():
    queue = memory.Queue(5, 2)
    assert torch.allclose(queue.entries.norm(dim=1), torch.ones(5))
    rows = torch.arange(8.0)[:, None].expand(8, 2)
    queue.push(rows[:2])
    assert queue.entries[:2, 0].tolist() == [0, 1]
    queue.push(rows[2:4])
    assert queue.entries[:4, 0].tolist() == [2, 3, 0, 1]
    queue.push(rows[4:6])
    assert queue.entries[:, 0].tolist() == [4, 5, 2, 3, 0]
    queue.push(rows)  # more than it can hold
    assert queue.entries[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_the_queue_is_saved_gets_no_gradient_and_keeps_its_place():
    queue, other = memory.Queue(4, 3), memory.Queue(4, 3)
    place = queue.entries.data_ptr()
    queue.push(torch.randn(2, 3, requires_grad=True))
    assert not queue.entries.requires_grad
    assert queue.entries.data_ptr() == place
    assert not list(queue.parameters())
    other.load_state_dict(queue.state_dict())
    assert torch.equal(queue.entries, other.entries)


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_the_shares_of_all_processes_are_the_queue(processes, monkeypatch):
    queue, shares = memory.Queue(5, 2), []
    monkeypatch.setattr(memory.dist, "world_size", lambda: processes)
    for rank in range(processes):
        monkeypatch.setattr(memory.dist, "rank", lambda rank=rank: rank)
        shares.append(queue.share())
    assert torch.equal(torch.cat(shares), queue.entries)


def test_prototypes_give_products_and_return_to_norm_one():
    prototypes, features = memory.Prototypes(4, 6), 3 * torch.randn(5, 4)
    assert torch.allclose(prototypes.weight.norm(dim=1), torch.ones(6))
    with torch.no_grad():
        prototypes.weight.mul_(torch.rand(6, 1) + 0.5)
    cosines = torch.cosine_similarity(features[:, None], prototypes.weight, dim=2)
    expected = cosines * prototypes.weight.norm(dim=1)
    assert torch.allclose(prototypes(features), expected, atol=1e-6)
    direction = memory.unit(prototypes.weight).detach()
    prototypes.normalize()
    assert torch.allclose(prototypes.weight, direction, atol=1e-6)
    assert list(prototypes.state_dict()) == ["weight"]


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_prototypes_have_no_gradient(frozen):
    prototypes = memory.Prototypes(4, 6)
    prototypes.frozen = frozen
    prototypes(torch.randn(5, 4)).square().sum().backward()
    assert prototypes.weight.grad is not None
    prototypes.after_backward()
    assert (prototypes.weight.grad is None) == frozen


def test_similarities_are_the_cosines_with_entries():
    bank, features = memory.MemoryBank(7, 4), 3 * torch.randn(3, 4)
    index = torch.tensor([6, 0])
    found = bank.similarity(features, index)
    for row in range(3):
        for column, number in enumerate(index):
            expected = torch.cosine_similarity(features[row], bank.entries[number], 0)
            assert torch.isclose(found[row, column], expected, atol=1e-6)
    assert found.shape == (3, 2)


def test_similarities_are_not_rounded_by_mixed_precision():
    features, bank = torch.randn(8, 64), memory.MemoryBank(5, 64)
    prototypes, numbers = memory.Prototypes(64, 5), torch.arange(5)
    exact = bank.similarity(features, numbers), prototypes(features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (features @ bank.entries.T).dtype == torch.bfloat16
        mixed = bank.similarity(features, numbers), prototypes(features)
    for one, other in zip(exact, mixed, strict=True):
        assert other.dtype == torch.float32
        assert torch.equal(one, other)


def test_averages_are_those_of_all_processes(monkeypatch):
    """The other process's numbers, in one message, are twice those of this one."""
    sent = []

    def all_reduce(flat):
        sent.append(len(flat))
        flat.mul_(3)

    monkeypatch.setattr(memory.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(memory.distributed, "all_reduce", all_reduce)
    monkeypatch.setattr(memory.dist, "world_size", lambda: 2)
    one, two = torch.tensor([2.0, 4.0]), torch.tensor([[6.0], [8.0], [10.0]])
    memory.average([one, two])
    assert one.tolist() == [3, 6]
    assert two.tolist() == [[9], [12], [15]]
    assert sent == [5]
