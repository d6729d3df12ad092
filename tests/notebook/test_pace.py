"""How many epochs fit into a time."""

import pytest
import small
import torch

from helpers.notebook import pace
from helpers.training import settings


@pytest.mark.parametrize("method", ["byol", "supcon"])  # one needs labels
def test_the_speed_is_measured_with_real_steps_and_leaves_no_trace(
    method, small_backbone, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    chosen = settings.configure(method, **small.SETTINGS)
    state = torch.random.get_rng_state()
    assert pace.images_per_second(chosen, image_size=24) > 0
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not list(tmp_path.rglob("*"))


def test_epochs_fill_the_time_and_no_more(monkeypatch):
    chosen = settings.configure("byol", "long")
    monkeypatch.setattr(pace, "images_per_second", lambda chosen: 1_000.0)
    assert pace.epochs_within(60, chosen, 105_000) == 29  # 85 % of 34
    assert pace.epochs_within(60, chosen, 1_000) == chosen.epochs
    assert pace.epochs_within(60, chosen, 10**9) == 1


def test_views_that_grow_are_timed_at_every_size(monkeypatch):
    rates = {40: 200.0, 64: 100.0, 96: 50.0}
    monkeypatch.setattr(
        pace, "images_per_second", lambda chosen: rates[chosen.image_size]
    )
    growing = ((0.5, 64), (0.9, 96))
    chosen = settings.configure(
        "byol", "hour", size=40, image_size_schedule=growing, epochs=100
    )
    # 1,000 images: 5 s, 10 s and 20 s for half, four tenths and a tenth of the epochs.
    assert pace.seconds_per_epoch(chosen, 1_000) == pytest.approx(2.5 + 4 + 2)
    assert pace.epochs_within(10, chosen, 1_000) == 60  # 510 s of 8.5 s each
