"""One image file, of any kind that Pillow knows, to a square of RGB pixels.

Images of any size and mode (greyscale, palette, CMYK) become RGB, transparent parts
white, as most programs show them. How a long one becomes a square is a choice
(``FITS``). Deep images (floats, integers of more than 8 bits) are mapped to 0–255 from
the range of their own values, without a thousandth at each end. Each file is mapped by
itself, so that a new photograph is decoded as those of the data set were; how bright
one file is beside another is lost. Of colours with 16 bits Pillow reads the upper 8. A
process decodes large images one at a time, to bound the memory.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import pathlib
import threading
import warnings
from typing import Any, NamedTuple

import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps
import PIL.JpegImagePlugin

from helpers import files

with contextlib.suppress(ImportError):  # where it is installed, HEIC can be read
    import pillow_heif

    pillow_heif.register_heif_opener()

FITS = {  # how long images become squares, as the summary of a data set says it
    "crop": "of long images the middle is kept",
    "squash": "long images are squashed",
    "pad": "long images are padded with black",
}
# Not photographs, or read by programs outside Pillow, which a hostile file could use.
NOT_READ = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PALM", "PDF", "WMF"}
# Pillow's warnings name no file, and the picture is used nevertheless: its tags are
# odd, or it is large, which is checked below.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else they are printed
HEIC = (".heic", ".heif")
LARGE = 20_000_000  # pixels
ONE_AT_A_TIME = threading.Lock()
STRIP = 1_000_000  # values that are mapped by their range at a time
ABSURD = 1e30  # values as large mean that there is none, as -3.4e38 does
NODATA = 42113  # the TIFF tag of such a value
REDUCIBLE = ("L", "RGB", "RGBA", "CMYK")
MOST_PIXELS = 2 * (PIL.Image.MAX_IMAGE_PIXELS or 89_478_485)  # Pillow's own limit
TOO_LARGE = f"it has more than {MOST_PIXELS:,} pixels: save it smaller, or as JPEG"
# How to turn an image upright, by the orientation in its EXIF block.
TURNS = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}


class Decoded(NamedTuple):
    """The pixels of a file, or why there are none.

    Attributes:
        pixels: uint8 (3, size, size); None when the file cannot be read.
        reason: why it cannot be read.
        is_deep: it has values of more than 8 bits, mapped by their range.
        has_more: it has a channel beside its colours or grey, which is not used.
        is_long: its sides differ.
        side: the one that becomes the square's, in pixels: the shorter one of an image
            that is cropped, else the longer one; as it was read, which may be reduced.
    """

    pixels: np.ndarray | None
    reason: str = ""
    is_deep: bool = False
    has_more: bool = False
    is_long: bool = False
    side: int = 0


@functools.cache
def formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read."""
    PIL.Image.init()
    return tuple(name for name in PIL.Image.ID if name not in NOT_READ)


@functools.cache
def endings() -> frozenset[str]:
    """Endings of image files that can be read here, in lower case, with the dot."""
    can = {*formats(), "MPO"}  # Pillow opens it as a JPEG
    return frozenset(end for end, name in PIL.Image.EXTENSION.items() if name in can)


def decode(file: pathlib.Path, size: int, fit: str = "crop") -> np.ndarray | None:
    """Read an image as uint8 (3, size, size); None when it cannot be read."""
    return examine(file, size, fit).pixels


def examine(file: pathlib.Path, size: int, fit: str = "crop") -> Decoded:
    """Read an image, and say what is special about it; nothing is raised.

    Args:
        file: path of the image.
        size: side in pixels.
        fit: one of ``FITS``: how an image that is no square becomes one.
    """
    try:
        if not file.is_file():  # a pipe would be waited for without end
            return Decoded(None, "it is not a file")
        with _open(file) as opened:
            # A large JPEG is decoded at a half, a quarter or an eighth of its size.
            opened.draft("RGB", (size, size))
            count = opened.width * opened.height
            if count > MOST_PIXELS:
                return Decoded(None, TOO_LARGE)
            with ONE_AT_A_TIME if count > LARGE else contextlib.nullcontext():
                return _read(opened, size, fit)
    except PIL.Image.DecompressionBombError:
        return Decoded(None, TOO_LARGE)
    except PIL.UnidentifiedImageError:
        if found := files.mistaken(file):
            return Decoded(None, f"it is {found[0]}; {found[1]}")
        ending, more = file.suffix.lower(), ""
        if ending in (".tif", ".tiff"):
            more = (
                "; of TIFFs it reads grey of up to 32 bits, floats of 32 bits, and "
                "colours of 8 or 16 bits in up to four channels"
            )
        elif ending == ".zip":
            more = "; unpack it and name its folder"
        elif ending in HEIC and ending not in endings():
            more = "; it needs `pip install pillow-heif`"
        return Decoded(None, f"Pillow knows no image like it{more}")
    # A damaged file can raise anything: struct.error, RuntimeError, MemoryError ...
    except Exception as error:
        lines = str(error).splitlines() or [""]
        return Decoded(None, lines[0].strip() or type(error).__name__)


def _read(opened: PIL.Image.Image, size: int, fit: str) -> Decoded:
    """Read an image that was opened."""
    is_16 = any(map(_has_16_bits, opened.tile))  # known before it is read
    opened.load()
    is_grey = opened.mode == "F" or opened.mode.startswith("I")
    is_deep = is_grey or is_16
    has_more, orientation = _has_more(opened), _orientation(opened)
    nodata = getattr(opened, "tag_v2", {}).get(NODATA)
    image = _mapped_by_range(opened, nodata) if is_grey else opened
    step = min(image.size) // (4 * size)
    if image.width * image.height > LARGE and image.mode in REDUCIBLE and step > 1:
        image = image.reduce(step)  # a second copy of all of it would take much
    alpha = None
    if image.has_transparency_data and opened.format != "TIFF":  # there it is anything
        alpha = image.convert("RGBA").getchannel("A")
    image = image.convert("RGB")
    if is_16 and not is_grey:
        image = _mapped_by_range(image)
    if alpha:
        image = PIL.Image.composite(
            image, PIL.Image.new("RGB", image.size, "white"), alpha
        )
    upright = _turned(image, orientation)
    pixels = np.array(_square(upright, size, fit)).transpose(2, 0, 1)
    is_long = upright.width != upright.height
    side = (min if fit == "crop" else max)(upright.size)
    return Decoded(pixels, "", is_deep, has_more, is_long, side)


def _has_16_bits(tile: tuple[Any, ...]) -> bool:
    """Whether a part of a file has values of 16 bits, as Pillow describes the part."""
    codec, *_, args = tile
    if codec.startswith("ppm"):  # also "ppm_plain"
        return isinstance(args, tuple) and args[-1] > 255  # the largest value
    return codec == "SGI16" or ";16" in str(args)


def _square(image: PIL.Image.Image, size: int, fit: str) -> PIL.Image.Image:
    """Resize an image to a square; see ``FITS``."""
    square, smooth = (size, size), PIL.Image.Resampling.BILINEAR
    if image.size == square:
        return image
    if fit == "squash":
        return image.resize(square, smooth)
    if fit == "pad":
        return PIL.ImageOps.pad(image, square, smooth)
    return PIL.ImageOps.fit(image, square, smooth)


def _open(file: pathlib.Path) -> PIL.Image.Image:
    """Open an image; a JPEG of any size, because it is not decoded at its full one."""
    try:
        return PIL.Image.open(file, formats=formats())
    except PIL.Image.DecompressionBombError:
        with contextlib.suppress(SyntaxError):
            return PIL.JpegImagePlugin.JpegImageFile(file)
        raise


def _has_more(image: PIL.Image.Image) -> bool:
    """Whether there is a channel beside red, green and blue, or grey, that varies."""
    if image.mode not in ("RGBA", "RGBX", "RGBa", "LA", "La", "PA"):
        return False
    low, high = image.getchannel(len(image.getbands()) - 1).getextrema()
    return low < high


def _mapped_by_range(image: PIL.Image.Image, nodata: Any = None) -> PIL.Image.Image:
    """Map a small value to 0 and a large one to 255; Pillow would clip them.

    Not the smallest and the largest: a single broken pixel would take all contrast.

    Args:
        image: with values of any range.
        nodata: the value of pixels without any, as satellite images have it.
    """
    values = np.asarray(image)
    known = values[np.isfinite(values) & (abs(values) < ABSURD)]
    with contextlib.suppress(TypeError, ValueError):  # there is none, or no number
        known = known[known != float(nodata)]
    low, high = _ends(known)
    scale = 255 / (high - low) if high > low else 0.0
    mapped = np.empty(values.shape, dtype=np.uint8)
    count = -(-values.size // STRIP)  # in float64 all of it would be large
    for strip, made in zip(
        np.array_split(values, count), np.array_split(mapped, count), strict=True
    ):
        exact = np.nan_to_num(
            strip.astype(np.float64), nan=low, posinf=high, neginf=low
        )
        made[:] = ((exact.clip(low, high) - low) * scale).round()
    return PIL.Image.fromarray(mapped)


def _ends(values: np.ndarray) -> tuple[float, float]:
    """The range of values without a thousandth at each end."""
    if not values.size:
        return 0.0, 0.0
    low, high = np.percentile(values, (0.1, 99.9), method="nearest")
    if low == high:  # there is little but one value
        low, high = values.min(), values.max()
    return float(low), float(high)


def _orientation(image: PIL.Image.Image) -> int:
    """The orientation in the EXIF block, 1 to 8; 1, upright, where it is damaged."""
    try:
        return int(image.getexif().get(PIL.ExifTags.Base.Orientation, 1))
    except Exception:
        return 1


def _turned(image: PIL.Image.Image, orientation: int) -> PIL.Image.Image:
    turn = TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)
