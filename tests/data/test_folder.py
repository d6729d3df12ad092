"""Images of one's own: broken files, missing folders, in memory or on the disk."""

import warnings

import PIL.Image
import pytest
import torch

from helpers import data, hardware
from helpers.data import streaming


@pytest.fixture
def images(tmp_path):
    """Two classes of three PNG files each, in train and in test."""
    for split in ("train", "test"):
        for number, name in enumerate(("cat", "dog")):
            place = tmp_path / "my pets" / split / name
            place.mkdir(parents=True)
            for file in range(3):
                color = (40 * file, 100 * number, 200)
                PIL.Image.new("RGB", (32, 32), color).save(place / f"{file}.png")
    return tmp_path / "my pets"


def test_a_folder_is_read_in_a_fixed_order(images):
    loose = images / "unlabeled" / "any" / "depth"
    loose.mkdir(parents=True)
    PIL.Image.new("RGB", (32, 32), (1, 2, 3)).save(loose / "x.PNG")
    (loose / "notes.txt").write_text("no image")
    dataset = data.load(f"folder:{images}", image_size=32)
    assert dataset.name == "folder:my pets at 32 px"
    assert dataset.classes == ("cat", "dog")
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.train.images[:, :, 0, 0].tolist() == [
        [40 * file, 100 * number, 200] for number in (0, 1) for file in range(3)
    ]
    assert dataset.unlabeled.labels.tolist() == [-1]
    assert dataset.unlabeled.images[0, :, 5, 5].tolist() == [1, 2, 3]
    assert dataset.test.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_broken_files_are_left_out_and_named(images):
    whole = data.load(f"folder:{images}", image_size=32)
    good = (images / "train" / "cat" / "1.png").read_bytes()
    (images / "train" / "cat" / "0b.png").write_bytes(good[: len(good) // 2])
    (images / "train" / "dog" / "9.jpg").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"Left out 2 image.*0b\.png") as caught:
        dataset = data.load(f"folder:{images}", image_size=32)
    assert len(caught) == 1
    assert torch.equal(dataset.train.images, whole.train.images)
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.train_count == 6


def test_hidden_folders_and_files_are_no_classes_and_no_images(images):
    (images / "train" / ".ipynb_checkpoints").mkdir()
    (images / "train" / "cat" / "._0.png").write_bytes(b"not an image")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = data.load(f"folder:{images}", image_size=32)
    assert dataset.classes == ("cat", "dog")
    assert len(dataset.train) == 6


def remove(place):
    for file in place.glob("*"):
        file.unlink() if file.is_file() else remove(file)
    place.rmdir()


def all_broken(images):
    for file in images.rglob("test/*/*.png"):
        file.write_bytes(b"nothing")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (remove, "There is no folder '.*': check the path after 'folder:'"),
        (lambda images: remove(images / "test"), "needs a folder test/ with a folde"),
        (lambda images: remove(images / "train"), "needs a folder train/ with a fol"),
        (lambda images: remove(images / "test" / "dog"), "must have the same class f"),
        (lambda images: (images / "train" / "emu").mkdir(), "must have the same clas"),
        (
            lambda images: [f.unlink() for f in (images / "train" / "cat").iterdir()],
            "The class folder '.*cat' has no images",
        ),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(images, harm, message):
    harm(images)
    with pytest.raises(ValueError, match=message) as raised:
        data.load(f"folder:{images}", image_size=32)
    assert "\n" not in str(raised.value)


@pytest.mark.filterwarnings("ignore:Left out")
def test_when_nothing_can_be_read_it_says_so(images):
    all_broken(images)
    with pytest.raises(ValueError, match="None of the images can be read"):
        data.load(f"folder:{images}", image_size=32)


def test_a_folder_that_does_not_fit_stays_on_the_disk(images, monkeypatch):
    size = 12 * 3 * 32 * 32
    whole = data.load(f"folder:{images}", image_size=32)
    assert isinstance(whole.pretraining.images, torch.Tensor)
    monkeypatch.setattr(hardware, "free_memory", lambda: 2 * size)
    streamed = data.load(f"folder:{images}", image_size=32, workers=3)
    monkeypatch.setattr(hardware, "free_memory", lambda: 2 * size + 1)
    resident = data.load(f"folder:{images}", image_size=32)
    assert isinstance(resident.pretraining.images, torch.Tensor)
    for split in ("train", "unlabeled", "test"):
        stays = getattr(streamed, split)
        assert isinstance(stays.images, streaming.Files), split
        assert stays.images.workers == 3
        assert torch.equal(stays.images[:], getattr(whole, split).images)
        assert torch.equal(stays.labels, getattr(whole, split).labels)
    assert streamed.describe() == whole.describe()
    assert streamed.train_count == whole.train_count


def test_where_the_images_are_can_be_said(images, monkeypatch):
    monkeypatch.setattr(hardware, "free_memory", lambda: 0)
    kept = data.load(f"folder:{images}", image_size=32, storage="resident")
    assert isinstance(kept.test.images, torch.Tensor)
    monkeypatch.undo()
    limited = data.load(f"folder:{images}", image_size=32, labels="1", storage="stream")
    assert isinstance(limited.test.images, streaming.Files)
    assert limited.test.images.workers == hardware.workers()
    assert (len(limited.train), len(limited.unlabeled)) == (2, 4)
    same = data.load(f"folder:{images}", image_size=32, labels="1")
    assert torch.equal(limited.pretraining.images[:], same.pretraining.images)


@pytest.mark.parametrize(
    ("source", "storage", "message"),
    [
        (
            "folder:x",
            "disk",
            "Unknown storage 'disk': choose one of auto, resident, st",
        ),
        ("demo", "stream", "Only folder:PATH can be streamed: leave storage at 'auto'"),
    ],
)
def test_a_storage_that_cannot_be_is_one_sentence(source, storage, message):
    with pytest.raises(ValueError, match=message):
        data.load(source, storage=storage)
