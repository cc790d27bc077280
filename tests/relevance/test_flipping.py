"""Flipping a linear network's regions takes away exactly their relevance."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from datbatch.errors import GridMismatchError
from datbatch.relevance import explain_batch, rules
from datbatch.relevance.flipping import area_between, block_regions, flip_counts, flipping_curve, relevance_order

SHAPE = (8, 9, 6)


def linear_network() -> nn.Sequential:
    layer = nn.Linear(int(np.prod(SHAPE)), 2, bias=False).double().requires_grad_(False)
    layer.weight.copy_(torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(2)))
    return nn.Sequential(nn.Flatten(), layer)


def test_each_flip_drops_the_output_by_the_regions_relevance() -> None:
    network, image = linear_network(), np.random.default_rng(1).random(SHAPE)
    explained = explain_batch(
        network, torch.from_numpy(image[None, None]), rules=[partial(rules.epsilon, amount=1e-13)]
    )
    relevance, called = explained.relevance[0, 0].numpy(), int(explained.logits.argmax())
    regions = block_regions(np.ones(SHAPE, dtype=bool), 3)
    order = relevance_order(relevance, regions)
    counts = np.arange(len(order) + 1)
    outputs = flipping_curve(network, image, np.zeros(SHAPE), regions, order, counts)[:, called]
    sums = np.array([relevance[regions == region].sum() for region in order])
    assert (np.diff(sums) <= 0).all()
    np.testing.assert_allclose(outputs[:-1] - outputs[1:], sums, rtol=1e-9)
    np.testing.assert_allclose(outputs[[0, -1]], [explained.logits[0, called], 0], atol=1e-9)
    # No other order falls faster.
    other = flipping_curve(network, image, np.zeros(SHAPE), regions, order[::-1].copy(), counts)[:, called]
    assert area_between(counts / counts[-1], other, outputs) > 0
    assert (other >= outputs - 1e-9).all()


def test_all_flipped_is_the_replacement_and_what_lies_outside_stays() -> None:
    network, rng = linear_network(), np.random.default_rng(3)
    image, put = rng.random(SHAPE), rng.random(SHAPE)
    mask = np.zeros(SHAPE, dtype=bool)
    mask[1:7, 2:8, 1:5] = True
    regions = block_regions(mask, 2)
    order = rng.permutation(regions.max() + 1)
    last = flipping_curve(network, image, put, regions, order, np.array([0, len(order)]))[1]
    expected = network(torch.from_numpy(np.where(mask, put, image)[None, None])).numpy()[0]
    np.testing.assert_allclose(last, expected, rtol=1e-12)
    with pytest.raises(GridMismatchError):
        flipping_curve(network, image, put[1:], regions, order, np.array([0]))


@given(st.integers(1, 5), st.integers(0, 10))
def test_blocks_divide_the_mask(edge, seed) -> None:
    mask = np.random.default_rng(seed).random((7, 6, 5)) < 0.6
    regions = block_regions(mask, edge)
    assert ((regions >= 0) == mask).all()
    assert set(np.unique(regions[mask])) == set(range(int(regions.max()) + 1))
    for region in range(int(regions.max()) + 1):
        places = np.argwhere(regions == region)
        assert (np.ptp(places // edge, axis=0) == 0).all()
    whole = block_regions(np.ones((6, 6, 6), dtype=bool), 3)
    assert (np.bincount(whole.ravel()) == [27] * 8).all()


def test_points_of_the_curve_lie_close_at_its_start() -> None:
    assert flip_counts(100, 5).tolist() == [0, 4, 16, 36, 64, 100]
    assert flip_counts(3, 20).tolist() == [0, 1, 2, 3]


def test_the_area_is_that_of_a_triangle() -> None:
    shares = np.array([0.0, 0.25, 1.0])
    assert area_between(shares, np.array([1.0, 1.0, 1.0]), 1 - shares) == pytest.approx(0.5)
    assert area_between(shares, shares, shares) == 0.0
