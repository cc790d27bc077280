"""Relevance of every voxel for the network's decision, layer by layer in closed form, without autograd."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor, nn
from torch.nn import functional

from datbatch.errors import ConfigurationError, GridMismatchError, ModelError
from datbatch.precision import products
from datbatch.relevance.layers import Convolution, LinearMap, linear_map
from datbatch.relevance.rules import Rule, share_among_blocks
from datbatch.relevance.tables import choose_rules, gives_nothing_to_zeros, reads_inputs
from datbatch.schema import LABELS, NEGATIVE, POSITIVE

TARGETS = ("predicted", POSITIVE, NEGATIVE, "log_odds")
KNOWN_LAYERS = (nn.Conv3d, nn.Linear, nn.AvgPool3d, nn.ReLU, nn.Dropout, nn.Flatten)
MEMORY_BYTES = 3 * 2**29
"""Default memory for studies that pass together: room for eight on the 2 mm grid of 91 x 109 x 63."""


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
    """The layer as a linear map; None without weights, like the rule."""
    rule: Rule | None = None
    inputs: Tensor | None = None
    """Of a layer with weights, or of flattening. A stand-in of one value where the rule looks only at their shape."""
    outputs: Tensor | None = None
    """Kept where small; after a convolution they are as large as the inputs, and ReLU works in their place."""


@dataclass(frozen=True)
class _Waiting:
    """A study that has passed the convolutions."""

    features: Tensor
    passed: list[_Passed]

    @property
    def bytes(self) -> int:
        """What is kept of it until its relevance is done; the features are gathered, their relevance is as large."""
        kept = sum(step.inputs.untyped_storage().nbytes() for step in self.passed if step.inputs is not None)
        return kept + 3 * self.features.nbytes


def propagate(
    network: nn.Module,
    images: Tensor,
    *,
    target: str = "predicted",
    rules: str | Sequence[str | Rule] = "paper",
    memory_bytes: int = MEMORY_BYTES,
) -> Tensor:
    """Give the relevance of each voxel for the network's decision, of the shape, type and device of the images.

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
    rules : str or sequence of str or Rule
        Name of a table in `tables.RULES`, or one rule for each layer with weights, in forward order, written as for
        `tables.read_rule` or as a function.
    memory_bytes : int
        Memory for the studies that pass the fully connected layers together. It changes the time, never the result: on
        a processor the bits of a study do not depend on the studies beside it.

    Raises
    ------
    ModelError
        When the network has a layer without a rule.
    GridMismatchError
        When the images do not fit the network.
    ConfigurationError
        When target or rules are unknown, or the number of rules is not that of the layers with weights.
    """
    return explain_batch(network, images, target=target, rules=rules, memory_bytes=memory_bytes).relevance


@torch.no_grad()
@products()
def explain_batch(
    network: nn.Module,
    images: Tensor,
    *,
    target: str = "predicted",
    rules: str | Sequence[str | Rule] = "paper",
    memory_bytes: int = MEMORY_BYTES,
) -> Explanation:
    """Give outputs and relevance from one pass; parameters and errors as for `propagate`.

    Convolutions take one study at a time, which loses no time. The fully connected layers, whose weights are many
    times the study, take as many as there is room for.
    """
    if target not in TARGETS:
        raise ConfigurationError(f"unknown target {target!r}; known are {', '.join(TARGETS)}")
    if images.ndim != 5 or images.shape[1] != 1:
        raise GridMismatchError(f"images must be (study, 1, x, y, z), not {tuple(images.shape)}")
    layers = layers_in_order(network)
    table = choose_rules(rules, _with_weights(layers))
    trunk = list(takewhile(lambda layer: not isinstance(layer, nn.Linear), layers))
    head = layers[len(trunk) :]
    of_head = table[sum(linear_map(layer) is not None for layer in trunk) :]
    like = next(network.parameters())
    relevance = torch.empty_like(images, memory_format=torch.contiguous_format)
    logits = images.new_empty((images.shape[0], len(LABELS)))
    waiting: list[_Waiting] = []
    for index in range(images.shape[0]):
        image = images[index : index + 1].to(device=like.device, dtype=like.dtype)
        waiting.append(_Waiting(*_forward(trunk, table, image)))
        if index + 1 < images.shape[0] and (len(waiting) + 1) * waiting[0].bytes <= memory_bytes:
            continue
        some = slice(index + 1 - len(waiting), index + 1)
        features = torch.cat([study.features for study in waiting])
        passed = [study.passed for study in waiting]
        waiting = []
        logits[some], relevance[some] = _finish(head, of_head, features, passed, target)
    return Explanation(logits=logits, relevance=relevance)


def _finish(
    head: list[nn.Module], table: Sequence[Rule], features: Tensor, passed: list[list[_Passed]], target: str
) -> tuple[Tensor, Tensor]:
    """Take studies through the fully connected layers and back to their images."""
    outputs, steps = _forward(head, table, features)
    if outputs.ndim != 2 or outputs.shape[1] != len(LABELS):
        raise ModelError(f"the network must end in {len(LABELS)} outputs, one for each class")
    shares, above = _backward(steps, _start(outputs, target))
    tops = [None] * len(passed) if above is None else torch.split(above, 1)
    maps = [_backward(*one)[0] for one in zip(passed, torch.split(shares, 1), tops, strict=True)]
    return outputs, torch.cat(maps)


def _forward(layers: list[nn.Module], table: Sequence[Rule], values: Tensor) -> tuple[Tensor, list[_Passed]]:
    """Run layers and keep what their rules need."""
    passed: list[_Passed] = []
    rules = iter(table)
    for layer in layers:
        shape, linear = values.shape, linear_map(layer)
        if linear is not None:
            if not linear.fits(shape):
                raise GridMismatchError(f"the images do not fit the network's grid: {tuple(shape[1:])} at a layer")
            rule = next(rules)
            inputs, values = values, linear.apply(values, linear.weight, linear.bias)
            kept = None if isinstance(linear, Convolution) else values
            used = inputs if reads_inputs(rule) else inputs.new_zeros(()).expand(shape)
            passed.append(_Passed(layer, shape, linear, rule, used, kept))
        elif isinstance(layer, nn.AvgPool3d):
            values = layer(values)
            passed.append(_Passed(layer, shape))
        elif isinstance(layer, nn.Flatten) and values.ndim > 2:
            # Kept in the memory order of feature maps: bringing it back takes longer than a rule.
            passed.append(_Passed(layer, shape, inputs=values))
            values = layer(values)
        elif isinstance(layer, nn.ReLU):
            # In place where nobody else holds the values: neither the caller's images nor the outputs kept above.
            held = not passed or values is passed[-1].outputs
            values = values.clamp(min=0) if held else values.clamp_(min=0)
    return values, passed


def _backward(passed: list[_Passed], relevance: Tensor, above: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Carry relevance back through layers, and free each one's inputs once they are used.

    `above` are the inputs of the layer above where its rule gives nothing to inputs of zero. They are this layer's
    outputs after ReLU, and equal to those before it wherever there is relevance.
    """
    while passed:
        step = passed.pop()
        if step.linear is not None and step.rule is not None and step.inputs is not None:
            outputs = above if step.outputs is None else step.outputs
            relevance = step.rule(step.linear, step.inputs, outputs, relevance)
            above = step.inputs if gives_nothing_to_zeros(step.rule) else None
        elif isinstance(step.layer, nn.AvgPool3d):
            relevance, above = share_among_blocks(step.layer, step.shape, relevance), None
        else:
            order = torch.channels_last_3d if len(step.shape) == 5 else torch.contiguous_format
            relevance = relevance.reshape(step.shape).contiguous(memory_format=order)
            above = None if above is None else step.inputs
    return relevance, above


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
    """List the layers of a network in forward order, also those of nested sequences; each must have a rule."""
    if isinstance(network, nn.Sequential):
        return [layer for part in network for layer in layers_in_order(part)]
    if isinstance(network, KNOWN_LAYERS):
        return [network]
    raise ModelError(f"no rule carries relevance through a layer of kind {type(network).__name__}")


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


def rules_by_layer(network: nn.Module, rules: str | Sequence[str | Rule] = "paper") -> list[tuple[str, Rule]]:
    """Give the name and the rule of each layer with weights, in forward order; errors as for `propagate`."""
    names = [name for _, name in weighted_layers(network)]
    return list(zip(names, choose_rules(rules, _with_weights(layers_in_order(network))), strict=True))


def _with_weights(layers: Sequence[nn.Module]) -> list[LinearMap]:
    return [linear for linear in map(linear_map, layers) if linear is not None]
