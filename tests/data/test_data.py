"""Data sets by name, from small archives in the official layouts."""

import concurrent.futures
import http.client
import pickle
import shutil
import time
import urllib.error
import urllib.request
import warnings

import filelock
import numpy as np
import PIL.Image
import pytest
import small
import torch
import torchvision

from helpers import data
from helpers.data import demo, sources

COUNTS = small.STL10


def test_stl10_has_the_pixels_torchvision_reads(stl10):
    dataset = data.load("stl10", root=stl10)
    for split, made in {
        "train": dataset.train,
        "unlabeled": dataset.unlabeled,
        "test": dataset.test,
    }.items():
        expected = torchvision.datasets.STL10(stl10, split=split)
        assert torch.equal(made.images, torch.tensor(expected.data)), split
        assert made.images.dtype == torch.uint8
        assert made.labels.dtype == torch.int64
        assert made.labels.tolist() == expected.labels.astype(np.int8).tolist()
    assert dataset.train.labels.unique().tolist() == list(range(10))
    assert (dataset.unlabeled.labels == -1).all()
    assert dataset.classes == demo.CLASSES


def test_stl10_holds_no_image_twice(stl10):
    dataset = data.load("stl10", root=stl10)
    whole = dataset.pretraining.images
    assert len(whole) == COUNTS["train"] + COUNTS["unlabeled"]
    assert whole.untyped_storage().nbytes() == len(whole) * 3 * 96 * 96
    for part in (dataset.train, dataset.unlabeled):
        storage = part.images.untyped_storage()
        assert storage.data_ptr() == whole.untyped_storage().data_ptr()


def test_stl10_has_its_official_folds(stl10):
    dataset = data.load("stl10", root=stl10)
    assert len(dataset.folds) == 10
    for number, fold in enumerate(dataset.folds):
        expected = torchvision.datasets.STL10(stl10, split="train", folds=number)
        assert torch.equal(dataset.train.images[fold], torch.tensor(expected.data))


def test_fewer_unlabeled_images_and_labels_can_be_asked_for(stl10):
    whole = data.load("stl10", root=stl10)
    fewer = data.load("stl10", root=stl10, unlabeled=7)
    assert torch.equal(fewer.pretraining.images, whole.pretraining.images[:47])
    assert fewer.train_count == 40
    limited = data.load("stl10", root=stl10, labels=1, seed=3, unlabeled=0)
    assert (len(limited.train), len(limited.pretraining)) == (10, 10)
    assert limited.train.labels.sort().values.tolist() == list(range(10))
    shares = [data.load("stl10", root=stl10, labels=share) for share in ("50%", "1%")]
    assert [len(one.train) for one in shares] == [20, 10]
    assert shares[0].train.labels.bincount().tolist() == [2] * 10


def test_files_that_are_not_whole_are_one_sentence(stl10, monkeypatch):
    def damaged(*_, **__):
        raise RuntimeError("Dataset not found or corrupted.")

    monkeypatch.setattr(torchvision.datasets, "STL10", damaged)
    with pytest.raises(ValueError, match=r"stl10 in .* cannot be used .*: delete its"):
        data.load("stl10", root=stl10)


@pytest.mark.parametrize("source", ["cifar10", "cifar100"])
def test_cifar_is_read_from_its_pickles(source, tmp_path, monkeypatch):
    create = getattr(torchvision.datasets, source.upper())
    key = "labels" if source == "cifar10" else "fine_labels"
    folder = tmp_path / create.base_folder
    folder.mkdir()
    random = np.random.default_rng(0)
    stored = {}
    for name, _ in create.train_list + create.test_list:
        pixels = random.integers(0, 256, (4, 3 * 32 * 32), dtype=np.uint8)
        labels = random.integers(0, 10, 4).tolist()
        stored[name] = pixels.reshape(4, 3, 32, 32), labels
        (folder / name).write_bytes(pickle.dumps({"data": pixels, key: labels}))
    names = [f"class {number}" for number in range(10)]
    meta = pickle.dumps({create.meta["key"]: names})
    (folder / create.meta["filename"]).write_bytes(meta)
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
    dataset = data.load(source, root=tmp_path)
    train = [stored[name] for name, _ in create.train_list]
    images = torch.from_numpy(np.concatenate([pixels for pixels, _ in train]))
    assert torch.equal(dataset.train.images, images)
    assert dataset.train.images.is_contiguous()
    assert dataset.train.labels.tolist() == [n for _, labels in train for n in labels]
    (name, _) = create.test_list[0]
    assert torch.equal(dataset.test.images, torch.from_numpy(stored[name][0]))
    assert dataset.test.labels.tolist() == stored[name][1]
    assert dataset.classes == tuple(names)
    assert len(dataset.unlabeled) == 0
    assert dataset.name == source


def test_the_demo_is_drawn_once_and_kept(tmp_path, monkeypatch):
    drawn = []

    def draw(split, count):
        drawn.append((split, count))
        return (
            np.full((count, 3, 8, 8), len(drawn), np.uint8),
            np.arange(count, dtype=np.int64) % 10,
        )

    monkeypatch.setattr(demo, "draw", draw)
    first = data.load(root=tmp_path)
    counts = {"train": 200, "unlabeled": 2_000, "test": 1_000}
    assert dict(drawn) == counts
    assert len(first.train) == 200
    assert first.train.labels.bincount().tolist() == [20] * 10
    assert (first.unlabeled.labels == -1).all()
    again = data.load("demo", root=tmp_path)
    assert len(drawn) == 3
    assert torch.equal(first.pretraining.images, again.pretraining.images)
    assert torch.equal(first.test.labels, again.test.labels)
    kept = sorted(file.name for file in tmp_path.rglob("*.*z"))
    assert kept == ["test-1000.npz", "train-200.npz", "unlabeled-2000.npz"]
    monkeypatch.setattr(demo, "VERSION", "another")
    data.load("demo", root=tmp_path)
    assert len(drawn) == 6


@pytest.mark.parametrize("damage", ["half", "empty", "no zip", "labels", "old"])
def test_drawings_that_are_not_whole_are_drawn_again(damage, tmp_path, monkeypatch):
    monkeypatch.setattr(
        demo,
        "draw",
        lambda split, count: (
            np.full((count, 3, 8, 8), 7, np.uint8),
            np.arange(count, dtype=np.int64) % 10,
        ),
    )
    whole = data.load("demo-tiny", root=tmp_path)
    file = next(tmp_path.rglob("train-40.npz"))
    content = file.read_bytes()
    if damage in ("labels", "old"):
        with np.load(file) as stored:
            arrays = dict(stored)
        if damage == "old":
            del arrays["digest"]
        arrays["labels"] = arrays["labels"][::-1]
        np.savez(file, **arrays)
    else:
        wrong = {
            "half": content[: len(content) // 2],
            "empty": b"",
            "no zip": b"?" * 99,
        }
        file.write_bytes(wrong[damage])
    with pytest.warns(UserWarning, match=r"train-40\.npz is not whole: it is drawn ag"):
        again = data.load("demo-tiny", root=tmp_path)
    assert torch.equal(again.train.labels, whole.train.labels)
    assert file.read_bytes() == content
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.load("demo-tiny", root=tmp_path)


def test_the_folder_for_downloads_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("STL_DATA_ROOT", str(tmp_path / "here"))
    seen = []
    monkeypatch.setitem(
        data.SOURCES, "demo", small.source(lambda root: seen.append(root))
    )
    data.load("demo")
    data.load("demo", root=tmp_path / "there")
    assert seen == [tmp_path / "here", tmp_path / "there"]


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"Unknown data 'imagenet': .*demo.*folder:PA"):
        data.load("imagenet")


def test_drawings_that_cannot_be_kept_are_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "draw", lambda split, count: (np.zeros(1), np.zeros(1)))
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(OSError, match=r"Cannot write train-200\.npz into .*free some"):
        data.load("demo", root=tmp_path / "data")


def test_processes_of_one_machine_prepare_the_images_one_after_another(
    dataset, tmp_path, monkeypatch
):
    inside, most = [], []

    def load(root):
        inside.append(root)
        most.append(len(inside))
        time.sleep(0.05)
        inside.pop()
        return dataset

    monkeypatch.setitem(data.SOURCES, "demo", small.source(load))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: data.load("demo", root=tmp_path / "new"), range(4)))
    assert most == [1] * 4


def test_images_in_a_folder_that_cannot_be_written_are_loaded(
    dataset, tmp_path, monkeypatch
):
    def refuse(lock, **_):
        raise PermissionError("Read-only file system")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    monkeypatch.setitem(data.SOURCES, "demo", small.source(lambda root: dataset))
    assert data.load("demo", root=tmp_path) is dataset


def test_a_source_is_checked_before_it_is_loaded(tmp_path):
    for split in ("train", "test"):
        for name, count in (("cat", 3), ("dog", 5)):
            (tmp_path / "pets" / split / name).mkdir(parents=True)
            for number in range(count):
                file = tmp_path / "pets" / split / name / f"{number}.png"
                PIL.Image.new("RGB", (8, 8)).save(file)
    pets = f"folder:{tmp_path / 'pets'}"
    tar = shutil.make_archive(str(tmp_path / "pets"), "tar", tmp_path / "pets")
    data.check(pets)
    data.check(pets, 3)
    data.check("stl10", "10%")  # nothing is downloaded
    assert data.name_of(pets, 3) == data.load(pets, root=tmp_path, labels=3).name
    assert data.name_of("demo") == "demo"
    for source, labels, words in (
        ("folder:/no/such", None, "no folder"),
        ("folder:", None, "Write a path after folder:"),
        ("cats", None, "Unknown data"),
        (f"{pets}/train/cat/0.png", None, "it is no whole zip"),
        (f"folder:{tar}", None, "it is a tar archive.: unpack it, and name a folder"),
        ("folder:https://a.org/pets", None, "this is an address, so download what"),
        (pets, 4, "ask for 1 to 3"),
        ("demo", 500, "ask for 1 to 20"),
    ):
        with pytest.raises(ValueError, match=words):
            data.check(source, labels)


@pytest.mark.parametrize("source", ["demo", "demo-tiny"])
def test_the_smallest_class_is_known_without_looking(source, tmp_path):
    known = data.SOURCES[source].smallest_class
    assert known * len(demo.CLASSES) == data.SOURCES[source].load.keywords["train"]
    if source == "demo-tiny":
        dataset = data.load(source, root=tmp_path)
        assert known == int(dataset.train.labels.bincount().min())


OFFLINE = urllib.error.URLError(OSError(-2, "Name or service not known"))


@pytest.mark.parametrize("source", ["stl10", "imagenette", "cifar10", "cifar100"])
@pytest.mark.parametrize("error", [OFFLINE, http.client.IncompleteRead(b"x", 9)])
def test_a_download_that_fails_says_what_to_do(source, error, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    url = data.SOURCES[source].url.replace("http://", "http.*")
    expected = rf"^{source} cannot be downloaded \(.*\): connect .* or put {url} into '"
    with pytest.raises(OSError, match=expected + r".*' by hand\. The demo .*\.$"):
        data.load(source, root=tmp_path)


def test_half_an_archive_that_lies_there_is_named(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    (tmp_path / "stl10_binary.tar.gz").write_bytes(b"half of it")
    with pytest.raises(
        OSError, match=r"stl10_binary.tar.gz that is there is not whole"
    ):
        data.load("stl10", root=tmp_path)


def test_the_archives_are_torchvisions(tmp_path):
    folder = torchvision.datasets.Imagenette
    assert data.SOURCES["imagenette"].url == folder._ARCHIVES["160px"][0]


@pytest.mark.parametrize("side", [0, -3, 2**64])
def test_a_side_that_cannot_be_is_one_sentence(side, tmp_path):
    with pytest.raises(ValueError, match=f"cannot be kept at {side} px: choose 1 to"):
        data.load(f"folder:{tmp_path}", image_size=side)


def test_imagenette_is_what_torchvision_has_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "IMAGENETTE", {"train": 6, "val": 4})
    names = {"n01440764": "tench", "n02102040": "English springer"}
    for split, count in (("train", 3), ("val", 2)):
        for number, wnid in enumerate(names):
            folder = tmp_path / "imagenette2-160" / split / wnid
            folder.mkdir(parents=True)
            for file in range(count):
                color = (60 * file, 200 * number, 0)
                image = PIL.Image.new("RGB", (160, 213), color)
                image.paste((255, 255, 255), (0, 0, 160, 20))  # lost by cropping
                image.save(folder / f"{wnid}_{file}.JPEG", quality=95)
    dataset = data.load("imagenette", root=tmp_path)
    assert dataset.describe() == (
        "imagenette: 2 classes, 96 px; 6 labelled, 0 unlabelled, 4 test images "
        "(25.0 % each)"
    )
    assert dataset.classes == tuple(names.values())
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.fit == "squash"
    assert int(dataset.train.images[:, :, 0].min()) > 240  # the white is still there
    pixel = dataset.train.images[1, :, 60, 48].tolist()
    assert np.allclose(pixel, (60, 0, 0), atol=4)
    few = data.load("imagenette", root=tmp_path, labels=2)
    assert (few.train_count, len(few.unlabeled)) == (4, 2)
    (tmp_path / "imagenette2-160" / "val" / wnid / f"{wnid}_0.JPEG").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"imagenette in .* cannot be used.*delete"):
        data.load("imagenette", root=tmp_path)
    (tmp_path / "imagenette2-160" / "val" / wnid / f"{wnid}_0.JPEG").unlink()
    with pytest.raises(ValueError, match=r"\(val has 3 images and not 4\): delete"):
        data.load("imagenette", root=tmp_path)
    shutil.rmtree(tmp_path / "imagenette2-160" / "val")
    with pytest.raises(ValueError, match=r"imagenette in .* cannot be used.*delete"):
        data.load("imagenette", root=tmp_path)
