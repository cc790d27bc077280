"""How much relevance each layer passes on, and how much its biases and stabilisers absorb."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from datbatch.precision import products
from datbatch.relevance.layers import LinearMap
from datbatch.relevance.propagation import Explanation, explain_batch, rules_by_layer
from datbatch.relevance.rules import STABILISER, Rule, alpha_beta, epsilon, flat, stabilise, w_square, z_plus, zero


@dataclass(frozen=True)
class LayerBalance:
    """What becomes of the relevance that arrives at a layer's outputs; all float64, shape (study,)."""

    layer: str
    """Kind and number, such as "convolution 2"."""
    arriving: Tensor
    """sum_j R_j at the outputs."""
    passed_on: Tensor
    """sum_i R_i at the inputs."""
    biases: Tensor
    """Absorbed by the biases; NaN where the rule's closed form is not known here."""

    @property
    def stabilisers(self) -> Tensor:
        """Absorbed by epsilon, or by what keeps denominators from zero; all of an output without any input."""
        return self.arriving - self.passed_on - self.biases


@dataclass(frozen=True)
class Balance:
    """Where the relevance of some studies went."""

    explanation: Explanation
    layers: tuple[LayerBalance, ...]
    """From the outputs to the first layer."""

    @property
    def start(self) -> Tensor:
        """Relevance at the network's outputs, shape (study,)."""
        return self.layers[0].arriving

    @property
    def image(self) -> Tensor:
        """Relevance that reaches the voxels, shape (study,)."""
        return _sum(self.explanation.relevance)


@products()
def relevance_balance(
    network: nn.Module, images: Tensor, *, target: str = "predicted", rules: str | Sequence[str | Rule] = "paper"
) -> Balance:
    """Propagate relevance and account for it at every layer with weights; parameters and errors as for `propagate`.

    A rule R_i = sum_j z_ij / (sum_i z_ij + b_j + s_j) R_j passes on all relevance except the shares of the bias b_j
    and of the stabiliser s_j; the bias absorbs sum_j b_j / (sum_i z_ij + b_j + s_j) R_j (Montavon et al. 2019, LNCS
    11700:193, Sect. 10.2; Bach et al. 2015, PLoS ONE 10:e0130140, Eq. 59). For alpha-beta both parts count: sum_j
    [alpha b_j+ / (z_j+ + b_j+) - (alpha - 1) b_j- / (z_j- + b_j-)] R_j.
    """
    named = rules_by_layer(network, rules)
    notes: list[list[tuple[Tensor, Tensor, Tensor]]] = [[] for _ in named]
    noting = [_noting(rule, noted.append) for (_, rule), noted in zip(named, notes, strict=True)]
    explanation = explain_batch(network, images, target=target, rules=noting)
    layers = [
        LayerBalance(name, *(torch.cat(parts) for parts in zip(*noted, strict=True)))
        for (name, _), noted in zip(named, notes, strict=True)
    ]
    return Balance(explanation, tuple(reversed(layers)))


def _noting(rule: Rule, note: Callable[[tuple[Tensor, Tensor, Tensor]], None]) -> Rule:
    """Give the rule, which then also notes what it was given and what it gave."""

    def noted(layer: LinearMap, inputs: Tensor, outputs: Tensor | None, relevance: Tensor) -> Tensor:
        # Before the rule: it may work in place.
        arriving, biases = _sum(relevance), absorbed_by_biases(rule, layer, inputs, relevance)
        passed_on = rule(layer, inputs, outputs, relevance)
        note((arriving, _sum(passed_on), biases))
        return passed_on

    return noted


def absorbed_by_biases(rule: Rule, layer: LinearMap, inputs: Tensor, relevance: Tensor) -> Tensor:
    """Give the relevance (study,), float64, that the biases of one layer absorb, in closed form.

    The rule is zero, epsilon, alpha-beta, z+, flat or w-square of `datbatch.relevance.rules`, its options bound by
    `partial`; NaN for another rule. `inputs` are a, shape (study, ...), `relevance` is R_j, of the shape of the
    outputs.
    """
    function = rule.func if isinstance(rule, partial) else rule
    options = rule.keywords if isinstance(rule, partial) else {}
    nothing = _sum(relevance) * 0.0
    if function is flat or layer.bias is None or not options.get("bias", True) or not layer.bias.any():
        return nothing
    weight, bias = layer.weight, layer.bias
    if function is epsilon or function is zero:
        amount = STABILISER if function is zero else options.get("amount", 1e-4)
        total = stabilise(layer.apply(inputs, weight, bias), amount)
        return _sum(_aligned(bias, total) / total * relevance)
    if function is w_square:
        squared = bias.square()
        total = stabilise(layer.apply(torch.ones_like(inputs[:1]), weight.square(), squared))
        return _sum(_aligned(squared, total) / total * relevance)
    if function is alpha_beta or function is z_plus:
        alpha = 1.0 if function is z_plus else options.get("alpha", 2.0)
        upper, lower = inputs.clamp(min=0), inputs.clamp(max=0)
        positive, negative = weight.clamp(min=0), weight.clamp(max=0)
        absorbed = nothing
        for sign, factor, same, opposite, part in (
            (1, alpha, positive, negative, bias.clamp(min=0)),
            (-1, 1.0 - alpha, negative, positive, bias.clamp(max=0)),
        ):
            if factor != 0.0 and part.any():
                total = layer.apply(upper, same, part) + layer.apply(lower, opposite) + sign * STABILISER
                absorbed = absorbed + _sum(factor * _aligned(part, total) / total * relevance)
        return absorbed
    return nothing * torch.nan


def _sum(values: Tensor) -> Tensor:
    return values.flatten(1).sum(dim=1, dtype=torch.float64)


def _aligned(bias: Tensor, outputs: Tensor) -> Tensor:
    return bias.reshape(-1, *(1,) * (outputs.ndim - 2))
