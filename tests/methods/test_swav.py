"""SwAV predicts codes, and its queue and prototypes do what the paper says."""

import math

import pytest
import tiny
import torch
from lightly.loss import swav_loss

from helpers.methods import base, memory
from helpers.training import optimizers


def sinkhorn(scores, epsilon=0.05):
    """Codes (B, K) of scores (B, K): three rounds of equal rows, equal columns."""
    count, prototypes = scores.shape
    q = (scores / epsilon).exp().tolist()
    for _ in range(3):
        for k in range(prototypes):
            total = sum(row[k] for row in q)
            for row in q:
                row[k] /= total * prototypes
        for row in q:
            total = sum(row)
            row[:] = [value / total / count for value in row]
    return [[value * count for value in row] for row in q]


@pytest.mark.parametrize("progress", [0.3, 0.7])
def test_swav_predicts_the_codes_of_the_other_views(progress, images):
    method = tiny.create(
        "swav",
        prototypes=5,
        queue_size=8,
        queue_start=0.5,
        temperature=0.2,
        epsilon=0.05,
    )
    method.before_step(progress)
    views, total = tiny.views(method, images), 0.0
    assert [view.shape[-1] for view in views] == [20, 20, 24, 24, 24, 24]
    loss = method(views, tiny.INDEX, tiny.NONE).item()
    z = method.projection_head(base.features(method.backbone, views)).chunk(6)
    c = method.prototypes.weight.detach().double()
    scores = [tiny.rows(one) @ c.T for one in z]
    for t in range(2):
        known = scores[t]
        if progress >= 0.5:
            known = torch.cat([known, method.queue.entries[:, t].double() @ c.T])
        codes = sinkhorn(known)
        for s in range(6):
            for code, row in zip(codes[:6], scores[s] / 0.2, strict=True):
                logs = tiny.log_softmax(row.tolist())
                dot = sum(q * p for q, p in zip(code, logs, strict=True))
                total -= dot / 6 / 5 / 2 * (s != t)
    assert loss == pytest.approx(float(total), rel=1e-4)


def test_sinkhorns_codes_share_the_prototypes_out():
    torch.manual_seed(0)
    scores = memory.unit(torch.randn(40, 8)) @ memory.unit(torch.randn(10, 8)).T
    codes = swav_loss.sinkhorn(scores, iterations=100)
    assert torch.allclose(codes.sum(dim=1), torch.ones(40), atol=1e-4)
    assert torch.allclose(codes.sum(dim=0), torch.full((10,), 4.0), atol=1e-3)
    three = swav_loss.sinkhorn(scores)
    assert torch.allclose(three.sum(dim=1), torch.ones(40), atol=1e-4)
    assert torch.allclose(
        three.double(), torch.tensor(sinkhorn(scores.double())).double(), atol=1e-4
    )


def test_swavs_prototypes_stand_still_at_first_and_gather_no_momentum(images):
    method = tiny.create("swav", frozen=0.5, queue_size=12)
    optimizer = optimizers.build(  # coupled decay moves even what has no gradient
        method.groups(), "sgd", learning_rate=0.5, weight_decay=0.1
    )
    prototypes = method.prototypes.weight
    start = prototypes.detach().clone()
    for step in range(4):
        method.before_step(step / 4)
        assert torch.allclose(prototypes.norm(dim=1), torch.ones(len(start)))
        method(tiny.views(method, images, step), tiny.INDEX, tiny.NONE).backward()
        method.after_backward()
        frozen = step < 2
        assert (prototypes.grad is None) == frozen
        optimizer.step()
        optimizer.zero_grad()
        assert (prototypes in optimizer.state) != frozen
        assert torch.allclose(prototypes, start, atol=1e-6) == frozen
        method.after_step((step + 1) / 4)


@pytest.mark.parametrize("wide", [1.0, -1.0])
def test_the_softest_and_the_hardest_codes_are_finite(wide, images):
    """Cosines of 1 and −1 with the smallest epsilon: exp(1 / 0.01) is infinite."""
    method = tiny.create("swav", epsilon=0.02, prototypes=4, small_views=0)
    with torch.no_grad():
        method.prototypes.weight.zero_()[:, 0] = wide
        method.projection_head = torch.nn.Linear(16, 16)
        method.projection_head.weight.zero_()
        method.projection_head.bias.zero_()[0] = 1.0
    loss = tiny.batch(method, images)
    assert loss.item() == pytest.approx(math.log(4), rel=1e-4)
    with pytest.raises(ValueError, match=r"epsilon must be at least 0.02, not 0.019"):
        tiny.create("swav", epsilon=0.019)


def test_swavs_queue_takes_both_large_views(images):
    method = tiny.create("swav", queue_size=9)
    before = method.queue.entries.clone()
    views = tiny.views(method, images)
    method(views, tiny.INDEX, tiny.NONE)
    method.after_step(0.1)
    z = method.projection_head(base.features(method.backbone, views)).chunk(6)
    for view in range(2):
        expected = torch.cat([memory.unit(z[view]), before[:3, view]])
        assert torch.allclose(method.queue.entries[:, view], expected, atol=1e-5)
    assert {"queue.entries", "prototypes.weight"} <= set(method.state_dict())
