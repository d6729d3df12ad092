"""VICReg adds invariance, variance and covariance."""

import math

import pytest
import tiny


def test_vicreg_adds_invariance_variance_and_covariance(images):
    weights = {"invariance": 3.0, "variance": 5.0, "covariance": 7.0}
    method = tiny.create("vicreg", **weights)
    views = tiny.views(method, images)
    one, two = tiny.projections(method, views)
    total = 3.0 * float((one - two).square().sum()) / (6 * 16)
    for z in (one, two):
        centred = (z - z.mean(dim=0)).T.tolist()  # a coordinate a row
        for i, left in enumerate(centred):
            deviation = math.sqrt(sum(x * x for x in left) / 5 + 1e-4)
            total += 5.0 * max(0.0, 1 - deviation) / 16 / 2
            for j, right in enumerate(centred):
                covariance = sum(x * y for x, y in zip(left, right, strict=True)) / 5
                total += 7.0 * covariance**2 / 16 * (i != j)
    assert method(views, tiny.INDEX, tiny.NONE).item() == pytest.approx(total, rel=1e-4)
