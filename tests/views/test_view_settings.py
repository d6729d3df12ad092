"""What a view may be drawn from: everything else is one clear sentence."""

import dataclasses
import math
import re

import pytest

from helpers.views.settings import ViewSettings

PROBABILITIES = ("flip", "jitter", "grayscale", "blur", "solarize", "photometric")
STRENGTHS = ("brightness", "contrast", "saturation")
SHARES = "two shares in (0, 1], the smaller first"
DEVIATIONS = "two numbers in (0, 1000], the smaller first"

WRONG = [
    *[(name, value) for name in PROBABILITIES for value in (-0.1, 1.01, 5, math.nan)],
    *[(name, value) for name in STRENGTHS for value in (-1, 11, math.nan, math.inf)],
    *[("hue", value) for value in (-0.1, 0.6, math.nan, None)],
    *[("size", value) for value in (0, -8, 2.5, math.nan, "64", 10_001)],
]
PAIRS = [(1, 0.5), (0, 0.5), (-1, 1), (0.5,), (0.2, 0.4, 0.6), (math.nan, 1), 0.5]
WRONG += [("scale", value) for value in (*PAIRS, (0.5, 1.5), (0.5, math.nan))]
WRONG += [("blur_sigma", value) for value in (*PAIRS, (2, 0.1), (0.1, 1e4))]


def allowed(name):
    """The words for what a field may be."""
    return {
        **dict.fromkeys(PROBABILITIES, "a probability in [0, 1]"),
        **dict.fromkeys(STRENGTHS, "a strength in [0, 10]"),
        "hue": "a share of the colour circle in [0, 0.5]",
        "size": "a whole number of pixels, 1 to 10,000",
        "scale": SHARES,
        "blur_sigma": DEVIATIONS,
    }[name]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_one_sentence_with_name_range_and_value(name, value):
    sentence = f"{name} must be {allowed(name)}, not {value!r}."
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        ViewSettings(**{name: value})
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        dataclasses.replace(ViewSettings(), **{name: value})


def test_every_field_is_checked():
    fields = {field.name for field in dataclasses.fields(ViewSettings)}
    assert {name for name, _ in WRONG} == fields


@pytest.mark.parametrize(
    "changes",
    [
        dict.fromkeys(PROBABILITIES, 0) | dict.fromkeys(STRENGTHS, 0) | {"hue": 0},
        dict.fromkeys(PROBABILITIES, 1) | dict.fromkeys(STRENGTHS, 2) | {"hue": 0.5},
        {"size": 1, "scale": (1, 1), "blur_sigma": (2, 2)},
        {"size": 1_000, "scale": (1e-4, 1.0), "blur_sigma": [0.1, 30]},
    ],
)
def test_the_ends_of_every_range_are_allowed(changes):
    settings = ViewSettings(**changes)
    assert {name: getattr(settings, name) for name in changes} == changes


@pytest.mark.parametrize(("size", "whole"), [(64, 88), (96, 128), (32, 40), (1, 8)])
def test_whole_images_are_shown_a_third_larger_in_steps_of_eight(size, whole):
    assert ViewSettings(size=size).whole_size == whole
