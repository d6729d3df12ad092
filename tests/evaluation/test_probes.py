"""Scores by hand, and the linear probe against scikit-learn's parts."""

import pytest
import torch
from sklearn import linear_model, model_selection

from helpers.evaluation import probes


def test_scores_by_hand():
    outputs = torch.tensor(
        [[3.0, 2, 1], [0, 5, 1], [4, 1, 5], [0.9, 0.5, 0.1], [1, 2, 3]]
    )
    scores = probes.score(outputs, torch.tensor([0, 1, 0, 2, 2]))
    assert scores.top1 == pytest.approx(60.0)
    assert scores.top5 is None
    assert scores.confusion.tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]


def test_the_first_five_count_where_there_are_more_classes():
    torch.manual_seed(0)
    outputs, labels = torch.randn(200, 8), torch.randint(0, 8, (200,))
    right = [
        label in row.argsort(descending=True)[:5]
        for row, label in zip(outputs, labels, strict=True)
    ]
    scores = probes.score(outputs, labels)
    assert scores.top5 == pytest.approx(100 * sum(right) / 200)
    share = (outputs.argmax(dim=1) == labels).float().mean().item()
    assert scores.top1 == pytest.approx(100 * share)
    assert scores.confusion.sum() == 200


def separable(count, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    noise = torch.randn(count, 6, generator=generator)
    noise[torch.arange(count), labels] += 8
    return noise * torch.tensor([1, 1, 1, 100.0, 0.01, 1]) + 5, labels


def test_the_linear_probe_separates_what_a_line_separates():
    features, labels = separable(60, seed=0)
    probe = probes.linear_probe(features, labels)
    unseen, truth = separable(90, seed=1)
    outputs = probe(unseen)
    assert outputs.shape == (90, 3)
    assert torch.allclose(outputs.sum(dim=1), torch.ones(90), atol=1e-5)
    assert probes.score(outputs, truth).top1 > 97
    assert probe.validation_top1 > 95


def test_the_linear_probe_validates_on_what_it_did_not_fit():
    """Labels that mean nothing can be learned by heart but not predicted."""
    torch.manual_seed(0)
    features, labels = torch.randn(60, 300), torch.arange(60) % 2
    probe = probes.linear_probe(features, labels)
    assert probe.validation_top1 < 75
    assert probes.score(probe(features), labels).top1 > 90


def test_one_label_a_class_is_too_few_for_a_linear_probe():
    with pytest.raises(ValueError, match="needs two labelled images of every class"):
        probes.linear_probe(torch.randn(4, 6), torch.tensor([0, 1, 1, 2]))


def test_the_linear_probe_weighs_all_features_alike():
    """Their units do not matter."""
    features, labels = separable(60, seed=0)
    units = torch.tensor([1e-3, 1e3, 1.0, 50.0, 1e-2, 7.0])
    one = probes.linear_probe(features, labels)
    other = probes.linear_probe(features * units, labels)
    difference = one(features) - other(features * units)
    assert difference.abs().max() < 1e-2


def test_the_linear_probe_takes_the_penalty_that_validates_best():
    """Every penalty scored by hand on the same folds."""
    features, labels = separable(60, seed=2)
    features = features + 40 * torch.randn(60, 6, generator=torch.manual_seed(0))
    one, two = (probes.linear_probe(features, labels, seed=4) for _ in range(2))
    assert torch.equal(one(features), two(features))
    folds = model_selection.StratifiedKFold(5, shuffle=True, random_state=4)
    scores = {}
    for strength in (1e-4, 1e-3, 1e-2, 1e-1):
        layer = linear_model.LogisticRegression(C=strength, max_iter=200, tol=1e-3)
        right = []
        for kept, held in folds.split(features, labels):
            mean, std = features[kept].mean(dim=0), features[kept].std(dim=0)
            layer.fit((features[kept] - mean) / std, labels[kept])
            right.append(layer.score((features[held] - mean) / std, labels[held]))
        scores[strength] = 100 * sum(right) / 5
    assert len(set(scores.values())) > 1
    assert one.validation_top1 == pytest.approx(max(scores.values()), abs=2)
    assert scores[one.classifier[-1].C] == pytest.approx(max(scores.values()), abs=2)
