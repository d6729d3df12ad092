"""What a process holds while it trains: sizes, compiled networks, a loss scaler."""

import importlib.util

import lightning_fabric
import pytest
import torch
from lightning_fabric.plugins import precision
from test_pretraining import assert_same, configure, state

from helpers import methods, pretraining, sessions

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
    assert sessions.compiles(choice, steps, torch.device(device)) is expected
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert sessions.compiles(choice, steps, torch.device(device)) is (choice == "on")


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


def half_precision(**settings):
    """Fabric as on a GPU without bfloat16; on a CPU it offers no float16 itself."""
    del settings["precision"]
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30, growth_interval=3)
    plugin = precision.MixedPrecision("16-mixed", "cpu", scaler)
    return FABRIC(**settings, plugins=plugin)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lars"])
def test_the_loss_scaler_goes_on_where_it_stopped(
    optimizer, dataset, tmp_path, monkeypatch
):
    monkeypatch.setattr(lightning_fabric, "Fabric", half_precision)
    chosen = configure("byol", optimizer=optimizer, epochs=8)
    whole = pretraining.pretrain(chosen, dataset, folder=tmp_path / "whole")
    pretraining.pretrain(chosen, dataset, folder=tmp_path / "parts", stop_after=3)
    parts = pretraining.pretrain(chosen, dataset, folder=tmp_path / "parts")
    # Too large at first, it was lowered until gradients were finite.
    assert 1 < state(whole)["scaler"]["scale"] < 2.0**30
    assert state(whole)["optimizer"]["state"]
    assert_same(state(whole), state(parts))
