"""NT-Xent and SupCon, queue and prototypes, against their definitions."""

import math

import pytest
import torch
from lightly.loss import NTXentLoss

from helpers.methods import losses, memory


def naive(z_1, z_2, group, temperature):
    """SupCon's L_out, one pair of views at a time, in float64."""
    views = z_1.double().tolist() + z_2.double().tolist()
    views = [[x / math.hypot(*view) for x in view] for view in views]
    groups = group.tolist() * 2

    def score(i, j):
        dot = sum(a * b for a, b in zip(views[i], views[j], strict=True))
        return math.exp(dot / temperature)

    total = 0.0
    for i in range(len(views)):
        others = [a for a in range(len(views)) if a != i]
        positives = [p for p in others if groups[p] == groups[i]]
        below = sum(score(i, a) for a in others)
        total -= sum(math.log(score(i, p) / below) for p in positives) / len(positives)
    return total / len(views)


def example(count=4, dim=3):
    torch.manual_seed(0)
    return torch.randn(count, dim), torch.randn(count, dim)


ALONE = torch.arange(4)
CLASSES = torch.tensor([7, 2, 7, -3])


@pytest.mark.parametrize("group", [ALONE, CLASSES, torch.zeros(4, dtype=torch.long)])
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_the_loss_equals_the_naive_double_loop(group, temperature):
    z_1, z_2 = example()
    value = losses.contrastive(z_1, z_2, group, temperature).item()
    assert value == pytest.approx(naive(z_1, z_2, group, temperature), rel=1e-5)


@pytest.mark.parametrize("group", [ALONE, CLASSES])
def test_the_gradient_equals_finite_differences(group):
    z_1, z_2 = example()
    z_1.requires_grad_()
    losses.contrastive(z_1, z_2, group, 0.3).backward()
    for row in range(z_1.shape[0]):
        for column in range(z_1.shape[1]):
            change = torch.zeros(z_1.shape, dtype=torch.float64)
            change[row, column] = 1e-5
            up, down = (
                naive(z_1.detach() + sign * change, z_2, group, 0.3) for sign in (1, -1)
            )
            slope = (up - down) / 2e-5
            assert z_1.grad[row, column].item() == pytest.approx(slope, abs=1e-5)


def test_with_groups_of_one_image_it_is_nt_xent():
    z_1, z_2 = (z.requires_grad_() for z in example(6, 5))
    mine = losses.contrastive(z_1, z_2, torch.arange(6) * 10, 0.2)
    theirs = NTXentLoss(temperature=0.2)(z_1, z_2)
    assert mine.item() == pytest.approx(theirs.item(), rel=1e-5)
    one, other = (torch.autograd.grad(loss, (z_1, z_2)) for loss in (mine, theirs))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(one, other, strict=True))


def test_length_and_order_do_not_matter():
    z_1, z_2 = example()
    value = losses.contrastive(z_1, z_2, CLASSES, 0.2)
    scaled = losses.contrastive(z_1 * 100, z_2 * 0.01, CLASSES, 0.2)
    order = torch.tensor([2, 0, 3, 1])
    moved = losses.contrastive(z_2[order], z_1[order], CLASSES[order], 0.2)
    assert torch.allclose(value, scaled, rtol=1e-5)
    assert torch.allclose(value, moved, rtol=1e-5)


def test_the_views_of_a_class_attract_each_other():
    """A step brings two images closer if they share a group, apart if they do not."""
    z_1, z_2 = example(2, 8)
    moved = []
    for group in (torch.tensor([5, 5]), torch.tensor([5, 6])):
        z = torch.cat([z_1, z_2]).requires_grad_()
        losses.contrastive(z[:2], z[2:], group, 0.2).backward()
        after = memory.unit(z.detach() - 0.01 * z.grad)
        before = memory.unit(z.detach())
        moved.append((after[0] @ after[1] - before[0] @ before[1]).item())
    assert moved[0] > 0 > moved[1]


def test_similarities_are_not_rounded_by_mixed_precision():
    z_1, z_2 = example(8, 64)
    exact = losses.contrastive(z_1, z_2, torch.arange(8), 0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (z_1 @ z_2.T).dtype == torch.bfloat16
        mixed = losses.contrastive(z_1, z_2, torch.arange(8), 0.05)
        cosines = memory.Prototypes(64, 5)(z_1)
    assert torch.equal(exact, mixed)
    assert mixed.dtype == cosines.dtype == torch.float32


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
    monkeypatch.setattr(losses.dist, "world_size", lambda: processes)
    for rank in range(processes):
        monkeypatch.setattr(losses.dist, "rank", lambda rank=rank: rank)
        shares.append(queue.share())
    assert torch.equal(torch.cat(shares), queue.entries)


def test_prototypes_give_cosines_and_return_to_norm_one():
    prototypes, features = memory.Prototypes(4, 6), 3 * torch.randn(5, 4)
    assert torch.allclose(prototypes.weight.norm(dim=1), torch.ones(6))
    with torch.no_grad():
        prototypes.weight.mul_(torch.rand(6, 1) + 0.5)
    expected = torch.cosine_similarity(features[:, None], prototypes.weight, dim=2)
    assert torch.allclose(prototypes(features), expected, atol=1e-6)
    direction = memory.unit(prototypes.weight).detach()
    prototypes.settle()
    assert torch.allclose(prototypes.weight, direction, atol=1e-6)


def test_frozen_prototypes_return_to_where_they_were():
    prototypes = memory.Prototypes(4, 6)
    start = prototypes.weight.detach().clone()
    for frozen in (True, False):
        prototypes.freeze(frozen)
        with torch.no_grad():
            prototypes.weight.add_(torch.randn(6, 4))
        prototypes.settle()
        assert torch.equal(prototypes.weight, start) == frozen
    assert list(prototypes.state_dict()) == ["weight"]
