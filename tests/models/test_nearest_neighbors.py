"""k-NN equals a naive loop, and its accuracy is that of the training labels."""

import math

import pytest
import small
import torch
from torch import nn

from helpers.data.dataset import Split
from helpers.models import encoding, nearest_neighbors


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


def test_the_accuracy_is_the_share_in_percent():
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


def test_the_accuracy_encodes_no_more_images_than_it_may(monkeypatch):
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


def test_the_accuracy_lets_no_image_vote_for_itself(monkeypatch):
    """Its own vote would outweigh those of 19 strangers."""
    features = torch.randn(60, 512, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(encoding, "encode", lambda *_, **__: features)
    labelled = small.split(60, seed=0)
    found = nearest_neighbors.accuracy(nn.Identity(), labelled, image_size=8)
    assert found < 60


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (7, 7), (8, 4), (25, 7)])
def test_a_sample_is_spread_evenly(count, expected):
    images = torch.zeros(count, 3, 8, 8, dtype=torch.uint8)
    labelled = Split(images, torch.arange(count))
    found = nearest_neighbors.evenly_spaced(labelled, 7)
    assert len(found) == expected
    assert found.labels.diff().unique().numel() <= 1


@pytest.mark.parametrize(
    ("labels", "is_informative"),
    [
        *(([], False), ([0, 0, 0], False), ([2, 1, 0], False), ([0, 1, 1], True)),
        *(([-1, -1], False), ([0, 0, -1], False)),
    ],
)
def test_labels_that_allow_one_answer_alone_are_known(labels, is_informative):
    found = torch.tensor(labels, dtype=torch.int64)
    assert nearest_neighbors.is_informative(found) == is_informative
