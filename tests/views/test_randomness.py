"""A step's random numbers: repeatable, and the same for any number of processes."""

import pytest
import torch

from helpers.views.randomness import Draws, StepRandom


def test_the_same_step_draws_the_same_and_others_do_not():
    table = StepRandom(1, 5, 8).table(4)
    assert torch.equal(StepRandom(1, 5, 8).table(4), table)
    assert not torch.equal(StepRandom(1, 6, 8).table(4), table)
    assert not torch.equal(StepRandom(2, 5, 8).table(4), table)
    assert table.min() >= 0
    assert table.max() < 1


def test_a_step_draws_anew_each_time():
    random = StepRandom(0, 0, 8)
    assert not torch.equal(random.table(4), random.table(4))


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_the_tables_of_one(processes):
    one = StepRandom(3, 7, 8)
    many = [StepRandom(3, 7, 8, "cpu", rank, processes) for rank in range(processes)]
    for columns in (3, 5):
        parts = [random.table(columns) for random in many]
        assert {len(part) for part in parts} == {8 // processes}
        assert torch.equal(torch.cat(parts), one.table(columns))


def test_draws_hand_out_columns_once_each():
    table = StepRandom(0, 0, 6).table(9)
    draws = Draws(table)
    assert torch.equal(draws.uniform(2, 2), table[:, :4].view(6, 2, 2))
    assert torch.equal(draws.uniform(low=3.0, high=5.0), table[:, 4] * 2 + 3)
    assert torch.equal(draws.chance(0.4, 3), table[:, 5:8] < 0.4)
    with pytest.raises(
        ValueError, match="12 random numbers per image are drawn from 9 "
    ):
        draws.uniform(4)


def test_drawing_beyond_the_table_is_an_error_where_a_shape_would_still_fit():
    draws = Draws(torch.rand(8, 9))
    draws.uniform(8)
    with pytest.raises(ValueError, match="make the table wider"):
        draws.uniform(4)  # the 8 numbers left would make two rows of four
    with pytest.raises(ValueError, match="make the table wider"):
        draws.skip(2)


def test_numbers_that_nobody_draws_are_an_error():
    draws = Draws(torch.rand(8, 9))
    draws.uniform(2, 3)
    with pytest.raises(
        ValueError, match="6 random numbers per image are drawn from 9 "
    ):
        draws.check_all_used()
    draws.skip(3)
    draws.check_all_used()
