"""Pre-training that starts from the weights of a file, from a shell."""

import pathlib
import re

import pytest
import safetensors.torch
import small
import torch
import torchvision

from helpers import data
from helpers.models import backbones, weight_files

SHORT = "--epochs 1 --batch-size 16 --precision 32-true --size 20"
STILL = f"{SHORT} --learning-rate 0 --final-factor 0"


@pytest.fixture
def first(dataset, run, monkeypatch):
    """Path of the backbone of a first run."""
    monkeypatch.setitem(data.SOURCES, "demo", small.source(lambda root: dataset))
    printed = run(f"pretrain simclr {SHORT}")[1]
    return printed.split("The backbone is ")[1].split(";")[0]


@pytest.mark.usefixtures("small_backbone")
def test_a_run_starts_from_the_backbone_of_another(first, run, tmp_path):
    status, printed, error = run(f"pretrain byol {STILL} --init {first}")
    assert status == 0, error
    made = printed.split("The backbone is ")[1].split(";")[0]
    weights, start = map(safetensors.torch.load_file, (made, first))
    for name, tensor in start.items():
        if "running" not in name and "tracked" not in name:  # the rate was 0
            assert torch.equal(weights[name], tensor), name
    about = weight_files.read_about(pathlib.Path(made))
    assert about["init"] == weight_files.identify(first)
    assert "byol from simclr " in run("list")[1]
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(open(first, "rb").read())
    status, printed, _ = run(f"pretrain byol {STILL} --init={moved}")
    assert made in printed  # the same weights: the same run
    weights["0.weight"] += 1
    network = backbones.build()
    network.load_state_dict(weights)
    weight_files.save_backbone(moved, network, weight_files.read_about(moved))
    status, printed, _ = run(f"pretrain byol {STILL} --init={moved}")
    assert made not in printed


@pytest.mark.usefixtures("small_backbone")
@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (
            "--init nowhere",
            "Unknown weights 'nowhere': choose one of random, imagenet,",
        ),
        (
            "--init FIRST --backbone resnet50",
            "it has --backbone resnet18 .* --backbone",
        ),
        ("--init FIRST --norm group", "it has --backbone resnet18 .* --norm group was"),
    ],
)
def test_initial_weights_of_another_network_are_refused(line, complaint, first, run):
    status, _, error = run(f"pretrain byol {SHORT} {line.replace('FIRST', first)}")
    assert status == 2
    words = " ".join(error.replace("│", " ").split())
    assert re.search(complaint, words), words


def test_another_projects_checkpoint_is_converted_first(
    dataset, run, tmp_path, monkeypatch
):
    monkeypatch.setitem(data.SOURCES, "demo", small.source(lambda root: dataset))
    torch.manual_seed(0)
    network = torchvision.models.resnet18()
    state = {f"module.encoder_q.{k}": v for k, v in network.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "moco.pth")
    line = f"pretrain simclr {STILL} --recipe long --init {tmp_path}/moco.pth"
    status, printed, error = run(line)
    assert status == 0, error
    assert "under 'state_dict.module.encoder_q.'" in printed
    made = printed.split("The backbone is ")[1].split(";")[0]
    weights = safetensors.torch.load_file(made)
    assert torch.equal(weights["conv1.weight"], network.conv1.weight)
    assert weight_files.read_about(pathlib.Path(made))["stem"] == "imagenet"


@pytest.mark.parametrize("prefix", ["module.encoder_q.", ""])
def test_a_side_that_a_checkpoint_does_not_tell_is_said(prefix, run, tmp_path):
    state = torchvision.models.resnet18().state_dict()
    path = tmp_path / "other.pth"
    torch.save({prefix + name: value for name, value in state.items()}, path)
    status, printed, _ = run(f"convert --path {path} --folder {tmp_path}")
    assert status == 0
    # Plain names are torchvision's, whose weights are for 224 px.
    assert ("The side of its images is not known" in printed) == bool(prefix)
