"""How good is a backbone? Against naive re-derivations, and nothing moves."""

import math

import pytest
import small
import torch
from sklearn import linear_model, model_selection
from torch import nn

from helpers import hardware, views
from helpers.data.dataset import Split
from helpers.evaluation import probes
from helpers.models import encoding, nearest_neighbors
from helpers.training import gauges


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


def backbone():
    torch.manual_seed(0)
    network = small.backbone()
    for _ in range(3):  # statistics that are not those of any batch below
        network(torch.randn(8, 3, 20, 20))
    return network


@pytest.mark.parametrize("training", [True, False])
def test_encoding_leaves_the_backbone_as_it_was(training):
    network = backbone().train(training)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    features = encoding.encode(network, small.images(10), image_size=20)
    assert network.training is training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not features.requires_grad
    assert features.dtype == torch.float32
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


def test_encoding_sees_whole_normalised_images_in_batches(monkeypatch):
    monkeypatch.setattr(hardware, "precision", lambda: "32-true")
    network, images = backbone().eval(), small.images(23)
    made = encoding.encode(network, images, image_size=20, batch_size=7)
    with torch.no_grad():
        expected = network(views.whole_view(images, 20))
    assert made.shape == (23, 16)
    assert torch.allclose(made, expected, atol=1e-5)


def naive_votes(features, labels, query, k, temperature, skip=None):
    """The weighted votes for one query, one neighbour at a time."""

    def cosine(a, b):
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.hypot(*a) / math.hypot(*b)

    scored = [
        (cosine(feature, query), label)
        for number, (feature, label) in enumerate(zip(features, labels, strict=True))
        if number != skip
    ]
    votes = [0.0] * (max(labels) + 1)
    for similarity, label in sorted(scored, reverse=True)[:k]:
        votes[label] += math.exp(similarity / temperature)
    return votes


@pytest.mark.parametrize("leave_one_out", [False, True])
@pytest.mark.parametrize("k", [1, 5, 400])
def test_knn_equals_a_naive_loop(k, leave_one_out):
    torch.manual_seed(0)
    features, labels = torch.randn(30, 4).double(), torch.arange(30) % 3
    queries = features if leave_one_out else torch.randn(9, 4).double()
    made = nearest_neighbors.classify(
        features.float(),
        labels,
        queries.float(),
        k=k,
        temperature=0.5,
        leave_one_out=leave_one_out,
    )
    for number, query in enumerate(queries.tolist()):
        skip = number if leave_one_out else None
        expected = naive_votes(features.tolist(), labels.tolist(), query, k, 0.5, skip)
        assert made[number].tolist() == pytest.approx(expected, rel=1e-4)


def test_nobody_is_a_neighbour_of_itself_when_left_out():
    """Beyond the first chunk of queries too."""
    torch.manual_seed(0)
    features, labels = torch.randn(1_500, 64), torch.arange(1_500)
    own = nearest_neighbors.classify(features, labels, features, k=1).argmax(dim=1)
    assert torch.equal(own, labels)
    others = nearest_neighbors.classify(
        features, labels, features, k=1, leave_one_out=True
    )
    assert (others.argmax(dim=1) != labels).all()


def test_neighbours_are_the_most_similar_others():
    torch.manual_seed(0)
    features = torch.randn(12, 5)
    found = nearest_neighbors.find(features, k=3)
    for number in range(12):
        alike = torch.cosine_similarity(features[number], features)
        others = [n for n in alike.argsort(descending=True).tolist() if n != number]
        assert found[number].tolist() == others[:3]
    assert nearest_neighbors.find(features, k=50).shape == (12, 11)


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


def test_the_monitor_is_the_share_in_percent():
    class Brightest(nn.Module):
        """Features are the mean colours: classes of the small set are far apart."""

        def forward(self, images):
            return images.mean(dim=(2, 3))

    labelled = small.split(30, seed=0)
    found = nearest_neighbors.accuracy(Brightest(), labelled, image_size=20)
    assert found == 100.0
    labels = torch.arange(30) // 3 % 3  # nothing to do with the colours
    wrong = Split(labelled.images, labels)
    assert 10 < nearest_neighbors.accuracy(Brightest(), wrong, image_size=20) < 60


def test_the_monitor_encodes_no_more_than_it_may(monkeypatch):
    seen = []

    def encode(_, images, *, image_size):
        seen.append(len(images))
        return torch.randn(len(images), 4)

    monkeypatch.setattr(encoding, "encode", encode)
    for most in (10, 29, 30, 1_000):
        nearest_neighbors.accuracy(
            nn.Identity(), small.split(30, seed=0), image_size=8, max_images=most
        )
    assert seen == [10, 15, 30, 30]


def test_the_spread_is_one_for_noise_and_nothing_for_a_collapse():
    torch.manual_seed(0)
    assert gauges.spread(torch.randn(2_000, 64)).item() == pytest.approx(1, abs=0.02)
    same = torch.randn(1, 64).expand(50, -1)
    assert gauges.spread(same).item() < 1e-5
    lengths = torch.rand(50, 1) + 0.5  # directions count, lengths do not
    assert gauges.spread(same * lengths).item() < 1e-5
