"""The images that the tests of methods share."""

import pytest


@pytest.fixture
def images(dataset):
    return dataset.pretraining.images[:6]
