"""The engine of both training loops: Lightning Fabric, on one process or many.

Every step's batch is shared equally by the processes, and all randomness belongs to the
whole batch: many processes learn the same as one, unless a layer draws numbers itself.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterable
from typing import TypeVar

import lightning_fabric
import torch
from lightning_fabric import strategies
from lightning_fabric.plugins import environments
from torch import Tensor, nn

from helpers import hardware
from helpers.training import shared_norm
from helpers.views.randomness import StepRandom

Result = TypeVar("Result")

# Its notes on precision and devices repeat what our records say.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
warnings.filterwarnings("ignore", message=".*broadcast_buffers. is deprecated")


def start(
    precision: str = "auto", devices: int = 1, nodes: int = 1
) -> lightning_fabric.Fabric:
    """Start Fabric with ``devices`` processes per machine on ``nodes`` machines.

    ``precision`` is Fabric's name of it; ``auto`` means the hardware's fastest.
    """
    many = devices * nodes > 1
    # Left alone, Fabric asks Slurm how many processes there are, also for a single one.
    alone = [] if many else [environments.LightningEnvironment()]
    fabric = lightning_fabric.Fabric(
        accelerator="auto" if hardware.device().type != "cpu" else "cpu",
        devices=devices,
        num_nodes=nodes,
        plugins=alone,
        precision=hardware.precision() if precision == "auto" else precision,
        # Buffers, such as a memory bank, are equal everywhere: sending them costs time.
        strategy=strategies.DDPStrategy(broadcast_buffers=False) if many else "auto",
    )
    fabric.launch()
    torch.backends.cudnn.benchmark = True  # shapes repeat: let a GPU try its kernels
    return fabric


def launched() -> tuple[int, int]:
    """Processes per machine and machines, as started by torchrun; 1 and 1 without."""
    devices = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return devices, int(os.environ.get("WORLD_SIZE", "1")) // devices


def check_batch(batch_size: int, processes: int) -> None:
    """Raise a ValueError when processes cannot share a batch equally."""
    if batch_size % processes:
        raise ValueError(
            f"A batch of {batch_size} cannot be shared equally by "
            f"{processes} processes: set batch_size to a multiple of that."
        )
    if processes > 1 and batch_size < 2 * processes:
        raise ValueError(
            f"A batch of {batch_size} is one image for each of {processes} processes, "
            f"which is too few: set batch_size to {2 * processes} or more."
        )


def own_batches(
    order: Tensor, batch_size: int, fabric: lightning_fabric.Fabric
) -> list[Tensor]:
    """This process's share of every batch: indices (batch_size / processes,).

    ``order`` holds the indices of all images, (N,); those after the last whole batch
    are left out.
    """
    share = batch_size // fabric.world_size
    start = fabric.global_rank * share
    whole = order.split(batch_size)[: len(order) // batch_size]
    return [batch[start : start + share] for batch in whole]


def on_first(fabric: lightning_fabric.Fabric, action: Callable[[], Result]) -> Result:
    """Do something in the first process alone; all get its result, or raise its error.

    Raises:
        ValueError: of the action, as well as an OSError.
    """
    result = error = None
    if fabric.global_rank == 0:
        try:
            result = action()
        except (ValueError, OSError) as raised:
            error = raised
    result, error = fabric.broadcast((result, error))
    if error is not None:
        raise error
    return result


def are_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether tensors can be computed with; a GPU is waited for.

    None may be NaN, or so large that its square, of which variances are made, is
    infinite.
    """
    tensors = [one.detach() for one in tensors if one.is_floating_point()]
    norms = [norm.float() for norm in torch._foreach_norm(tensors)]
    return bool(torch.stack(norms).isfinite().all())


def clip_gradients(
    fabric: lightning_fabric.Fabric,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    max_norm: float,
) -> None:
    """Scale all gradients to a common norm of at most max_norm; 0 sets no limit."""
    if max_norm > 0:  # that they are finite is not checked: the CPU would wait
        fabric.clip_gradients(
            model, optimizer, max_norm=max_norm, error_if_nonfinite=False
        )


def step_random(
    seed: int, step: int, batch_size: int, fabric: lightning_fabric.Fabric
) -> StepRandom:
    """The random numbers of a step, for this process's share of the batch.

    Layers that draw from torch's global generator, such as EfficientNet's dropped
    blocks, depend on nothing else either: a training that goes on in the middle of an
    epoch repeats them. With several processes they draw other numbers than one would.
    """
    rank, processes = fabric.global_rank, fabric.world_size
    torch.manual_seed((seed * 1_000_003 + step + (rank << 48)) % (1 << 62))
    return StepRandom(seed, step, batch_size, fabric.device, rank, processes)


def share_statistics(network: nn.Module, fabric: lightning_fabric.Fabric) -> nn.Module:
    """Let BatchNorm see the whole batch when several processes share it."""
    if fabric.world_size == 1:
        return network
    if fabric.device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return shared_norm.convert(network)
