"""The methods by name. A method is one file here and one line in ``METHODS``."""

from __future__ import annotations

from helpers.methods import base, byol, pirl, simclr

METHODS: dict[str, type[base.Method]] = {
    "pirl": pirl.PIRL,
    "byol": byol.BYOL,
    "simclr": simclr.SimCLR,
}


def get(name: str) -> type[base.Method]:
    """Find a method by its name.

    Raises:
        ValueError: when there is none of that name.
    """
    if name not in METHODS:
        raise ValueError(
            f"Unknown method {name!r}: choose one of {', '.join(METHODS)}."
        )
    return METHODS[name]
