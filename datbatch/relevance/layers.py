"""The linear layers of a network as linear maps: what the rules of relevance need of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from datbatch.errors import ModelError

BLOCK = 65_536
"""Inputs of a fully connected layer that pass together: their weights stay in the processor's cache for all studies."""


class LinearMap(Protocol):
    """A layer z_j = sum_i w_ij a_i + b_j; `i` counts its inputs, `j` its outputs."""

    @property
    def weight(self) -> Tensor:
        """w, outputs first."""

    @property
    def bias(self) -> Tensor | None:
        """b, one per output feature, or None."""

    def fits(self, shape: torch.Size) -> bool:
        """Tell whether the layer takes inputs of a shape."""

    def apply(self, inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Give sum_i weight_ij inputs_i + bias_j, for any weight of this layer's shape."""

    def transpose(self, shares: Tensor, weight: Tensor, inputs: torch.Size) -> Tensor:
        """Give sum_j weight_ij shares_j, of shape `inputs`, for any weight of this layer's inputs."""


@dataclass(frozen=True)
class FullyConnected:
    """A fully connected layer; inputs (study, feature).

    With millions of inputs the time goes into reading the weights. They are read once for all studies, block by block,
    and each study is multiplied alone, so that its bits don't depend on the studies beside it.
    """

    weight: Tensor
    """(output, input)."""
    bias: Tensor | None
    """(output,) or None."""

    def fits(self, shape: torch.Size) -> bool:
        """See `LinearMap`."""
        return len(shape) == 2 and shape[1] == self.weight.shape[1]

    def apply(self, inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `LinearMap`."""
        total = inputs.new_zeros((inputs.shape[0], weight.shape[0]))
        for block in _blocks(inputs):
            some = weight[:, block]
            for study, sums in zip(inputs, total, strict=True):
                sums += torch.mv(some, study[block])
        return total if bias is None else total.add_(bias)

    def transpose(self, shares: Tensor, weight: Tensor, inputs: torch.Size) -> Tensor:
        """See `LinearMap`."""
        result = shares.new_zeros(inputs)
        if result.device.type != "cpu" or inputs[1] <= BLOCK:
            for study, sums in zip(shares, result, strict=True):
                torch.mv(weight.t(), study, out=sums)
            return result
        # Row by row: those of outputs without relevance, about half after a ReLU, need not be read.
        used = [[(row, share) for row, share in enumerate(study) if share] for study in shares.tolist()]
        for block in _blocks(result, 2 * BLOCK):
            some = weight[:, block]
            for rows, sums in zip(used, result[:, block], strict=True):
                for row, share in rows:
                    sums.add_(some[row], alpha=share)
        return result


@dataclass(frozen=True)
class Convolution:
    """A three-dimensional convolution; inputs (study, channel, x, y, z)."""

    weight: Tensor
    """(output channel, input channel, x, y, z)."""
    bias: Tensor | None
    """(output channel,) or None."""
    stride: tuple[int, int, int] = (1, 1, 1)
    padding: tuple[int, int, int] = (0, 0, 0)
    dilation: tuple[int, int, int] = (1, 1, 1)

    def fits(self, shape: torch.Size) -> bool:
        """See `LinearMap`."""
        extents = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.weight.shape[2:], strict=True)]
        sizes = [n + 2 * p for n, p in zip(shape[2:], self.padding, strict=False)]
        return len(shape) == 5 and shape[1] == self.weight.shape[1] and all(map(int.__ge__, sizes, extents))

    def apply(self, inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `LinearMap`."""
        if inputs.shape[1] == 1 and (self.stride[2], self.padding[2], self.dilation[2]) == (1, 0, 1):
            inputs, weight = _depth_as_channels(inputs, weight)
        return functional.conv3d(inputs, weight, bias, self.stride, self.padding, self.dilation)

    def transpose(self, shares: Tensor, weight: Tensor, inputs: torch.Size) -> Tensor:
        """See `LinearMap`."""
        if self.stride == self.dilation == (1, 1, 1):
            # A convolution with the flipped kernel gives the same; it finds a quicker path and keeps the memory order.
            edges = [kernel - 1 - padding for kernel, padding in zip(weight.shape[2:], self.padding, strict=True)]
            if min(edges) >= 0:
                order = torch.channels_last_3d
                turned = weight.flip(2, 3, 4).transpose(0, 1).contiguous(memory_format=order)
                return functional.conv3d(shares, turned, None, 1, edges)
        # Voxels that a stride steps over at the upper edges: they have no output, but belong to the input's shape.
        extra = [
            size - ((out - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1)
            for size, out, stride, padding, dilation, kernel in zip(
                inputs[2:], shares.shape[2:], self.stride, self.padding, self.dilation, weight.shape[2:], strict=True
            )
        ]
        return functional.conv_transpose3d(shares, weight, None, self.stride, self.padding, extra, 1, self.dilation)

    def apply_at(self, places: Tensor, inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Give what `apply` gives at single places (place, axis of the outputs): one value for each."""
        (px, py, pz) = self.padding
        windows = functional.pad(inputs, (pz, pz, py, py, px, px)) if any(self.padding) else inputs
        for axis, (size, stride, step) in enumerate(zip(weight.shape[2:], self.stride, self.dilation, strict=True)):
            windows = windows.unfold(axis + 2, step * (size - 1) + 1, stride)[..., ::step]
        study, channel, x, y, z = places.unbind(1)
        values = (windows[study, :, x, y, z] * weight[channel]).flatten(1).sum(dim=1)
        return values if bias is None else values.add_(bias[channel])

    def box_sum(self, shares: Tensor, inputs: torch.Size) -> Tensor:
        """Give `transpose` for a kernel of ones and one channel, axis by axis: the sum over the outputs of an input."""
        for axis, (stride, padding, step) in enumerate(zip(self.stride, self.padding, self.dilation, strict=True), 2):
            count, size = shares.shape[axis], list(shares.shape)
            size[axis] = inputs[axis] + 2 * padding
            result = shares.new_zeros(size)
            for start in range(0, step * self.weight.shape[axis], step):
                index = [slice(None)] * 5
                index[axis] = slice(start, start + (count - 1) * stride + 1, stride)
                result[tuple(index)] += shares
            shares = result.narrow(axis, padding, inputs[axis])
        return shares

    def inputs_of_outputs(self, inputs: torch.Size) -> Tensor:
        """Count the voxels inside the image that each output sees: (1, 1, x, y, z), of the weights' type."""
        counts = self.weight.new_ones((1, 1, 1, 1, 1))
        for axis, (stride, padding, step) in enumerate(zip(self.stride, self.padding, self.dilation, strict=True), 2):
            extent = step * (self.weight.shape[axis] - 1) + 1
            first = torch.arange(-padding, inputs[axis] + padding - extent + 1, stride, device=counts.device)
            seen = first[:, None] + torch.arange(0, extent, step, device=counts.device)
            inside = ((seen >= 0) & (seen < inputs[axis])).sum(dim=1)
            line = [1] * 5
            line[axis] = -1
            counts = counts * inside.reshape(line)
        return counts


def _blocks(inputs: Tensor, width: int = BLOCK) -> list[slice]:
    """Divide the features; an accelerator gets them whole."""
    features = inputs.shape[1]
    step = width if inputs.device.type == "cpu" else max(features, 1)
    return [slice(start, min(start + step, features)) for start in range(0, features, step)]


def _depth_as_channels(inputs: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Turn the kernel's extent along z into input channels: the same sums, over images shifted along z.

    With one channel a processor's convolution takes a slow path and leaves its result in another memory order than
    the next convolution wants; with three it takes a fifth of the time (measured).
    """
    depth = weight.shape[4]
    last = inputs.shape[4] - depth + 1
    shifted = torch.cat([inputs[..., offset : offset + last] for offset in range(depth)], dim=1)
    turned = weight.transpose(1, 4)
    order = torch.channels_last_3d
    return shifted.contiguous(memory_format=order), turned.contiguous(memory_format=order)


def linear_map(layer: nn.Module) -> LinearMap | None:
    """Give a layer as a linear map; None for a layer without weights.

    A `ModelError` refuses a convolution in groups or with padding by other values than zeros: no rule is written
    for these.
    """
    if isinstance(layer, nn.Linear):
        return FullyConnected(layer.weight, layer.bias)
    if not isinstance(layer, nn.Conv3d):
        return None
    if layer.groups != 1 or layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise ModelError("relevance is defined here for ungrouped convolutions with padding by zeros only")
    (sx, sy, sz), (px, py, pz), (dx, dy, dz) = layer.stride, layer.padding, layer.dilation
    return Convolution(layer.weight, layer.bias, (sx, sy, sz), (px, py, pz), (dx, dy, dz))
