"""Layers are replaced from the outputs down, nothing else is touched, and forgetting shows in the map."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from datbatch.classifier.network import build_network
from datbatch.errors import ModelError
from datbatch.relevance import propagate, rules
from datbatch.relevance.randomisation import cascade, map_similarity

SHAPE = (9, 10, 9)


def test_the_cascade_starts_at_the_outputs_and_ends_with_the_drawn_network() -> None:
    trained, drawn = (build_network(SHAPE, seed=seed).eval() for seed in (1, 2))
    before = [parameter.clone() for parameter in trained.parameters()]
    image = torch.rand(1, 1, *SHAPE)
    steps = list(cascade(trained, drawn))
    assert [name for name, _ in steps] == [
        "fully connected 3", "fully connected 2", "fully connected 1",
        "convolution 4", "convolution 3", "convolution 2", "convolution 1",
    ]  # fmt: skip
    for count, (_, network) in enumerate(steps, start=1):
        places = zip(network.parameters(), trained.parameters(), drawn.parameters(), strict=True)
        sources = [("trained" if ours is now else "drawn" if theirs is now else "") for now, ours, theirs in places]
        assert sources == ["trained"] * (14 - 2 * count) + ["drawn"] * 2 * count
    torch.testing.assert_close(steps[-1][1](image), drawn(image))
    assert all(torch.equal(old, new) for old, new in zip(before, trained.parameters(), strict=True))


def test_networks_of_other_layers_are_refused() -> None:
    with pytest.raises(ModelError, match="other layers"):
        next(cascade(build_network(SHAPE, seed=1), build_network((9, 9, 9), seed=1)))


def test_gradient_times_input_of_a_linear_network_forgets_all() -> None:
    generator = torch.Generator().manual_seed(0)
    trained, drawn = (
        nn.Sequential(nn.Flatten(), nn.Linear(4000, 2, bias=False).double()).requires_grad_(False) for _ in range(2)
    )
    for network in (trained, drawn):
        network[1].weight.copy_(torch.randn(2, 4000, generator=generator))
    image = 1 + torch.rand(1, 1, 20, 20, 10, generator=generator, dtype=torch.float64)
    table = [partial(rules.epsilon, amount=1e-12)]
    maps = [
        propagate(network, image, target="positive", rules=table)[0, 0].numpy()
        for network in (trained, *(one for _, one in cascade(trained, drawn)))
    ]
    mask = np.ones(maps[0].shape, dtype=bool)
    assert map_similarity(maps[0], maps[0], mask) == {"absolute": pytest.approx(1), "signed": pytest.approx(1)}
    assert abs(map_similarity(maps[0], maps[1], mask)["signed"] or 1) < 0.06
    # Magnitudes share the image as a factor: they stay a little alike though the weights have nothing in common.
    assert 0 < (map_similarity(maps[0], maps[1], mask)["absolute"] or 0) < 0.3


def test_only_the_mask_counts_and_a_constant_map_has_no_similarity() -> None:
    rng = np.random.default_rng(0)
    first, mask = rng.normal(size=(6, 6, 6)), np.zeros((6, 6, 6), dtype=bool)
    mask[2:4] = True
    other = np.where(mask, -first, 5.0)
    assert map_similarity(first, other, mask) == {"absolute": pytest.approx(1), "signed": pytest.approx(-1)}
    assert map_similarity(first, np.zeros_like(first), mask) == {"absolute": None, "signed": None}
