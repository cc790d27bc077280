"""Which rule carries relevance through which layer: named tables, and a user's own list of rules as text."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from datbatch.errors import ConfigurationError
from datbatch.relevance import rules
from datbatch.relevance.layers import Convolution, LinearMap
from datbatch.relevance.rules import Rule

FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "zero": rules.zero,
    "epsilon": rules.epsilon,
    "gamma": rules.gamma,
    "z+": rules.z_plus,
    "alpha-beta": rules.alpha_beta,
    "flat": rules.flat,
    "w-square": rules.w_square,
    "box": rules.box,
}
"""Rules by the name that a user writes."""
WITHOUT_BIAS = "without bias"
"""What a user writes after a rule whose denominators are to leave out the bias."""
_WRITTEN = re.compile(rf"([a-z+-]+)\s*(?:\(([^()]*)\))?(\s+{WITHOUT_BIAS})?")
_PROPORTIONAL = (rules.zero, rules.epsilon, rules.gamma, rules.z_plus, rules.alpha_beta)
_BLIND = (rules.flat, rules.w_square)


def paper_rules(layers: Sequence[LinearMap], *, bias: bool = True) -> list[Rule]:
    """Give the paper's rule for each layer with weights, in forward order (Nazari et al. 2022, Fig. 1).

    Fully connected layers: epsilon 1e-4. Convolutions 4 and 3: alpha-beta with alpha = 2; 2 and 1: flat. With another
    number of convolutions the first half, rounded down, is flat.
    """
    convolutions = [place for place, layer in enumerate(layers) if isinstance(layer, Convolution)]
    table: list[Rule] = [partial(rules.epsilon, amount=1e-4, bias=bias)] * len(layers)
    for number, place in enumerate(convolutions):
        first_half = number < len(convolutions) // 2
        table[place] = rules.flat if first_half else partial(rules.alpha_beta, alpha=2.0, bias=bias)
    return table


RULES: dict[str, Callable[[Sequence[LinearMap]], list[Rule]]] = {
    "paper": paper_rules,
    "paper_without_bias": partial(paper_rules, bias=False),
}
"""Named tables: the paper's with biases in the denominators, and as the paper prints the equations."""


def read_rule(text: str) -> Rule:
    """Read one rule such as `flat`, `epsilon(1e-4)`, `box(0, 2)` or `alpha-beta(2) without bias`.

    Numbers in brackets are the rule's own, in the order of its keywords; what is left out keeps its default. A
    `ConfigurationError` refuses an unknown rule, and numbers that it does not take.
    """
    found = _WRITTEN.fullmatch(text.strip())
    if found is None or found[1] not in FUNCTIONS:
        raise ConfigurationError(f"unknown rule {text!r}; known are {', '.join(FUNCTIONS)}")
    function, known = FUNCTIONS[found[1]], inspect.signature(FUNCTIONS[found[1]]).parameters.values()
    keywords = [each for each in known if each.kind is each.KEYWORD_ONLY and each.name != "bias"]
    try:
        numbers = [float(number) for number in found[2].split(",")] if found[2] else []
    except ValueError:
        numbers = [math.nan]
    needed = sum(each.default is each.empty for each in keywords)
    if not needed <= len(numbers) <= len(keywords) or not all(map(math.isfinite, numbers)):
        takes = ", ".join(each.name for each in keywords) or "nothing"
        raise ConfigurationError(f"the rule {text!r} cannot be read; {found[1]} takes {takes} in brackets")
    given = dict(zip((each.name for each in keywords), numbers, strict=False))
    amount = given.get("amount", 1.0)
    divides_by_zero = function is rules.epsilon and amount == 0
    if given.get("alpha", 1.0) < 1 or amount < 0 or divides_by_zero or given.get("low", 0) > given.get("high", 0):
        raise ConfigurationError(f"the rule {text!r} has a number out of its range")
    if found[3]:
        if not any(each.name == "bias" for each in known):
            raise ConfigurationError(f"the rule {text!r} makes no use of biases anyway")
        return partial(function, **given, bias=False)
    return partial(function, **given)


def choose_rules(given: str | Sequence[str | Rule], layers: Sequence[LinearMap]) -> list[Rule]:
    """Give a rule for each layer with weights, in forward order.

    `given` is the name of a table in `RULES`, or one rule for each layer, written (see `read_rule`) or as a
    function. A `ConfigurationError` refuses an unknown table or rule, and a wrong number of rules.
    """
    check_rules(given)
    if isinstance(given, str):
        return RULES[given](layers)
    table = [read_rule(rule) if isinstance(rule, str) else rule for rule in given]
    if len(table) != len(layers):
        raise ConfigurationError(f"{len(table)} rules were given for {len(layers)} layers with weights")
    return table


def check_rules(given: str | Sequence[str | Rule]) -> None:
    """Refuse, by a `ConfigurationError`, what `choose_rules` could not read, before there is a network."""
    if not isinstance(given, str):
        for rule in given:
            if isinstance(rule, str):
                read_rule(rule)
    elif given not in RULES:
        raise ConfigurationError(f"unknown rules {given!r}; known are {', '.join(RULES)}, or a list of rules")


def reads_inputs(rule: Rule) -> bool:
    """Tell whether a rule looks at the layer's inputs, not only at their shape."""
    return _function(rule) not in _BLIND


def gives_nothing_to_zeros(rule: Rule) -> bool:
    """Tell whether an input of zero gets no relevance by a rule."""
    return _function(rule) in _PROPORTIONAL


def _function(rule: Rule) -> object:
    return rule.func if isinstance(rule, partial) else rule
