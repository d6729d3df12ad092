r"""Convolutions that are faster on a CPU when their feature map is very small.

A 3 x 3 kernel with padding 1 overlaps a 2 x 2 map with only four of its nine weights,
and a 1 x 1 map with a single one. Libraries multiply the other weights by the zeros of
the padding. Here the result at every position o is one matrix product, of the part of
the map under the kernel with the weights that overlap it,

    y_o = W_o · x_o,   ∂x_o += W_oᵀ · ∂y_o,   ∂W_o += ∂y_o · x_oᵀ

where x_o holds the (C · rows · columns) values of that part. Patches of 20 or 24 px and
images of 40 to 64 px end in such maps; `python -m benchmarks.story` measures the gain.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


def speed_up(network: nn.Module) -> None:
    """Replace convolutions by equivalents that are faster on a CPU for small maps.

    They are faster when the result has at most 2 x 2 positions, and are torch's own
    otherwise. Weights and names do not change, so that optimizers and files fit before
    and after. Calling it again changes nothing. As with ``SyncBatchNorm``, hooks of
    replaced convolutions are not kept.

    Args:
        network: changed in place. Convolutions in groups, dilated ones and those whose
            padding is not a number of zeros stay as they are.
    """
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Conv2d and _is_plain(child):
                setattr(parent, name, _as(SmallMapConv2d, child))


def undo(network: nn.Module) -> None:
    """Put torch's own convolutions back, in place, with the same weights."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is SmallMapConv2d:
                setattr(parent, name, _as(nn.Conv2d, child))


class SmallMapConv2d(nn.Conv2d):
    """``nn.Conv2d`` for CPUs, faster where its result has at most 2 x 2 positions."""

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, C', H', W')."""
        size = self._result_size(maps)
        # With a 1 x 1 kernel and several positions torch uses a matrix product, too.
        few = 0 < math.prod(size) <= min(4, math.prod(self.kernel_size))
        if not few or maps.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(maps)
        if torch.is_autocast_enabled("cpu"):
            maps = maps.to(torch.get_autocast_dtype("cpu"))
        result = _ByPosition.apply(maps, self.weight, size, self.stride, self.padding)
        return result if self.bias is None else result + self.bias[:, None, None]

    def _result_size(self, maps: Tensor) -> tuple[int, int]:
        shape = zip(
            maps.shape[-2:], self.padding, self.kernel_size, self.stride, strict=True
        )
        height, width = (
            max(0, (side + 2 * padding - kernel) // stride + 1)
            for side, padding, kernel, stride in shape
        )
        return height, width


def _as(kind: type[nn.Conv2d], other: nn.Conv2d) -> nn.Conv2d:
    """Make a convolution of another kind that shares the weights of ``other``."""
    made = kind(
        other.in_channels,
        other.out_channels,
        other.kernel_size,
        other.stride,
        other.padding,
        bias=other.bias is not None,
        device="meta",  # no weights of its own, and no random numbers for them
    )
    made.weight, made.bias = other.weight, other.bias
    return made.train(other.training)


class _ByPosition(torch.autograd.Function):
    """The convolution with one matrix product per position; gradients likewise."""

    @staticmethod
    def forward(
        ctx: Any,
        maps: Tensor,
        weight: Tensor,
        size: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> Tensor:
        """Maps (B, C, H, W) and weights (C', C, h, w) to (B, C', *size)."""
        shapes = maps.shape[-2:], weight.shape[-2:]
        ctx.windows = list(_windows(*shapes, size, stride, padding))
        ctx.weight_dtype = weight.dtype
        weight = weight.to(maps.dtype)
        ctx.save_for_backward(maps, weight)
        result = maps.new_empty(len(maps), *size, len(weight)).permute(0, 3, 1, 2)
        for position, part, overlap in ctx.windows:
            result[position] = _rows(maps[part]) @ _rows(weight[overlap]).T  # (B, C')
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """∂x and ∂W; ∂W is summed in the precision of the weights themselves."""
        maps, weight = ctx.saved_tensors
        of_maps = torch.zeros_like(maps)
        of_weight = torch.zeros_like(weight, dtype=ctx.weight_dtype)
        for position, part, overlap in ctx.windows:
            here = gradient[position]  # (B, C')
            _add(of_maps[part], here @ _rows(weight[overlap]))
            _add(of_weight[overlap], here.T @ _rows(maps[part]))
        return of_maps, of_weight, None, None, None


def _is_plain(convolution: nn.Conv2d) -> bool:
    """Whether it has no groups, no dilation, and a number of zeros as padding."""
    zeros = convolution.padding_mode == "zeros"
    zeros = zeros and not isinstance(convolution.padding, str)
    return zeros and convolution.groups == 1 and convolution.dilation == (1, 1)


def _rows(values: Tensor) -> Tensor:
    """(N, C, h, w) as (N, h·w·C): the order of channels-last memory."""
    return values.permute(0, 2, 3, 1).flatten(1)


def _add(values: Tensor, rows: Tensor) -> None:
    """Add rows (N, h·w·C), in the order of ``_rows``, to values (N, C, h, w)."""
    target = values.permute(0, 2, 3, 1)
    target += rows.view(target.shape)


def _windows(
    side: tuple[int, ...],
    kernel: tuple[int, ...],
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Iterator[tuple[Any, Any, Any]]:
    """Indices of each position, the part of the map under it, the overlapping weights.

    Sides are (height, width) of the map, the kernel and the result.
    """
    vertical, horizontal = (
        [
            _overlap(step * stride[axis] - padding[axis], kernel[axis], side[axis])
            for step in range(size[axis])
        ]
        for axis in (0, 1)
    )
    for y, (rows, up) in enumerate(vertical):
        for x, (columns, across) in enumerate(horizontal):
            yield (..., y, x), (..., rows, columns), (..., up, across)


def _overlap(start: int, length: int, side: int) -> tuple[slice, slice]:
    """Where a kernel that begins at ``start`` overlaps the map: in map, in kernel."""
    first, last = max(start, 0), min(start + length, side)
    return slice(first, last), slice(first - start, last - start)
