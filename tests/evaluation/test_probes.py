"""Scores by hand, and the linear probe against scikit-learn's parts."""

import math

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
            std, mean = torch.std_mean(features[kept], dim=0, correction=0)
            layer.fit((features[kept] - mean) / std, labels[kept])
            right.append(layer.score((features[held] - mean) / std, labels[held]))
        scores[strength] = 100 * sum(right) / 5
    assert len(set(scores.values())) > 1
    assert one.validation_top1 == pytest.approx(max(scores.values()))
    assert one.classifier[-1].C == max(scores, key=scores.get)


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
    assert "always answering 'healthy' would score 95.0 %" in said
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


@pytest.mark.parametrize("label", [3, -1])
def test_a_test_label_that_training_had_not_is_a_sentence(label):
    labels = torch.tensor([0, 1, 2, label])
    with pytest.raises(ValueError, match=f"1 test images .* number {label} of 3: give"):
        probes.score(torch.rand(4, 3), labels)


def test_what_the_probe_chooses_among_and_how_it_is_solved(monkeypatch):
    asked = []

    class Watching(model_selection.GridSearchCV):
        def fit(self, *data):
            strengths = self.param_grid["logisticregression__C"]
            asked.append((strengths, self.cv.n_splits, self.cv.shuffle))
            return super().fit(*data)

    monkeypatch.setattr(model_selection, "GridSearchCV", Watching)
    features, labels = separable(60, seed=0)
    layer = probes.linear_probe(features, labels).classifier[-1]
    assert asked == [([1e-4, 1e-3, 1e-2, 1e-1], 5, True)]
    assert (layer.max_iter, layer.tol) == (200, 1e-3)
    given = probes.linear_probe(features[:3], labels[:3], inverse_penalty=0.02)
    assert given.classifier[-1].C == 0.02
    assert math.isnan(given.validation_top1)


@pytest.mark.parametrize("classes", [5, 6])
def test_top5_begins_with_six_classes(classes):
    found = probes.score(torch.eye(classes), torch.arange(classes))
    assert found.top5 == (None if classes == 5 else 100)


def test_a_class_without_a_vote_is_not_among_the_first_five():
    votes = torch.zeros(1, 8)
    votes[0, 3] = 1
    assert probes.score(votes, torch.tensor([3])).top5 == 100
    assert probes.score(votes, torch.tensor([0])).top5 == 0


def test_outputs_that_are_no_numbers_are_not_scored():
    outputs = torch.eye(3)
    outputs[1, 2] = torch.nan
    with pytest.raises(FloatingPointError, match="outputs are NaN: train it again"):
        probes.score(outputs, torch.arange(3))
