"""Features of images in files: which, in which order, and what is left out."""

import os
import pathlib

import numpy as np
import pandas
import PIL.Image
import pytest
import small
import torch

from helpers import files, hardware, views
from helpers.data import decoding
from helpers.evaluation import embedding
from helpers.models import encoding

PIXELS = small.images(7, side=24)


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Compute in float32, whatever the CPU could do faster."""
    monkeypatch.setattr(hardware, "precision", lambda: "32-true")


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return small.backbone().eval()


@pytest.fixture
def photos(tmp_path):
    """Seven photos at several depths; one more is broken."""
    names = ["b.png", "a.PNG", "x/c.png", "x/y/d.png", "x/e f.png", "z.png", "ü.png"]
    for pixels, name in zip(PIXELS, names, strict=True):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(file)
    (tmp_path / "photos" / "x" / "broken.jpg").write_text("no image")
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    return tmp_path / "photos"


def test_images_are_found_once_and_in_order(photos):
    found = embedding.find([photos / "z.png", photos, photos / "x"])
    assert found[0] == photos / "z.png"
    assert found[1:] == sorted(set(found[1:]))
    assert len(found) == len(set(found)) == 8
    assert embedding.find([photos / "notes.txt"]) == [photos / "notes.txt"]
    (photos / "empty").mkdir()
    with pytest.raises(ValueError, match=r"No images were found in .*empty"):
        embedding.find([photos / "empty"])


def test_what_else_is_in_a_folder_is_said(photos, monkeypatch):
    monkeypatch.setattr(decoding, "endings", lambda: frozenset([".png", ".jpg"]))
    (photos / "x" / "IMG_1.HEIC").write_text("a telephone's")
    said = r"1 with an ending that Pillow does not read .*1 that need `pip install pil"
    with pytest.warns(UserWarning, match=said):
        embedding.find([photos])
    for file in photos.rglob("*.???"):
        file.unlink()
    with pytest.raises(ValueError, match=r"the path\. Left out: 1 that need `pip"):
        embedding.find([photos])


def test_a_heic_that_was_named_says_what_it_needs(photos, backbone, monkeypatch):
    (photos / "IMG_1.HEIC").write_text("a telephone's")
    monkeypatch.setattr(decoding, "endings", lambda: frozenset([".png"]))
    with pytest.raises(ValueError, match=r"IMG_1.HEIC' cannot .*`pip install pillow-h"):
        embedding.embed(backbone, [photos / "IMG_1.HEIC"], image_size=20)


@pytest.mark.parametrize("chunk", [1, 3, 256])
def test_features_are_those_of_the_decoded_images(chunk, photos, backbone, monkeypatch):
    monkeypatch.setattr(embedding, "CHUNK", chunk)
    paths = embedding.find([photos])
    found = embedding.embed(backbone, paths, image_size=20, stored_size=24)
    assert list(found.unread) == [photos / "x" / "broken.jpg"]
    assert found.paths == tuple(p for p in paths if p not in found.unread)
    stored = [torch.from_numpy(decoding.decode(path, 24)) for path in found.paths]
    expected = encoding.encode(backbone, torch.stack(stored), image_size=20)
    assert torch.allclose(found.features, expected, atol=1e-5)
    assert found.features.dtype == torch.float32


def test_when_nothing_can_be_read_the_first_reason_is_said(photos, backbone):
    broken, pointer = photos / "x" / "broken.jpg", photos / "1.jpg"
    pointer.write_text("version https://git-lfs.github.com/spec/v1")
    zipped = photos / "photos.zip"
    zipped.write_bytes(b"PK")
    for paths, reason in (
        ([broken], "broken.jpg' cannot be read: Pillow knows no image like it"),
        ([photos / "none.png", broken], "There is no file or folder"),
        (
            [pathlib.Path("https://a.org/1.jpg")],
            "an address, so download what",
        ),
        ([zipped], "photos.zip' cannot be read: .*; unpack it and name its folder"),
        ([pointer], "1.jpg' cannot be read: it is a pointer of Git LFS; fetch it"),
    ):
        with pytest.raises(ValueError, match=reason):
            embedding.embed(backbone, paths, image_size=20)


def test_an_npz_has_features_paths_and_how_they_were_made(photos, backbone, tmp_path):
    found = embedding.embed(backbone, embedding.find([photos]), image_size=20)
    file = tmp_path / "features.npz"
    embedding.save(file, found, image_size=20, weights="b.safetensors 12345678")
    with np.load(file) as stored:  # without pickles
        assert np.array_equal(stored["features"], found.features.numpy())
        assert stored["features"].dtype == np.float32
        assert list(stored["paths"]) == [str(path) for path in found.paths]
        assert stored["side"] == 20
        assert tuple(stored["mean"]) == views.MEAN
        assert tuple(stored["std"]) == views.STD
        assert stored["weights"] == "b.safetensors 12345678"


def test_a_parquet_file_has_the_same(photos, backbone, tmp_path):
    pytest.importorskip("pyarrow", reason="writing .parquet needs pyarrow")
    found = embedding.embed(backbone, embedding.find([photos]), image_size=20)
    file = tmp_path / "features.parquet"
    embedding.save(file, found, image_size=20, weights="b")
    table = pandas.read_parquet(file)
    assert list(table["path"]) == [str(path) for path in found.paths]
    assert np.array_equal(table.drop(columns="path"), found.features.numpy())
    assert table.attrs["side"] == 20
    assert tuple(table.attrs["std"]) == views.STD


def test_files_that_cannot_be_written_are_refused_before(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"f\.txt has no known ending: choose .*\.npz"):
        embedding.check(tmp_path / "f.txt")
    monkeypatch.setattr(embedding.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs the package pyarrow: pip install"):
        embedding.check(tmp_path / "f.parquet")


def test_the_nearest_images_by_cosine_come_first():
    features = torch.tensor([[1.0, 0.0], [0.0, 5.0], [3.0, 3.0], [-1.0, 0.0]])
    cosines, index = embedding.nearest(features, torch.tensor([2.0, 0.0]), 3)
    assert index.tolist() == [0, 2, 1]
    assert cosines.tolist() == pytest.approx([1, 0.5**0.5, 0])
    assert len(embedding.nearest(features, features[0])[1]) == 4


def test_names_of_any_bytes_can_be_printed():
    name = os.fsdecode(b"a\xff\nb.png")
    files.printable(name).encode("ascii")
    assert files.printable(name) == r"a\udcff\nb.png"
    assert files.printable("Äpfel rot.png") == "Äpfel rot.png"


def test_a_folder_may_be_named_as_for_training(tmp_path):
    (tmp_path / "my photos").mkdir()
    (tmp_path / "my photos" / "a.png").touch()
    found = embedding.find([f"folder:{tmp_path / 'my photos'}"])
    assert found == embedding.find([tmp_path / "my photos"])
    assert len(found) == 1
