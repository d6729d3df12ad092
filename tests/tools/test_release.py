"""Releasing a backbone: halved, only for a better one, cards with what was measured."""

import pathlib

import pytest
import safetensors.torch
import torch

from helpers.evaluation import records, results
from helpers.models import weight_files
from tools import release

PROJECT = pathlib.Path(release.__file__).parents[1]
ABOUT = {"backbone": "resnet18", "stem": "imagenet", "method": "pirl", "knn": 50.0}
ABOUT |= {"data": "imagenette", "epochs_done": 6, "evaluation_size": 56}


@pytest.fixture
def backbone(tmp_path, small_backbone):
    """Write a backbone file with changes of its metadata."""
    (tmp_path / "released").mkdir()
    (tmp_path / "released" / release.PAGE).write_text(
        "<!-- weights --><!-- /weights -->"
    )

    def write(**changes):
        network = small_backbone()
        about = {k: v for k, v in (ABOUT | changes).items() if v is not None}
        weight_files.save_backbone(tmp_path / "b.safetensors", network, about)
        return tmp_path / "b.safetensors"

    return write


def test_a_released_backbone_is_half_as_large_and_nearly_the_same(backbone):
    source = backbone()
    target = release.release(source)
    assert target == weight_files.RELEASED / "pirl.safetensors"
    whole, halved = map(safetensors.torch.load_file, (source, target))
    for name, tensor in whole.items():
        assert halved[name].dtype == (
            torch.float16 if tensor.is_floating_point() else tensor.dtype
        )
        torch.testing.assert_close(
            halved[name].to(tensor), tensor, rtol=1e-3, atol=1e-6
        )
    loaded, about = weight_files.load_backbone(target)
    assert next(loaded.parameters()).dtype == torch.float32
    assert about == ABOUT | {"dtype": "float16"}
    assert [file for file, _ in weight_files.released()] == [target]


def test_only_a_better_one_takes_the_place(backbone, capsys):
    release.release(backbone())
    for knn in (50.0, 40.0):
        assert release.main(backbone(knn=knn)) == 1
        said = capsys.readouterr().err
        assert "pirl.safetensors stays: its k-NN accuracy is 50.0 %" in said
        assert f"that of the other {knn} %" in said
    assert release.main(backbone(data="stl10", knn=90.0)) == 1
    assert "has learned from imagenette" in capsys.readouterr().err
    assert release.main(backbone(knn=51.0)) == 0
    ((_, about),) = weight_files.released()
    assert about["knn"] == 51


@pytest.mark.parametrize("missing", release.NEEDED)
def test_what_cannot_be_described_is_not_released(backbone, missing, capsys):
    source = backbone(**{missing: None})
    assert release.main(source) == 1
    assert f"does not say its {missing}: release" in capsys.readouterr().err
    assert not weight_files.released()


@pytest.mark.parametrize("about", [{"method": "supcon"}, {"init": "imagenet"}])
def test_what_has_learned_from_labels_is_not_released(backbone, about, capsys):
    assert release.main(backbone(**about)) == 1
    assert "has not learned without labels" in capsys.readouterr().err


def test_images_of_unknown_terms_need_a_sentence(backbone, capsys):
    source = backbone(data="folder:pets")
    assert release.main(source) == 1
    assert "say with --licence what may be done" in capsys.readouterr().err
    assert release.main(source, "The pictures are mine: CC0.") == 0
    card = weight_files.RELEASED / "pirl.md"
    assert "The pictures are mine: CC0." in card.read_text()


@pytest.mark.parametrize("is_half", [False, True])
def test_what_is_too_large_is_not_released(backbone, is_half, monkeypatch, capsys):
    source = backbone()
    if is_half:
        weight_files.save_half(source, source)
    monkeypatch.setattr(release, "LARGEST", release.release(source).stat().st_size - 1)
    (weight_files.RELEASED / "pirl.safetensors").unlink()
    assert release.main(source) == 1
    assert "is too large to be released" in capsys.readouterr().err
    assert not weight_files.released()


def test_the_card_has_the_accuracies_of_these_weights_alone(backbone, tmp_path):
    file = release.release(backbone())
    digest = records.weights(weight_files.load_backbone(file)[0])
    shown = tmp_path / "records"
    for weights, top1, epochs in (
        (digest, 61.25, 0),
        (digest, 70.0, 30),
        (digest, 80.0, 100),
        ("another", 12.5, 0),
    ):
        shaped = records.conditions(
            method="PIRL",
            protocol="k-NN",
            data="imagenette",
            labels=9469,
            seeds=1,
            about=ABOUT,
            weights=weights,
            settings={"epochs": epochs} if epochs else {},
        )
        results.save(records.finished(shaped, top1=[top1], minutes=1), shown)
    release.write_cards(shown)
    card = file.with_suffix(".md").read_text()
    assert "| k-NN, 9,469 labels of imagenette | 61.2 (n = 1) |" in card
    assert "| k-NN, 9,469 labels of imagenette, 30 epochs | 70.0 (n = 1) |" in card
    assert "| k-NN, 9,469 labels of imagenette, 100 epochs | 80.0 (n = 1) |" in card
    assert "12.5" not in card
    assert "images (B, 3, 56, 56) to features" in card
    assert "ImageNet, whose terms" in card
    row = "| [pirl.safetensors](pirl.safetensors) | pirl | imagenette | 6 | 50.0 |"
    assert row in (file.parent / release.PAGE).read_text()

    # The card chooses none of two: that would be a choice by test images.
    shaped["settings"] |= {"learning_rate": 0.1}
    shaped["weights"] = digest
    for top1, epochs in ((81.0, 100), (20.0, 30)):
        shaped["settings"]["epochs"] = epochs
        results.save(records.finished(shaped, top1=[top1], minutes=1), shown)
    with pytest.raises(ValueError, match=r"several records of pirl.safetensors for k-"):
        release.write_cards(shown)


def test_what_is_released_is_small_and_its_cards_are_true(monkeypatch):
    """Those that lie in the project, not a test's."""
    monkeypatch.setattr(weight_files, "RELEASED", PROJECT / "weights")
    found = weight_files.released()
    assert {file for file, _ in found} == set((PROJECT / "weights").glob("*.safet*"))
    page = (PROJECT / "weights" / release.PAGE).read_text("utf-8")
    for file, about in found:
        assert file.stat().st_size <= release.LARGEST
        assert about["dtype"] == "float16"
        card = release.card_of(file, about, PROJECT / "results")
        assert card == file.with_suffix(".md").read_text("utf-8")
        assert f"({file.name}) | {about['method']} | {about['data']} |" in page
    assert page.count("safetensors)") == len(found)
