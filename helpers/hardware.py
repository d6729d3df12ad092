"""What the code runs on: device, precision, memory, processes, and a readable name."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import pathlib
import platform
import subprocess

import psutil
import torch
from torch import Tensor, nn


def device() -> torch.device:
    """The best device for this process: a CUDA GPU of its own, Apple's GPU, the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def precision() -> str:
    """The fastest precision that the hardware itself computes in, as Fabric names it.

    bfloat16 on CPUs with AMX and on GPUs of compute capability 8.0 or more; float16
    with a loss scaler on older GPUs (a T4 only emulates bfloat16); float32 elsewhere.
    """
    kind = device().type
    if kind == "cuda":
        recent = torch.cuda.get_device_capability()[0] >= 8
        return "bf16-mixed" if recent else "16-mixed"
    if kind == "cpu" and cpu_has_bfloat16():
        return "bf16-mixed"
    return "32-true"


def cpu_has_bfloat16() -> bool:
    """Whether the CPU has AMX, whose units multiply bfloat16.

    AVX512-BF16 alone does not pay: on an Intel Xeon, SimCLR's steps took 1.35 times as
    long with it as in float32.
    """
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def autocast() -> contextlib.AbstractContextManager:
    """Mixed precision for evaluation, on this machine's ``device``."""
    if precision() == "32-true":
        return contextlib.nullcontext()
    dtype = torch.bfloat16 if precision() == "bf16-mixed" else torch.float16
    return torch.autocast(device().type, dtype=dtype)


def to_device(module: nn.Module) -> nn.Module:
    """Move a module to the device, with weights in channels_last order.

    Convolutions are fastest in that order, and their outputs take it from the weights.
    """
    return module.to(device(), memory_format=torch.channels_last)


def workers() -> int:
    """How many workers may decode images beside this process: one fewer than cores."""
    all_cores = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    cores = min(len(all_cores(0)), _container_cores())
    return max(0, int(cores) // _processes() - 1)


def free_memory() -> float:
    """Bytes of memory for this process."""
    free = psutil.virtual_memory().available
    return max(0.0, min(free, _container_memory())) / _processes()


def _container_memory() -> float:
    """Bytes that the containers or jobs around this process leave; or infinite."""
    names = (
        ("", "memory.max", "memory.current", "inactive_file"),
        (
            "memory",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
    )
    free = math.inf
    for kind, most, used, cached in names:
        for folder in _cgroups(kind):
            # Without a limit: "max", or a number larger than any memory.
            with contextlib.suppress(OSError, ValueError, KeyError):
                limit = int(_lines(f"{folder}/{most}")[0])
                stat = dict(line.split() for line in _lines(f"{folder}/memory.stat"))
                in_use = int(_lines(f"{folder}/{used}")[0]) - int(stat[cached])
                free = min(free, limit - in_use)
    return free


def _container_cores() -> float:
    """Cores that the containers or jobs around this process may use; or infinite."""
    cores = math.inf
    for folder in _cgroups(""):
        with contextlib.suppress(OSError, ValueError):
            quota, period = _lines(f"{folder}/cpu.max")[0].split()
            cores = min(cores, int(quota) / int(period))
    for folder in _cgroups("cpu"):
        with contextlib.suppress(OSError, ValueError):
            quota = int(_lines(f"{folder}/cpu.cfs_quota_us")[0])
            period = int(_lines(f"{folder}/cpu.cfs_period_us")[0])
            cores = min(cores, quota / period if quota > 0 else math.inf)
    return cores


def _cgroups(kind: str) -> list[str]:
    """Folders of this process's control group and of those around it.

    Args:
        kind: ``""`` for version 2, the name of a controller for version 1.
    """
    root = pathlib.PurePosixPath("/sys/fs/cgroup", kind)
    inside = pathlib.PurePosixPath("/")
    with contextlib.suppress(OSError):
        for line in _lines("/proc/self/cgroup"):
            _, kinds, path = line.split(":", 2)
            if kind in kinds.split(","):
                inside = pathlib.PurePosixPath(path)
    around = [inside, *inside.parents]
    return [str(root / one.relative_to("/")) for one in around]


def _lines(path: str) -> list[str]:
    with open(path) as file:
        return file.read().splitlines()


def check_processes(devices: int, nodes: int) -> None:
    """Check that torchrun has started as many processes as the settings ask for.

    Raises:
        ValueError: when it has not, or this machine has too few GPUs.
    """
    if devices < 1 or nodes < 1:
        raise ValueError(
            f"devices and nodes must be at least 1, not {devices} and {nodes}."
        )
    started, here = int(os.environ.get("WORLD_SIZE", "1")), _processes()
    if started == 1 < devices * nodes:
        meeting = ""
        if nodes > 1:  # without it every machine would wait for itself
            meeting = "--rdzv-backend c10d --rdzv-endpoint HOST:29500 "
        raise ValueError(
            f"{devices * nodes} processes need a launcher: start them with `torchrun "
            f"--nnodes {nodes} --nproc-per-node {devices} {meeting}-m helpers` and all "
            "flags" + (", on every machine." if nodes > 1 else ".")
        )
    if started != devices * nodes:
        raise ValueError(
            f"{started} processes were started, but devices x nodes is {devices} x "
            f"{nodes}: give --devices {here} --nodes {started // here}."
        )
    if started > 1 and device().type == "mps":
        raise ValueError(
            "Apple's GPU trains in one process: leave out torchrun, --devices and "
            "--nodes."
        )
    if torch.cuda.is_available() and devices > torch.cuda.device_count():
        raise ValueError(
            f"This machine has {torch.cuda.device_count()} GPU(s), fewer than the "
            f"{devices} asked for: lower --devices and --nproc-per-node."
        )


def is_first_process() -> bool:
    """Whether this process is the one that prints and saves for all of a run."""
    return os.environ.get("RANK", "0") == "0"


def _processes() -> int:
    """How many processes of this run torchrun has started on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@functools.cache
def constant(numbers: tuple, device: torch.device) -> Tensor:
    """Fixed numbers as a float32 tensor that is made once per device.

    Made anew at every step, they would be sent to the GPU at every step, and the CPU
    would wait until the GPU has finished all earlier work.
    """
    return torch.tensor(numbers, dtype=torch.float32, device=device)


def name() -> str:
    """The hardware's name for records and tables, such as "Tesla T4"."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    if device().type == "mps":
        return f"Apple GPU ({_cpu_model()})"
    cores = torch.get_num_threads()
    return f"{cores} CPU core{'s' if cores > 1 else ''} ({_cpu_model()})"


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            models = [line for line in file if line.startswith("model name")]
        return models[0].split(":")[1].strip()
    except (OSError, IndexError):
        pass
    with contextlib.suppress(OSError, subprocess.SubprocessError):  # macOS
        brand = ["sysctl", "-n", "machdep.cpu.brand_string"]
        found = subprocess.run(brand, capture_output=True, text=True, check=True)
        return found.stdout.strip()
    return platform.processor() or platform.machine()
