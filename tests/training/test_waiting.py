"""A training step never makes the CPU wait for what the GPU has still to do."""

import collections
import dataclasses

import pytest
import small
import torch
import tqdm
from torch.utils._python_dispatch import TorchDispatchMode

from helpers import methods
from helpers.training import pretraining, sessions, settings

# What lightly's losses do: they pick by a mask, or send a number.
LIGHTLY = {
    "simclr": ("index", "index_put"),
    "vicreg": ("index", "index_put"),
    "dino": ("lift_fresh",),
}
READS = {"_local_scalar_dense", "equal", "nonzero", "masked_select", "lift_fresh"}


class Waits(TorchDispatchMode):
    """Counts what reads a number from the device or sends one there."""

    def __init__(self):
        super().__init__()
        self.counts = collections.Counter()

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        name = function.overloadpacket.__name__
        index = arguments[1] if name.startswith("index") else ()
        masks = isinstance(index, (list, tuple)) and any(
            one is not None and one.dtype == torch.bool for one in index
        )
        if name in READS or masks:
            self.counts[name] += 1
        return function(*arguments, **named or {})


def waits(name, dataset, images):
    """What one epoch over so many images waits for."""
    chosen = settings.configure(name, **small.SETTINGS | {"optimizer": "adamw"})
    few = dataclasses.replace(dataset, pretraining=dataset.pretraining[:images])
    session = sessions.start(chosen, few, devices=1, nodes=1)
    with Waits() as found, tqdm.tqdm(disable=True) as bar:
        pretraining.train_epoch(session, [], bar)
    return found.counts


@pytest.mark.parametrize("name", methods.METHODS)
def test_more_steps_wait_for_nothing_more(name, dataset, small_backbone):
    waits(name, dataset, 16)  # constants are sent to the device once
    one, three = waits(name, dataset, 16), waits(name, dataset, 48)
    assert one["_local_scalar_dense"] >= 2  # the epoch's loss and spread
    more = three - one
    assert set(more) <= set(LIGHTLY.get(name, ()))
