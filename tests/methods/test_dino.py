"""DINO agrees with a centred teacher that follows the student."""

import math

import pytest
import tiny
import torch

from helpers.methods import base


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
