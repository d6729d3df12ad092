"""A run has one owner; the lock of one that was killed is free."""

import json
import os
import platform
import signal
import subprocess
import sys
import time
import types

import filelock
import pytest

from helpers.training import checkpoints, ownership, pretraining

OWNER = """
import pathlib, sys, time
from helpers.training import ownership
with ownership.own(pathlib.Path(sys.argv[1])):
    print("owned", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process, which owns the run in a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "owned\n"
    yield process
    process.kill()
    process.stdout.close()
    process.wait()


def test_a_second_process_is_refused_and_told_by_whom(other, tmp_path):
    since = time.strftime("%Y-%m-%d")
    words = rf"process {other.pid} on {platform.node()} since {since}.*: "
    with pytest.raises(ValueError, match=words + "wait for it, stop it"):
        ownership.own(tmp_path).__enter__()


def test_a_killed_owners_run_is_taken_over(other, tmp_path):
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert (tmp_path / ".owner").is_file()
    with ownership.own(tmp_path) as is_sure:
        assert is_sure
        about = json.loads((tmp_path / ".owner").read_text())
        assert about["process"] == os.getpid()
    assert not (tmp_path / ".owner").exists()


@pytest.mark.parametrize(
    ("owner", "machine", "seconds"),
    [
        ("dead", platform.node(), ownership.PATIENCE),
        ("alive", platform.node(), 0),
        ("dead", "another", 0),  # who knows?
    ],
)
def test_workers_of_a_killed_owner_are_waited_for(
    owner, machine, seconds, tmp_path, monkeypatch
):
    """They hold its lock until they notice; then the owner's note is about nobody."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    about = {"process": dead.pid if owner == "dead" else os.getpid()}
    (tmp_path / ".owner").write_text(json.dumps(about | {"machine": machine}))
    asked = []
    monkeypatch.setattr(
        filelock.FileLock, "acquire", lambda lock, timeout: asked.append(timeout)
    )
    monkeypatch.setattr(filelock.FileLock, "release", lambda lock: None)
    with ownership.own(tmp_path):
        pass
    assert asked == [seconds]


def test_an_unreadable_note_changes_only_the_sentence(tmp_path):
    with ownership.own(tmp_path):
        for text in ("[1]", "{", ""):
            (tmp_path / ".owner").write_text(text)
            with pytest.raises(ValueError, match="trained by another process: wait"):
                ownership.own(tmp_path).__enter__()
    with ownership.own(tmp_path) as is_sure:
        assert is_sure


def test_on_windows_no_signal_is_sent_to_the_owner(tmp_path, monkeypatch):
    sent = []
    windows = types.SimpleNamespace(name="nt", kill=lambda *what: sent.append(what))
    with ownership.own(tmp_path):
        monkeypatch.setattr(ownership, "os", windows)
        assert ownership._is_running(tmp_path)
        monkeypatch.undo()
    assert sent == []


def test_without_locks_runs_train_as_ever(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise NotImplementedError("no flock here")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with ownership.own(tmp_path) as is_sure:
        assert not is_sure


def test_a_run_refuses_a_second_training(dataset, tmp_path, small_backbone):
    from test_pretraining import configure

    def again(history):
        with pytest.raises(
            ValueError, match=f"already being trained by process {os.getpid()} on"
        ):
            pretraining.pretrain(configure(epochs=1), dataset, folder=tmp_path)

    run = pretraining.pretrain(
        configure(epochs=1), dataset, folder=tmp_path, on_epoch=again
    )
    assert len(run.history) == 1
    assert checkpoints.Store(run.folder).load_state()["history"]
