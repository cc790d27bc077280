"""Each rule equals its definition, written out with dense matrices in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datbatch.relevance import rules
from datbatch.relevance.layers import linear_map
from tests.reference import relevance_rules as reference

SIZE = (5, 6, 4)


def layer_and_matrix(kind, seed=0):
    torch.manual_seed(seed)
    if kind == "linear":
        layer = torch.nn.Linear(2 * 120, 7).double()
        w = layer.weight.detach().numpy().T
        return layer, (240,), w, np.ones_like(w, dtype=bool), layer.bias.detach().numpy()
    options = {"stride": (1, 2, 1), "padding": (1, 0, 2)} if kind == "strided" else {}
    layer = torch.nn.Conv3d(2, 3, 3, **options).double()
    w, connected, out = reference.dense_convolution(layer.weight.detach().numpy(), SIZE, **options)
    return layer, (2, *SIZE), w, connected, np.repeat(layer.bias.detach().numpy(), int(np.prod(out)))


CASES = {
    "epsilon": (
        lambda *a, bias: rules.epsilon(*a, amount=0.05, bias=bias),
        lambda a, w, b, r, c: reference.epsilon(a, w, b, r, 0.05),
    ),
    "alpha_beta": (
        lambda *a, bias: rules.alpha_beta(*a, alpha=2.0, bias=bias),
        lambda a, w, b, r, c: reference.alpha_beta(a, w, b, r, 2.0),
    ),
    "z_plus": (rules.z_plus, lambda a, w, b, r, c: reference.alpha_beta(a, w, b, r, 1.0)),
    "w_square": (rules.w_square, lambda a, w, b, r, c: reference.w_square(a, w, b, r)),
    "zero": (rules.zero, lambda a, w, b, r, c: reference.zero(a, w, b, r)),
    "box": (
        lambda *a, bias: rules.box(*a, low=-4.0, high=5.0),
        lambda a, w, b, r, c: reference.box(a, w, r, -4.0, 5.0),
    ),
    "flat": (lambda *a, bias: rules.flat(*a), lambda a, w, b, r, c: reference.flat(c, r)),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sign", ["positive", "mixed"])
@pytest.mark.parametrize("kind", ["linear", "convolution", "strided"])
@pytest.mark.parametrize("rule", [*CASES, "gamma"])
@torch.no_grad()
def test_a_rule_equals_its_definition(rule, kind, sign, bias):
    layer, shape, w, connected, b = layer_and_matrix(kind)
    inputs = torch.randn(2, *shape, dtype=torch.float64)
    inputs = inputs.clamp(min=0) if sign == "positive" else inputs
    outputs = layer(inputs)
    relevance = torch.randn_like(outputs)
    if rule == "gamma":
        fast = rules.gamma(linear_map(layer), inputs, None, relevance, amount=0.4, bias=bias)
        # The sign of z_j that chooses the branch is the network's own, bias included.
        slow = [gamma_definition(a, w, b, b if bias else 0 * b, r) for a, r in flattened(inputs, relevance)]
    else:
        function, definition = CASES[rule]
        fast = function(linear_map(layer), inputs, None, relevance, bias=bias)
        slow = [definition(a, w, b if bias else 0 * b, r, connected) for a, r in flattened(inputs, relevance)]
    assert fast.shape == inputs.shape
    np.testing.assert_allclose(fast.reshape(2, -1).numpy(), np.stack(slow), rtol=0, atol=1e-9 * np.abs(slow).max())


def flattened(inputs, relevance):
    return zip(inputs.reshape(2, -1).numpy(), relevance.reshape(2, -1).numpy(), strict=True)


def gamma_definition(a, w, own_bias, bias, relevance):
    active = np.sign((a[:, None] * w).sum(axis=0) + own_bias)
    return sum(
        reference.gamma(a, w, bias, relevance, 0.4, directions=(direction,), active=active == direction)
        for direction in (1.0, -1.0)
    )


def test_outputs_at_hand_give_the_same_as_computing_them():
    layer, shape, *_ = layer_and_matrix("linear")
    inputs = torch.randn(2, *shape, dtype=torch.float64)
    outputs, relevance = layer(inputs), torch.randn(2, 7, dtype=torch.float64)
    with torch.no_grad():
        for rule in (rules.epsilon, rules.gamma):
            given = rule(linear_map(layer), inputs, outputs, relevance)
            torch.testing.assert_close(given, rule(linear_map(layer), inputs, None, relevance), rtol=1e-9, atol=1e-12)


@torch.no_grad()
def test_a_dead_input_gets_no_relevance_and_zero_denominators_stay_finite():
    layer = torch.nn.Conv3d(1, 2, 3, bias=False)
    layer.weight.fill_(0.0)
    inputs = torch.zeros(1, 1, 5, 5, 5)
    relevance = torch.ones(1, 2, 3, 3, 3)
    for rule in (rules.epsilon, rules.alpha_beta, rules.z_plus, rules.gamma):
        assert torch.equal(rule(linear_map(layer), inputs, None, relevance), inputs)


@torch.no_grad()
def test_incomplete_blocks_share_their_relevance_among_the_voxels_that_are_there():
    pool = torch.nn.AvgPool3d(2, ceil_mode=True)
    size = (5, 4, 3)
    connected, out = reference.pooled(size, 2)
    relevance = torch.randn(1, 1, *out, dtype=torch.float64)
    fast = rules.share_among_blocks(pool, torch.Size((1, 1, *size)), relevance)
    slow = reference.flat_blocks(connected, relevance.numpy().reshape(-1))
    np.testing.assert_allclose(fast.numpy().reshape(-1), slow, rtol=1e-12)


def strided_layers():
    """Small convolutions of any stride, padding and kernel, with the size of an image that they fit."""
    three = st.tuples(*[st.integers(1, 3)] * 3)
    return st.tuples(three, three, st.tuples(*[st.integers(0, 2)] * 3), st.tuples(*[st.integers(3, 5)] * 3))


def any_layer(described, seed, *, bias=True):
    kernel, stride, padding, size = described
    torch.manual_seed(seed)
    layer = torch.nn.Conv3d(2, 2, kernel, stride=stride, padding=padding, bias=bias).double()
    weight = layer.weight.detach().numpy()
    w, connected, out = reference.dense_convolution(weight, size, stride=stride, padding=padding)
    b = np.zeros(w.shape[1]) if layer.bias is None else np.repeat(layer.bias.detach().numpy(), int(np.prod(out)))
    return layer, (2, *size), w, connected, b


@settings(max_examples=25, deadline=None)
@given(described=strided_layers(), seed=st.integers(0, 99), rule=st.sampled_from(sorted(CASES)), bias=st.booleans())
@torch.no_grad()
def test_a_rule_equals_its_definition_for_any_kernel_stride_and_padding(described, seed, rule, bias):
    layer, shape, w, connected, b = any_layer(described, seed)
    inputs = torch.randn(2, *shape, dtype=torch.float64)
    relevance = torch.randn_like(layer(inputs))
    function, definition = CASES[rule]
    fast = function(linear_map(layer), inputs, None, relevance, bias=bias)
    slow = [definition(a, w, b if bias else 0 * b, r, connected) for a, r in flattened(inputs, relevance)]
    np.testing.assert_allclose(fast.reshape(2, -1).numpy(), np.stack(slow), rtol=0, atol=1e-9 * np.abs(slow).max())


@settings(max_examples=25, deadline=None)
@given(
    described=strided_layers(),
    seed=st.integers(0, 99),
    name=st.sampled_from(["epsilon", "zero", "z_plus", "alpha_beta", "gamma"]),
    bias=st.booleans(),
)
@torch.no_grad()
def test_outputs_after_relu_serve_as_well_where_those_of_zero_have_no_relevance(described, seed, name, bias):
    layer, shape, *_ = any_layer(described, seed)
    # Many inputs of nearly zero, so that negative parts vanish beside positive ones.
    inputs = torch.randn(2, *shape, dtype=torch.float64).clamp(min=0).pow(8)
    rectified = layer(inputs).clamp(min=0)
    relevance = torch.randn_like(rectified).mul_(rectified > 0)
    rule = getattr(rules, name)
    found = rule(linear_map(layer), inputs, rectified, relevance, bias=bias)
    expected = rule(linear_map(layer), inputs, None, relevance, bias=bias)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11 * max(1.0, float(expected.abs().max())))


@pytest.mark.parametrize("few", [0.0, 1.0])
@torch.no_grad()
def test_a_negative_part_that_vanishes_beside_the_positive_one_keeps_its_digits(few, monkeypatch):
    monkeypatch.setattr(rules, "FEW", few)
    layer = torch.nn.Conv3d(2, 3, 3, padding=1)
    layer.weight.abs_()[:, 1].neg_()
    layer.bias.fill_(0.1)
    inputs = torch.rand(1, 2, 6, 5, 4)
    inputs[:, 1] *= 1e-7
    outputs = layer(inputs)
    relevance = torch.rand_like(outputs)
    found = rules.alpha_beta(linear_map(layer), inputs, outputs, relevance)
    exact = rules.alpha_beta(linear_map(layer.double()), inputs.double(), None, relevance.double())
    assert (found - exact).abs().max() <= 1e-5 * exact.abs().max()


@settings(max_examples=25, deadline=None)
@given(described=strided_layers(), seed=st.integers(0, 99))
@torch.no_grad()
def test_single_places_of_a_convolution_are_those_of_the_whole(described, seed):
    layer, shape, *_ = any_layer(described, seed)
    linear, inputs = linear_map(layer), torch.randn(2, *shape, dtype=torch.float64)
    outputs = layer(inputs)
    places = torch.nonzero(outputs > outputs.median())
    found = linear.apply_at(places, inputs, layer.weight, layer.bias)
    torch.testing.assert_close(found, outputs[tuple(places.unbind(1))], rtol=1e-9, atol=1e-12)
