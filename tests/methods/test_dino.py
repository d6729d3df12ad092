"""DINO agrees with a centred teacher that follows the student."""

import math

import pytest
import safetensors.torch
import small
import tiny
import torch

from helpers.methods import base
from helpers.models import nearest_neighbors
from helpers.training import pretraining, settings


def test_dino_agrees_with_the_centred_teacher(images):
    method = tiny.create("dino", teacher_temperature=(0.05, 0.3))
    tiny.move(method.teacher)
    method.dino.center.normal_(std=0.1)
    center = method.dino.center.flatten().double()
    method.before_step(0.15)
    tau = (0.05 + 0.3) / 2
    views, total = tiny.views(method, images), 0.0
    loss = method(views, tiny.INDEX, tiny.NONE)
    features = base.features(method.backbone, views)
    student = method.projection_head(features).detach().double().chunk(6)
    teacher = method.teacher(torch.cat(views[:2])).detach().double().chunk(2)
    for t in range(2):
        for s in range(6):
            for g_t, g_s in zip((teacher[t] - center) / tau, student[s], strict=True):
                right = [math.exp(x) for x in tiny.log_softmax(g_t.tolist())]
                logs = tiny.log_softmax((g_s / 0.1).tolist())
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
    method = tiny.create("dino", target_momentum=0.8, teacher_temperature=(0.04, 0.07))
    seen_temperatures = []
    for progress in (0.0, 0.15, 0.3, 0.9):
        method.before_step(progress)
        seen_temperatures.append(method.temperature)
    assert seen_temperatures == pytest.approx([0.04, 0.055, 0.07, 0.07])
    old = [weight.clone() for weight in method.teacher.parameters()]
    tiny.move(method.student)
    method.after_step(0.5)  # halfway m is 0.9
    pairs = zip(
        old, method.teacher.parameters(), method.student.parameters(), strict=True
    )
    for before, after, leader in pairs:
        assert torch.allclose(after, 0.9 * before + 0.1 * leader, atol=1e-6)


def test_dinos_directions_stand_still_at_first(images):
    method = tiny.create("dino", frozen=0.5)
    weight = method.projection_head[1].weight
    for step in range(4):
        method.before_step(step / 4)
        tiny.batch(method, images, step).backward()
        method.after_backward()
        assert (weight.grad is None) == (step < 2)
        assert method.projection_head[0].layers[0].weight.grad.any()


def test_only_the_directions_of_dinos_last_layer_count(images):
    method = tiny.create("dino")
    features = torch.randn(5, 256)
    before = method.projection_head[1](features)
    with torch.no_grad():
        method.projection_head[1].weight.mul_(3.0)
    assert torch.allclose(method.projection_head[1](features), before, atol=1e-6)
    assert before.abs().max() <= 1


def test_dinos_head_starts_as_the_authors_does():
    head = tiny.create("dino", hidden_dim=512).projection_head[0].layers
    names = ["Linear", "BatchNorm1d", "GELU"] * 2 + ["Linear"]
    assert [type(layer).__name__ for layer in head] == names
    for layer in (head[0], head[3], head[6]):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not head[6].bias.any()


@pytest.mark.parametrize("result", ["teacher", "student"])
def test_the_teacher_or_the_student_is_scored_and_saved(
    result, dataset, tmp_path, small_backbone, monkeypatch
):
    scored, accuracy = [], nearest_neighbors.accuracy

    def watch(backbone, labelled, *, image_size):
        scored.append((backbone, image_size))
        return accuracy(backbone, labelled, image_size=image_size)

    monkeypatch.setattr(nearest_neighbors, "accuracy", watch)
    chosen = settings.configure("dino", **small.SETTINGS, result=result)
    run = pretraining.pretrain(chosen, dataset, folder=tmp_path)
    method = run.method
    backbone = method.teacher[0] if result == "teacher" else method.student[0]
    assert run.backbone is backbone
    assert method.teacher[0] is not method.student[0]
    saved = safetensors.torch.load_file(run.backbone_file)
    assert all(torch.equal(saved[k], v) for k, v in backbone.state_dict().items())
    size = chosen.evaluation_size
    assert scored == [(backbone, size)] * chosen.epochs
    score = accuracy(backbone, dataset.train, image_size=size)
    assert run.history[-1]["knn"] == score
    assert settings.configure("dino", "long").options.result == "teacher"
