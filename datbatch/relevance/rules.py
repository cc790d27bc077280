"""Rules by which the relevance of a layer's outputs is shared out among its inputs, one function each.

Notation: a_i inputs, w_ij weights, b_j biases, z_ij = a_i w_ij, R_j relevance of output j, R_i that of
input i; x+ and x- are the positive and the negative part of x. All rules have the form R_i = sum_j z_ij /
(sum_i z_ij + b_j) R_j with some z_ij. A bias stays in the denominator, so that its share of relevance is
lost, as in the reference implementation (zennit 0.5.1); `bias=False` leaves it out, as the paper prints the
equations. Each denominator d is kept from zero by d + s sign(d) with sign(0) = +1 and s = 1e-6, zennit's
default, unless the rule says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from datbatch.relevance.layers import Convolution, LinearMap

STABILISER = 1e-6

Rule = Callable[[LinearMap, Tensor, Tensor | None, Tensor], Tensor]
"""Takes layer, inputs a (study, ...), outputs z where they are at hand, relevance of the outputs; gives R_i."""


def stabilise(denominator: Tensor, amount: float = STABILISER) -> Tensor:
    """Move each value away from zero, in place: d + s for d >= 0, else d - s."""
    # A tensor of the same type: a Python number would be rounded to float32 first.
    added = denominator.new_tensor(amount)
    return denominator.add_(torch.where(denominator < 0, -added, added))


def epsilon(
    layer: LinearMap,
    inputs: Tensor,
    outputs: Tensor | None,
    relevance: Tensor,
    *,
    amount: float = 1e-4,
    bias: bool = True,
) -> Tensor:
    """R_i = sum_j z_ij / (z_j + epsilon sign(z_j)) R_j with z_j = sum_i z_ij + b_j.

    Bach et al. 2015, PLoS ONE 10:e0130140, Eq. 58; the paper's Eq. 3 with epsilon = 1e-4.
    """
    if outputs is None:
        outputs = layer.apply(inputs, layer.weight, layer.bias)
    if not bias and layer.bias is not None:
        outputs = outputs - _per_output(layer.bias, outputs)
    shares = relevance / stabilise(outputs.clone(), amount)
    return layer.transpose(shares, layer.weight, inputs.shape).mul_(inputs)


def alpha_beta(
    layer: LinearMap,
    inputs: Tensor,
    outputs: Tensor | None,
    relevance: Tensor,
    *,
    alpha: float = 2.0,
    bias: bool = True,
) -> Tensor:
    """R_i = sum_j [alpha z_ij+ / (sum_i z_ij+ + b_j+) - (alpha - 1) z_ij- / (sum_i z_ij- + b_j-)] R_j.

    Bach et al. 2015, PLoS ONE 10:e0130140, Eq. 60, with beta = alpha - 1. The paper's Eq. 4 prints "+ (alpha - 1)" and
    no R_j; only the form above conserves relevance. Inputs of either sign: z_ij+ = a_i+ w_ij+ + a_i- w_ij- and
    z_ij- = a_i+ w_ij- + a_i- w_ij+.
    """
    rising, falling = _part(layer.weight, 1), _part(layer.weight, -1)
    used = layer.bias if bias else None
    upper, lower = inputs, None
    if bool(inputs.amin() < 0):
        upper, lower = _part(inputs, 1), _part(inputs, -1)
    count = relevance.shape[1]
    shares = torch.empty(
        (relevance.shape[0], 2 * count, *relevance.shape[2:]),
        dtype=relevance.dtype,
        device=relevance.device,
        memory_format=torch.channels_last_3d if relevance.ndim == 5 else torch.contiguous_format,
    )
    for sign, part, factor, same, opposite in (
        (1, shares[:, :count], alpha, rising, falling),
        (-1, shares[:, count:], 1.0 - alpha, falling, rising),
    ):
        total = layer.apply(upper, same, None if used is None else _part(used, sign))
        if lower is not None:
            total += layer.apply(lower, opposite)
        # All terms have one sign, so that the denominator's is known.
        torch.div(relevance, total.add_(sign * STABILISER), out=part).mul_(factor)
    result = layer.transpose(shares, torch.cat([rising, falling]), inputs.shape).mul_(upper)
    if lower is not None:
        result += layer.transpose(shares, torch.cat([falling, rising]), inputs.shape).mul_(lower)
    return result


def z_plus(layer: LinearMap, inputs: Tensor, outputs: Tensor | None, relevance: Tensor, *, bias: bool = True) -> Tensor:
    """R_i = sum_j z_ij+ / (sum_i z_ij+ + b_j+) R_j: alpha-beta with alpha = 1.

    Montavon et al. 2017, Pattern Recognit 65:211, Eq. 13.
    """
    return alpha_beta(layer, inputs, outputs, relevance, alpha=1.0, bias=bias)


def gamma(
    layer: LinearMap,
    inputs: Tensor,
    outputs: Tensor | None,
    relevance: Tensor,
    *,
    amount: float = 0.25,
    bias: bool = True,
) -> Tensor:
    """R_i = sum_j a_i (w_ij + gamma w_ij+) / (sum_i a_i (w_ij + gamma w_ij+) + b_j + gamma b_j+) R_j where z_j > 0.

    Montavon et al. 2019, LNCS 11700:193, Sect. 10.2.3, in the form for inputs and outputs of either sign
    (Andéol et al. 2021): where z_j > 0, negative inputs meet w_ij + gamma w_ij-; where z_j < 0, positive
    inputs meet w_ij + gamma w_ij- and negative ones w_ij + gamma w_ij+; outputs of zero pass nothing on.
    """
    if outputs is None:
        outputs = layer.apply(inputs, layer.weight, layer.bias)
    signs = (1, -1)
    weights = [layer.weight + amount * _part(layer.weight, sign) for sign in signs]
    biases: list[Tensor | None] = [None, None]
    if bias and layer.bias is not None:
        biases = [layer.bias + amount * _part(layer.bias, sign) for sign in signs]
    upper, lower = _part(inputs, 1), _part(inputs, -1)
    result = torch.zeros_like(inputs)
    for active, first, second in ((outputs > 0, 0, 1), (outputs < 0, 1, 0)):
        total = layer.apply(upper, weights[first], biases[first]) + layer.apply(lower, weights[second])
        shares = active * relevance / stabilise(total)
        result += upper * layer.transpose(shares, weights[first], inputs.shape)
        result += lower * layer.transpose(shares, weights[second], inputs.shape)
    return result


def w_square(
    layer: LinearMap, inputs: Tensor, outputs: Tensor | None, relevance: Tensor, *, bias: bool = True
) -> Tensor:
    """R_i = sum_j w_ij^2 / (sum_i w_ij^2 + b_j^2) R_j.

    Montavon et al. 2017, Pattern Recognit 65:211, Eq. 12.
    """
    squared = layer.weight.square()
    one_study = torch.ones_like(inputs[:1])
    total = layer.apply(one_study, squared, layer.bias.square() if bias and layer.bias is not None else None)
    return layer.transpose(relevance / stabilise(total), squared, inputs.shape)


def flat(layer: LinearMap, inputs: Tensor, outputs: Tensor | None, relevance: Tensor) -> Tensor:
    """R_i = sum_j R_j / n_j, where n_j counts the inputs of output j: Eq. 1 of the paper with z_ij = 1.

    Lapuschkin et al. 2019, Nat Commun 10:1096. All input channels of a voxel get the same: one is computed,
    and the result is a view of it. Biases have no part in it.
    """
    if not isinstance(layer, Convolution):
        share = relevance.sum(dim=1, keepdim=True) / (inputs.shape[1] + STABILISER)
        return share.expand(inputs.shape)
    # The box of ones is a product of one box per axis, and so is the number of its voxels inside the image.
    boxes = [_along(axis, layer) for axis in range(3)]
    count = torch.full((1, 1, 1, 1, 1), float(inputs.shape[1]), dtype=inputs.dtype, device=inputs.device)
    for axis, box in enumerate(boxes):
        line = [1] * 5
        line[axis + 2] = inputs.shape[axis + 2]
        count = count * box.apply(inputs.new_ones(line), box.weight)
    shares = relevance.sum(dim=1, keepdim=True).div_(count + STABILISER)
    for axis, box in enumerate(boxes):
        wider = list(shares.shape)
        wider[axis + 2] = inputs.shape[axis + 2]
        shares = box.transpose(shares, box.weight, torch.Size(wider))
    return shares.expand(inputs.shape)


def _along(axis: int, layer: Convolution) -> Convolution:
    """Give the box of ones of a convolution along one axis, for one channel."""
    kernel, stride, padding, dilation = [1, 1, 1], [1, 1, 1], [0, 0, 0], [1, 1, 1]
    kernel[axis] = layer.weight.shape[axis + 2]
    stride[axis], padding[axis], dilation[axis] = layer.stride[axis], layer.padding[axis], layer.dilation[axis]
    ones = layer.weight.new_ones((1, 1, *kernel))
    return Convolution(ones, None, _three(stride), _three(padding), _three(dilation))


def share_among_blocks(pool: nn.AvgPool3d, shape: torch.Size, relevance: Tensor) -> Tensor:
    """Flat rule of average pooling: R_i = (1 / n_j) / (sum_i 1 / n_j) R_j for the n_j voxels of block j.

    At incomplete blocks n_j counts the voxels that are there.
    """
    shared: Tensor = torch.ops.aten.avg_pool3d_backward(
        relevance / (1.0 + STABILISER),
        relevance.new_empty(shape),
        _three(pool.kernel_size),
        _three(pool.stride),
        _three(pool.padding),
        pool.ceil_mode,
        pool.count_include_pad,
        pool.divisor_override,
    )
    return shared


def paper_rules(layers: Sequence[LinearMap], *, bias: bool = True) -> list[Rule]:
    """Give the paper's rule for each layer with weights, in forward order (Nazari et al. 2022, Fig. 1).

    Fully connected layers: epsilon 1e-4. Convolutions 4 and 3: alpha-beta with alpha = 2; 2 and 1: flat. With another
    number of convolutions the first half, rounded down, is flat.
    """
    convolutions = sum(isinstance(layer, Convolution) for layer in layers)
    seen = 0
    table: list[Rule] = []
    for layer in layers:
        if not isinstance(layer, Convolution):
            table.append(partial(epsilon, amount=1e-4, bias=bias))
        else:
            table.append(flat if seen < convolutions // 2 else partial(alpha_beta, alpha=2.0, bias=bias))
            seen += 1
    return table


RULES: dict[str, Callable[[Sequence[LinearMap]], list[Rule]]] = {
    "paper": paper_rules,
    "paper_without_bias": partial(paper_rules, bias=False),
}
"""Named tables: the paper's with biases in the denominators, and as the paper prints the equations."""


def _part(values: Tensor, sign: int) -> Tensor:
    """Give the positive (sign = 1) or the negative part (sign = -1)."""
    return values.clamp(min=0) if sign > 0 else values.clamp(max=0)


def _per_output(bias: Tensor, outputs: Tensor) -> Tensor:
    return bias.reshape(-1, *(1,) * (outputs.ndim - 2))


def _three(size: int | Sequence[int]) -> tuple[int, int, int]:
    x, y, z = (size, size, size) if isinstance(size, int) else size
    return x, y, z
