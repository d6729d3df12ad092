"""What a process holds while it trains: sizes, compiled networks, a loss scaler."""

import dataclasses
import importlib.util
import pathlib
import shutil

import lightning_fabric
import pytest
import small
import torch
from lightning_fabric.plugins import precision
from test_pretraining import assert_same, configure, state

from helpers import methods
from helpers.models import backbones, small_maps
from helpers.training import pretraining, sessions

pytestmark = pytest.mark.usefixtures("small_backbone")


@pytest.mark.parametrize("name", ["pirl", "byol"])
def test_views_grow_in_the_middle_of_a_run_that_is_stopped_there(
    name, dataset, tmp_path, monkeypatch
):
    chosen = configure(name, image_size_schedule=((0.5, 28),))
    seen = []

    class Watching(methods.METHODS[name]):
        def loss(self, views, index, labels):
            seen.append(views[0].shape[-1])
            return super().loss(views, index, labels)

    monkeypatch.setitem(methods.METHODS, name, Watching)
    whole = pretraining.pretrain(chosen, dataset, folder=tmp_path / "whole")
    assert seen == [20] * 6 + [28] * 6
    seen.clear()
    for epochs in (1, 3, None):
        parts = pretraining.pretrain(
            chosen, dataset, folder=tmp_path / "parts", stop_after=epochs
        )
    assert seen == [20] * 6 + [28] * 6
    assert_same(state(whole), state(parts))


@pytest.mark.parametrize(
    ("choice", "steps", "device", "expected"),
    [
        ("on", 1, "cpu", True),
        ("off", 10**9, "cuda", False),
        ("auto", 10**9, "cpu", False),
        ("auto", sessions.STEPS_WORTH_COMPILING, "cuda", True),
        ("auto", sessions.STEPS_WORTH_COMPILING - 1, "cuda", False),
    ],
)
def test_long_runs_on_a_gpu_are_compiled(choice, steps, device, expected, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(pathlib.Path, "is_file", lambda path: path.name == "Python.h")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    assert sessions.compiles(choice, steps, torch.device(device)) is expected
    many = sessions.compiles(choice, steps, torch.device(device), processes=2)
    assert many is (choice == "on")
    monkeypatch.delenv("CC", raising=False)
    for owner, name, answer in (
        (importlib.util, "find_spec", None),  # triton
        (shutil, "which", None),  # a C compiler
        (pathlib.Path, "is_file", False),  # Python's headers
        (torch.cuda, "get_device_capability", (6, 1)),
    ):
        with monkeypatch.context() as lacking:
            lacking.setattr(owner, name, lambda *_, answer=answer: answer)
            found = sessions.compiles(choice, steps, torch.device(device))
            assert found is (choice == "on")


@pytest.mark.parametrize("name", methods.METHODS)
def test_a_compiled_method_computes_the_same(name, dataset, tmp_path, monkeypatch):
    """Traced as for a GPU, but run by the usual kernels."""
    compiled = []

    def compile(module):
        compiled.append(module)
        module._compiled_call_impl = torch.compile(module._call_impl, backend="eager")

    monkeypatch.setattr(torch.nn.Module, "compile", compile)
    runs = {}
    for choice in ("off", "on"):
        chosen = configure(name, compile=choice, epochs=2)
        runs[choice] = pretraining.pretrain(chosen, dataset, folder=tmp_path / choice)
    assert len(compiled) == 1
    assert_same(state(runs["on"]), state(runs["off"]))
    torch.compiler.reset()


FABRIC = lightning_fabric.Fabric
BUILD = backbones.build


def half_precision(**settings):
    """Fabric as on a GPU without bfloat16; on a CPU it offers no float16 itself."""
    del settings["precision"]
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30, growth_interval=3)
    plugin = precision.MixedPrecision("16-mixed", "cpu", scaler)
    return FABRIC(**settings | {"plugins": [*settings["plugins"], plugin]})


@pytest.mark.parametrize(
    ("optimizer", "clip"),
    [("sgd", 0.0), ("adamw", 0.0), ("lars", 0.0), ("sgd", 0.1), ("adamw", 0.1)],
)
def test_the_loss_scaler_goes_on_where_it_stopped(
    optimizer, clip, dataset, tmp_path, monkeypatch
):
    monkeypatch.setattr(lightning_fabric, "Fabric", half_precision)
    chosen = configure("byol", optimizer=optimizer, gradient_clip=clip, epochs=8)
    whole = pretraining.pretrain(chosen, dataset, folder=tmp_path / "whole")
    pretraining.pretrain(chosen, dataset, folder=tmp_path / "parts", stop_after=3)
    parts = pretraining.pretrain(chosen, dataset, folder=tmp_path / "parts")
    # Too large at first, it was lowered until gradients were finite.
    assert 1 < state(whole)["scaler"]["scale"] < 2.0**30
    assert state(whole)["optimizer"]["state"]
    assert_same(state(whole), state(parts))


def test_a_run_goes_on_in_a_precision_that_has_a_loss_scaler(
    dataset, tmp_path, monkeypatch
):
    chosen = configure("byol")
    pretraining.pretrain(chosen, dataset, folder=tmp_path, stop_after=2)
    monkeypatch.setattr(lightning_fabric, "Fabric", half_precision)
    run = pretraining.pretrain(chosen, dataset, folder=tmp_path)
    assert len(run.history) == chosen.epochs
    assert state(run)["scaler"]["scale"] > 1


def test_the_bank_is_filled_whatever_the_number_of_images(tmp_path):
    """257 = 256 + 1, and one image alone has no variance."""
    few = small.dataset().pretraining
    times = torch.arange(257) % len(few)
    dataset = dataclasses.replace(small.dataset(), pretraining=few[times])
    chosen = configure("pirl", head="mlp", epochs=1)
    session = sessions.start(chosen, dataset, devices=1, nodes=1)
    sizes = [len(index) for _, index in session.in_order()]
    assert sizes == [129, 128]
    session.method.module.start(session.in_order())
    norms = session.method.module.bank.entries.norm(dim=1)
    assert torch.allclose(norms, torch.ones(257))


@pytest.mark.parametrize("name", ["byol", "moco", "dino"])
def test_a_network_and_its_slow_copy_are_sped_up_on_a_cpu(name, dataset, monkeypatch):
    monkeypatch.setattr(backbones, "build", BUILD)
    session = sessions.start(configure(name), dataset, devices=1, nodes=1)
    layers = [m for m in session.method.modules() if isinstance(m, torch.nn.Conv2d)]
    on_cpu = session.fabric.device.type == "cpu"
    kind = small_maps.SmallMapConv2d if on_cpu else torch.nn.Conv2d
    assert [type(layer) for layer in layers] == [kind] * 40


def test_a_batch_that_processes_cannot_share_is_refused(dataset, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(ValueError, match="A batch of 16 cannot be shared equally by 3"):
        sessions.start(configure("byol", batch_size=16), dataset, devices=3, nodes=1)
