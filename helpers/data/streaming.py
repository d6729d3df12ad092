"""Images batch by batch: from memory, or from files that workers decode ahead.

Wherever the images are, a batch is uint8 (B, 3, H, W) on the device, and the batches
come in the order of the given indexes.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import copy
import multiprocessing
import os
import pathlib
import signal
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from helpers import hardware
from helpers.data import decoding

STAND_INS = 100  # files that are tried for an image before giving up


class Files:
    """Drop-in replacement for a uint8 tensor (N, 3, S, S), decoded on access.

    An unreadable file without a label is replaced by the next readable one, always the
    same, so that every process, every epoch and every selection sees the same images.
    Nothing stands in for a file with a label: another image would get its label.

    Args:
        paths: of the images.
        size: side S in pixels.
        workers: processes that decode batches ahead, or threads where a process is not
            the copy of another; 0 decodes in this process.
        labelled: the first images, so many of them, have labels.
        fit: how an image becomes a square, one of ``decoding.FITS``.
        list_file: says which files could be read; removed once that is no longer true.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        size: int,
        workers: int,
        labelled: int = 0,
        fit: str = "crop",
        list_file: pathlib.Path | None = None,
    ) -> None:
        """See the class."""
        # One array: millions of path objects would be copied into every worker.
        self.paths = np.array([os.fsencode(path) for path in paths], dtype=np.bytes_)
        self.numbers = np.arange(len(self.paths))  # of the paths that were selected
        self.is_labelled = self.numbers < labelled  # by the number of a path
        self.size, self.workers, self.fit = size, workers, fit
        self.list_file = list_file
        self.warned = False

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """N, 3, S, S."""
        return len(self), 3, self.size, self.size

    def __len__(self) -> int:
        """Number of images N."""
        return len(self.numbers)

    def select(self, index: Tensor | slice) -> Files:
        """The files at these indexes; nothing is read."""
        chosen = copy.copy(self)
        where = index.numpy() if isinstance(index, Tensor) else index
        chosen.numbers = self.numbers[where]
        return chosen

    def __getitem__(self, index: Any) -> Tensor:
        """Decode images; takes every index that a tensor takes.

        Raises:
            ValueError: when a file and those after it cannot be read.
        """
        wanted = torch.arange(len(self))[index]
        pixels, shown = self.__getitems__(wanted.flatten().numpy())
        self.check(wanted.flatten(), shown)
        return pixels.view(*wanted.shape, *pixels.shape[1:])

    def __getitems__(self, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """Decode a batch; a DataLoader's worker calls this.

        Returns:
            pixels uint8 (B, 3, S, S), and the numbers int64 (B,) of the paths that were
            decoded, -1 where none could be.
        """
        pixels = torch.zeros(len(index), *self.shape[1:], dtype=torch.uint8)
        shown = torch.full((len(index),), -1)
        count = len(self.paths)
        for row, first in enumerate(self.numbers[index].tolist()):
            tries = 1 if self.is_labelled[first] else min(STAND_INS, count)
            for number in range(first, first + tries):
                path = os.fsdecode(self.paths[number % count])
                image = decoding.decode(pathlib.Path(path), self.size, self.fit)
                if image is not None:
                    pixels[row] = torch.from_numpy(image)
                    shown[row] = number % count
                    break
        return pixels, shown

    def check(self, index: Tensor, shown: Tensor) -> None:
        """Warn, once, when another file was decoded than the wanted one.

        Args:
            index: of the wanted images, int64 (B,).
            shown: numbers of the paths that were decoded, see ``__getitems__``.

        Raises:
            ValueError: when none could be decoded.
        """
        wanted = torch.from_numpy(self.numbers)[index]
        broken = (wanted != shown).nonzero()[:, 0]
        if len(broken) == 0:
            return
        path = os.fsdecode(self.paths[wanted[broken[0]]])
        name = repr(path)
        missing = wanted[shown < 0]
        lost = missing[torch.from_numpy(self.is_labelled)[missing]]
        if len(lost):
            if self.list_file:
                with contextlib.suppress(OSError):
                    self.list_file.unlink(missing_ok=True)
            raise ValueError(
                f"{os.fsdecode(self.paths[lost[0]])!r} could be read before and cannot "
                "be read now: bring back the file or its drive, or run again to leave "
                "it out."
            )
        if len(missing) and not os.path.exists(path):
            raise ValueError(
                f"{name} is no longer there: bring back its drive or folder, and run "
                "again to go on; what was saved is kept."
            )
        if len(missing):
            raise ValueError(
                f"Neither {name} nor the images after it can be read: check that they "
                "are images."
            )
        if not self.warned:
            self.warned = True
            reason = decoding.examine(pathlib.Path(path), self.size, self.fit).reason
            warnings.warn(
                f"{name} cannot be read ({reason}): the next readable image stands in "
                "for it, as for any other such file; replace or delete it.",
                stacklevel=2,
            )


Images = Tensor | Files


def fit_on_device(images: Images, device: torch.device) -> Images:
    """Return the images on the device if they take at most half of its free memory.

    Otherwise, and where they are files, return them unchanged.
    """
    if isinstance(images, Files) or device.type == "cpu":
        return images
    on_gpu = device.type == "cuda"  # any other shares the processor's memory
    free = torch.cuda.mem_get_info(device)[0] if on_gpu else hardware.free_memory()
    return images if images.nbytes > free / 2 else images.to(device)


def batches(
    images: Images, indexes: Sequence[Tensor], device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the images at the given indexes, batch by batch, on the device.

    Args:
        images: on the device, in the CPU's memory, or files.
        indexes: of the images, int64 (B,) per batch.
        device: where the batches are needed.

    Yields:
        The images uint8 (B, 3, H, W) and their index int64 (B,).
    """
    if not indexes:
        return
    on_gpu = device.type == "cuda"
    # All indexes are sent at once: batch by batch, the CPU would wait every time.
    sizes = [len(index) for index in indexes]
    there = torch.cat(list(indexes)).to(device).split(sizes)
    if isinstance(images, Files):
        pixels = _decoded(images, indexes, pinned=on_gpu)
    elif images.device.type == device.type:
        pixels = (images[index] for index in there)
    elif on_gpu:  # pinned memory is copied while the CPU goes on
        pixels = (images[index].pin_memory() for index in indexes)
    else:
        pixels = (images[index] for index in indexes)
    for batch, index in zip(pixels, there, strict=True):
        yield batch.to(device, non_blocking=on_gpu), index


def _decoded(
    files: Files, indexes: Sequence[Tensor], *, pinned: bool
) -> Iterator[Tensor]:
    """Yield batches of files that workers decode ahead, each batch by one of them."""
    usual = multiprocessing.get_all_start_methods()[0]
    method = multiprocessing.get_start_method(allow_none=True) or usual
    read = _by_threads if files.workers and method != "fork" else _by_processes
    # No name for the iterator: its workers end with the loop, after an error too.
    for (pixels, shown), index in zip(
        read(files, indexes, pinned=pinned), indexes, strict=True
    ):
        files.check(index, shown)
        yield pixels


def _by_processes(
    files: Files, indexes: Sequence[Tensor], *, pinned: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    return iter(
        DataLoader(
            files,
            batch_sampler=[index.numpy() for index in indexes],
            collate_fn=tuple,  # __getitems__ returns a batch already
            num_workers=files.workers,
            pin_memory=pinned,
            # Its own generator: the global one must not know how images are read.
            generator=torch.Generator(),
            worker_init_fn=_leave_signals_to_the_first,
        )
    )


def _by_threads(
    files: Files, indexes: Sequence[Tensor], *, pinned: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Where every process would import everything anew, for seconds at every pass.

    So it is on Windows, on macOS, and with Python 3.14 on Linux.
    """

    def read(index: Tensor) -> tuple[Tensor, Tensor]:
        pixels, shown = files.__getitems__(index.numpy())
        return pixels.pin_memory() if pinned else pixels, shown

    waiting: collections.deque[concurrent.futures.Future] = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(files.workers) as pool:
        try:
            for index in indexes:
                waiting.append(pool.submit(read, index))
                if len(waiting) > 2 * files.workers:  # as many as a DataLoader's
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _leave_signals_to_the_first(worker: int) -> None:
    """Let a worker ignore what asks a program to stop.

    Ctrl-C and job schedulers tell all processes at once; the one that trains finishes
    its step, for which it may need another batch, and then ends its workers.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
