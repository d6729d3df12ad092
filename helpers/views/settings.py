"""The distribution a random view is drawn from."""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import Any

LARGEST = 10_000  # pixels; more fit into no memory
STRONGEST = 10  # change of a colour, which is long black or white then
WIDEST = 1_000  # pixels of a blur


@dataclasses.dataclass(frozen=True)
class ViewSettings:
    """The distribution a random view is drawn from.

    Attributes:
        size: side of the view in pixels.
        scale: smallest and largest share of the image's area in the crop.
        flip: probability of a horizontal flip.
        jitter: probability of changing the colours.
        brightness: factor drawn from [1 - x, 1 + x], as are the next two.
        contrast: see ``brightness``.
        saturation: see ``brightness``.
        hue: turn of the colour circle, drawn from [-x, x], x at most 0.5.
        grayscale: probability of dropping the colours.
        blur: probability of a Gaussian blur.
        blur_sigma: smallest and largest standard deviation of the blur in pixels.
        solarize: probability of inverting what is brighter than one half.
        photometric: probability of VISSL's distortions, all at once: posterize,
            sharpen, solarize and stretch the contrast.
    """

    size: int = 64
    scale: tuple[float, float] = (0.2, 1.0)
    flip: float = 0.5
    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    grayscale: float = 0.2
    blur: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarize: float = 0.0
    photometric: float = 0.0

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ValueError: with the field's name, what it may be and what it is.
        """
        whole = isinstance(self.size, numbers.Integral) and 1 <= self.size <= LARGEST
        self._require("size", whole, f"a whole number of pixels, 1 to {LARGEST:,}")
        for name in ("flip", "jitter", "grayscale", "blur", "solarize", "photometric"):
            fits = _is_number(getattr(self, name), 1)
            self._require(name, fits, "a probability in [0, 1]")
        for name in ("brightness", "contrast", "saturation"):
            fits = _is_number(getattr(self, name), STRONGEST)
            self._require(name, fits, f"a strength in [0, {STRONGEST}]")
        fits = _is_number(self.hue, 0.5)
        self._require("hue", fits, "a share of the colour circle in [0, 0.5]")
        fits = _is_range(self.scale, 1)
        self._require("scale", fits, "two shares in (0, 1], the smaller first")
        fits = _is_range(self.blur_sigma, WIDEST)
        allowed = f"two numbers in (0, {WIDEST}], the smaller first"
        self._require("blur_sigma", fits, allowed)

    def _require(self, name: str, fits: bool, allowed: str) -> None:
        if not fits:
            raise ValueError(f"{name} must be {allowed}, not {getattr(self, name)!r}.")

    @property
    def whole_size(self) -> int:
        """Side at which whole images are shown to a frozen backbone, in pixels.

        A crop enlarges what is in it, so the backbone knows things larger than a whole
        image of the same side shows them; a third more pixels make up for that.
        Source: Touvron et al. 2019, arXiv:1906.06423.
        """
        return 8 * max(1, round(self.size * 4 / 3 / 8))


def _is_number(value: Any, highest: float) -> bool:
    """Whether it is a finite number in [0, highest]."""
    finite = isinstance(value, numbers.Real) and math.isfinite(value)
    return finite and 0 <= value <= highest


def _is_range(pair: Any, highest: float) -> bool:
    """Whether it is two finite numbers, 0 < smaller <= larger <= highest."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        return False
    smaller, larger = pair
    return all(_is_number(value, highest) for value in pair) and 0 < smaller <= larger
