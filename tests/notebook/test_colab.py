"""Colab, Drive, files in and out, and the hardware's sentence, without Colab."""

import os
import pathlib
import sys
import types

import IPython.display
import pytest

from helpers.notebook import colab


@pytest.fixture
def google_colab(monkeypatch):
    """Stand in for `google.colab` with the given modules."""

    def install(**modules):
        package = types.ModuleType("google.colab")
        for name, functions in modules.items():
            setattr(package, name, types.SimpleNamespace(**functions))
        monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
        monkeypatch.setitem(sys.modules, "google.colab", package)

    return install


def test_a_mirror_elsewhere_than_colab_is_none(capsys):
    assert colab.mirror("here") is None
    assert capsys.readouterr().out == ""
    assert colab.mirror("drive") is None
    assert "only on Colab" in capsys.readouterr().out
    with pytest.raises(ValueError, match="'drive'"):
        colab.mirror("Drive")


def test_a_refusing_drive_is_a_sentence_and_no_mirror(google_colab, capsys):
    def refuse(folder):
        raise RuntimeError("credential propagation\nwas unsuccessful")

    google_colab(drive={"mount": refuse})
    assert colab.mirror("drive") is None
    printed = capsys.readouterr().out
    assert "credential propagation" in printed
    assert printed.count("\n") == 1


def test_a_mounted_drive_is_the_mirror(monkeypatch, google_colab, tmp_path):
    mounted = []
    monkeypatch.setattr(colab, "DRIVE_PROJECT", tmp_path / "MyDrive" / "project")
    google_colab(drive={"mount": mounted.append})
    folder = tmp_path / "MyDrive" / "project" / "checkpoints"
    assert colab.mirror("drive") == folder
    assert mounted == ["/content/drive"]
    assert folder.is_dir()


def test_upload_takes_a_path_or_nothing(keyboard, tmp_path, capsys):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"x")
    keyboard("nowhere", str(file))
    assert colab.upload() == file
    assert "no file 'nowhere'" in capsys.readouterr().out
    keyboard("")
    assert colab.upload() is None


def test_upload_on_colab(google_colab, capsys, tmp_path, monkeypatch):
    def upload():
        pathlib.Path("weights.safetensors").write_bytes(b"x")
        return {"weights.safetensors": b"x"}

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(colab, "UPLOADS", tmp_path / "uploads")
    google_colab(files={"upload": upload})
    # Not where it arrives, which may be the project's folder on Drive.
    assert colab.upload() == tmp_path / "uploads" / "weights.safetensors"
    assert colab.upload().read_bytes() == b"x"
    assert not pathlib.Path("weights.safetensors").exists()
    google_colab(files={"upload": dict})
    assert colab.upload() is None
    google_colab(files={})  # a frontend that cannot upload
    assert colab.upload() is None
    assert "Nothing was uploaded" in capsys.readouterr().out


def test_download(monkeypatch, google_colab, tmp_path, capsys):
    shown, fetched = [], []
    monkeypatch.setattr(
        IPython.display, "display", lambda bundle, raw: shown.append(bundle)
    )
    monkeypatch.chdir(tmp_path)
    colab.download("weights.txt")
    assert capsys.readouterr().out == "There is no file weights.txt to download yet.\n"
    file = tmp_path / "weights.txt"
    file.write_text("x")
    colab.download(file, wanted=True)
    assert "href='weights.txt'" in shown[0]["text/html"]
    assert shown[0]["text/plain"] == "weights.txt"

    def other_drive(path):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    with monkeypatch.context() as windows:
        windows.setattr(os.path, "relpath", other_drive)
        colab.download(file)
    assert shown[1]["text/plain"] == str(file)
    google_colab(files={"download": fetched.append})
    colab.download(file)
    assert fetched == []
    colab.download(file, wanted=True)
    assert fetched == [str(file)]


@pytest.mark.parametrize(
    ("gpus", "on_colab", "words"),
    [
        (2, False, "2 x T4 with 15 GiB"),
        (0, True, "Change runtime type"),
        (0, False, "CPU"),
    ],
)
def test_the_device_is_one_sentence(monkeypatch, google_colab, gpus, on_colab, words):
    torch = types.SimpleNamespace(
        cuda=types.SimpleNamespace(
            is_available=lambda: gpus > 0,
            device_count=lambda: gpus,
            get_device_name=lambda index: "T4",
            get_device_properties=lambda index: types.SimpleNamespace(
                total_memory=15 * 2**30
            ),
        ),
        backends=types.SimpleNamespace(
            mps=types.SimpleNamespace(is_available=lambda: False)
        ),
        get_num_threads=lambda: 2,
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    if on_colab:
        google_colab()
    sentence = colab.device_sentence()
    assert words in sentence
    assert sentence.endswith(".") and "\n" not in sentence
