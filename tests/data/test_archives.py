"""Zips of images are unpacked once, safely, or refused in a sentence."""

import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile

import filelock
import numpy as np
import PIL.Image
import pytest
import torch

from helpers import data
from helpers.data import archives


@pytest.fixture
def pets(tmp_path):
    """A zip as a file manager makes it: one folder in it, and a system's beside."""
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "made" / "pets" / name).mkdir(parents=True)
        for number in range(5):
            pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            file = tmp_path / "made" / "pets" / name / f"{number}.png"
            PIL.Image.fromarray(pixels).save(file)
    (tmp_path / "made" / "__MACOSX").mkdir()
    (tmp_path / "made" / "__MACOSX" / "._cat.png").write_bytes(b"")
    shutil.make_archive(str(tmp_path / "pets"), "zip", tmp_path / "made")
    return tmp_path / "pets.zip"


@pytest.mark.filterwarnings("ignore:Left out")
def test_a_zip_is_the_folder_that_was_zipped(pets, tmp_path, monkeypatch):
    zipped = data.load(f"folder:{pets}", image_size=32, root=tmp_path / "data")
    folder = data.load(f"folder:{tmp_path / 'made' / 'pets'}", image_size=32)
    assert (
        zipped.describe()
        == folder.describe()
        == (
            "folder:pets at 32 px: 2 classes, 32 px; 8 labelled, 0 unlabelled, 2 test "
            "images (50.0 % each); 20% of each class are held out as test images"
        )
    )
    assert zipped.files == folder.files
    assert torch.equal(zipped.pretraining.images, folder.pretraining.images)
    monkeypatch.setattr(zipfile.ZipFile, "extractall", None)  # once is enough
    again = data.load(f"folder:{pets}", image_size=32, root=tmp_path / "data")
    assert torch.equal(again.test.images, zipped.test.images)


@pytest.mark.filterwarnings("ignore:Left out")
def test_a_zip_of_any_name_has_a_folder_that_every_system_takes(pets, tmp_path):
    named = pets.rename(tmp_path / "my: <best> pets?.zip")
    place = archives.unpack(named, tmp_path / "data")
    assert place.name.startswith("my- -best- pets--")


@pytest.mark.filterwarnings("ignore:Left out")
def test_paths_in_a_zip_may_be_those_of_windows(pets, tmp_path):
    with (
        zipfile.ZipFile(pets) as whole,
        zipfile.ZipFile(tmp_path / "w.zip", "w") as made,
    ):
        for member in whole.infolist():
            name = member.filename.replace("/", "\\")
            made.writestr(zipfile.ZipInfo(name), whole.read(member))
    found = data.load(f"folder:{tmp_path / 'w.zip'}", image_size=32, root=tmp_path)
    assert found.classes == ("cat", "dog")
    assert (found.train_count, len(found.test)) == (8, 2)


def test_nothing_is_written_outside_the_folder(tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        for name in ("../../out.png", f"{tmp_path}/abs.png", "in.png"):
            archive.writestr(name, b"x")
    place = archives.unpack(tmp_path / "evil.zip", tmp_path / "deep" / "unpacked")
    written = {file for file in tmp_path.rglob("*.png")}
    assert len(written) == 3
    assert all(file.is_relative_to(place) for file in written)


def test_a_zip_that_cannot_be_unpacked_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "no.zip").write_bytes(b"nothing")
    with zipfile.ZipFile(tmp_path / "torn.zip", "w") as archive:
        archive.writestr("a.png", b"x" * 5_000)
    torn = bytearray((tmp_path / "torn.zip").read_bytes())
    torn[200] ^= 255
    (tmp_path / "torn.zip").write_bytes(torn)
    torn[-6:-2] = (1_000_000).to_bytes(4, "little")  # where its list is said to begin
    (tmp_path / "moved.zip").write_bytes(torn)
    for name in ("no", "torn", "moved"):
        with pytest.raises(
            (ValueError, OSError), match=rf"{name}\.zip' cannot be unpacked \(.*: "
        ):
            archives.unpack(tmp_path / f"{name}.zip", tmp_path / "unpacked")
    assert list((tmp_path / "unpacked").glob("*")) == []
    with zipfile.ZipFile(tmp_path / "big.zip", "w") as archive:
        archive.writestr("a.png", b"x")
    full = shutil._ntuple_diskusage(10, 10, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(ValueError, match=r"big\.zip' needs .* more than is free in"):
        archives.unpack(tmp_path / "big.zip", tmp_path / "unpacked")


def test_what_a_killed_process_has_unpacked_in_part_is_removed(tmp_path):
    with zipfile.ZipFile(tmp_path / "good.zip", "w") as archive:
        archive.writestr("a.png", b"x")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, others = (
        tmp_path / "unpacked" / f".{pid}-pets-0a1b2c3d"
        for pid in (ended.pid, os.getpid())
    )
    for place in (left, others):
        place.mkdir(parents=True)
        (place / "half.png").write_bytes(b"x")
    place = archives.unpack(tmp_path / "good.zip", tmp_path / "unpacked")
    assert (place / "a.png").read_bytes() == b"x"
    assert not left.exists() and others.exists()


def test_who_waits_for_another_process_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(archives, "SOON", 0.1)
    is_locked = threading.Event()

    def hold():
        with filelock.FileLock(tmp_path / ".lock"):
            is_locked.set()
            time.sleep(0.5)

    threading.Thread(target=hold).start()
    is_locked.wait()
    with archives.one_at_a_time(tmp_path):
        assert f"Waiting for a process that is preparing images in '{tmp_path}'" in (
            capsys.readouterr().out
        )
    with archives.one_at_a_time(tmp_path):
        assert capsys.readouterr().out == ""
