"""When a training saves in the middle of an epoch, and when it stops."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import lightning_fabric
import torch

from helpers.training import signals

AGREE_EVERY = 2.0  # seconds between two moments at which several processes agree
# A state is saved after an epoch if so many times what saving takes has passed since
# the last one, or so many seconds.
SAVING_PAYS = 20
LONGEST_WAIT = 30.0


def saving_pays(waited: float, cost: float) -> bool:
    """Whether to save at the end of an epoch.

    Args:
        waited: seconds since the state was saved the last time.
        cost: seconds that it took.
    """
    return waited >= min(SAVING_PAYS * cost, LONGEST_WAIT)


class Watch:
    """Knows when a training has to save and when to stop, in all processes alike.

    A signal is only noted: the step that is under way is finished first. In a single
    process a second Ctrl-C does not wait. Several processes agree every few seconds,
    because a GPU's queue is waited for when they do.

    Args:
        fabric: the engine.
        save_minutes: minutes between two times at which the state is saved within an
            epoch; at an epoch's end, see ``saving_pays``.
    """

    def __init__(self, fabric: lightning_fabric.Fabric, save_minutes: float) -> None:
        """See the class."""
        self.fabric, self.seconds = fabric, 60 * save_minutes
        self.noted = 0  # the signal that came to this process; 0 is none
        self.signal = 0  # that all processes know of
        self.saved = self.agreed = time.monotonic()
        self.cost = 0.0  # seconds that saving took the last time
        self.wait = self.left = 1  # steps from one agreement to the next, and to come

    def note(self, number: int, frame: Any) -> None:
        """Handle a signal."""
        if number == self.noted == signal.SIGINT and self.fabric.world_size == 1:
            raise KeyboardInterrupt("Stopped; what was saved is kept.")
        self.noted = number

    def after_step(self) -> bool:
        """Whether to save now; all processes have to ask after every step."""
        if self.fabric.world_size == 1:
            return self.agree()
        self.left -= 1
        return self.left == 0 and self.agree()

    def agree(self, *, is_epochs_end: bool = False) -> bool:
        """Likewise, and ask the other processes right now."""
        if self.fabric.world_size == 1:
            self.signal = self.noted
            return bool(self.signal) or self._is_time(is_epochs_end)
        now = time.monotonic()
        pace = (self.wait - self.left) / max(now - self.agreed, 1e-3)  # steps a second
        wait = min(max(1, int(pace * AGREE_EVERY)), 10_000)
        # The first process decides on time and pace for all, any of them on stopping.
        is_time = self._is_time(is_epochs_end)
        mine = [is_time, wait] if self.fabric.global_rank == 0 else [0, 0]
        asked = torch.tensor([self.noted, *mine], device=self.fabric.device)
        reduced = self.fabric.all_reduce(asked, reduce_op="max")
        self.signal, due, self.wait = reduced.tolist()
        self.left, self.agreed = self.wait, now
        return bool(due or self.signal)

    def _is_time(self, is_epochs_end: bool) -> bool:
        waited = time.monotonic() - self.saved
        pays = is_epochs_end and saving_pays(waited, self.cost)
        return pays or waited >= self.seconds

    def save(self, action: Callable[[], object]) -> None:
        """Save by this action, and note when it was done and how long it took."""
        began = time.monotonic()
        action()
        self.saved = time.monotonic()
        self.cost = self.saved - began

    def stop_if_asked(self, where: str) -> None:
        """Raise a ``StoppedError`` that says where, if a signal has asked to stop."""
        if self.signal:
            raise signals.StoppedError(f"Stopped after {where}.", self.signal)
