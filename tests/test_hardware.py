"""What the code runs on decides the precision."""

import builtins
import contextlib
import io
import math
import os
import types

import psutil
import pytest
import torch

from helpers import hardware


@pytest.mark.parametrize(
    ("kind", "capability", "bfloat16", "expected"),
    [
        ("cuda", (7, 5), True, "16-mixed"),  # a T4 only emulates bfloat16
        ("cuda", (8, 0), False, "bf16-mixed"),
        ("cuda", (9, 0), False, "bf16-mixed"),
        ("cpu", None, True, "bf16-mixed"),
        ("cpu", None, False, "32-true"),
        ("mps", None, True, "32-true"),
    ],
)
def test_mixed_precision_only_where_the_hardware_has_it(
    kind, capability, bfloat16, expected, monkeypatch
):
    monkeypatch.setattr(hardware, "device", lambda: torch.device(kind))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(hardware, "cpu_has_bfloat16", lambda: bfloat16)
    assert hardware.precision() == expected


@pytest.mark.parametrize(
    ("has", "expected"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, True),
        ({"amx_bf16": False, "avx512_bf16": True}, False),  # slower than float32
        ({}, False),
    ],
)
def test_a_cpu_is_asked_for_bfloat16(has, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert hardware.cpu_has_bfloat16() is expected


def test_the_best_device_is_taken(monkeypatch):
    for cuda, mps, expected in [
        (True, True, "cuda"),
        (False, True, "mps"),
        (False, False, "cpu"),
    ]:
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert hardware.device().type == expected


def test_evaluation_computes_in_the_precision_of_training(monkeypatch):
    monkeypatch.setattr(hardware, "device", lambda: torch.device("cpu"))
    product = {}
    for precision in ("32-true", "bf16-mixed"):
        monkeypatch.setattr(hardware, "precision", lambda chosen=precision: chosen)
        with hardware.autocast():
            product[precision] = (torch.ones(4, 4) @ torch.ones(4, 4)).dtype
    assert product == {"32-true": torch.float32, "bf16-mixed": torch.bfloat16}
    assert not torch.is_autocast_enabled("cpu")
    monkeypatch.setattr(hardware, "precision", lambda: "32-true")
    assert isinstance(hardware.autocast(), contextlib.nullcontext)


def test_convolutions_get_the_order_they_like_and_hand_it_on():
    moved = hardware.to_device(torch.nn.Conv2d(3, 4, 3))
    assert moved.weight.is_contiguous(memory_format=torch.channels_last)
    assert moved.weight.device.type == hardware.device().type
    images = torch.randn(2, 3, 8, 8, device=hardware.device())
    made = moved(images)
    assert made.is_contiguous(memory_format=torch.channels_last)


def test_the_hardware_has_a_name_for_people(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "CPU core" in hardware.name()
    monkeypatch.setattr(hardware, "device", lambda: torch.device("mps"))
    assert hardware.name().startswith("Apple GPU (")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    assert hardware.name() == "Tesla T4"


@pytest.mark.parametrize("knows", [True, False])
def test_a_system_without_proc_is_asked_for_the_processor(knows, monkeypatch):
    def run(command, **_):
        if not knows:
            raise FileNotFoundError(command[0])
        assert command[0] == "sysctl"
        return types.SimpleNamespace(stdout="Apple M1\n")

    def refuse(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(builtins, "open", refuse)
    monkeypatch.setattr(hardware.subprocess, "run", run)
    monkeypatch.setattr(hardware.platform, "processor", lambda: "arm")
    assert ("(Apple M1)" if knows else "(arm)") in hardware.name()


def test_processes_share_the_cores_and_the_memory(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr(hardware, "_container_cores", lambda: math.inf)
    assert hardware.workers() == 7
    alone = hardware.free_memory()
    assert 1e8 < alone < 1e14
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert hardware.workers() == 3
    assert hardware.free_memory() == pytest.approx(alone / 2, rel=0.3)


def container(path, **files):
    """The files of a control group (version 2) at a path."""
    place = f"/sys/fs/cgroup{path}".rstrip("/")
    found = {f"{place}/memory.{name}": text for name, text in files.items()}
    found[f"{place}/memory.stat"] = "anon 9\ninactive_file 700\n"
    return found | {"/proc/self/cgroup": f"0::{path}\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (container("/", max="5000\n", current="3000\n"), 2_700),
        (container("/", max="max\n", current="3000\n"), 8_000),
        (container("/", max="50000\n", current="3000\n"), 8_000),
        (container("/", max="5000\n", current="9000\n"), 0),
        (container("/a/job", max="5000\n", current="3000\n"), 2_700),
        (
            {
                "/proc/self/cgroup": "3:cpuset:/\n2:memory:/job\n0::/\n",
                "/sys/fs/cgroup/memory/job/memory.limit_in_bytes": "5000\n",
                "/sys/fs/cgroup/memory/job/memory.usage_in_bytes": "1000\n",
                "/sys/fs/cgroup/memory/job/memory.stat": "total_inactive_file 50\n",
            },
            4_050,
        ),
        ({}, 8_000),  # as on macOS and Windows
    ],
)
def test_the_memory_is_what_the_system_and_its_container_leave(
    files, expected, monkeypatch
):
    def opened(path):
        if path not in files:
            raise FileNotFoundError(path)
        return io.StringIO(files[path])

    left = types.SimpleNamespace(available=8_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: left)
    monkeypatch.setattr(builtins, "open", opened)
    assert hardware.free_memory() == expected


@pytest.mark.parametrize(
    ("files", "workers"),
    [
        ({"/sys/fs/cgroup/cpu.max": "200000 100000\n"}, 1),
        ({"/sys/fs/cgroup/cpu.max": "max 100000\n"}, 7),
        (
            {
                "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "450000\n",
                "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        ({"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n"}, 7),
    ],
)
def test_workers_are_no_more_than_the_container_has_cores(files, workers, monkeypatch):
    def lines(path):
        if path not in files:
            raise FileNotFoundError(path)
        return files[path].splitlines()

    monkeypatch.setattr(hardware, "_lines", lines)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    assert hardware.workers() == workers


def test_every_process_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert hardware.device() == torch.device("cuda", 3)


def test_a_constant_is_made_once():
    one, other = (hardware.constant((1.0, 2.0), torch.device("cpu")) for _ in range(2))
    assert one is other
    assert torch.equal(one, torch.tensor([1.0, 2.0]))


@pytest.mark.parametrize(
    ("started", "here", "devices", "nodes", "message"),
    [
        (None, None, 0, 1, "devices and nodes must be at least 1, not 0 and 1"),
        (None, None, 2, 1, "--nnodes 1 --nproc-per-node 2 -m helpers` and all flags."),
        (None, None, 2, 3, "--nnodes 3 --nproc-per-node 2 --rdzv-backend c10d .*HOST"),
        (
            "8",
            "4",
            1,
            1,
            "8 processes were started, but .* is 1 x 1: give --devices 4 --n",
        ),
        ("2", "2", 4, 1, "2 processes were started, but devices x nodes is 4 x 1"),
    ],
)
def test_processes_that_nobody_started_are_refused(
    started, here, devices, nodes, message, monkeypatch
):
    for name, value in (("WORLD_SIZE", started), ("LOCAL_WORLD_SIZE", here)):
        if value:
            monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message) as raised:
        hardware.check_processes(devices, nodes)
    assert "\n" not in str(raised.value)


def test_an_apple_gpu_trains_in_one_process(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(hardware, "device", lambda: torch.device("mps"))
    with pytest.raises(ValueError, match="Apple's GPU trains in one process: leave"):
        hardware.check_processes(2, 1)


def test_more_gpus_than_there_are_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    hardware.check_processes(4, 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=r"has 2 GPU\(s\), fewer than the 4"):
        hardware.check_processes(4, 1)
