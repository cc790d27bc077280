"""Relevance of every voxel for the network's decision, layer by layer in closed form, without autograd."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from datbatch.cohort.schema import LABELS, NEGATIVE, POSITIVE
from datbatch.errors import ConfigurationError, GridMismatchError, ModelError
from datbatch.relevance.layers import Convolution, LinearMap, linear_map
from datbatch.relevance.rules import RULES, Rule, share_among_blocks

TARGETS = ("predicted", POSITIVE, NEGATIVE, "log_odds")
KNOWN_LAYERS = (nn.Conv3d, nn.Linear, nn.AvgPool3d, nn.ReLU, nn.Dropout, nn.Flatten)
MICRO_BATCH = 1
"""Studies that pass together: more of them saves no time on a processor, and the bits would depend on the batch."""


@dataclass(frozen=True)
class Explanation:
    """Outputs of the network and what they rest on."""

    logits: Tensor
    """Outputs (study, 2) in the order of `schema.LABELS`."""
    relevance: Tensor
    """Relevance of each voxel (study, 1, x, y, z)."""


@dataclass(frozen=True)
class _Passed:
    """A layer that relevance must be carried back through."""

    layer: nn.Module
    shape: torch.Size
    """Shape of the layer's inputs."""
    linear: LinearMap | None = None
    """The layer as a linear map; None without weights."""
    inputs: Tensor | None = None
    """Kept for a layer with weights."""
    outputs: Tensor | None = None
    """Kept where small; after a convolution they are as large as the inputs, and ReLU works in their place."""


def propagate(
    network: nn.Module, images: Tensor, *, target: str = "predicted", rules: str | Sequence[Rule] = "paper"
) -> Tensor:
    """Give the relevance of each voxel for the network's decision.

    Parameters
    ----------
    network : Module
        A `Sequential` of Conv3d, Linear, AvgPool3d, ReLU, Dropout and Flatten; dropout is always off here.
    images : Tensor
        Volumes (study, 1, x, y, z).
    target : str
        Where relevance starts: "predicted", at the most activated output with its value (the paper);
        "positive" or "negative", at that output with its value; "log_odds", at both, with +y_positive and
        -y_negative, so that it sums to the log odds where nothing is lost to biases.
    rules : str or sequence of Rule
        Name of a table in `rules.RULES`, or one rule for each layer with weights, in forward order.

    Returns
    -------
    Tensor
        Relevance, of the shape, type and device of the images.

    Raises
    ------
    ModelError
        When the network has a layer without a rule.
    GridMismatchError
        When the images do not fit the network.
    ConfigurationError
        When target or rules are unknown.
    """
    return explain_batch(network, images, target=target, rules=rules).relevance


@torch.no_grad()
def explain_batch(
    network: nn.Module, images: Tensor, *, target: str = "predicted", rules: str | Sequence[Rule] = "paper"
) -> Explanation:
    """Give outputs and relevance from one pass; parameters and errors as for `propagate`."""
    if target not in TARGETS:
        raise ConfigurationError(f"unknown target {target!r}; known are {', '.join(TARGETS)}")
    if images.ndim != 5 or images.shape[1] != 1:
        raise GridMismatchError(f"images must be (study, 1, x, y, z), not {tuple(images.shape)}")
    layers = list(_leaves(network))
    table = _choose_rules(rules, [linear for linear in map(linear_map, layers) if linear is not None])
    like = next(network.parameters())
    relevance = torch.empty_like(images, memory_format=torch.contiguous_format)
    logits = images.new_empty((images.shape[0], len(LABELS)))
    for start in range(0, images.shape[0], MICRO_BATCH):
        some = slice(start, start + MICRO_BATCH)
        moved = images[some].to(device=like.device, dtype=like.dtype)
        outputs, passed = _forward(layers, moved)
        logits[some] = outputs
        relevance[some] = _backward(passed, table, _start(outputs, target))
    return Explanation(logits=logits, relevance=relevance)


def _forward(layers: list[nn.Module], values: Tensor) -> tuple[Tensor, list[_Passed]]:
    """Run the network and keep what the rules need."""
    passed: list[_Passed] = []
    for layer in layers:
        shape, linear = values.shape, linear_map(layer)
        if linear is not None:
            if not linear.fits(shape):
                raise GridMismatchError(f"the images do not fit the network's grid: {tuple(shape[1:])} at a layer")
            inputs, values = values, linear.apply(values, linear.weight, linear.bias)
            kept = None if isinstance(linear, Convolution) else values
            passed.append(_Passed(layer, shape, linear, inputs, kept))
        elif isinstance(layer, nn.AvgPool3d) or (isinstance(layer, nn.Flatten) and values.ndim > 2):
            values = layer(values)
            passed.append(_Passed(layer, shape))
        elif isinstance(layer, nn.ReLU):
            # In place where nobody else holds the values: not the caller's images, not the outputs kept
            # above.
            held = not passed or values is passed[-1].outputs
            values = values.clamp(min=0) if held else values.clamp_(min=0)
    if values.ndim != 2 or values.shape[1] != len(LABELS):
        raise ModelError(f"the network must end in {len(LABELS)} outputs, one for each class")
    return values, passed


def _backward(passed: list[_Passed], rules: Sequence[Rule], relevance: Tensor) -> Tensor:
    """Carry relevance from the outputs to the image, letting go of each layer's inputs once they are used."""
    remaining = list(rules)
    while passed:
        step = passed.pop()
        if step.linear is not None and step.inputs is not None:
            relevance = remaining.pop()(step.linear, step.inputs, step.outputs, relevance)
        elif isinstance(step.layer, nn.AvgPool3d):
            relevance = share_among_blocks(step.layer, step.shape, relevance)
        else:
            relevance = relevance.reshape(step.shape).contiguous(memory_format=torch.channels_last_3d)
    return relevance


def _start(outputs: Tensor, target: str) -> Tensor:
    """Give the relevance of the outputs."""
    if target == "predicted":
        chosen = functional.one_hot(outputs.argmax(dim=1), outputs.shape[1])
    elif target == "log_odds":
        chosen = torch.tensor([1 if name == POSITIVE else -1 for name in LABELS], device=outputs.device)
    else:
        chosen = torch.tensor([int(name == target) for name in LABELS], device=outputs.device)
    return outputs * chosen


def layers_in_order(network: nn.Module) -> list[nn.Module]:
    """List the layers of a network in forward order; those of nested sequences too.

    Raises
    ------
    ModelError
        When a layer has no rule.
    """
    return list(_leaves(network))


def weighted_layers(network: nn.Module) -> list[tuple[int, str]]:
    """Give place among `layers_in_order` and name of each layer with weights: kind and number of its kind from 1."""
    seen = {"convolution": 0, "fully connected": 0}
    found = []
    for place, layer in enumerate(layers_in_order(network)):
        linear = linear_map(layer)
        if linear is not None:
            kind = "convolution" if isinstance(linear, Convolution) else "fully connected"
            seen[kind] += 1
            found.append((place, f"{kind} {seen[kind]}"))
    return found


def rules_by_layer(network: nn.Module, rules: str | Sequence[Rule] = "paper") -> list[tuple[str, Rule]]:
    """Give the name and the rule of each layer with weights, in forward order; errors as for `propagate`."""
    linear = [found for found in map(linear_map, layers_in_order(network)) if found is not None]
    names = [name for _, name in weighted_layers(network)]
    return list(zip(names, _choose_rules(rules, linear), strict=True))


def _leaves(network: nn.Module) -> Iterator[nn.Module]:
    """Walk the layers in forward order."""
    if isinstance(network, nn.Sequential):
        for layer in network:
            yield from _leaves(layer)
    elif isinstance(network, KNOWN_LAYERS):
        yield network
    else:
        raise ModelError(f"no rule carries relevance through a layer of kind {type(network).__name__}")


def _choose_rules(rules: str | Sequence[Rule], layers: list[LinearMap]) -> Sequence[Rule]:
    if isinstance(rules, str):
        if rules not in RULES:
            raise ConfigurationError(f"unknown rules {rules!r}; known are {', '.join(RULES)}")
        return RULES[rules](layers)
    if len(rules) != len(layers):
        raise ConfigurationError(f"{len(rules)} rules were given for {len(layers)} layers with weights")
    return rules
