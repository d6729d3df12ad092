"""Four processes learn what one learns, in changing numbers too, and stop together."""

import subprocess
import sys

import many_processes
import pytest
import torch

ROUNDING = 1e-3  # relative, as of two processes


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What some numbers of processes computed, and how they ended."""
    if sys.platform == "win32":
        pytest.skip("processes are forks")
    folder = tmp_path_factory.mktemp("many")
    command = [sys.executable, many_processes.__file__, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3_000:]
    return torch.load(folder / "results.pt", weights_only=True)


@pytest.mark.parametrize("name", many_processes.METHODS)
def test_changing_numbers_of_processes_train_as_one(name, found):
    one = found["train"]["1"][name]
    for plan in found["train"].keys() - {"1"}:
        many = found["train"][plan].get(name)
        if many is not None:
            assert len(many["loss"]) == many_processes.SHORT
            assert torch.allclose(many["loss"], one["loss"], rtol=ROUNDING), plan
            assert (many["weights"] - one["weights"]).abs().max() < ROUNDING, plan
    assert one["loss"][-1] != one["loss"][0]


def test_where_one_process_is_killed_all_stop_with_a_sentence(found):
    sitting = found["lost"][4]
    assert sitting["statuses"] == [1, -9, 1, 1]
    assert sitting["seconds"] < 30  # in which nobody waits for the lost one
    for rank in (0, 2, 3):
        sentence = sitting["said"][rank][1].strip()
        assert sentence.startswith("Another process of this run has ended")
        assert "\n" not in sentence


def test_what_was_saved_before_is_gone_on_with_by_fewer(found):
    sitting = found["lost"][2]
    assert sitting["statuses"] == [0, 0]
    assert "Going on after epoch 1 of 2." in sitting["said"][0][0]
    assert "The backbone is" in sitting["said"][0][0]
