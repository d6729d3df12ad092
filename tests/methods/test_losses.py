"""The contrastive losses, those of PIRL's variants among them, by their definitions."""

import math

import pytest
import torch
from lightly.loss import NTXentLoss

from helpers.methods import losses, memory, pirl_variants

NAMES = ("info_nce", "nce", "vissl")
ALL = None  # the negatives of every image: all others
DRAWN = [[2, 1, 2], [6, 3, 5], [0, 1, 4]]  # forced; one of them twice


def example():
    torch.manual_seed(0)
    m = torch.nn.functional.normalize(torch.randn(7, 5), dim=1)
    return torch.randn(3, 5), m, torch.tensor([4, 0, 6])


def computed(name, q, m, i, temperature, negatives=ALL):
    """The loss as ``helpers`` computes it, on its first batch."""
    negatives = None if negatives is None else torch.tensor(negatives)
    if name == "info_nce":
        return losses.info_nce(q, m, i, temperature, negatives)
    logits, own = losses.scores(q, m, i, temperature, negatives)
    if name == "nce":
        return pirl_variants.nce(logits, own)
    return pirl_variants.ConstantNCE(len(m))(logits, own)


def exponentials(q, m, i, temperature, negatives):
    """exp(s / τ) of every query's own image and of its negatives, one by one."""
    found = []
    for row, (query, own) in enumerate(zip(q.tolist(), i.tolist(), strict=True)):
        rest = negatives[row] if negatives else [j for j in range(len(m)) if j != own]
        every = []
        for entry in [m[own].tolist(), *(m[j].tolist() for j in rest)]:
            dot = sum(a * b for a, b in zip(query, entry, strict=True))
            lengths = math.hypot(*query) * math.hypot(*entry)
            every.append(math.exp(dot / lengths / temperature))
        found.append((every[0], every[1:]))
    return found


def constant_z(q, m, i, temperature, negatives):
    """VISSL's Z: N times the mean of exp(s / τ) over all candidates of a batch."""
    every = exponentials(q.double(), m.double(), i, temperature, negatives)
    values = [value for own, rest in every for value in (own, *rest)]
    return len(m) * sum(values) / len(values)


def naive(name, q, m, i, temperature, negatives=ALL, z=None):
    """The losses as their papers write them, one number at a time, in float64."""
    total = 0.0
    for own, rest in exponentials(q.double(), m.double(), i, temperature, negatives):
        if name == "vissl":
            noise = len(rest) / len(m)
            total -= math.log(own / z / (own / z + noise))
            total -= sum(math.log(noise / (other / z + noise)) for other in rest)
            continue
        below = own + sum(rest)
        total -= math.log(own / below)
        if name == "nce":
            total -= sum(math.log(1 - other / below) for other in rest)
    return total / len(q)


@pytest.mark.parametrize("negatives", [ALL, DRAWN], ids=["all", "drawn"])
@pytest.mark.parametrize("name", NAMES)
def test_the_loss_equals_the_naive_double_loop(name, negatives):
    q, m, i = example()
    for temperature in (0.07, 0.5):
        value = computed(name, q, m, i, temperature, negatives).item()
        z = constant_z(q, m, i, temperature, negatives)
        expected = naive(name, q, m, i, temperature, negatives, z)
        assert math.isclose(value, expected, rel_tol=2e-5)


@pytest.mark.parametrize("negatives", [ALL, DRAWN], ids=["all", "drawn"])
@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_equals_finite_differences(name, negatives):
    q, m, i = example()
    q.requires_grad_()
    computed(name, q, m, i, 0.2, negatives).backward()
    z = constant_z(q.detach(), m, i, 0.2, negatives)  # no gradient passes through Z
    for row in range(q.shape[0]):
        for column in range(q.shape[1]):
            change = torch.zeros(q.shape, dtype=torch.float64)
            change[row, column] = 1e-5
            up, down = (
                naive(
                    name, q.detach().double() + sign * change, m, i, 0.2, negatives, z
                )
                for sign in (1, -1)
            )
            assert abs(q.grad[row, column].item() - (up - down) / 2e-5) < 1e-4


@pytest.mark.parametrize("negatives", [ALL, DRAWN], ids=["all", "drawn"])
@pytest.mark.parametrize("name", NAMES)
def test_the_query_is_repelled_from_its_negatives(name, negatives):
    """Following the gradient brings q to m_i and away from the others on the whole.

    The pull is not along m_i alone: what is left of it outside the plane of q and m_i
    points away from the negatives, weighted by how near they are.
    """
    q, m, i = example()
    q.requires_grad_()
    computed(name, q, m, i, 0.2, negatives).backward()
    for row, own in enumerate(i.tolist()):
        step, query = -q.grad[row], q.detach()[row]
        plane = torch.linalg.qr(torch.stack([query, m[own]], dim=1)).Q
        outside = step - plane @ (plane.T @ step)
        assert outside.norm() > 1e-3
        rest = m[negatives[row]] if negatives else m[[j for j in range(7) if j != own]]
        near = torch.exp(rest @ torch.nn.functional.normalize(query, dim=0) / 0.2)
        push = -(near @ rest)
        push = push - plane @ (plane.T @ push)
        # With a softmax over all entries the direction is exactly this one.
        assert torch.cosine_similarity(outside, push, dim=0) > (
            0.999 if name == "info_nce" else 0.8
        )
        assert step @ m[own] > 0


@pytest.mark.parametrize("part", [1, 3, 7])
def test_parts_of_the_bank_add_up(part, monkeypatch):
    """However the bank is cut, and where an exponential alone would overflow."""
    q, m, i = example()
    q.requires_grad_()
    for temperature in (0.5, 0.005):
        plain = torch.nn.functional.cross_entropy(*losses.scores(q, m, i, temperature))
        monkeypatch.setattr(losses, "PART", part)
        value = losses.info_nce(q, m, i, temperature)
        assert torch.allclose(value, plain, rtol=1e-5)
        one, other = (torch.autograd.grad(x, q)[0] for x in (value, plain))
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bits_round_products_with_the_bank_and_nothing_else(dtype):
    """Many entries: their errors cancel; the sum and the own score are float32."""
    torch.manual_seed(0)
    m = torch.nn.functional.normalize(torch.randn(20_000, 128), dim=1)
    q, i = torch.randn(16, 128, requires_grad=True), torch.arange(16)
    exact = losses.info_nce(q, m, i, 0.1)
    with torch.autocast("cpu", dtype=dtype):
        mixed = losses.info_nce(q, m, i, 0.1)
    assert mixed.dtype == torch.float32
    assert abs(mixed - exact) < 1e-3
    one, other = (torch.autograd.grad(x, q)[0] for x in (mixed, exact))
    assert 0 < (one - other).norm() < 5e-3 * other.norm()


@pytest.mark.parametrize(
    ("dtype", "error"), [(torch.bfloat16, 0.02), (torch.float16, 0.002)]
)
def test_sixteen_bits_do_not_round_what_an_easy_query_learns(dtype, error):
    """Found with ease, its own entry stands in both terms and all but cancels."""
    torch.manual_seed(0)
    m = torch.nn.functional.normalize(torch.randn(2_000, 32), dim=1)
    i = torch.arange(64)
    q = (m[i] + 0.05 * torch.randn(64, 32)).requires_grad_()
    exact = losses.info_nce(q, m, i, 0.07)
    with torch.autocast("cpu", dtype=dtype):
        mixed = losses.info_nce(q, m, i, 0.07)
    one, other = (torch.autograd.grad(x, q)[0] for x in (mixed, exact))
    assert exact < 0.1
    assert (one - other).norm() < error * other.norm()


@pytest.mark.parametrize("name", NAMES)
def test_the_score_of_the_own_image_counts_once(name):
    """Less loss for a larger score of the own image, more for the negatives' scores."""
    torch.manual_seed(0)
    given, own = 0.2 * torch.randn(4, 9), torch.tensor([0, 3, 8, 3])
    given.requires_grad_()
    # Queries of norm 1, whose cosines with these entries are the given numbers.
    rest = (1 - given.square().sum(dim=1, keepdim=True)).sqrt()
    q, m = torch.cat([given, rest], dim=1), torch.eye(10)[:9]
    computed(name, q, m, own, 0.5).backward()
    mask = torch.nn.functional.one_hot(own, 9).bool()
    assert (given.grad[mask] < 0).all()
    assert (given.grad[~mask] > 0).all()


@pytest.mark.parametrize("gap", [2.0, 12.0, 20.0, 60.0])
def test_a_negative_that_is_far_ahead_is_still_pushed_away(gap):
    """Its h rounds to 1 in float32; the loss and its gradient are those of float64."""
    logits = torch.tensor([[0.0, gap, 1.0, -2.0]], requires_grad=True)
    own = torch.tensor([0])
    h = logits.detach().double().requires_grad_()
    rest = torch.stack([h[0, [k for k in range(4) if k != j]] for j in range(4)])
    log_others = rest.logsumexp(dim=1) - h.logsumexp(dim=1)
    value = -h.log_softmax(dim=1)[0, 0] - log_others[1:].sum()
    loss = pirl_variants.nce(logits, own)
    assert loss.item() == pytest.approx(value.item(), rel=1e-5)
    (one,), (two,) = (
        torch.autograd.grad(total, at) for total, at in ((loss, logits), (value, h))
    )
    assert torch.allclose(one.double(), two, atol=1e-5)


def test_one_negative_is_a_logistic_regression():
    """With two candidates, −log h − log(1 − h') is twice the cross-entropy."""
    torch.manual_seed(0)
    q, own = torch.randn(5, 2), torch.zeros(5, dtype=torch.int64)
    expected = 2 * losses.info_nce(q, torch.eye(2), own, 0.5)
    assert torch.allclose(computed("nce", q, torch.eye(2), own, 0.5), expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_negative_that_equals_the_query_is_no_catastrophe(name):
    m = torch.eye(7)
    q = m[[2]].clone().requires_grad_()
    loss = computed(name, q, m, torch.tensor([5]), 0.02)
    loss.backward()
    assert loss.isfinite()
    assert q.grad.isfinite().all()
    assert -(q.grad[0] @ m[5]) > 0


@pytest.mark.parametrize("negatives", [ALL, DRAWN], ids=["all", "drawn"])
def test_the_scores_are_those_of_the_candidates(negatives):
    q, m, i = example()
    given = None if negatives is None else torch.tensor(negatives)
    made, own = losses.scores(q, m, i, 0.5, given)
    for row in range(3):
        candidates = [i[row].item(), *negatives[row]] if negatives else range(7)
        for column, number in enumerate(candidates):
            expected = torch.cosine_similarity(q[row], m[number], dim=0) / 0.5
            assert torch.isclose(made[row, column], expected, atol=1e-6)
        assert list(candidates)[own[row]] == i[row]
    assert made.shape == (3, 4 if negatives else 7)


def test_an_image_is_never_among_its_own_negatives():
    """Every number that can be drawn is another image, and each of them comes once."""
    for own in range(6):
        drawn = torch.arange(5)[None]
        made = losses.negative_indices(drawn, torch.tensor([own]))[0].tolist()
        assert made == [number for number in range(6) if number != own]


@pytest.mark.parametrize("name", NAMES)
def test_the_length_of_the_query_does_not_matter(name):
    q, m, i = example()
    lengths = torch.tensor([[0.01], [3.0], [700.0]])
    same = computed(name, q, m, i, 0.2)
    assert torch.allclose(computed(name, q * lengths, m, i, 0.2), same, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_computed_in_float32(name):
    q, m, i = example()
    half = computed(name, q.bfloat16(), m, i, 0.1)
    assert half.dtype == torch.float32
    exact = computed(name, q.bfloat16().float(), m, i, 0.1)
    assert torch.equal(half, exact)


def test_z_is_that_of_the_first_batch_and_is_kept():
    q, m, i = example()
    loss, again = pirl_variants.ConstantNCE(7), pirl_variants.ConstantNCE(7)
    assert loss.log_z.isinf()
    loss(*losses.scores(q, m, i, 0.2))
    expected = math.log(constant_z(q, m, i, 0.2, ALL))
    assert loss.log_z.item() == pytest.approx(expected, abs=1e-5)
    other = -q.flip(0)
    scores = losses.scores(other, m, i, 0.2)
    second = loss(*scores).item()
    z = constant_z(q, m, i, 0.2, ALL)
    assert second == pytest.approx(naive("vissl", other, m, i, 0.2, ALL, z), rel=2e-5)
    assert second != pytest.approx(computed("vissl", other, m, i, 0.2).item())
    again.load_state_dict(loss.state_dict())
    assert again(*scores).item() == second


def naive_contrastive(z_1, z_2, group, temperature):
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


def two_views(count=4, dim=3):
    torch.manual_seed(0)
    return torch.randn(count, dim), torch.randn(count, dim)


ALONE = torch.arange(4)
CLASSES = torch.tensor([7, 2, 7, -3])


@pytest.mark.parametrize("group", [ALONE, CLASSES, torch.zeros(4, dtype=torch.long)])
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_contrastive_equals_the_naive_double_loop(group, temperature):
    z_1, z_2 = two_views()
    value = losses.contrastive(z_1, z_2, group, temperature).item()
    assert value == pytest.approx(
        naive_contrastive(z_1, z_2, group, temperature), rel=1e-5
    )


@pytest.mark.parametrize("group", [ALONE, CLASSES])
def test_contrastives_gradient_equals_finite_differences(group):
    z_1, z_2 = two_views()
    z_1.requires_grad_()
    losses.contrastive(z_1, z_2, group, 0.3).backward()
    for row in range(z_1.shape[0]):
        for column in range(z_1.shape[1]):
            change = torch.zeros(z_1.shape, dtype=torch.float64)
            change[row, column] = 1e-5
            up, down = (
                naive_contrastive(z_1.detach() + sign * change, z_2, group, 0.3)
                for sign in (1, -1)
            )
            slope = (up - down) / 2e-5
            assert z_1.grad[row, column].item() == pytest.approx(slope, abs=1e-5)


def test_with_groups_of_one_image_it_is_nt_xent():
    z_1, z_2 = (z.requires_grad_() for z in two_views(6, 5))
    mine = losses.contrastive(z_1, z_2, torch.arange(6) * 10, 0.2)
    theirs = NTXentLoss(temperature=0.2)(z_1, z_2)
    assert mine.item() == pytest.approx(theirs.item(), rel=1e-5)
    one, other = (torch.autograd.grad(loss, (z_1, z_2)) for loss in (mine, theirs))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(one, other, strict=True))


def test_length_and_order_of_views_do_not_matter():
    z_1, z_2 = two_views()
    value = losses.contrastive(z_1, z_2, CLASSES, 0.2)
    scaled = losses.contrastive(z_1 * 100, z_2 * 0.01, CLASSES, 0.2)
    order = torch.tensor([2, 0, 3, 1])
    moved = losses.contrastive(z_2[order], z_1[order], CLASSES[order], 0.2)
    assert torch.allclose(value, scaled, rtol=1e-5)
    assert torch.allclose(value, moved, rtol=1e-5)


def test_the_views_of_a_class_attract_each_other():
    """A step brings two images closer if they share a group, apart if they do not."""
    z_1, z_2 = two_views(2, 8)
    moved = []
    for group in (torch.tensor([5, 5]), torch.tensor([5, 6])):
        z = torch.cat([z_1, z_2]).requires_grad_()
        losses.contrastive(z[:2], z[2:], group, 0.2).backward()
        after = memory.unit(z.detach() - 0.01 * z.grad)
        before = memory.unit(z.detach())
        moved.append((after[0] @ after[1] - before[0] @ before[1]).item())
    assert moved[0] > 0 > moved[1]


def test_similarities_are_not_rounded_by_mixed_precision():
    z_1, z_2 = two_views(8, 64)
    exact = losses.contrastive(z_1, z_2, torch.arange(8), 0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (z_1 @ z_2.T).dtype == torch.bfloat16
        mixed = losses.contrastive(z_1, z_2, torch.arange(8), 0.05)
    assert torch.equal(exact, mixed)
    assert mixed.dtype == torch.float32
