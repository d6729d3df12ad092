"""The methods by name. A method is one file here and one line in ``METHODS``."""

from __future__ import annotations

import inspect

from helpers.methods import (
    barlow_twins,
    base,
    byol,
    dino,
    moco,
    pirl_variants,
    simclr,
    simsiam,
    supcon,
    swav,
    vicreg,
)

METHODS: dict[str, type[base.Method]] = {
    "pirl": pirl_variants.PIRL,
    "byol": byol.BYOL,
    "simclr": simclr.SimCLR,
    "simsiam": simsiam.SimSiam,
    "supcon": supcon.SupCon,
    "swav": swav.SwAV,
    "moco": moco.MoCo,
    "barlow_twins": barlow_twins.BarlowTwins,
    "vicreg": vicreg.VICReg,
    "dino": dino.DINO,
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


def text(name: str) -> str:
    """What a method's file begins with, Markdown: title, idea, formula.

    Raises:
        ValueError: when there is no method of that name.
    """
    return inspect.getdoc(inspect.getmodule(get(name)))
