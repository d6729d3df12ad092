r"""Convolutions of maps that are hardly larger than a place, on a CPU.

A kernel of 3 x 3 meets a map of 2 x 2 with four of its nine weights at every place, and
a map of one place with a single one. Libraries multiply the padding by the rest. Here
every place o of the result is one matrix product of the part of the map under its
window with the weights that meet it,

    y_o = W_o · x_o,   ∂x_o += W_oᵀ · ∂y_o,   ∂W_o += ∂y_o · x_oᵀ

with x_o the map's (C · rows · columns) values in the window. Patches of 20 or 24 px and
images of 40 to 64 px end in such maps; what a step gains is in benchmarks/README.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


class Convolution(nn.Conv2d):
    """``nn.Conv2d``, faster where its result has at most four places; see above."""

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, C', H', W')."""
        size = self._result_size(maps)
        # With a kernel of 1 x 1 and several places torch's is a matrix product, too.
        few = 0 < math.prod(size) <= min(4, math.prod(self.kernel_size))
        other = self.groups > 1 or self.dilation != (1, 1) or maps.device.type != "cpu"
        if other or not few or torch.compiler.is_compiling():
            return super().forward(maps)
        if torch.is_autocast_enabled("cpu"):
            maps = maps.to(torch.get_autocast_dtype("cpu"))
        product = PlaceByPlace.apply(maps, self.weight, size, self.stride, self.padding)
        return product if self.bias is None else product + self.bias[:, None, None]

    def _result_size(self, maps: Tensor) -> tuple[int, int]:
        shape = zip(
            maps.shape[-2:], self.padding, self.kernel_size, self.stride, strict=True
        )
        height, width = (
            max(0, (side + 2 * padding - kernel) // stride + 1)
            for side, padding, kernel, stride in shape
        )
        return height, width


class PlaceByPlace(torch.autograd.Function):
    """The convolution as one matrix product a place; gradients likewise."""

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
        for place, part, met in ctx.windows:
            result[place] = _rows(maps[part]) @ _rows(weight[met]).T
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """∂x and ∂W; the weights' is summed in their own precision."""
        maps, weight = ctx.saved_tensors
        of_maps = torch.zeros_like(maps)
        of_weight = torch.zeros_like(weight, dtype=ctx.weight_dtype)
        for place, part, met in ctx.windows:
            here = gradient[place]  # (B, C')
            _add(of_maps[part], here @ _rows(weight[met]))
            _add(of_weight[met], here.T @ _rows(maps[part]))
        return of_maps, of_weight, None, None, None


def _rows(values: Tensor) -> Tensor:
    """(N, C, h, w) as (N, h·w·C): the order in which channels-last memory has it."""
    return values.permute(0, 2, 3, 1).flatten(1)


def _add(values: Tensor, rows: Tensor) -> None:
    """Add what ``_rows`` of such values would be to the values (N, C, h, w)."""
    target = values.permute(0, 2, 3, 1)
    target += rows.view(target.shape)


def _windows(
    side: tuple[int, ...],
    kernel: tuple[int, ...],
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Iterator[tuple[Any, Any, Any]]:
    """Indices of a place, of the part of the map under it and of the weights it meets.

    Sides are (height, width) of the map, the kernel and the result.
    """
    vertical, horizontal = (
        [
            _overlap(place * stride[axis] - padding[axis], kernel[axis], side[axis])
            for place in range(size[axis])
        ]
        for axis in (0, 1)
    )
    for y, (rows, up) in enumerate(vertical):
        for x, (columns, across) in enumerate(horizontal):
            yield (..., y, x), (..., rows, columns), (..., up, across)


def _overlap(start: int, length: int, side: int) -> tuple[slice, slice]:
    """What a window at ``start`` has of the map, and the map of the window."""
    first, last = max(start, 0), min(start + length, side)
    return slice(first, last), slice(first - start, last - start)
