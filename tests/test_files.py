"""Files are written whole or not at all, into folders that can be chosen."""

import contextlib
import hashlib
import os
import pathlib
import stat
import time

import filelock
import pytest

from helpers import files

FOLDERS = {
    "STL_CHECKPOINTS": (files.checkpoints_folder, "checkpoints"),
    "STL_DATA_ROOT": (files.data_folder, "data"),
    "STL_RESULTS": (files.results_folder, "runs/results"),
}


@pytest.mark.parametrize("variable", FOLDERS)
def test_a_folder_is_given_or_in_the_environment_or_the_usual_one(
    variable, tmp_path, monkeypatch
):
    folder, usual = FOLDERS[variable]
    monkeypatch.setenv(variable, str(tmp_path))
    assert folder("here") == pathlib.Path("here")
    assert folder() == tmp_path
    monkeypatch.delenv(variable)
    assert folder() == pathlib.Path(usual)


@pytest.mark.parametrize("error", [OSError(28, "No space left"), RuntimeError("full")])
def test_a_failing_write_keeps_the_old_file_and_leaves_no_litter(error, tmp_path):
    file = tmp_path / "file.json"
    file.write_text("old")

    def save(path):
        path.write_text("ne")
        raise error

    with pytest.raises(OSError, match=r"Cannot write file\.json into .*free some"):
        files.write(file, save)
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.json"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, TypeError])
def test_an_interrupted_write_leaves_no_litter_either(stop, tmp_path):
    def save(path):
        path.write_text("half")
        raise stop

    with pytest.raises(stop):
        files.write(tmp_path / "file.json", save)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"Cannot write a\.json into"):
        files.write(tmp_path / "file" / "a.json", lambda path: path.touch())


def test_the_path_holds_nothing_before_the_file_is_whole(tmp_path):
    file = tmp_path / "new" / "file"

    def save(path):
        assert path != file
        assert not file.exists()
        path.write_text("whole")

    files.write(file, save)
    assert file.read_text() == "whole"
    assert os.listdir(file.parent) == ["file"]


def test_a_digest_is_the_start_of_the_sha256(tmp_path):
    file = tmp_path / "file"
    for content in (b"", b"some bytes", b"other bytes"):
        file.write_bytes(content)
        assert files.digest(file) == hashlib.sha256(content).hexdigest()[:8]


def test_a_folder_is_tried_and_left_as_it_was(tmp_path):
    files.check_folder(tmp_path / "not" / "yet" / "there")
    assert os.listdir(tmp_path) == []
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match=r"Cannot write into .*choose another folder"):
            files.check_folder(folder)


def test_a_digest_in_the_name_is_that_of_the_content(tmp_path):
    there = files.write(
        tmp_path / "state.pt", lambda path: path.write_text("whole"), with_digest=True
    )
    assert there.name == f"state-{files.digest(there)}.pt"
    assert os.listdir(tmp_path) == [there.name]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_whatever_step_fails_says_a_sentence(step, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(OSError, match=r"Cannot write a.*quota exceeded.*free some"):
        files.write(tmp_path / "a", lambda path: path.touch(), with_digest=True)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_has_gone_is_not_made_again_if_so_wished(tmp_path):
    with pytest.raises(OSError, match="Cannot write a into"):
        files.write(
            tmp_path / "gone" / "a", lambda path: path.touch(), make_folder=False
        )
    assert os.listdir(tmp_path) == []


def test_only_what_was_left_half_written_is_removed(tmp_path):
    for name in (".12-state.pt", ".hidden", "12-state.pt", ".x12-state.pt"):
        (tmp_path / name).touch()
    files.remove_unfinished(tmp_path)
    files.remove_unfinished(tmp_path / "nowhere")
    assert sorted(os.listdir(tmp_path)) == [".hidden", ".x12-state.pt", "12-state.pt"]


@pytest.mark.parametrize(
    ("name", "usual"),
    [
        ("STL_CHECKPOINTS", "checkpoints"),
        ("STL_DATA_ROOT", "data"),
        ("STL_RESULTS", "runs/results"),
    ],
)
def test_folders_may_be_set_empty_or_at_home(name, usual, monkeypatch, tmp_path):
    find = {
        "STL_CHECKPOINTS": files.checkpoints_folder,
        "STL_DATA_ROOT": files.data_folder,
        "STL_RESULTS": files.results_folder,
    }[name]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # Windows
    monkeypatch.setenv(name, "")
    assert find() == pathlib.Path(usual)
    monkeypatch.setenv(name, "~/runs")
    assert find() == tmp_path / "runs"


def keeping_bin(tmp_path, monkeypatch):
    """A folder that takes what is deleted, as a drive's bin does."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()

    def unlink(path, missing_ok=False):
        os.rename(path, bin_ / f"{len(os.listdir(bin_))}")

    monkeypatch.setattr(pathlib.Path, "unlink", unlink)
    return bin_


def test_a_copy_on_a_drive_leaves_no_content_in_its_bin(tmp_path, monkeypatch):
    """A drive may keep what a rename displaces as well."""
    file, bin_ = tmp_path / "file", keeping_bin(tmp_path, monkeypatch)
    file.write_text("before")
    replace = os.replace

    def refuse(old, new):
        if new == file and not str(old).endswith(".before"):
            raise failing("on the way")
        replace(old, new)

    for failing in (OSError, KeyboardInterrupt, None):
        monkeypatch.setattr(os, "replace", refuse if failing else replace)
        with contextlib.suppress(OSError, KeyboardInterrupt):
            files.write(file, lambda path: path.write_text("new"), empty_old=True)
        assert file.read_text() == ("before" if failing else "new")
        assert all(not kept.read_text() for kept in bin_.iterdir())
        assert sorted(os.listdir(tmp_path)) == ["bin", "file"]
    assert [*bin_.iterdir()]


def test_what_was_moved_out_of_the_way_goes_back(tmp_path):
    """After a kill between two renames; not where the new file is there."""
    for name, text in ((".12-abcdef-a.before", "a"), (".12-abcdef-b.before", "old")):
        (tmp_path / name).write_text(text)
    (tmp_path / "b").write_text("b")
    files.remove_unfinished(tmp_path)
    there = {name: (tmp_path / name).read_text() for name in os.listdir(tmp_path)}
    assert there == {"a": "a", "b": "b"}


def test_a_file_that_is_in_use_is_waited_for(tmp_path, monkeypatch):
    """On Windows nobody may rename over a file that another program reads."""
    replace, refused = os.replace, []

    def busy(old, new):
        if len(refused) < 3:
            refused.append(new)
            raise PermissionError(13, "Permission denied")
        replace(old, new)

    monkeypatch.setattr(os, "replace", busy)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    files.write(tmp_path / "a", lambda path: path.write_text("new"))
    assert (tmp_path / "a").read_text() == "new"


def test_writers_of_the_same_number_do_not_meet(tmp_path, monkeypatch):
    """Two containers that share a folder may both have a process 7."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    names = []

    def save(path):
        names.append(path.name)
        path.touch()

    for _ in range(2):
        files.write(tmp_path / "a", save)
    assert len(set(names)) == 2


def test_json_of_anybody_is_read_or_refused():
    assert files.parse_json('{"a": [1, null, "[["]}') == {"a": [1, None, "[["]}
    assert files.parse_json("3") == 3
    for text in ("", "{", "[1,]", 60 * "[" + 60 * "]", 100_000 * "["):
        with pytest.raises(ValueError, match=r"^It is not JSON that can be read"):
            files.parse_json(text)


def test_what_is_written_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    calls, fsync, replace = [], os.fsync, os.replace

    def watch(number):
        is_folder = stat.S_ISDIR(os.fstat(number).st_mode)
        calls.append("folder" if is_folder else "file")
        fsync(number)

    def rename(*names):
        calls.append("name")
        replace(*names)

    monkeypatch.setattr(os, "fsync", watch)
    monkeypatch.setattr(os, "replace", rename)
    files.write(tmp_path / "some.txt", lambda path: path.write_text("x"))
    assert calls == ["file", "name", "folder"]


def test_a_typed_path_begins_at_home_where_there_is_one(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # Windows
    assert files.expand_home("~/pets") == tmp_path / "pets"
    assert files.expand_home("~nobody-here/pets") == pathlib.Path("~nobody-here/pets")
    assert files.expand_home("pets") == pathlib.Path("pets")


def test_what_is_removed_is_emptied_first(tmp_path, monkeypatch):
    """A drive may keep what is deleted, and count it."""
    file, bin_ = tmp_path / "file", keeping_bin(tmp_path, monkeypatch)
    file.write_bytes(b"much")
    files.remove(file)
    assert not file.exists()
    (kept,) = bin_.iterdir()
    assert kept.stat().st_size == 0


def test_what_a_backup_shares_by_a_link_stays_whole(tmp_path):
    for number, link in enumerate((os.link, os.symlink)):
        file, other = tmp_path / f"file{number}", tmp_path / f"other{number}"
        other.write_bytes(b"much")
        link(other, file)
        files.remove(file)
        assert not file.exists()
        assert other.read_bytes() == b"much"


def test_a_lock_is_held_by_one(tmp_path):
    lock = files.lock(tmp_path / "new" / ".lock")
    with pytest.raises(filelock.Timeout):
        files.lock(tmp_path / "new" / ".lock", timeout=0)
    lock.release()
    files.lock(tmp_path / "new" / ".lock", timeout=0).release()


def test_a_link_to_what_is_not_there_is_no_folder_to_write_into(tmp_path):
    link = tmp_path / "drive"
    link.symlink_to(tmp_path / "not mounted")
    with pytest.raises(OSError, match=r"drive' is a link to '.*not mounted', whi"):
        files.check_folder(link / "runs")
