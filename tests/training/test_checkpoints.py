"""States of a run: whole or not there, verified when they are read, mirrored."""

import json
import os
import pathlib
import warnings

import pytest
import torch

from helpers import files
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
    with pytest.warns(UserWarning, match="damaged; no other is left"):
        assert store.load_state() is None


def test_what_a_drive_cannot_read_now_is_neither_passed_over_nor_deleted(
    store, monkeypatch
):
    digest = files.digest

    def fail(path):
        if path.is_relative_to(store.mirror):
            raise OSError(5, "Input/output error")
        return digest(path)

    checkpoints.Store(store.mirror).save_state({"epoch": 57}, 57)
    with monkeypatch.context() as drive:
        drive.setattr(files, "digest", fail)
        with pytest.raises(OSError, match=r"Cannot read .*state-00057.*run again when"):
            store.load_state()
    # The drive was away when the run began, and is back.
    store.save_state({"epoch": 1}, 1)
    assert [name[:11] for name in names(store.mirror)] == ["state-00001", "state-00057"]
    assert store.load_state() == {"epoch": 57}
    damage(next(store.mirror.glob("state-00057-*")))
    store.save_state({"epoch": 2}, 2)
    assert [name[:11] for name in names(store.mirror)] == ["state-00001", "state-00002"]


def test_a_folder_is_no_mirror_of_itself(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    store = checkpoints.Store(tmp_path / "run", tmp_path / "link" / "run")
    store.begin()
    store.save_state({"epoch": 1}, 1)
    store.clear()
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
    with pytest.warns(UserWarning, match="No copy was made on the mirror .*Not a dir"):
        store.save_state({"epoch": 1}, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the same problem is not said again
        store.save_backbone(torch.nn.Linear(1, 1), {})
    assert store.load_state() == {"epoch": 1}


def test_a_mirror_that_goes_is_not_made_again_and_gets_all_when_it_is_back(
    store, capsys
):
    store.begin()
    store.save_state({"epoch": 1}, 1)
    drive = store.mirror.parent
    drive.rename(drive.with_name("unmounted"))
    with pytest.warns(UserWarning, match="not there any more") as warned:
        for epoch in (2, 3):
            store.save_backbone(torch.nn.Linear(1, 1), {})
            store.save_json("history.json", [epoch])
            store.save_state({"epoch": epoch}, epoch)
    assert len(warned) == 1
    assert not drive.exists()
    drive.with_name("unmounted").rename(drive)
    store.save_state({"epoch": 4}, 4)
    assert "is up to date again" in capsys.readouterr().out
    assert [n[:11] for n in names(store.folder)] == [
        n[:11] for n in names(store.mirror)
    ]
    assert checkpoints.Store(store.mirror).load_state() == {"epoch": 4}
    assert json.loads((store.mirror / "history.json").read_text()) == [3]


def test_a_mirror_that_is_behind_is_brought_up_to_date_at_the_start(store):
    here = checkpoints.Store(store.folder)
    here.save_state({"epoch": 5}, 5)
    here.save_json("history.json", [5])
    store.begin()
    assert names(store.mirror) == names(store.folder)
    ahead = checkpoints.Store(store.mirror)
    ahead.save_json("history.json", [6])
    ahead.save_state({"epoch": 6}, 6)
    checkpoints.Store(store.folder, store.mirror).begin()
    assert json.loads((store.mirror / "history.json").read_text()) == [6]


@pytest.mark.parametrize("is_ahead", [False, True])
def test_a_mirror_that_goes_before_the_first_copy_is_not_made_again(store, is_ahead):
    if is_ahead:
        checkpoints.Store(store.mirror).save_state({"epoch": 1}, 1)
    store.begin()
    store.mirror.parent.rename(store.mirror.parent.with_name("unmounted"))
    with pytest.warns(UserWarning, match="not there any more"):
        store.save_state({"epoch": 2}, 2)
    assert not store.mirror.parent.exists()


class Room:
    """A disk with room for so many bytes in a folder, in place of a real one."""

    def __init__(self, monkeypatch, folder, room):
        self.folder, self.room = folder, room
        monkeypatch.setattr(checkpoints.shutil, "copyfile", self.copy)

    def copy(self, source, target):
        used = sum(file.stat().st_size for file in self.folder.iterdir())
        content = source.read_bytes()
        target.write_bytes(content[: max(0, self.room - used)])
        if used + len(content) > self.room:
            raise OSError(28, "No space left on device")


def state_of(epoch):
    return {"epoch": epoch, "weights": torch.zeros(10_000)}


def test_room_for_two_states_is_enough_for_a_mirror(store, monkeypatch):
    store.save_state(state_of(1), 1)
    size = next(store.folder.glob("state-*")).stat().st_size
    Room(monkeypatch, store.mirror, int(2.5 * size))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for epoch in (2, 3, 4, 5):
            store.save_state(state_of(epoch), epoch)
            assert checkpoints.Store(store.mirror).load_state()["epoch"] == epoch
    assert len(names(store.mirror)) == 2


def test_the_mirrors_newest_state_stays_until_the_next_is_whole(store, monkeypatch):
    store.save_state(state_of(1), 1)
    size = next(store.folder.glob("state-*")).stat().st_size
    Room(monkeypatch, store.mirror, int(1.5 * size))
    with pytest.warns(UserWarning, match="No space left") as warned:
        for epoch in (2, 3, 4):
            store.save_state(state_of(epoch), epoch)
    assert len(warned) == 1
    assert checkpoints.Store(store.mirror).load_state()["epoch"] == 1
    assert store.load_state()["epoch"] == 4


def test_room_for_two_states_is_enough_here(tmp_path, monkeypatch):
    store, save = checkpoints.Store(tmp_path), torch.save
    store.save_state(state_of(1), 1)
    size = next(tmp_path.glob("state-*")).stat().st_size

    def into_little_room(state, path):
        used = sum(file.stat().st_size for file in tmp_path.iterdir())
        save(state, path)
        if used + size > 2.5 * size:
            raise RuntimeError("No space left on device")

    monkeypatch.setattr(torch, "save", into_little_room)
    for epoch in (2, 3, 4):
        store.save_state(state_of(epoch), epoch)
        assert store.load_state()["epoch"] == epoch
    damage(next(tmp_path.glob("state-00004-*")))
    with pytest.raises(OSError, match="free some space"):  # nothing whole is given up
        store.save_state(state_of(5), 5)
    with pytest.warns(UserWarning, match="damaged"):
        assert store.load_state()["epoch"] == 3


def test_a_small_file_may_take_the_place_of_an_older_state(tmp_path, monkeypatch):
    store, write = checkpoints.Store(tmp_path), pathlib.Path.write_text
    for epoch in (1, 2):
        store.save_state(state_of(epoch), epoch)

    def into_little_room(path, text):
        if len(list(tmp_path.glob("state-*"))) == 2:
            raise OSError("No space left on device")
        return write(path, text)

    monkeypatch.setattr(pathlib.Path, "write_text", into_little_room)
    store.save_json("history.json", [1])
    assert (tmp_path / "history.json").read_text() == json.dumps([1], indent=1)
    assert store.load_state()["epoch"] == 2


def test_what_killed_processes_left_half_written_is_removed(store):
    store.save_state({"epoch": 1}, 1)
    for folder in (store.folder, store.mirror):
        (folder / ".4711-backbone.safetensors").write_text("half")
        (folder / ".4711-state-00002.pt").write_text("half")
        (folder / ".kept-by-somebody").write_text("not ours")
    store.begin(is_owned=False)
    assert len(names(store.mirror)) == 4
    store.begin()
    for folder in (store.folder, store.mirror):
        assert [name[:11] for name in names(folder)] == [".kept-by-so", "state-00001"]


def test_positions_within_an_epoch_are_in_order_and_old_names_are_known(tmp_path):
    store = checkpoints.Store(tmp_path)
    assert store.position() is None
    for epoch, step in ((1, 0), (1, 99), (1, 100), (2, 0), (2, 5)):
        store.save_state({"place": [epoch, step]}, epoch, step)
        assert store.load_state() == {"place": [epoch, step]}
        assert store.position() == (epoch, step)
    assert {name[:11] for name in names(tmp_path)} == {"state-00002"}
    assert len(names(tmp_path)) == 2
    (newest,) = tmp_path.glob("state-00002-000005-*")
    digest = newest.stem.split("-")[-1]
    newest.rename(tmp_path / f"state-00003-{digest}.pt")
    assert store.load_state() == {"place": [2, 5]}
    assert store.position() == (3, 0)


def test_a_new_state_is_kept_beside_damaged_ones_of_later_epochs(tmp_path):
    store = checkpoints.Store(tmp_path)
    for epoch in (7, 8):
        store.save_state({"epoch": epoch}, epoch)
    for file in tmp_path.iterdir():
        damage(file)
    store.save_state({"epoch": 1}, 1)
    assert store.load_state() == {"epoch": 1}


def test_states_are_data_and_not_code(tmp_path):
    store = checkpoints.Store(tmp_path)
    store.save_state({"code": os.getcwd}, 1)
    (file,) = tmp_path.iterdir()
    with pytest.raises(ValueError, match=rf"{file.name} is not a state of tensors"):
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


def test_a_history_is_numbers_of_so_many_epochs():
    good = [{"epoch": n, "loss": 1.5, "seconds": 2} for n in (1, 2)]
    checkpoints.check_history(good, 2)
    checkpoints.check_history([], 0)
    wrong = [(good, 1), (good[::-1], 2), ((1,), 2), ([{"epoch": 1, "loss": 1.0}], 2)]
    for value in (float("nan"), True, "1.5", None):
        wrong.append(([good[0] | {"loss": value}], 2))
        wrong.append(([good[0] | {"more": value}], 2))
    for history, most in wrong:
        with pytest.raises((ValueError, LookupError, AttributeError, TypeError)):
            checkpoints.check_history(history, most)
