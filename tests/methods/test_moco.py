"""MoCo picks the key among the queue, which takes the keys after the step."""

import pytest
import tiny
import torch

from helpers.methods import memory


def test_moco_picks_the_key_among_the_queue(images):
    method = tiny.create("moco", queue_size=9, temperature=0.3)
    tiny.move(method.target)
    views, total = tiny.views(method, images), 0.0
    loss = method(views, tiny.INDEX, tiny.NONE).item()
    q = [tiny.rows(method.online(view)) for view in views]
    k = [tiny.rows(method.target(view)) for view in views]
    queue = method.queue.entries.double()
    for query, key in ((q[0], k[1]), (q[1], k[0])):
        for a, b in zip(query, key, strict=True):
            scores = [float(a @ b) / 0.3, *(float(a @ c) / 0.3 for c in queue)]
            total -= tiny.log_softmax(scores)[0] / 12
    assert loss == pytest.approx(total, rel=1e-4)


def test_mocos_queue_takes_the_keys_after_the_step(images):
    method = tiny.create("moco", queue_size=20, target_momentum=0.9)
    before = method.queue.entries.clone()
    views = tiny.views(method, images)
    method(views, tiny.INDEX, tiny.NONE).backward()
    assert torch.equal(method.queue.entries, before)
    assert all(weight.grad is None for weight in method.target.parameters())
    k = [memory.unit(method.target(view)) for view in views]
    tiny.move(method.online)
    old = method.target[1].layers[0].weight.clone()
    method.after_step(0.5)
    expected = torch.cat([k[1], k[0], before[:8]])
    assert torch.allclose(method.queue.entries, expected, atol=1e-6)
    lead = method.online[1].layers[0].weight
    follower = method.target[1].layers[0].weight
    assert torch.allclose(follower, 0.9 * old + 0.1 * lead, atol=1e-6)
    assert "queue.entries" in method.state_dict()
