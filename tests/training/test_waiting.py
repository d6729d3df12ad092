"""A training step never makes the CPU wait for what the GPU has still to do."""

import collections
import dataclasses

import pytest
import small
import torch
import tqdm
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from helpers import methods
from helpers.training import pretraining, sessions, settings

# What lightly's losses do: they pick by a mask, or send a number.
LIGHTLY = {"vicreg": {"mask"}, "dino": {"tensor"}}
# Calls that carry numbers from one memory to the other. On a CPU nothing moves, so the
# calls are what can be seen; tensors made on the device (zeros, full) are none of them.
SENDS = {"tensor", "as_tensor", "asarray", "from_numpy", "new_tensor", "cuda"}
# What `to` takes when it is asked for another memory, and not for another type.
PLACES = (torch.device, str, torch.Tensor)
READS = {"cpu", "numpy", "tolist", "__array__"}
# Operators whose result depends on values: the CPU must see these to go on.
DEPENDS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


class Calls(TorchFunctionMode):
    """Counts calls from Python that may move numbers to the device or back."""

    def __init__(self, counts):
        super().__init__()
        self.counts = counts

    def __torch_function__(self, function, types, arguments=(), named=None):
        name, named = getattr(function, "__name__", ""), named or {}
        others = [*arguments[1:], *named.values()]
        elsewhere = any(isinstance(one, PLACES) for one in others)
        if name in SENDS | READS or (name == "to" and elsewhere):
            self.counts[name] += 1
        return function(*arguments, **named)


class Operators(TorchDispatchMode):
    """Counts operators, at whatever depth, that cannot go on without the values."""

    def __init__(self, counts):
        super().__init__()
        self.counts = counts

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        name = function.overloadpacket.__name__
        if name.startswith("index"):  # by numbers it needs no look, by a mask it does
            index = arguments[1] if isinstance(arguments[1], (list, tuple)) else ()
            kinds = {one.dtype for one in index if one is not None}
            self.counts["mask"] += bool(kinds & {torch.bool, torch.uint8})
        elif DEPENDS & set(function.tags):
            self.counts[name] += 1
        return function(*arguments, **named or {})


def start(name, dataset, images):
    """A session whose epochs have so many images, in batches of 16."""
    chosen = settings.configure(name, **small.SETTINGS | {"optimizer": "adamw"})
    few = dataclasses.replace(dataset, pretraining=dataset.pretraining[:images])
    return sessions.start(chosen, few, devices=1, nodes=1)


def waits(name, dataset, images):
    """What one epoch over so many images may wait for, and how often."""
    counts = collections.Counter()
    session = start(name, dataset, images)
    with Calls(counts), Operators(counts), tqdm.tqdm(disable=True) as bar:
        pretraining.train_epoch(session, [], bar)
    return counts


def waits_of_two_steps(name, dataset):
    """What an epoch of three steps waits for beyond one of a single step."""
    waits(name, dataset, 16)  # constants are sent to the device once
    one, three = waits(name, dataset, 16), waits(name, dataset, 48)
    assert one.total() >= 2  # the epoch's loss and spread are read
    return three - one


# The images come, and on a GPU nothing waits for them: `streaming.batches` says so.
IMAGES = {"to": 2}


@pytest.mark.parametrize("name", methods.METHODS)
def test_more_steps_wait_for_nothing_more(name, dataset, small_backbone):
    more = waits_of_two_steps(name, dataset)
    for known in LIGHTLY.get(name, ()):
        del more[known]
    assert more == IMAGES


@pytest.mark.parametrize(
    "fault",
    [
        lambda z: z.sum().item(),
        lambda z: z.sum() > 0 or None,
        lambda z: z.cpu(),
        lambda z: z.detach().tolist(),
        lambda z: z.detach().numpy(),
        lambda z: z.nonzero(),
        lambda z: z[z > 0],
        lambda z: z.clone().__setitem__(z > 0, 0.0),
        lambda z: torch.where(z > 0),
        lambda z: torch.equal(z, z),
        lambda z: z.unique(),
        lambda z: torch.tensor([1.0], device=z.device),
        lambda z: torch.tensor(1.0),
        lambda z: torch.as_tensor([1.0]),
        lambda z: torch.arange(3).to(z.device),
        lambda z: z.to(device="cpu"),
    ],
)
def test_a_step_that_waits_is_found(fault, dataset, small_backbone, monkeypatch):
    method = methods.get("simsiam")
    loss = method.loss

    def slow(self, *batch):
        found = loss(self, *batch)
        fault(self.embedding)
        return found

    monkeypatch.setattr(method, "loss", slow)
    more = waits_of_two_steps("simsiam", dataset)
    assert more.total() >= sum(IMAGES.values()) + 2


class Watch:
    """Stands where the bar is: between first and last step, waiting is an error."""

    def __init__(self, steps):
        self.left = steps

    def update(self):
        self.left -= 1
        torch.cuda.set_sync_debug_mode("error" if self.left else "default")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", methods.METHODS)
def test_a_gpu_is_never_waited_for(name, dataset, small_backbone):
    if name in LIGHTLY:
        pytest.skip("lightly's loss makes the CPU wait")
    session = start(name, dataset, 48)
    try:
        pretraining.train_epoch(session, [], Watch(session.steps))
    finally:
        torch.cuda.set_sync_debug_mode("default")
