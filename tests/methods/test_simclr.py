"""SimCLR's loss is NT-Xent."""

import math

import pytest
import tiny
import torch
from torch import nn

from helpers.views.randomness import StepRandom


def test_simclr_equals_nt_xent_by_a_double_loop(dataset):
    method = tiny.create("simclr", temperature=0.3)
    views = method.views(dataset.pretraining.images[:5], StepRandom(0, 0, 5))
    loss = method(views, torch.arange(5), torch.full((5,), -1)).item()
    z = [method.projection_head(method.backbone(view)) for view in views]
    z = nn.functional.normalize(torch.cat(z).detach().double(), dim=1)
    total = 0.0
    for a in range(10):
        scores = [math.exp(float(z[a] @ z[b]) / 0.3) for b in range(10) if b != a]
        own = math.exp(float(z[a] @ z[(a + 5) % 10]) / 0.3)
        total -= math.log(own / sum(scores))
    assert loss == pytest.approx(total / 10, rel=1e-4)
