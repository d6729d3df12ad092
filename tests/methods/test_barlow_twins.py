"""Barlow Twins compares every two coordinates."""

import pytest
import tiny


def test_barlow_twins_compares_every_two_coordinates(images):
    method = tiny.create("barlow_twins", redundancy=0.02)
    views, total = tiny.views(method, images), 0.0
    z = []
    for one in tiny.projections(method, views):
        centred = one - one.mean(dim=0)
        z.append(centred / (centred.square().mean(dim=0) + 1e-5).sqrt())
    for i in range(16):
        for j in range(16):
            c = sum(z[0][b, i] * z[1][b, j] for b in range(6)) / 6
            total += (1 - c) ** 2 if i == j else 0.02 * c**2
    assert method(views, tiny.INDEX, tiny.NONE).item() == pytest.approx(
        float(total), rel=1e-4
    )
