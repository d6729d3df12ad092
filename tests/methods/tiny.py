"""Methods on tiny networks, the loss of a batch, and plain numbers to check it by."""

import math

import small
import torch
from torch.nn import functional

from helpers import methods
from helpers.training import settings
from helpers.views.randomness import StepRandom

SETTINGS = {"hidden_dim": 32, "output_dim": 16, "size": 20}
INDEX = torch.arange(6)
NONE = torch.full((6,), -1)  # labels of six images that have none


def create(name, count=48, recipe="minutes", **changes):
    """A method with a tiny backbone and narrow heads, in training mode."""
    torch.manual_seed(0)
    options = settings.configure(name, recipe, **SETTINGS | changes).options
    return methods.get(name)(small.backbone(), count, options).train()


def views(method, images, step=0):
    """The views of some images at a step."""
    return method.views(images, StepRandom(0, step, len(images)))


def batch(method, images, step=0, index=None):
    """The loss of one step on some images."""
    index = torch.arange(len(images)) if index is None else index
    labels = torch.full((len(images),), -1)
    return method(views(method, images, step), index, labels)


def rows(features):
    """Rows of norm 1, as plain numbers."""
    return functional.normalize(features.detach().double(), dim=1)


def log_softmax(scores):
    """One list of plain numbers, in float64."""
    total = sum(math.exp(score) for score in scores)
    return [score - math.log(total) for score in scores]


def move(network):
    """Give a network other weights."""
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))


def projections(method, views):
    """What a method's projection head makes of views, in float64."""
    z = [method.projection_head(method.backbone(view)) for view in views]
    return [one.detach().double() for one in z]
