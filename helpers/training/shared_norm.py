"""BatchNorm over the batch of all processes, on CPUs, where PyTorch has none."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules import batchnorm

from helpers.methods import memory


class SharedBatchNorm(batchnorm._BatchNorm):
    """BatchNorm that normalises, in training, by the whole batch of all processes.

    Every process holds an equal share of the batch. Means and variances of the shares
    are gathered, and gradients flow back through them to the process they came from,
    as in PyTorch's SyncBatchNorm for GPUs.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Whatever the layer that this one replaces takes: (B, C) or (B, C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, ...) by channel; the shape stays."""
        if not self.training:
            return super().forward(input)
        x = input.float()
        dims = [dim for dim in range(x.ndim) if dim != 1]
        var, mean = torch.var_mean(x, dims, correction=0)  # (C,) each, of this share
        shares = memory.gather(torch.stack([mean, var])[None])  # (processes, 2, C)
        means, variances = shares.unbind(dim=1)  # (processes, C) each
        mean = means.mean(dim=0)  # (C,), of the whole batch
        var = (variances + (means - mean).square()).mean(dim=0)
        self._follow(mean.detach(), var.detach(), len(shares) * x.numel() // len(mean))
        form = [1, -1] + [1] * (x.ndim - 2)
        x = (x - mean.view(form)) * (var + self.eps).rsqrt().view(form)
        if self.affine:
            x = x * self.weight.view(form) + self.bias.view(form)
        return x.to(input.dtype)

    def _follow(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Move the running statistics, by the variance of a sample of ``count``."""
        if self.track_running_stats:
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * count / max(1, count - 1), self.momentum)


def convert(network: nn.Module) -> nn.Module:
    """Replace every BatchNorm inside a network; names and weights stay as they are."""
    replaced: dict[int, SharedBatchNorm] = {}
    for parent in list(network.modules()):
        for name, layer in list(parent._modules.items()):  # all names of a layer
            if isinstance(layer, batchnorm._BatchNorm):
                if id(layer) not in replaced:
                    replaced[id(layer)] = _shared(layer)
                setattr(parent, name, replaced[id(layer)])
    return network


def _shared(layer: batchnorm._BatchNorm) -> SharedBatchNorm:
    """A layer with the very parameters and buffers of another one."""
    shared = SharedBatchNorm(
        layer.num_features,
        layer.eps,
        layer.momentum,
        layer.affine,
        layer.track_running_stats,
    )
    shared.weight, shared.bias = layer.weight, layer.bias
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        setattr(shared, name, getattr(layer, name))
    return shared.train(layer.training)
