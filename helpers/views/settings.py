"""The distribution a random view is drawn from."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class ViewSettings:
    """The distribution one random view is drawn from.

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
        photometric: probability of the distortions in ``photometric``, all at once.
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
        """Check that shares and probabilities are some."""
        for name in ("flip", "jitter", "grayscale", "blur", "solarize"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"{name} is a probability, in [0, 1], not {getattr(self, name)}."
                )
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(
                f"scale is a smaller and a larger share in (0, 1], not {self.scale}."
            )
        if not 0 <= self.hue <= 0.5:
            raise ValueError(f"hue is in [0, 0.5], not {self.hue}.")

    @property
    def whole_size(self) -> int:
        """Side at which whole images are shown to a backbone that is frozen.

        Crops enlarge what is in them, so it has seen things larger than a whole
        image of the same side shows them; a third more pixels make up for that.
        Source: Touvron et al. 2019, arXiv:1906.06423.
        """
        return 8 * round(self.size * 4 / 3 / 8)
