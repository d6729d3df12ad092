"""Images of one's own: odd modes and sizes, broken files, missing folders."""

import warnings

import numpy as np
import PIL.Image
import pytest
import torch

from helpers import data, folder


def picture(mode="RGB", color=(200, 100, 50), size=(32, 32)):
    image = PIL.Image.new("RGB", size, color)
    return image.convert(mode)


@pytest.fixture
def images(tmp_path):
    """Two classes of three PNG files each, in train and in test."""
    for split in ("train", "test"):
        for number, name in enumerate(("cat", "dog")):
            place = tmp_path / "my pets" / split / name
            place.mkdir(parents=True)
            for file in range(3):
                color = (40 * file, 100 * number, 200)
                picture(color=color).save(place / f"{file}.png")
    return tmp_path / "my pets"


def test_a_folder_is_read_in_a_fixed_order(images):
    loose = images / "unlabeled" / "any" / "depth"
    loose.mkdir(parents=True)
    picture(color=(1, 2, 3)).save(loose / "x.PNG")
    (loose / "notes.txt").write_text("no image")
    dataset = data.load(f"folder:{images}", image_size=32)
    assert dataset.name == "folder:my pets"
    assert dataset.classes == ("cat", "dog")
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.train.images[:, :, 0, 0].tolist() == [
        [40 * file, 100 * number, 200] for number in (0, 1) for file in range(3)
    ]
    assert dataset.unlabeled.labels.tolist() == [-1]
    assert dataset.unlabeled.images[0, :, 5, 5].tolist() == [1, 2, 3]
    assert dataset.test.labels.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("mode", "ending", "tolerance"),
    [
        ("L", "png", 1),
        ("P", "png", 3),
        ("P", "gif", 3),
        ("RGBA", "png", 1),
        ("LA", "png", 1),
        ("CMYK", "jpg", 3),
        ("RGB", "jpg", 3),
        ("RGB", "webp", 3),
        ("RGB", "bmp", 1),
    ],
)
def test_every_mode_becomes_rgb(mode, ending, tolerance, tmp_path):
    file = tmp_path / f"image.{ending}"
    picture(mode).save(file)
    expected = np.array(picture("L").convert("RGB") if "L" in mode else picture())
    made = folder.decode(file, 32)
    assert made.shape == (3, 32, 32)
    assert made.dtype == np.uint8
    # The mean: a palette's colours are mixed by dithering.
    distance = made.mean(axis=(1, 2)) - expected.mean(axis=(0, 1))
    assert np.abs(distance).max() <= tolerance


def test_sixteen_bits_are_brought_to_eight(tmp_path):
    values = np.linspace(0, 65_535, 32 * 32).astype(np.uint16).reshape(32, 32)
    PIL.Image.fromarray(values).save(tmp_path / "deep.png")
    made = folder.decode(tmp_path / "deep.png", 32)
    assert np.abs(made[0].astype(int) - values / 257).max() <= 1
    assert (made[0] == made[2]).all()


def test_the_middle_of_a_long_image_is_kept(tmp_path):
    image = PIL.Image.new("RGB", (120, 40), (255, 0, 0))
    image.paste((0, 255, 0), (40, 0, 80, 40))
    image.save(tmp_path / "long.png")
    made = folder.decode(tmp_path / "long.png", 20)
    assert made.shape == (3, 20, 20)
    assert made[1, :, 2:-2].min() > 250
    assert made[0, :, 2:-2].max() < 5


def test_a_photograph_is_turned_upright(tmp_path):
    image = PIL.Image.new("RGB", (32, 32), (255, 0, 0))
    image.paste((0, 0, 255), (0, 0, 32, 16))
    exif = PIL.Image.Exif()
    exif[0x0112] = 3  # orientation: upside down
    image.save(tmp_path / "turned.png", exif=exif)
    made = folder.decode(tmp_path / "turned.png", 32)
    assert made[:, 2, 2].tolist() == [255, 0, 0]
    assert made[:, 29, 2].tolist() == [0, 0, 255]


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
        (lambda images: remove(images / "test"), "needs a folder test/ with one fol"),
        (lambda images: remove(images / "train"), "needs a folder train/ with one f"),
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
