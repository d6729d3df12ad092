"""States of a run: whole or not there, verified when they are read, mirrored."""

import json
import os
import pathlib

import pytest
import torch

from helpers.training import checkpoints


@pytest.fixture
def store(tmp_path):
    return checkpoints.Store(tmp_path / "here" / "run", tmp_path / "drive" / "run")


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def damage(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)


def test_states_come_back_and_only_two_are_kept(store):
    assert store.load_state() is None
    for epoch in (1, 2, 3, 12):
        state = {"weights": torch.full((4,), float(epoch)), "history": [{"epoch": 1}]}
        store.save_state(state, epoch)
    loaded = store.load_state()
    assert loaded["history"] == [{"epoch": 1}]
    assert loaded["weights"].tolist() == [12.0] * 4
    for folder in (store.folder, store.mirror):
        assert [name[:11] for name in names(folder)] == ["state-00003", "state-00012"]


@pytest.mark.parametrize("harm", [damage, lambda file: file.write_bytes(b"")])
def test_a_damaged_state_falls_back_to_the_one_before(tmp_path, harm):
    store = checkpoints.Store(tmp_path)
    for epoch in (1, 2):
        store.save_state({"epoch": epoch}, epoch)
    (newest,) = tmp_path.glob("state-00002-*")
    harm(newest)
    with pytest.warns(UserWarning, match=r"state-00002-.*\.pt is damaged"):
        assert store.load_state() == {"epoch": 1}
    (oldest,) = tmp_path.glob("state-00001-*")
    harm(oldest)
    with pytest.warns(UserWarning, match="damaged"):
        assert store.load_state() is None


def test_the_mirror_serves_when_the_machine_is_new(store):
    store.save_state({"epoch": 7}, 7)
    store.save_json("history.json", [1, 2])
    for file in store.folder.iterdir():
        file.unlink()
    store.folder.rmdir()
    assert store.load_state() == {"epoch": 7}
    assert json.loads((store.mirror / "history.json").read_text()) == [1, 2]


def test_a_newer_state_wins_wherever_it_is(store):
    store.save_state({"epoch": 3}, 3)
    checkpoints.Store(store.mirror).save_state({"epoch": 4}, 4)
    assert store.load_state() == {"epoch": 4}


def test_a_damaged_copy_is_replaced_by_the_undamaged_one(store):
    store.save_state({"epoch": 3}, 3)
    damage(next(store.folder.glob("state-*")))
    with pytest.warns(UserWarning, match="damaged"):
        assert store.load_state() == {"epoch": 3}


def test_a_mirror_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "drive").write_text("not a folder")
    store = checkpoints.Store(tmp_path / "here", tmp_path / "drive" / "run")
    with pytest.warns(UserWarning, match="No copy was made: Cannot write"):
        store.save_state({"epoch": 1}, 1)
    with pytest.warns(UserWarning, match="No copy was made"):
        store.save_backbone(torch.nn.Linear(1, 1), {})
    assert store.load_state() == {"epoch": 1}


def test_states_are_data_and_not_code(tmp_path):
    store = checkpoints.Store(tmp_path)
    store.save_state({"code": os.getcwd}, 1)
    with pytest.raises(Exception, match=r"(?i)weights.only"):
        store.load_state()


def test_cleared_states_are_gone_everywhere_and_nothing_else_is(store):
    store.save_state({"epoch": 7}, 7)
    store.save_json("history.json", [1])
    store.clear()
    assert store.load_state() is None
    assert names(store.folder) == names(store.mirror) == ["history.json"]


def test_an_old_state_that_cannot_be_removed_stops_nothing(store, monkeypatch):
    unlink = pathlib.Path.unlink

    def refuse(path, missing_ok=False):
        if path.parent == store.mirror and path.name.startswith("state-"):
            raise OSError(30, "Read-only file system")
        unlink(path, missing_ok)

    monkeypatch.setattr(pathlib.Path, "unlink", refuse)
    for epoch in (1, 2, 3):
        store.save_state({"epoch": epoch}, epoch)
    assert len(names(store.mirror)) == 3
    assert len(names(store.folder)) == 2
