"""Features of a frozen backbone.

Frozen means no gradients and ``eval()``, so that BatchNorm keeps its statistics. Images
are normalised as in pre-training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from helpers import hardware, views
from helpers.data import streaming


@torch.no_grad()
def encode(
    backbone: nn.Module,
    images: streaming.Images,
    *,
    image_size: int,
    batch_size: int = 256,
) -> Tensor:
    """Features of whole images under a frozen backbone.

    Args:
        backbone: maps (B, 3, S, S) to (B, D); left in the mode it came in.
        images: uint8 (N, 3, H, W), on any device or in files.
        image_size: side S the images are resized to.
        batch_size: images at a time.

    Returns:
        float32 (N, D) on the CPU.
    """
    was_training = backbone.training
    hardware.to_device(backbone).eval()
    features = []
    numbers = torch.arange(len(images)).split(batch_size)
    for some, _ in streaming.batches(images, numbers, hardware.device()):
        view = views.whole_view(some, image_size)
        with hardware.autocast():
            features.append(backbone(view).float())
    backbone.train(was_training)
    return torch.cat(features).cpu()
