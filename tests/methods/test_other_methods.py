"""The methods beside PIRL and BYOL do what their papers say, by naive re-derivation."""

import dataclasses
import math

import pytest
import test_methods
import torch
from lightly.loss import swav_loss
from torch.nn import functional

from helpers import methods
from helpers.methods import base, losses, memory
from helpers.training import optimizers, pretraining, settings
from helpers.views.randomness import StepRandom

NONE = torch.full((6,), -1)
INDEX = torch.arange(6)


@pytest.fixture
def images(dataset):
    return dataset.pretraining.images[:6]


def seen(method, images, step=0):
    return method.views(images, StepRandom(0, step, len(images)))


def rows(features):
    """Rows of norm 1, as plain numbers."""
    return functional.normalize(features.detach().double(), dim=1)


def log_softmax(scores):
    """One list of plain numbers, in float64."""
    total = sum(math.exp(score) for score in scores)
    return [score - math.log(total) for score in scores]


@pytest.mark.parametrize("name", set(methods.METHODS) - {"pirl", "byol"})
def test_its_text_has_a_title_and_a_formula(name):
    title, _, rest = methods.text(name).partition("\n")
    words = methods.get(name).__name__
    assert title.replace(" ", "").startswith(f"{words}:")
    assert rest.count("$$") in (2, 4)
    assert all(line.count("$") % 2 == 0 for line in rest.split("\n\n"))
    assert len(rest.split()) < 200


def test_supcon_without_two_of_a_class_is_simclr(images):
    supcon, simclr = (test_methods.create(name) for name in ("supcon", "simclr"))
    views = seen(supcon, images)
    expected = simclr(views, INDEX, NONE)
    assert torch.equal(supcon(views, INDEX, NONE), expected)
    different = torch.tensor([3, -1, 0, 2, -1, 5])
    assert torch.allclose(supcon(views, INDEX, different), expected)


def test_supcon_groups_the_labelled_images_by_class(images):
    supcon = test_methods.create("supcon", temperature=0.3)
    views = seen(supcon, images)
    labels = torch.tensor([1, -1, 1, -1, 0, 0])
    z = [supcon.projection_head(supcon.backbone(view)) for view in views]
    expected = losses.contrastive(*z, torch.tensor([1, 10, 1, 11, 0, 0]), 0.3)
    assert torch.allclose(supcon(views, INDEX, labels), expected)


def test_supcon_says_when_there_are_no_labels(dataset, tmp_path, small_backbone):
    unlabeled = torch.full_like(dataset.pretraining.labels, -1)
    without = dataclasses.replace(
        dataset, pretraining=dataclasses.replace(dataset.pretraining, labels=unlabeled)
    )
    with pytest.raises(ValueError, match="supcon learns from labels, and small has no"):
        chosen = settings.configure("supcon", batch_size=16)
        pretraining.pretrain(chosen, without, folder=tmp_path)


def test_simsiam_predicts_the_other_view_and_stops_the_gradient(images):
    method = test_methods.create("simsiam")
    views, total = seen(method, images), 0.0
    z = [method.projection_head(method.backbone(view)) for view in views]
    p = [method.prediction_head(one) for one in z]
    for guess, other in ((p[0], z[1]), (p[1], z[0])):
        dot = (guess * other.detach()).sum(dim=1)
        total = total - (dot / guess.norm(dim=1) / other.detach().norm(dim=1)).mean()
    loss = method(views, INDEX, NONE)
    assert loss.item() == pytest.approx(total.item() / 2, rel=1e-5)
    weights = list(method.parameters())
    pairs = zip(
        torch.autograd.grad(loss, weights),
        torch.autograd.grad(total / 2, weights),
        strict=True,
    )
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in pairs)


def test_simsiams_predictor_keeps_its_learning_rate():
    method = test_methods.create("simsiam")
    optimizer = optimizers.build(
        method.groups(), "sgd", learning_rate=0.4, weight_decay=1e-4
    )
    predictor = {id(weight) for weight in method.prediction_head.parameters()}
    for factor in (0.01, 0.5, 1.0, 0.0):
        optimizers.set_learning_rate(optimizer, 0.4, factor)
        for group in optimizer.param_groups:
            (fixed,) = {id(weight) in predictor for weight in group["params"]}
            assert group["lr"] == pytest.approx(0.4 if fixed else 0.4 * factor)


def test_moco_picks_the_key_among_the_queue(images):
    method = test_methods.create("moco", queue_size=9, temperature=0.3)
    move(method.target)
    views, total = seen(method, images), 0.0
    loss = method(views, INDEX, NONE).item()
    q = [rows(method.online(view)) for view in views]
    k = [rows(method.target(view)) for view in views]
    queue = method.queue.entries.double()
    for query, key in ((q[0], k[1]), (q[1], k[0])):
        for a, b in zip(query, key, strict=True):
            scores = [float(a @ b) / 0.3, *(float(a @ c) / 0.3 for c in queue)]
            total -= log_softmax(scores)[0] / 12
    assert loss == pytest.approx(total, rel=1e-4)


def test_mocos_queue_takes_the_keys_after_the_step(images):
    method = test_methods.create("moco", queue_size=20, target_momentum=0.9)
    before = method.queue.entries.clone()
    views = seen(method, images)
    method(views, INDEX, NONE).backward()
    assert torch.equal(method.queue.entries, before)
    assert all(weight.grad is None for weight in method.target.parameters())
    k = [memory.unit(method.target(view)) for view in views]
    move(method.online)
    old = method.target[1].layers[0].weight.clone()
    method.after_step(0.5)
    expected = torch.cat([k[1], k[0], before[:8]])
    assert torch.allclose(method.queue.entries, expected, atol=1e-6)
    lead = method.online[1].layers[0].weight
    follower = method.target[1].layers[0].weight
    assert torch.allclose(follower, 0.9 * old + 0.1 * lead, atol=1e-6)
    assert "queue.entries" in method.state_dict()


def projections(method, views):
    z = [method.projection_head(method.backbone(view)) for view in views]
    return [one.detach().double() for one in z]


def test_barlow_twins_compares_every_two_coordinates(images):
    method = test_methods.create("barlow_twins", redundancy=0.02)
    views, total = seen(method, images), 0.0
    z = []
    for one in projections(method, views):
        centred = one - one.mean(dim=0)
        z.append(centred / (centred.square().mean(dim=0) + 1e-5).sqrt())
    for i in range(16):
        for j in range(16):
            c = sum(z[0][b, i] * z[1][b, j] for b in range(6)) / 6
            total += (1 - c) ** 2 if i == j else 0.02 * c**2
    assert method(views, INDEX, NONE).item() == pytest.approx(float(total), rel=1e-4)


def test_vicreg_adds_invariance_variance_and_covariance(images):
    weights = {"invariance": 3.0, "variance": 5.0, "covariance": 7.0}
    method = test_methods.create("vicreg", **weights)
    views = seen(method, images)
    one, two = projections(method, views)
    total = 3.0 * float((one - two).square().sum()) / (6 * 16)
    for z in (one, two):
        centred = (z - z.mean(dim=0)).T.tolist()  # a coordinate a row
        for i, left in enumerate(centred):
            deviation = math.sqrt(sum(x * x for x in left) / 5 + 1e-4)
            total += 5.0 * max(0.0, 1 - deviation) / 16 / 2
            for j, right in enumerate(centred):
                covariance = sum(x * y for x, y in zip(left, right, strict=True)) / 5
                total += 7.0 * covariance**2 / 16 * (i != j)
    assert method(views, INDEX, NONE).item() == pytest.approx(total, rel=1e-4)


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
    method = test_methods.create(
        *("swav",),
        **{"prototypes": 5, "queue_size": 8, "queue_start": 0.5},
        **{"temperature": 0.2, "epsilon": 0.05},
    )
    method.before_step(progress)
    views, total = seen(method, images), 0.0
    assert [view.shape[-1] for view in views] == [20, 20, 24, 24, 24, 24]
    loss = method(views, INDEX, NONE).item()
    z = method.projection_head(base.features(method.backbone, views)).chunk(6)
    c = method.prototypes.weight.detach().double()
    scores = [rows(one) @ c.T for one in z]
    for t in range(2):
        known = scores[t]
        if progress >= 0.5:
            known = torch.cat([known, method.queue.entries[:, t].double() @ c.T])
        codes = sinkhorn(known)
        for s in range(6):
            for code, row in zip(codes[:6], scores[s] / 0.2, strict=True):
                logs = log_softmax(row.tolist())
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


def test_swavs_prototypes_stand_still_at_first_and_keep_norm_one(images):
    method = test_methods.create("swav", frozen=0.5, queue_size=12)
    optimizer = optimizers.build(  # coupled decay moves even what has no gradient
        method.groups(), "adam", learning_rate=0.1, weight_decay=0.1
    )
    prototypes = method.prototypes.weight
    start, before = prototypes.detach().clone(), None
    for step in range(4):
        before = prototypes.detach().clone()
        method.before_step(step / 4)
        method(seen(method, images, step), INDEX, NONE).backward()
        optimizer.step()
        method.after_step((step + 1) / 4)
        assert torch.equal(prototypes, start) == (step < 2)
        assert torch.allclose(prototypes.norm(dim=1), torch.ones(len(start)))
    assert not torch.allclose(prototypes, before, atol=1e-3)


def test_swavs_queue_takes_both_large_views(images):
    method = test_methods.create("swav", queue_size=9)
    before = method.queue.entries.clone()
    views = seen(method, images)
    method(views, INDEX, NONE)
    method.after_step(0.1)
    z = method.projection_head(base.features(method.backbone, views)).chunk(6)
    for view in range(2):
        expected = torch.cat([memory.unit(z[view]), before[:3, view]])
        assert torch.allclose(method.queue.entries[:, view], expected, atol=1e-5)
    assert {"queue.entries", "prototypes.weight"} <= set(method.state_dict())


def test_dino_agrees_with_the_centred_teacher(images):
    method = test_methods.create("dino", teacher_temperature=(0.05, 0.3))
    move(method.teacher)
    method.dino.center.normal_(std=0.1)
    center = method.dino.center.flatten().double()
    method.before_step(0.15)
    tau = (0.05 + 0.3) / 2
    views, total = seen(method, images), 0.0
    loss = method(views, INDEX, NONE)
    features = base.features(method.backbone, views)
    student = method.projection_head(features).detach().double().chunk(6)
    teacher = method.teacher(torch.cat(views[:2])).detach().double().chunk(2)
    for t in range(2):
        for s in range(6):
            for g_t, g_s in zip((teacher[t] - center) / tau, student[s], strict=True):
                right = [math.exp(x) for x in log_softmax(g_t.tolist())]
                logs = log_softmax((g_s / 0.1).tolist())
                dot = sum(a * b for a, b in zip(right, logs, strict=True))
                total -= dot / 6 / 10 * (s != t)
    assert loss.item() == pytest.approx(total, rel=1e-4)
    mean = torch.cat(teacher).mean(dim=0)
    expected = 0.9 * center + 0.1 * mean
    assert torch.allclose(method.dino.center.flatten().double(), expected, atol=1e-5)
    loss.backward()
    assert all(weight.grad is None for weight in method.teacher.parameters())
    assert "dino.center" in method.state_dict()


def test_dinos_teacher_follows_and_its_temperature_climbs(images):
    method = test_methods.create(
        "dino", target_momentum=0.8, teacher_temperature=(0.04, 0.07)
    )
    seen_temperatures = []
    for progress in (0.0, 0.15, 0.3, 0.9):
        method.before_step(progress)
        seen_temperatures.append(method.temperature)
    assert seen_temperatures == pytest.approx([0.04, 0.055, 0.07, 0.07])
    old = [weight.clone() for weight in method.teacher.parameters()]
    move(method.student)
    method.after_step(0.5)  # halfway m is 0.9
    pairs = zip(
        old, method.teacher.parameters(), method.student.parameters(), strict=True
    )
    for before, after, leader in pairs:
        assert torch.allclose(after, 0.9 * before + 0.1 * leader, atol=1e-6)


def move(network):
    """Give a network other weights."""
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))


def test_features_of_several_sizes_come_in_order_one_forward_a_size():
    sizes, backbone = [], torch.nn.Sequential(torch.nn.Flatten(2))

    def forward(images):
        sizes.append((len(images), images.shape[-1]))
        return backbone(images).mean(dim=2)

    views = [torch.full((2, 3, s, s), float(n)) for n, s in enumerate((8, 8, 4, 4, 4))]
    found = base.features(forward, views)
    assert sizes == [(4, 8), (6, 4)]
    assert found[:, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize("name", ["byol", "barlow_twins", "vicreg"])
def test_views_may_be_asymmetric_as_in_byols_paper(name, images):
    plain = settings.configure(name, blur=0.5, asymmetric=False).options
    assert plain.every_view == (plain.view, plain.view)
    paper = settings.configure(name, blur=0.5, asymmetric=True).options
    first, second = paper.every_view
    assert (first.blur, first.solarize) == (1.0, 0.0)
    assert (second.blur, second.solarize) == (0.1, 0.2)
    assert dataclasses.replace(first, blur=0.5) == paper.view


@pytest.mark.parametrize("name", ["swav", "dino"])
def test_small_views_come_after_the_large_ones(name, images):
    method = test_methods.create(
        *(name,), small_views=3, small_size=18, asymmetric=True, small_scale=(0.1, 0.2)
    )
    views = seen(method, images)
    assert [view.shape[-1] for view in views] == [20, 20, 18, 18, 18]
    every = method.options.every_view
    assert [view.scale for view in every[2:]] == [(0.1, 0.2)] * 3
    assert [view.blur for view in every] == [1.0, 0.1, 0.0, 0.0, 0.0]
    assert (views[2] - views[3]).abs().max() > 0.1
