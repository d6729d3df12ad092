"""Scores of unbalanced data, and the probe as a head."""

import math

import pytest
import torch

from helpers.evaluation import probes


def scores(right, wrong):
    """Of two classes, with these numbers of images found and not found."""
    labels = torch.tensor([0] * (right[0] + wrong[0]) + [1] * (right[1] + wrong[1]))
    said = [0] * right[0] + [1] * wrong[0] + [1] * right[1] + [0] * wrong[1]
    return probes.score(torch.eye(2)[said], labels)


def test_always_naming_the_largest_class_is_half_right_when_classes_count_the_same():
    found = scores(right=(38, 0), wrong=(0, 2))
    assert found.top1 == pytest.approx(95)
    assert found.balanced == pytest.approx(50)
    assert found.largest_share == pytest.approx(95)
    assert found.per_class == (100, 0)
    assert found.is_unbalanced
    said = found.describe(["healthy", "ill"])
    assert "95.0 % of the test images are right, 50.0 % if every class" in said
    assert "always saying 'healthy' would be right for 95.0 %" in said
    assert said.endswith("healthy 100.0 %, ill 0.0 %.")


def test_of_balanced_classes_accuracy_is_balanced_accuracy():
    found = scores(right=(6, 9), wrong=(4, 1))
    assert not found.is_unbalanced
    assert found.balanced == pytest.approx(found.top1) == pytest.approx(75)


def test_a_class_without_test_images_counts_for_nothing():
    found = probes.score(torch.eye(3)[[0, 0]], torch.tensor([0, 1]))
    assert found.balanced == pytest.approx(50)
    assert math.isnan(found.per_class[2])
    assert "c" not in found.describe(["a", "b", "c"]).partition("Found of")[2][11:]


@pytest.mark.parametrize("classes", [2, 3])
def test_the_probe_as_a_head_gives_its_probabilities(classes):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % classes
    features = torch.randn(60, 8, generator=generator) * 5 + 3
    features[torch.arange(60), labels] += 4
    features[:, 7] = 2.0  # never varies
    probe = probes.linear_probe(features, labels)
    queries = torch.randn(20, 8, generator=generator)
    found = probe.head()(queries).softmax(dim=1)
    assert found.shape == (20, classes)
    assert torch.allclose(found, probe(queries), atol=1e-5)
