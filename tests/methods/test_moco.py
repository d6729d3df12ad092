"""MoCo picks the key among the queue, which takes the keys after the step."""

import pytest
import small
import tiny
import torch
from torch import nn
from torch.nn.modules import batchnorm

from helpers.methods import memory, moco


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
    tiny.move(method.target)  # or keys would be equal to queries
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


def test_an_image_seldom_meets_its_own_earlier_keys(images):
    """A quarter of an epoch is in the queue: every image gives two keys in each."""
    for count, size in ((9_469, 4_096), (500, 250), (1, 1)):
        method = tiny.create("moco", count, queue_size=4_096)
        assert len(method.queue.entries) == size


def plain(method, network):
    """The network with ordinary BatchNorm and the same weights, in training mode."""
    ordinary = tiny.create("moco", bn_splits=1).online
    ordinary.load_state_dict(network.state_dict())
    return ordinary


def test_batchnorm_sees_queries_in_groups_and_keys_in_others(images):
    method = tiny.create("moco", bn_splits=3, queue_size=9)
    tiny.move(method.target)
    views = tiny.views(method, images)
    queries, keys = plain(method, method.online), plain(method, method.target)
    method(views, tiny.INDEX, tiny.NONE)
    for view, made in zip(views, method.keys, strict=True):
        for first in range(3):  # images 0 and 3, 1 and 4, 2 and 5
            expected = memory.unit(keys(view[first::3]))
            assert torch.allclose(made[first::3], expected, atol=1e-5)
        assert not torch.allclose(made, memory.unit(keys(view)), atol=1e-2)
    for pair in range(3):  # images 0 and 1, 2 and 3, 4 and 5
        two = slice(2 * pair, 2 * pair + 2)
        expected = memory.unit(queries(views[0][two]))
        assert torch.allclose(method.embedding[two], expected, atol=1e-5)


def test_no_two_images_share_a_group_of_queries_and_one_of_keys():
    method = tiny.create("moco", bn_splits=4)
    seen = []
    method.target = nn.Sequential(nn.Flatten(), small.Recorder(seen))
    method.shuffled(torch.arange(16.0).view(16, 1, 1, 1))
    groups = seen[0].flatten().view(4, 4)
    assert sorted(groups.flatten().tolist()) == list(range(16))
    for group in groups:
        assert len({int(number) // 4 for number in group}) == 4


def test_groups_leave_evaluation_and_the_names_of_weights_as_they_are(images):
    method = tiny.create("moco", bn_splits=3)
    view, _ = tiny.views(method, images)
    ordinary = plain(method, method.online)
    assert list(method.state_dict()) == list(tiny.create("moco").state_dict())
    assert not any(isinstance(m, batchnorm._BatchNorm) for m in method.modules())
    before = method.online[0][1].running_mean.clone()
    method.online(view)
    means = [part.mean((0, 2, 3)) for part in ordinary[0][0](view).chunk(3)]
    expected = before + 0.1 * (sum(means) / 3 - before)
    assert torch.allclose(method.online[0][1].running_mean, expected, atol=1e-6)
    ordinary = plain(method, method.online).eval()
    assert torch.allclose(method.eval().online(view), ordinary(view), atol=1e-6)


def test_every_process_splits_its_share_into_two_groups_or_more(monkeypatch):
    for processes, groups in ((1, 8), (2, 4), (8, 2), (16, 2)):
        monkeypatch.setattr(moco.dist, "world_size", lambda n=processes: n)
        method = tiny.create("moco", bn_splits=8)
        assert method.online[0][1].groups == method.groups_here == groups
    assert tiny.create("moco", bn_splits=1).groups_here == 1


def test_groups_that_cannot_be_are_named(images):
    with pytest.raises(ValueError, match="bn_splits must be at least 1, not 0"):
        tiny.create("moco", bn_splits=0)
    method = tiny.create("moco", bn_splits=4)
    with pytest.raises(ValueError, match=r"6 images .* 4 groups .* set bn_splits=1"):
        tiny.batch(method, images)


def test_groups_keep_what_a_backbone_has_learned_before():
    backbone = small.backbone()
    tiny.move(backbone)
    backbone(torch.randn(8, 3, 20, 20))  # running statistics too
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    method = moco.MoCo(backbone, 48, tiny.create("moco", bn_splits=2).options)
    assert isinstance(method.backbone[1], moco.SplitBatchNorm)
    for network in (method.backbone, method.target[0]):
        for name, value in network.state_dict().items():
            assert torch.equal(value, before[name]), name
