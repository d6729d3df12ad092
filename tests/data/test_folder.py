"""Images of one's own: broken files, what is said, in memory or on the disk."""

import errno
import os
import shutil
import warnings

import numpy as np
import PIL.Image
import pytest
import small
import torch

from helpers import data, hardware
from helpers.data import decoding, folder, streaming
from helpers.evaluation import protocols
from helpers.training import pretraining, settings


def picture(file, corner=(0, 0, 0), other=(9, 9, 9)):
    """Save an image of 32 px that has one colour, and another in its last row."""
    image = PIL.Image.new("RGB", (32, 32), corner)
    image.paste(other, (0, 31, 32, 32))
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file)


def fill(root, seed=0):
    """Two classes of three PNG files each, in train and in test."""
    for split in ("train", "test"):
        for number, name in enumerate(("cat", "dog")):
            for file in range(3):
                color = (40 * file, 100 * number, 200)
                other = (seed, split == "test", 7)
                picture(root / split / name / f"{file}.png", color, other)
    return root


@pytest.fixture
def images(tmp_path):
    """The folder ``my pets``."""
    return fill(tmp_path / "my pets")


def said(images, **options):
    """Load a folder; the data set, and all warnings as one text."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset = data.load(f"folder:{images}", image_size=32, **options)
    return dataset, "\n".join(str(warning.message) for warning in caught)


def cannot_be_read(name, monkeypatch):
    """Files of a name cannot be read, as on a disk that fails."""
    whole, fails = decoding.examine, decoding.Decoded(None, "Input/output error")
    monkeypatch.setattr(
        decoding,
        "examine",
        lambda file, *rest: fails if file.name == name else whole(file, *rest),
    )


def test_a_folder_is_read_in_a_fixed_order(images):
    loose = images / "unlabeled" / "any" / "depth"
    loose.mkdir(parents=True)
    picture(loose / "x.PNG", (1, 2, 3))
    (loose / "notes.txt").write_text("no image")
    dataset, words = said(images)
    assert words == "Left out: 1 with an ending that Pillow does not read (.txt)."
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
    dataset, words = said(images)
    assert words.startswith("Left out: 2 that cannot be read ('")
    assert words.endswith("0b.png': image file is truncated).")
    assert torch.equal(dataset.train.images, whole.train.images)
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.train_count == 6


@pytest.mark.parametrize("storage", ["resident", "stream"])
def test_broken_images_with_labels_are_left_out_in_both_storages(images, storage):
    for broken in ("train/cat/2.png", "test/cat/0.png", "test/dog/2.png"):
        (images / broken).write_text("broken")
    dataset, words = said(images, storage=storage)
    assert words.startswith("Left out: 3 that cannot be read ('")
    assert dataset.train.labels.tolist() == [0, 0, 1, 1, 1]
    assert dataset.test.labels.tolist() == [0, 0, 1, 1]
    for split in (dataset.train, dataset.test):  # green is the class
        assert (split.images[:][:, 1, 0, 0] == 100 * split.labels).all()


def test_labelled_files_are_checked_once_and_again_when_they_change(
    images, monkeypatch
):
    (images / "test/cat/0.png").write_text("broken")
    first = said(images, storage="stream")
    broken = images / "test/cat/0.png"
    with monkeypatch.context() as patch:
        whole = decoding.examine
        patch.setattr(
            decoding,
            "examine",
            lambda file, *a: whole(file, *a) if file == broken else 0,
        )
        again = said(images, storage="stream")
        assert again[1] == first[1]
        assert len(again[0].test) == 5
    shutil.copy(images / "test/cat/1.png", images / "test/cat/0.png")
    mended, words = said(images, storage="stream")
    assert (len(mended.test), words) == (6, "")


def test_a_file_that_could_not_be_read_for_once_is_tried_again(images, monkeypatch):
    with monkeypatch.context() as patch:
        cannot_be_read("0.png", patch)
        first, words = said(images, storage="stream")
    assert (len(first.train), "Input/output error" in words) == (4, True)
    for _ in range(2):
        again, words = said(images, storage="stream")
        assert (len(again.train), words) == (6, "")


def test_a_drive_that_fails_does_not_make_another_data_set(images, monkeypatch):
    """A file that may be read again would give the run another name until then."""
    first, _ = said(images)

    def fail(path, *_):
        raise OSError(errno.EIO, "Input/output error", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(folder, "open", fail, raising=False)
        with pytest.raises(ValueError, match=r"png' cannot be read now \(Input/output"):
            said(images)
    assert said(images)[0].files == first.files


def test_a_drive_that_has_gone_is_said(images):
    for number in range(3):
        picture(images / "unlabeled" / f"{number}.png", (number, 2, 3))
    dataset, _ = said(images, storage="stream")
    (images / "unlabeled").rename(images / "elsewhere")
    shutil.rmtree(images / "train")
    with pytest.raises(ValueError, match="is no longer there: bring back its drive or"):
        dataset.unlabeled.images[:]


def test_a_file_that_can_no_longer_be_read_is_left_out_by_the_next_run(
    images, monkeypatch
):
    dataset, _ = said(images, storage="stream")
    with monkeypatch.context() as patch:
        cannot_be_read("0.png", patch)
        with pytest.raises(ValueError, match="run again to leave it out"):
            dataset.train.images[:]
        again, words = said(images, storage="stream")
        assert (len(again.train), words[:10]) == (4, "Left out: ")
        again.train.images[:]


@pytest.mark.parametrize("storage", ["resident", "stream"])
def test_a_class_whose_images_are_all_broken_is_named(images, storage):
    for file in (images / "train" / "cat").iterdir():
        file.write_text("broken")
    with pytest.raises(ValueError, match="No training image of class 'cat' can be re"):
        data.load(f"folder:{images}", image_size=32, storage=storage)


@pytest.mark.parametrize("storage", ["resident", "stream"])
def test_a_class_whose_test_images_are_all_broken_is_said(images, storage):
    for file in (images / "test" / "cat").iterdir():
        file.write_text("broken")
    dataset, words = said(images, storage=storage)
    assert "Classes without test images, which are learned but never tested: 'cat'" in (
        words
    )
    assert dataset.test.labels.tolist() == [1, 1, 1]


@pytest.mark.parametrize("storage", ["resident", "stream"])
def test_when_nothing_can_be_read_it_says_so(images, storage):
    for file in images.rglob("test/*/*.png"):
        file.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"None of the images in '.*' can be read"):
        data.load(f"folder:{images}", image_size=32, storage=storage)


def test_deep_images_a_fourth_channel_and_copies_are_said_in_a_sentence(images):
    ramp = np.tile(np.linspace(0, 4_095, 32).astype(np.uint16), (32, 1))
    PIL.Image.fromarray(ramp).save(images / "train" / "cat" / "deep.png")
    glass = PIL.Image.new("RGBA", (32, 32), (1, 2, 3, 4))
    glass.paste((1, 2, 3, 200), (0, 0, 9, 9))
    glass.save(images / "train" / "dog" / "glass.png")
    shutil.copy(images / "train/dog/1.png", images / "test/dog/copy.png")
    for storage in ("resident", "stream"):
        dataset, words = said(images, storage=storage)
        deep, fourth, copy = words.split("\n")
        assert "deep.png' have values of more than 8 bits: each is mapped" in deep
        assert "glass.png' have a further channel: what" in fourth
        assert "1 test image(s) are also training images" in copy
        assert dataset.train.images[3][0].max() == 255


@pytest.mark.parametrize("storage", ["resident", "stream"])
def test_a_data_set_of_single_colours_is_noticed(tmp_path, storage):
    for number in range(6):
        picture(tmp_path / "grey" / f"{number}.png", (number, 1, 2), (number, 1, 2))
    words = said(tmp_path / "grey", storage=storage)[1]
    assert "Every image is of a single colour" in words
    picture(tmp_path / "grey" / "7.png")
    assert said(tmp_path / "grey", storage=storage)[1] == ""


def test_masks_beside_their_images_are_noticed(images):
    for name in ("0_mask.png", "0_mask_1.png", "death mask.png"):
        picture(images / "train" / "dog" / name)
    words = said(images)[1]
    assert "2 image(s) are named like the mask of another, such as" in words
    assert "0_mask.png': if they are masks, keep them in another folder." in words


def identity(images, **options):
    dataset = data.load(f"folder:{images}", image_size=32, **options)
    return settings.configure("pirl", **small.SETTINGS).run_name(dataset)


def test_other_pictures_under_the_same_names_are_another_run(tmp_path, monkeypatch):
    one, other = fill(tmp_path / "a" / "data"), fill(tmp_path / "b" / "data", seed=1)
    assert identity(one) != identity(other)
    names = []
    for place in (one, other):
        monkeypatch.chdir(place)
        names.append(identity("."))
    assert names == [identity(one), identity(other)]
    assert names[0].startswith("pirl-data-at-32-px-4ep")
    moved = shutil.copytree(one, tmp_path / "c" / "data")
    for file in moved.rglob("*.png"):
        os.utime(file, (1, 1))
    assert identity(moved) == identity(moved, storage="stream") == names[0]
    picture(one / "train" / "cat" / "0.png", (5, 5, 5))
    assert identity(one) != names[0]
    # Test images do not change what is pre-trained.
    (moved / "test" / "cat" / "0.png").unlink()
    assert identity(moved) == names[0]


def test_a_run_is_the_same_wherever_its_images_are_kept(images):
    unlabeled(images / "unlabeled", count=6)
    for number in (2, 3, 5):  # the last one: the first image of all stands in for it
        (images / "unlabeled" / f"{number:02}.png").write_text("broken")
    (images / "train" / "cat" / "0.png").write_text("broken")
    dataset, words = said(images)
    assert "3 that cannot be read, for which the next image stands in ('" in words
    streamed, _ = said(images, storage="stream", workers=0)
    with pytest.warns(UserWarning, match="stands in"):
        assert torch.equal(dataset.pretraining.images, streamed.pretraining.images[:])
    with pytest.warns(UserWarning, match="Left out"):
        assert identity(images) == identity(images, storage="stream")


def test_a_long_name_in_letters_of_three_bytes_fits_into_a_files_name(tmp_path):
    long = "蘑菇" * 41  # 246 bytes
    name = identity(fill(tmp_path / long))
    assert len(name.encode()) < 200
    assert name.startswith("pirl-蘑菇")


def unlabeled(root, count=24):
    for number in range(count):
        picture(root / f"{number:02}.png", (9 * number, 4, 200))
    return root


@pytest.mark.parametrize("storage", ["resident", "stream"])
def test_images_alone_can_be_learned_from_but_not_scored(
    tmp_path, small_backbone, storage
):
    place = unlabeled(tmp_path / "photos")
    dataset = data.load(f"folder:{place}", image_size=32, storage=storage, workers=0)
    assert dataset.describe() == (
        "folder:photos at 32 px: no labels, 32 px; 24 unlabelled images"
    )
    chosen = settings.configure("simclr", **small.SETTINGS | {"epochs": 1})
    run = pretraining.pretrain(chosen, dataset, folder=tmp_path / "runs")
    assert "knn" not in run.history[-1]
    assert run.backbone_file.is_file()
    with pytest.raises(ValueError, match="has no labels, so nothing can be scored: pu"):
        protocols.Experiment(dataset, "random")
    with pytest.raises(ValueError, match="has no labels to choose from: leave out"):
        data.load(f"folder:{place}", image_size=32, labels=3)
    with pytest.raises(ValueError, match=r"supcon learns from labels, and .* has none"):
        supcon = settings.configure("supcon", **small.SETTINGS)
        pretraining.pretrain(supcon, dataset, folder=tmp_path / "runs")


@pytest.mark.parametrize("storage", ["resident", "stream"])
def test_images_that_are_all_enlarged_are_said(images, storage):
    def words(side, **more):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            more |= {"storage": storage, "workers": 0}
            data.load(f"folder:{images}", image_size=side, **more)
        return "\n".join(str(warning.message) for warning in caught)

    assert "enlarged" not in words(32)
    assert words(48) == (
        "No image is larger than 32 px, so all are enlarged to 48 px, which adds no "
        "detail."
    )
    large = PIL.Image.new("RGB", (40, 64))
    large.paste((9, 9, 9), (0, 0, 9, 9))
    large.save(images / "train" / "cat" / "large.png")
    assert "No image is larger than 40 px" in words(48)
    for fit in ("pad", "squash"):  # then the longer side is what is shrunk
        assert "enlarged" not in words(48, fit=fit)
    large.resize((48, 64)).save(images / "train" / "cat" / "large.png")
    assert "enlarged" not in words(48)


def test_of_a_stream_that_was_not_looked_at_nothing_is_said(images, monkeypatch):
    monkeypatch.setattr(folder, "SAMPLE", 2)
    (images / "unlabeled").mkdir()
    for number in range(4):
        side = 64 if number % 2 else 32  # every other one is looked at
        image = PIL.Image.new("RGB", (side, side), (number, 0, 0))
        image.paste((9, 9, 9), (0, 0, 9, 9))
        image.save(images / "unlabeled" / f"{number}.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.load(f"folder:{images}", image_size=48, storage="stream", workers=0)


def test_own_images_that_are_only_enlarged_are_said(images, dataset):
    own = data.load(f"folder:{images}", image_size=32)
    with pytest.warns(UserWarning, match="kept at 32 px but shown at 48 px.*image_siz"):
        own.warn_if_enlarged(48)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        own.warn_if_enlarged(32)
        dataset.warn_if_enlarged(48)  # of the demo and the like nothing else exists
    with pytest.warns(UserWarning, match="kept at 32 px but shown at 40 px"):
        protocols.encode(small.backbone(), own, image_size=40)
    large = settings.configure("pirl", **small.SETTINGS | {"size": 40, "batch_size": 6})
    with pytest.warns(UserWarning, match="kept at 32 px but shown at 40 px"):
        pretraining.sessions.start(large, own, 1, 1)


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


@pytest.mark.parametrize("storage", ["resident", "stream"])
def test_how_long_images_become_squares_is_part_of_what_they_are(tmp_path, storage):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            for number in range(2):
                pixels = np.full((20, 60, 3), 50 * number, np.uint8)
                pixels[:, :20] = 200 if split == "train" else 100
                PIL.Image.fromarray(pixels).save(folder / f"{number}.png")
    found = {
        fit: data.load(
            f"folder:{tmp_path / 'pets'}",
            root=tmp_path,
            image_size=24,
            fit=fit,
            storage=storage,
            workers=0,
        )
        for fit in decoding.FITS
    }
    assert len({dataset.files for dataset in found.values()}) == 3
    for fit, dataset in found.items():
        assert dataset.fit == fit
        assert dataset.describe().endswith(f"each); {decoding.FITS[fit]}")
    corner = {fit: int(d.train.images[:][0, 0, 12, 0]) for fit, d in found.items()}
    assert corner["crop"] < 50
    assert corner["squash"] == corner["pad"] == 200
    with pytest.raises(ValueError, match="Unknown fit 'stretch'"):
        data.load(f"folder:{tmp_path / 'pets'}", root=tmp_path, fit="stretch")


def test_files_are_told_apart_by_size_start_middle_and_end(tmp_path):
    plain = bytes(8 * folder.PIECE)
    half, last = len(plain) // 2, len(plain) - 1
    contents = [plain, plain, plain + bytes(8)]  # two alike, and a longer one
    for place in (0, half, last):
        contents.append(plain[:place] + b"x" + plain[place + 1 :])
    files = [tmp_path / str(number) for number in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    found = folder._contents([(file, 0) for file in files])
    assert found[0] == found[1]
    assert len(set(found)) == 5
