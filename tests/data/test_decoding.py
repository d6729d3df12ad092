"""Every kind of image is decoded, and no file can stop a data set."""

import concurrent.futures
import os
import pathlib
import random
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib

import numpy as np
import PIL.Image
import pytest

from helpers.data import decoding


def picture(mode="RGB", color=(200, 100, 50), size=(32, 32)):
    image = PIL.Image.new("RGB", size, color)
    return image.convert(mode)


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
    made = decoding.decode(file, 32)
    assert made.shape == (3, 32, 32)
    assert made.dtype == np.uint8
    # The mean: a palette's colours are mixed by dithering.
    distance = made.mean(axis=(1, 2)) - expected.mean(axis=(0, 1))
    assert np.abs(distance).max() <= tolerance


def test_sixteen_bits_are_brought_to_eight(tmp_path):
    values = np.linspace(0, 65_535, 32 * 32).astype(np.uint16).reshape(32, 32)
    PIL.Image.fromarray(values).save(tmp_path / "deep.png")
    made = decoding.decode(tmp_path / "deep.png", 32)
    assert np.abs(made[0].astype(int) - values / 257).max() <= 1
    assert (made[0] == made[2]).all()


def test_the_middle_of_a_long_image_is_kept(tmp_path):
    image = PIL.Image.new("RGB", (120, 40), (255, 0, 0))
    image.paste((0, 255, 0), (40, 0, 80, 40))
    image.save(tmp_path / "long.png")
    made = decoding.decode(tmp_path / "long.png", 20)
    assert made.shape == (3, 20, 20)
    assert made[1, :, 2:-2].min() > 250
    assert made[0, :, 2:-2].max() < 5


def test_a_long_image_can_be_squashed_or_padded_instead(tmp_path):
    file = tmp_path / "long.png"
    pixels = np.zeros((32, 96, 3), np.uint8)
    pixels[:, :32, 0] = pixels[:, 32:64, 1] = pixels[:, 64:, 2] = 255
    PIL.Image.fromarray(pixels).save(file)
    middle = [decoding.decode(file, 30, fit)[:, 15].argmax(0) for fit in decoding.FITS]
    assert set(middle[0].tolist()) == {1}  # crop: only green is left
    for row in middle[1:]:  # squashed or padded: all three, from left to right
        assert row[[3, 15, 26]].tolist() == [0, 1, 2]
    squashed, padded = (decoding.decode(file, 30, f) for f in ("squash", "pad"))
    assert squashed[:, 0].max() == 255
    assert padded[:, 0].max() == padded[:, -1].max() == 0  # black above and below


def test_a_photograph_is_turned_upright(tmp_path):
    image = PIL.Image.new("RGB", (32, 32), (255, 0, 0))
    image.paste((0, 0, 255), (0, 0, 32, 16))
    exif = PIL.Image.Exif()
    exif[0x0112] = 3  # orientation: upside down
    image.save(tmp_path / "turned.png", exif=exif)
    made = decoding.decode(tmp_path / "turned.png", 32)
    assert made[:, 2, 2].tolist() == [255, 0, 0]
    assert made[:, 29, 2].tolist() == [0, 0, 255]


def test_a_large_jpeg_is_decoded_at_a_part_of_its_size(tmp_path, monkeypatch):
    rows, columns = np.mgrid[0:480, 0:640]
    waves = 128 + 100 * np.sin(rows / 60)[..., None] * np.cos(columns / 80)[..., None]
    image = PIL.Image.fromarray((waves * [1, 0.8, 0.6]).astype(np.uint8))
    for ending in ("png", "jpg"):
        image.save(tmp_path / f"large.{ending}", quality=95)
    sizes, convert = [], PIL.Image.Image.convert

    def watched(image, mode):
        sizes.append(image.size)
        return convert(image, mode)

    monkeypatch.setattr(PIL.Image.Image, "convert", watched)
    whole, part = (
        decoding.decode(tmp_path / f"large.{ending}", 40).astype(int)
        for ending in ("png", "jpg")
    )
    assert sizes == [(640, 480), (80, 60)]
    assert np.abs(whole - part).mean() < 2


ORIENTATION, MAKER, WIDTH = 0x0112, 0x010F, 0x0100


def exif(*entries):
    """An EXIF block: a little-endian TIFF of (tag, type, count, four bytes or more)."""
    start, body = 8 + 2 + 12 * len(entries) + 4, b""
    lines = b""
    for tag, kind, count, value in entries:
        field = value
        if len(value) > 4:
            field, body = struct.pack("<I", start + len(body)), body + value
        lines += struct.pack("<HHI", tag, kind, count) + field.ljust(4, b"\0")
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return b"Exif\0\0" + head + lines + b"\0" * 4 + body


TURNED = (ORIENTATION, 3, 1, struct.pack("<H", 6))


@pytest.mark.parametrize(
    ("block", "is_turned"),
    [
        (exif(TURNED), True),
        (exif((MAKER, 12, 1, struct.pack("<d", 1.5)), TURNED), True),
        (exif((WIDTH, 2, 3, b"ab\0"), TURNED), True),
        (exif((WIDTH, 8, 1, struct.pack("<h", -5)), TURNED), True),
        (exif((ORIENTATION, 2, 2, b"x\0")), False),
        (exif((ORIENTATION, 3, 1, struct.pack("<H", 77))), False),
        (b"Exif\0\0no TIFF", False),
        (b"Exif\0\0II*\0\xff\xff\xff\xff", False),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_exif_block_costs_at_most_the_turn(block, is_turned, tmp_path):
    image = PIL.Image.new("RGB", (64, 64), (255, 0, 0))
    image.paste((0, 0, 255), (0, 0, 64, 32))  # the upper half; turned: the right one
    image.save(tmp_path / "photo.jpg", exif=block, quality=95)
    made = decoding.decode(tmp_path / "photo.jpg", 32)
    top, right = made[2, 4, 4] > 200, made[2, 27, 27] > 200
    assert (top, right) == ((False, True) if is_turned else (True, False))


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        (np.float32, 0, 1),
        (">f4", 0, 1),
        (np.float32, -1_000, 2_000),
        (np.float32, 0, 65_535),
        (np.uint16, 0, 4_095),
        (np.uint16, 0, 1_023),
        (np.int16, -1_000, 2_000),
        (np.int32, 0, 255),
    ],
)
def test_deep_images_are_mapped_by_their_own_range(values, low, high, tmp_path):
    ramp = np.linspace(low, high, 64).astype(values)
    save_tiff(tmp_path / "deep.tif", np.tile(ramp, (64, 1)))
    made = decoding.examine(tmp_path / "deep.tif", 64)
    assert made.is_deep
    expected = np.linspace(0, 255, 64)
    assert np.abs(made.pixels[0, 5] - expected).max() <= (2 if high > 300 else 3)


def test_mapping_by_range_takes_little_memory_and_is_exact(monkeypatch):
    values = np.random.default_rng(0).normal(size=(2_000, 500)).astype(np.float32)
    values[3, 4:8] = [np.nan, np.inf, -np.inf, -3.4e38]
    image = PIL.Image.fromarray(values)
    whole = np.asarray(decoding._mapped_by_range(image))
    monkeypatch.setattr(decoding, "STRIP", 10_000)
    tracemalloc.start()
    in_strips = np.asarray(decoding._mapped_by_range(image))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (in_strips == whole).all()
    assert in_strips[3, 4:8].tolist() == [0, 255, 0, 0]
    assert peak < 18 * values.size
    low, high = np.quantile(values[5:], (0.001, 0.999))
    shares = ((values[5:].astype(np.float64) - low) / (high - low)).clip(0, 1)
    assert np.abs(in_strips[5:] - 255 * shares).max() < 2


def test_a_broken_pixel_takes_no_contrast_from_a_deep_image(tmp_path):
    ramp = np.tile(np.linspace(0, 2_000, 64), (64, 1)).astype(np.float32)
    expected = np.linspace(0, 255, 64)
    for odd in (-9_999, 1e6, -3.4e38):
        values = ramp.copy()
        values[30, 30] = odd
        save_tiff(tmp_path / "deep.tif", values)
        made = decoding.decode(tmp_path / "deep.tif", 64)
        assert np.abs(made[0, 5] - expected).max() <= 3
    values[:20] = -9_999  # as the file says it of pixels without a value
    PIL.Image.fromarray(values).save(tmp_path / "no.tif", tiffinfo={42113: "-9999"})
    made = decoding.decode(tmp_path / "no.tif", 64)
    assert np.abs(made[0, 50] - expected).max() <= 3
    assert (made[:, :20] == 0).all()
    few = np.zeros((64, 64), np.uint16)
    few[3, 3] = 700
    save_tiff(tmp_path / "few.tif", few)
    assert decoding.decode(tmp_path / "few.tif", 64)[0, 3, 3] == 255


@pytest.mark.parametrize("ending", ["png", "webp", "gif"])
def test_what_is_transparent_is_white(ending, tmp_path):
    image = PIL.Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (8, 8, 24, 24))
    image.save(tmp_path / f"drawing.{ending}", lossless=True)
    made = decoding.decode(tmp_path / f"drawing.{ending}", 32)
    assert (made[:, 16, 16] <= 2).all()
    assert (made[:, 2, 2] >= 253).all()


def save_tiff(file, values):
    """Write a greyscale TIFF of any type and byte order."""
    order = ">" if values.dtype.byteorder == ">" else "<"
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    height, width = values.shape
    entries = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, 8 * values.itemsize),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8 + 2 + 12 * 9 + 4),
        (278, 4, height),
        (279, 4, values.nbytes),
        (339, 3, kind),
    ]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, 9)
    for tag, of, value in entries:
        field = struct.pack(order + ("H" if of == 3 else "I"), value).ljust(4, b"\0")
        head += struct.pack(order + "HHI", tag, of, 1) + field
    file.write_bytes(head + b"\0" * 4 + values.tobytes())


def test_values_that_are_no_numbers_do_not_matter(tmp_path):
    values = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (64, 1))
    values[0, 0], values[0, 1] = np.nan, np.inf
    save_tiff(tmp_path / "holes.tif", values)
    made = decoding.decode(tmp_path / "holes.tif", 64)
    assert made[0, 0, :2].tolist() == [0, 255]
    assert made[0, 5, 63] == 255
    save_tiff(tmp_path / "even.tif", np.full((64, 64), 7, np.uint16))
    assert (decoding.decode(tmp_path / "even.tif", 64) == 0).all()


def test_a_fourth_channel_is_noticed_where_it_says_something(tmp_path):
    image = picture("RGBA")
    image.save(tmp_path / "opaque.png")
    image.putpixel((3, 3), (200, 100, 50, 0))
    image.save(tmp_path / "hole.png")
    assert not decoding.examine(tmp_path / "opaque.png", 32).has_more
    assert decoding.examine(tmp_path / "hole.png", 32).has_more


@pytest.mark.parametrize(
    "error",
    [struct.error("bad"), TypeError(), MemoryError(), RecursionError(), OSError],
)
def test_whatever_a_file_raises_it_is_left_out(error, tmp_path, monkeypatch):
    picture().save(tmp_path / "image.png")

    def fail(*_):
        raise error

    monkeypatch.setattr(PIL.Image.Image, "convert", fail)
    made = decoding.examine(tmp_path / "image.png", 32)
    assert made.pixels is None
    assert made.reason


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "gif", "bmp", "webp", "ppm"])
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_are_never_an_error(ending, tmp_path):
    good, dice = tmp_path / f"good.{ending}", random.Random(0)
    picture().save(good)
    for _ in range(60):
        changed = bytearray(good.read_bytes())
        for _ in range(dice.randint(1, 8)):
            changed[dice.randrange(len(changed))] = dice.randrange(256)
        bad = tmp_path / f"bad.{ending}"
        bad.write_bytes(changed[: dice.randint(1, len(changed))])
        made = decoding.examine(bad, 32)
        assert (made.pixels is None) == bool(made.reason)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert decoding.examine(tmp_path / "pipe.png", 32).reason == "it is not a file"
    assert decoding.examine(tmp_path / "none.png", 32).reason == "it is not a file"


def test_a_program_for_printers_is_not_run_whatever_its_ending(tmp_path):
    picture().save(tmp_path / "image.eps")
    (tmp_path / "image.eps").rename(tmp_path / "image.jpg")
    assert decoding.examine(tmp_path / "image.jpg", 32).pixels is None
    assert not {".eps", ".ps", ".pdf", ".h5"} & decoding.endings()


def test_a_huge_jpeg_is_read_at_a_part_of_its_size(tmp_path, monkeypatch):
    for ending in ("jpg", "png"):
        picture(size=(400, 300)).save(tmp_path / f"huge.{ending}")
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 10_000)
    monkeypatch.setattr(decoding, "MOST_PIXELS", 20_000)
    assert decoding.decode(tmp_path / "huge.jpg", 32).shape == (3, 32, 32)
    monkeypatch.setattr(decoding, "MOST_PIXELS", 200_000)
    for limit in (10_000, 100_000):  # Pillow refuses it, or it is too large for us
        monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", limit)
        reason = decoding.examine(tmp_path / "huge.png", 32).reason
        assert reason == decoding.TOO_LARGE
        monkeypatch.setattr(decoding, "MOST_PIXELS", 20_000)


@pytest.mark.parametrize(
    "ending",
    """apng avif bmp gif jfif jp2 jpe jpeg jpg mpo pbm pgm png pnm ppm tga tif tiff
    webp""".split(),
)
def test_usual_endings_are_read(ending, tmp_path):
    assert f".{ending}" in decoding.endings()
    kind = PIL.Image.registered_extensions()[f".{ending}"]
    picture("1" if ending == "pbm" else "RGB").save(tmp_path / f"x.{ending}", kind)
    assert decoding.decode(tmp_path / f"x.{ending}", 32).shape == (3, 32, 32)


def save_png(file, values):
    """Write a PNG of 16 bits with two to four channels, uint16 (H, W, C)."""
    height, width, channels = values.shape
    kind = {2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    body = b"\x89PNG\r\n\x1a\n"
    for name, content in (
        (b"IHDR", head),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ):
        check = struct.pack(">I", zlib.crc32(name + content))
        body += struct.pack(">I", len(content)) + name + content + check
    file.write_bytes(body)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_deep_colours_are_mapped_by_their_range_too(channels, tmp_path):
    values = np.zeros((64, 64, channels), np.uint16)
    values[..., 0] = np.linspace(0, 4_095, 64)  # 12 bits of 16: nearly black, if kept
    values[..., -1] = 500 * np.arange(64)
    save_png(tmp_path / "deep.png", values)
    made = decoding.examine(tmp_path / "deep.png", 64)
    assert made.is_deep
    assert made.has_more == (channels != 3)
    expected = np.linspace(0, 255, 64)
    if channels == 3:  # blue has the largest values; red keeps its share of them
        expected *= 4_095 / values.max()
    else:  # the last channel says how much of white is seen
        opacity = values[5, :, -1] // 256 / 255
        expected = 255 + (expected - 255) * opacity
    assert np.abs(made.pixels[0, 5] - expected).max() < 20


@pytest.mark.parametrize("ending", ["ppm", "txt.ppm", "sgi", "png"])
def test_deep_colours_of_any_format_are_mapped_by_their_range(ending, tmp_path):
    values = np.zeros((64, 64, 3), ">u2")
    values[...] = np.linspace(0, 4_095, 64)[:, None]  # 12 bits of 16
    file = tmp_path / f"deep.{ending}"
    if ending == "png":
        save_png(file, values)
    elif ending == "sgi":
        head = struct.pack(">hBBHHHHII", 474, 0, 2, 3, 64, 64, 3, 0, 65_535)
        planes = values[::-1].transpose(2, 0, 1)  # its rows go from below upwards
        file.write_bytes(head.ljust(512, b"\0") + planes.tobytes())
    elif ending == "ppm":
        file.write_bytes(b"P6 64 64 65535\n" + values.tobytes())
    else:
        file.write_text("P3 64 64 65535\n" + " ".join(map(str, values.ravel())))
    made = decoding.examine(file, 64)
    assert made.is_deep
    assert np.abs(made.pixels[:, 5] - np.linspace(0, 255, 64)).max() < 20


def test_a_tiff_of_a_kind_that_pillow_lacks_says_which_kinds_it_has(tmp_path):
    for kind in (np.float64, np.float16):
        save_tiff(tmp_path / "deep.tif", np.zeros((64, 64), kind))
        made = decoding.examine(tmp_path / "deep.tif", 64)
        assert made.pixels is None
        assert "grey of up to 32 bits, floats of 32 bits" in made.reason


def test_a_channel_beside_grey_is_noticed(tmp_path):
    grey = PIL.Image.linear_gradient("L")
    for ending in ("png", "tif"):
        PIL.Image.merge("LA", [grey, grey]).save(tmp_path / f"two.{ending}")
        assert decoding.examine(tmp_path / f"two.{ending}", 32).has_more


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "RGBA"])
def test_large_images_are_read_one_at_a_time_and_alike(mode, tmp_path, monkeypatch):
    ramp = PIL.Image.linear_gradient("L").resize((400, 300)).convert(mode)
    ramp.save(tmp_path / "image.png")
    small = decoding.decode(tmp_path / "image.png", 16)
    monkeypatch.setattr(decoding, "LARGE", 1_000)
    inside, most, read = [], [], decoding._read

    def watched(*args):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.01)
        made = read(*args)
        inside.pop()
        return made

    monkeypatch.setattr(decoding, "_read", watched)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        made = list(pool.map(decoding.decode, [tmp_path / "image.png"] * 8, [16] * 8))
    assert max(most) == 1
    for image in made:
        assert np.abs(image.astype(int) - small).max() <= 3


def test_pillows_own_words_are_not_shown(tmp_path):
    """They name no file; why one is left out is a reason of ours."""
    script = "import sys, pathlib, PIL.Image; from helpers.data import decoding; "
    script += "PIL.Image.MAX_IMAGE_PIXELS = 10_000; "
    script += "images = [decoding.decode(pathlib.Path(p), 8) for p in sys.argv[1:]]; "
    script += "print([image is None for image in images])"
    # Large enough to be taken for a bomb, and with a block of tags that ends too early.
    block = exif((MAKER, 2, 1_000, b"ab\0\0"), TURNED)
    picture(size=(150, 100)).save(tmp_path / "large.jpg", exif=block)
    many_bands = tmp_path / "bands.tif"
    picture().save(many_bands)
    content, bands = many_bands.read_bytes(), struct.pack("<HHIH", 277, 3, 1, 3)
    assert bands in content
    many_bands.write_bytes(content.replace(bands, struct.pack("<HHIH", 277, 3, 1, 13)))
    paths = [str(tmp_path / "large.jpg"), str(many_bands)]
    command = [sys.executable, "-c", script, *paths]
    root = pathlib.Path(decoding.__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert (done.stdout, done.stderr) == ("[False, True]\n", "")
