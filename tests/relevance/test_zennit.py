"""Whole networks and single rules give what zennit gives, the reference implementation."""

import pytest
import torch
from torch import nn

from datbatch.relevance import propagate
from tests.reference import zennit_peer
from tests.relevance.test_propagate import images, tiny_network

pytestmark = pytest.mark.skipif(not zennit_peer.available(), reason="zennit is not installed (pip install zennit)")


@pytest.mark.parametrize(("kind", "limit"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_the_papers_rules_give_the_map_of_zennit(bias, pool, kind, limit):
    size = (9, 10, 11) if pool == 1 else (17, 18, 20)
    network, batch = tiny_network(channels=(1, 4, 4, 4, 4), pool=pool, size=size), images(3, size).to(kind)
    network.eval().to(kind)
    theirs = zennit_peer.explainer(network, zennit_peer.paper_hooks(network, bias=bias))(batch)
    ours = propagate(network, batch, rules="paper" if bias else "paper_without_bias")
    assert (ours - theirs).abs().max() <= limit * theirs.abs().max()


@pytest.mark.parametrize(
    ("written", "hook", "arguments"),
    [
        ("zero", "Epsilon", (1e-6,)),
        ("epsilon(0.1)", "Epsilon", (0.1,)),
        ("gamma(0.3)", "Gamma", (0.3,)),
        ("z+", "ZPlus", ()),
        ("alpha-beta(3)", "AlphaBeta", (3.0, 2.0)),
        ("flat", "Flat", ()),
        ("w-square", "WSquare", ()),
        ("box(-2, 3)", "ZBox", (-2.0, 3.0)),
    ],
)
def test_a_rule_in_every_layer_gives_what_zennit_gives(written, hook, arguments):
    network, batch = tiny_network().eval(), images()
    count = sum(isinstance(layer, nn.Conv3d | nn.Linear) for layer in network)
    theirs = zennit_peer.explainer(network, [getattr(zennit_peer.load(), hook)(*arguments)] * count)(batch)
    ours = propagate(network, batch, rules=[written] * count)
    assert (ours - theirs).abs().max() <= 1e-9 * theirs.abs().max()
