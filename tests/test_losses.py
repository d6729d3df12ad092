"""The memory bank and PIRL's loss, against their definitions."""

import math

import torch

from helpers import losses


def naive(q, m, i, temperature):
    """−log of the softmax over all entries, one number at a time, in float64."""
    total = 0.0
    for query, own in zip(q.double().tolist(), i.tolist(), strict=True):
        length = math.sqrt(sum(x * x for x in query))
        scores = []
        for entry in m.double().tolist():
            dot = sum(a * b for a, b in zip(query, entry, strict=True))
            norm = math.sqrt(sum(x * x for x in entry))
            scores.append(math.exp(dot / length / norm / temperature))
        total -= math.log(scores[own] / sum(scores))
    return total / len(q)


def example():
    torch.manual_seed(0)
    m = torch.nn.functional.normalize(torch.randn(7, 5), dim=1)
    return torch.randn(3, 5), m, torch.tensor([4, 0, 6])


def test_the_loss_equals_the_naive_double_loop():
    q, m, i = example()
    for temperature in (0.07, 0.5):
        value = losses.info_nce(q, m, i, temperature).item()
        assert math.isclose(value, naive(q, m, i, temperature), rel_tol=1e-5)


def test_the_gradient_equals_finite_differences():
    q, m, i = example()
    q.requires_grad_()
    losses.info_nce(q, m, i, 0.2).backward()
    for row in range(q.shape[0]):
        for column in range(q.shape[1]):
            change = torch.zeros(q.shape, dtype=torch.float64)
            change[row, column] = 1e-5
            up, down = q.detach().double() + change, q.detach().double() - change
            slope = (naive(up, m, i, 0.2) - naive(down, m, i, 0.2)) / 2e-5
            assert abs(q.grad[row, column].item() - slope) < 1e-4


def test_the_query_is_repelled_from_every_negative():
    """Following the gradient brings q to m_i and away from all others on the whole.

    The pull is not along m_i alone: what is left of it outside the plane of q and m_i
    points away from the negatives, weighted by how near they are.
    """
    q, m, i = example()
    q.requires_grad_()
    losses.info_nce(q, m, i, 0.2).backward()
    for row, own in enumerate(i.tolist()):
        step, query = -q.grad[row], q.detach()[row]
        plane = torch.linalg.qr(torch.stack([query, m[own]], dim=1)).Q
        outside = step - plane @ (plane.T @ step)
        assert outside.norm() > 1e-3
        weights = (torch.nn.functional.normalize(query, dim=0) @ m.T / 0.2).softmax(0)
        negatives = weights.clone()
        negatives[own] = 0
        push = -(negatives @ m)
        push = push - plane @ (plane.T @ push)
        assert torch.cosine_similarity(outside, push, dim=0) > 0.999
        assert step @ m[own] > 0


def test_the_length_of_the_query_does_not_matter():
    q, m, i = example()
    lengths = torch.tensor([[0.01], [3.0], [700.0]])
    same = losses.info_nce(q * lengths, m, i, 0.2)
    assert torch.allclose(losses.info_nce(q, m, i, 0.2), same, rtol=1e-5)


def test_the_loss_is_computed_in_float32():
    q, m, i = example()
    half = losses.info_nce(q.bfloat16(), m, i, 0.1)
    assert half.dtype == torch.float32
    exact = losses.info_nce(q.bfloat16().float(), m, i, 0.1)
    assert torch.equal(half, exact)


def test_the_bank_is_the_running_mean_of_what_was_seen():
    torch.manual_seed(0)
    bank = losses.MemoryBank(10, 4, momentum=0.5)
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
        bank = losses.MemoryBank(1, 2, momentum)
        bank.entries.copy_(torch.tensor([[1.0, 0.0]]))
        bank.update(torch.tensor([0]), torch.tensor([[0.0, 8.0]]))
        expected = torch.tensor([momentum, 1 - momentum])
        assert torch.allclose(bank.entries[0], expected / expected.norm())


def test_filling_replaces_entries_and_the_state_keeps_them():
    bank, other = losses.MemoryBank(6, 3), losses.MemoryBank(6, 3)
    features = torch.randn(2, 3)
    before = bank.entries.clone()
    bank.fill(torch.tensor([1, 4]), features)
    unit = torch.nn.functional.normalize(features, dim=1)
    assert torch.allclose(bank.entries[[1, 4]], unit)
    assert torch.equal(bank.entries[[0, 2, 3, 5]], before[[0, 2, 3, 5]])
    assert not list(bank.parameters())
    other.load_state_dict(bank.state_dict())
    assert torch.equal(other.entries, bank.entries)
