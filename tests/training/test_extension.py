"""A finished run can be extended, on request and with its story in the file."""

import dataclasses

import pytest
from test_pretraining import assert_same, configure, state

from helpers.models import weight_files
from helpers.training import pretraining

pytestmark = pytest.mark.usefixtures("small_backbone")


def test_a_longer_run_offers_to_extend_and_begins_anew(dataset, tmp_path, capsys):
    short = pretraining.pretrain(configure(epochs=1), dataset, folder=tmp_path)
    capsys.readouterr()
    run = pretraining.pretrain(configure(epochs=2), dataset, folder=tmp_path)
    said = capsys.readouterr().out
    words = f"one of 1 epochs with otherwise the same settings is in {short.folder}: -"
    assert words in said
    assert [entry["epoch"] for entry in run.history] == [1, 2]
    again = pretraining.pretrain(configure(epochs=2), dataset, folder=tmp_path)
    assert "--extend" not in capsys.readouterr().out
    assert "extended_from" not in weight_files.read_about(again.backbone_file)


@pytest.mark.parametrize("place", ["folder", "mirror"])
def test_an_extended_run_has_the_first_epochs_of_the_finished_one(
    place, dataset, tmp_path, capsys
):
    short_settings, long_settings = configure("pirl", epochs=2), configure("pirl")
    places = {"folder": tmp_path / "here", "mirror": tmp_path / "drive"}
    pretraining.pretrain(configure("pirl", epochs=1), dataset, **places)
    short = pretraining.pretrain(short_settings, dataset, folder=places[place])
    for stop in (3, None):  # stopped and gone on with in between
        run = pretraining.pretrain(
            long_settings, dataset, **places, extend=True, stop_after=stop
        )
    said = capsys.readouterr().out
    rate = f"{short.history[-1]['learning_rate']:.2g} to "
    assert "This extends a finished run of 2 epochs." in said
    assert (
        f"the schedule is that of 4 epochs: the learning rate goes from {rate}" in said
    )
    assert run.history[:2] == short.history
    assert [entry["epoch"] for entry in run.history] == [1, 2, 3, 4]
    assert run.history[2]["learning_rate"] > run.history[1]["learning_rate"]
    about = weight_files.read_about(run.backbone_file)
    assert (about["extended_from"], about["epochs_done"]) == (2, 4)
    whole = pretraining.pretrain(
        long_settings,
        dataset,
        folder=tmp_path / "again",
        mirror=places[place],
        extend=True,
        resume=False,
    )
    assert_same(state(whole), state(run))


def test_a_run_is_extended_whether_its_warm_up_is_as_long_or_the_same_share(
    dataset, tmp_path
):
    for warmup in (0.5, 0.25):
        folder = tmp_path / str(warmup)
        short = configure(epochs=2, warmup_epochs=warmup)
        pretraining.pretrain(short, dataset, folder=folder)
        chosen = configure(warmup_epochs=0.5)
        run = pretraining.pretrain(chosen, dataset, folder=folder, extend=True)
        assert weight_files.read_about(run.backbone_file)["extended_from"] == 2


def test_what_has_begun_already_is_not_extended_without_a_word(
    dataset, tmp_path, capsys
):
    pretraining.pretrain(configure(epochs=2), dataset, folder=tmp_path)
    pretraining.pretrain(configure(), dataset, folder=tmp_path, stop_after=1)
    with pytest.raises(ValueError, match=r"begun from nothing .* add --no-resume"):
        pretraining.pretrain(configure(), dataset, folder=tmp_path, extend=True)
    for resume in (False, True):
        run = pretraining.pretrain(
            configure(), dataset, folder=tmp_path, extend=True, resume=resume
        )
        assert weight_files.read_about(run.backbone_file)["extended_from"] == 2
    assert "are shown. It extended one of 2 epochs." in capsys.readouterr().out


def test_other_settings_and_unfinished_runs_are_not_extended(dataset, tmp_path):
    for changes, stop_after in (({"seed": 1}, None), ({"epochs": 3}, 2)):
        pretraining.pretrain(
            configure(**{"epochs": 2} | changes),
            dataset,
            folder=tmp_path,
            stop_after=stop_after,
        )
    with pytest.raises(ValueError, match=r"There is no finished run in .* leave out"):
        pretraining.pretrain(configure(), dataset, folder=tmp_path, extend=True)
    other = dataclasses.replace(dataset, files="others")
    pretraining.pretrain(configure(epochs=2), other, folder=tmp_path)
    with pytest.raises(ValueError, match="There is no finished run"):
        pretraining.pretrain(configure(), dataset, folder=tmp_path, extend=True)


def test_a_damaged_state_is_not_extended(dataset, tmp_path):
    short = pretraining.pretrain(configure(epochs=2), dataset, folder=tmp_path)
    (newest,) = short.folder.glob("state-00002-*")
    newest.write_bytes(newest.read_bytes()[:-9])
    with (
        pytest.warns(UserWarning, match="damaged"),
        pytest.raises(ValueError, match="cannot be extended: leave out --extend"),
    ):
        pretraining.pretrain(configure(), dataset, folder=tmp_path, extend=True)
