"""Relevance is accounted for at every layer: passed on, absorbed by biases, absorbed by stabilisers."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from datbatch.classifier.network import build_network
from datbatch.relevance import propagate, rules
from datbatch.relevance.conservation import relevance_balance

SHAPE = (10, 11, 9)


def network(*, bias: float | None, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """The paper's network on a small grid, all biases of one value or none."""
    made = build_network(SHAPE, dropout=0.0, seed=3).to(dtype).eval()
    for layer in made:
        if isinstance(layer, nn.Conv3d | nn.Linear):
            if bias is None:
                layer.bias = None
            else:
                nn.init.constant_(layer.bias, bias)
    return made


def images(count: int = 2, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return 100 * torch.rand(count, 1, *SHAPE, generator=torch.Generator().manual_seed(5), dtype=torch.float64).to(dtype)


def test_the_bias_of_a_linear_network_absorbs_exactly_itself():
    layer = nn.Linear(4, 2).double()
    with torch.no_grad():
        layer.weight[:] = torch.tensor([[1.0, 2, 0, 1], [0, 1, 0, 0]])
        layer.bias[:] = torch.tensor([2.5, 7.0])
    found = relevance_balance(
        nn.Sequential(nn.Flatten(), layer), torch.ones(1, 1, 2, 2, 1).double(), rules=[partial(rules.epsilon, amount=0)]
    )
    (balance,) = found.layers
    assert balance.layer == "fully connected 1"
    # Outputs are 6.5 and 8: the second is chosen, of which its bias makes 7.
    assert [float(x[0]) for x in (found.start, balance.passed_on, balance.biases)] == [8.0, 1.0, 7.0]
    assert float(balance.stabilisers[0]) == 0.0
    assert float(found.image[0]) == 1.0


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-3), (torch.float32, 1e-2)])
def test_without_biases_every_layer_keeps_its_relevance(dtype, limit) -> None:
    found = relevance_balance(network(bias=None, dtype=dtype), images(dtype=dtype))
    assert [layer.layer for layer in found.layers] == [
        "fully connected 3", "fully connected 2", "fully connected 1",
        "convolution 4", "convolution 3", "convolution 2", "convolution 1",
    ]  # fmt: skip
    for layer in found.layers:
        np.testing.assert_allclose(layer.passed_on, found.start, rtol=limit)
        assert (layer.biases == 0).all()
    np.testing.assert_allclose(found.image, found.start, rtol=limit)


@pytest.mark.parametrize("bias", [20.0, -0.2])
def test_what_biases_absorb_is_what_is_missing(bias) -> None:
    found = relevance_balance(network(bias=bias), images())
    for layer in found.layers:
        np.testing.assert_allclose(
            layer.passed_on + layer.biases, layer.arriving, atol=1e-3 * float(layer.arriving.abs().max())
        )
    absorbed = sum(layer.biases.abs() for layer in found.layers)
    assert (absorbed > 0.01 * found.start.abs()).all()


@pytest.mark.parametrize("rule", [rules.zero, rules.z_plus, rules.w_square, partial(rules.alpha_beta, alpha=1.5)])
def test_other_rules_have_their_closed_form_too(rule) -> None:
    layer = nn.Conv3d(1, 3, 3).double()
    nn.init.constant_(layer.bias, 3.0)
    tail = nn.Linear(3 * 8 * 9 * 7, 2).double()
    made = nn.Sequential(layer, nn.ReLU(), nn.Flatten(), tail)
    # Inputs of either sign.
    first = relevance_balance(made, images() - 50, rules=[rule, partial(rules.epsilon, amount=1e-9)]).layers[-1]
    np.testing.assert_allclose(first.passed_on + first.biases, first.arriving, rtol=1e-4)
    assert (first.biases.abs() > 0).all()


def test_tables_without_biases_lose_nothing_to_them() -> None:
    found = relevance_balance(network(bias=20.0), images(), rules="paper_without_bias")
    assert all((layer.biases == 0).all() for layer in found.layers)


def test_of_an_unknown_rule_only_the_loss_is_told() -> None:
    found = relevance_balance(
        nn.Sequential(nn.Flatten(), nn.Linear(990, 2).double()), images(), rules=[lambda *given: rules.epsilon(*given)]
    )
    assert torch.isnan(found.layers[0].biases).all()
    assert torch.isfinite(found.layers[0].passed_on).all()


def test_noting_changes_no_map() -> None:
    made = network(bias=0.3)
    found = relevance_balance(made, images(), target="log_odds")
    expected = propagate(made, images(), target="log_odds")
    np.testing.assert_allclose(found.explanation.relevance, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.image, expected.flatten(1).sum(1), rtol=1e-9)
