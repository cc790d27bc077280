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

import torch
from torch import Tensor, nn

from datbatch.relevance.layers import Convolution, LinearMap

STABILISER = 1e-6

Rule = Callable[[LinearMap, Tensor, Tensor | None, Tensor], Tensor]
"""Takes layer, inputs a (study, ...), outputs z where they are known, relevance of the outputs; gives R_i.

Outputs may be those after ReLU: they differ from z only where an output is zero, and has no relevance.
"""

SMALL = 2.0**-6
"""Share of the positive part below which the negative part is not taken from a difference, which loses six bits."""
FEW = 1e-3
"""Share of the outputs up to which single sums are quicker than a convolution."""


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
    used = layer.bias if bias else None
    # Subtracting the bias from known outputs would lose digits where it is larger than the rest.
    if outputs is None or used is not layer.bias:
        outputs = layer.apply(inputs, layer.weight, used)
    shares = relevance / stabilise(outputs.clone(), amount)
    return layer.transpose(shares, layer.weight, inputs.shape).mul_(inputs)


def zero(layer: LinearMap, inputs: Tensor, outputs: Tensor | None, relevance: Tensor, *, bias: bool = True) -> Tensor:
    """R_i = sum_j z_ij / z_j R_j with z_j = sum_i z_ij + b_j: epsilon with nothing but the stabiliser.

    Bach et al. 2015, PLoS ONE 10:e0130140, Eq. 56.
    """
    return epsilon(layer, inputs, outputs, relevance, amount=STABILISER, bias=bias)


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
    gain = layer.apply(upper, rising, None if used is None else _part(used, 1))
    if lower is not None:
        gain += layer.apply(lower, falling)
    loss = None
    if alpha != 1.0:
        if outputs is not None and lower is None and used is layer.bias and isinstance(layer, Convolution):
            loss = _loss(layer, inputs, outputs, gain, relevance)
        else:
            loss = layer.apply(upper, falling, None if used is None else _part(used, -1))
            if lower is not None:
                loss += layer.apply(lower, rising)
    # All terms of a sum have one sign, so that the denominator's is known.
    shares = torch.div(relevance, gain.add_(STABILISER), out=gain).mul_(alpha)
    result = layer.transpose(shares, rising, inputs.shape)
    second = None if lower is None else layer.transpose(shares, falling, inputs.shape)
    del gain, shares
    if loss is not None:
        shares = torch.div(relevance, loss.sub_(STABILISER), out=loss).mul_(1.0 - alpha)
        result += layer.transpose(shares, falling, inputs.shape)
        if second is not None:
            second += layer.transpose(shares, rising, inputs.shape)
    result.mul_(upper)
    return result if lower is None or second is None else result.add_(second.mul_(lower))


def _loss(layer: Convolution, inputs: Tensor, outputs: Tensor, gain: Tensor, relevance: Tensor) -> Tensor:
    """Give sum_i z_ij- + b_j- as z_j less the positive part, which saves a convolution.

    Where it is small compared with the positive part the difference has lost digits: there it is summed again.
    """
    loss = outputs - gain
    unsure = torch.add(loss, gain, alpha=SMALL).gt_(0).mul_(relevance)
    count = int(unsure.count_nonzero())
    if count == 0:
        return loss.clamp_(max=0)
    weight, bias = _part(layer.weight, -1), None if layer.bias is None else _part(layer.bias, -1)
    if count > loss.numel() * FEW:
        return layer.apply(inputs, weight, bias)
    places = unsure.nonzero()
    loss[tuple(places.unbind(1))] = layer.apply_at(places, inputs, weight, bias)
    return loss.clamp_(max=0)


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
    count = layer.inputs_of_outputs(inputs.shape).mul_(inputs.shape[1])
    shares = relevance.sum(dim=1, keepdim=True).div_(count.add_(STABILISER))
    return layer.box_sum(shares, inputs.shape).expand(inputs.shape)


def box(
    layer: LinearMap, inputs: Tensor, outputs: Tensor | None, relevance: Tensor, *, low: float, high: float
) -> Tensor:
    """R_i = sum_j (z_ij - l w_ij+ - h w_ij-) / (sum_i z_ij - l w_ij+ - h w_ij-) R_j for inputs between l and h.

    The z^B rule of a first layer: Montavon et al. 2017, Pattern Recognit 65:211, Eq. 14. Biases have no part in it.
    """
    rising, falling = _part(layer.weight, 1), _part(layer.weight, -1)
    least, most = torch.full_like(inputs[:1], low), torch.full_like(inputs[:1], high)
    total = layer.apply(inputs, layer.weight) - layer.apply(least, rising) - layer.apply(most, falling)
    shares = relevance / stabilise(total)
    result = layer.transpose(shares, layer.weight, inputs.shape).mul_(inputs)
    result -= layer.transpose(shares, rising, inputs.shape).mul_(low)
    return result.sub_(layer.transpose(shares, falling, inputs.shape).mul_(high))


def share_among_blocks(pool: nn.AvgPool3d, shape: torch.Size, relevance: Tensor) -> Tensor:
    """Flat rule of average pooling: R_i = (1 / n_j) / (sum_i 1 / n_j) R_j for the n_j voxels of block j.

    At incomplete blocks n_j counts the voxels that are there.
    """
    edges = [_three(size) for size in (pool.kernel_size, pool.stride, pool.padding)]
    options = pool.ceil_mode, pool.count_include_pad, pool.divisor_override
    scaled, like = relevance / (1.0 + STABILISER), relevance.new_empty(shape)
    shared: Tensor = torch.ops.aten.avg_pool3d_backward(scaled, like, *edges, *options)
    return shared


def _part(values: Tensor, sign: int) -> Tensor:
    """Give the positive (sign = 1) or the negative part (sign = -1)."""
    return values.clamp(min=0) if sign > 0 else values.clamp(max=0)


def _three(size: int | Sequence[int]) -> tuple[int, int, int]:
    x, y, z = (size, size, size) if isinstance(size, int) else size
    return x, y, z
