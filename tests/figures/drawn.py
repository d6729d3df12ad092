"""Images to draw, and what is in a figure when it is drawn."""

import base64
import io

import torch
from PIL import Image

CLASSES = tuple(f"class {number}" for number in range(10))


def images(count, side=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 3, side, side)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def texts(figure):
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def stored(figure):
    """The one picture a notebook keeps of the figure, after checking its form."""
    for ax in figure.axes:  # no picture is cut off
        (left, right), (low, high) = ax.get_xlim(), sorted(ax.get_ylim())
        for image in ax.images:
            x, to_x, to_y, y = image.get_extent()
            assert left <= x < to_x <= right
            assert low <= min(y, to_y) < max(y, to_y) <= high
    bundle = figure.mime_bundle()
    (kind,) = [kind for kind in bundle if kind.startswith("image/")]
    picture = Image.open(io.BytesIO(base64.b64decode(bundle[kind])))
    assert picture.format.lower() == kind.removeprefix("image/")
    assert min(picture.size) > 40
    assert max(picture.size) < 2000
    assert len(bundle[kind]) < 250_000
    # White, but for what JPEG lets bleed out of the neighbouring picture.
    assert min(picture.convert("RGB").getpixel((0, 0))) > 180
    return picture
