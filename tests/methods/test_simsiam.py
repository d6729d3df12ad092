"""SimSiam predicts the other view and stops the gradient."""

import pytest
import tiny
import torch

from helpers.training import optimizers


def test_simsiam_predicts_the_other_view_and_stops_the_gradient(images):
    method = tiny.create("simsiam")
    views, total = tiny.views(method, images), 0.0
    z = [method.projection_head(method.backbone(view)) for view in views]
    p = [method.prediction_head(one) for one in z]
    for guess, other in ((p[0], z[1]), (p[1], z[0])):
        dot = (guess * other.detach()).sum(dim=1)
        total = total - (dot / guess.norm(dim=1) / other.detach().norm(dim=1)).mean()
    loss = method(views, tiny.INDEX, tiny.NONE)
    assert loss.item() == pytest.approx(total.item() / 2, rel=1e-5)
    weights = list(method.parameters())
    pairs = zip(
        torch.autograd.grad(loss, weights),
        torch.autograd.grad(total / 2, weights),
        strict=True,
    )
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in pairs)


def test_simsiams_predictor_keeps_its_learning_rate():
    method = tiny.create("simsiam")
    optimizer = optimizers.build(
        method.groups(), "sgd", learning_rate=0.4, weight_decay=1e-4
    )
    predictor = {id(weight) for weight in method.prediction_head.parameters()}
    for factor in (0.01, 0.5, 1.0, 0.0):
        optimizers.set_learning_rate(optimizer, 0.4, factor)
        for group in optimizer.param_groups:
            (fixed,) = {id(weight) in predictor for weight in group["params"]}
            assert group["lr"] == pytest.approx(0.4 if fixed else 0.4 * factor)
