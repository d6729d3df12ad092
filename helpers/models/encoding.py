"""Features of a frozen backbone, and outputs of any frozen network.

Frozen means no gradients and ``eval()``, so that BatchNorm keeps its statistics. Images
are normalised as in pre-training.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from helpers import hardware, views
from helpers.data import streaming
from helpers.models import heads, small_maps

TOGETHER = 50  # batches whose outputs leave the GPU at once: it need not hold all


@torch.no_grad()
def outputs(
    network: nn.Module,
    images: streaming.Images,
    *,
    image_size: int,
    batch_size: int = 256,
) -> Tensor:
    """Compute the outputs of a frozen network for whole images, batch by batch.

    Args:
        network: maps (B, 3, S, S) to (B, D); moved to the device, left in the mode
            (training or evaluation) it was in.
        images: uint8 (N, 3, H, W), on any device or in files.
        image_size: side S in pixels to which the images are resized.
        batch_size: images per batch.

    Returns:
        float32 (N, D) on the CPU: a backbone's features, or a classifier's logits.

    Raises:
        ValueError: when there are NaN or infinities among them.
    """
    device = hardware.device()
    if device.type == "cpu":
        small_maps.speed_up(network)
    was_training = network.training
    hardware.to_device(network).eval()
    # The head computes in float32: in bfloat16 many logits would be equal.
    is_classifier = isinstance(network, heads.Classifier)
    body = network.backbone if is_classifier else network

    def batches() -> Iterator[Tensor]:
        index = torch.arange(len(images)).split(batch_size)
        for batch, _ in streaming.batches(images, index, device):
            view = views.whole_view(batch, image_size)  # (B, 3, S, S)
            with hardware.autocast():
                found = body(view)  # (B, D)
            found = found.float()
            yield network.classify(found) if is_classifier else found

    parts, made = [], batches()
    while some := [*itertools.islice(made, TOGETHER)]:
        parts.append(torch.cat(some).cpu())
    network.train(was_training)
    found = torch.cat(parts)
    if not found.isfinite().all():
        raise ValueError(
            "The network's outputs are NaN or infinite; its training has probably "
            "diverged. Use other weights."
        )
    return found


def encode(backbone: nn.Module, images: streaming.Images, *, image_size: int) -> Tensor:
    """Features (N, D) of whole images under a frozen backbone; see ``outputs``."""
    return outputs(backbone, images, image_size=image_size)
