"""Relevance of a whole network equals its definition, is conserved, and starts where it is asked to."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from datbatch.errors import ConfigurationError, GridMismatchError, ModelError
from datbatch.relevance import explain_batch, layers, propagate, rules
from datbatch.schema import LABELS
from tests.reference import relevance_rules as reference

SHAPE = (7, 8, 6)


def tiny_network(*, channels=(1, 2, 3), pool=1, size=SHAPE, bias=True, seed=0):
    """A network like the paper's, small enough for dense matrices."""
    torch.manual_seed(seed)
    layers = [nn.AvgPool3d(pool, ceil_mode=True)] if pool > 1 else []
    kernel = 3 if len(channels) < 4 else 2
    for before, after in itertools.pairwise(channels):
        layers += [nn.Conv3d(before, after, kernel, bias=bias), nn.ReLU()]
    reduced = [-(-n // pool) - (len(channels) - 1) * (kernel - 1) for n in size]
    features = channels[-1] * int(np.prod(reduced))
    layers += [nn.Flatten(), nn.Linear(features, 6, bias=bias), nn.ReLU(), nn.Dropout(0.2)]
    layers += [nn.Linear(6, 5, bias=bias), nn.ReLU(), nn.Linear(5, 2, bias=bias)]
    return nn.Sequential(*layers).double()


def described(network):
    """Give a network as the reference takes it."""
    layers = []
    for layer in network:
        if isinstance(layer, nn.AvgPool3d):
            layers.append(("pool", layer.kernel_size))
        elif isinstance(layer, nn.Conv3d | nn.Linear):
            kind = "convolution" if isinstance(layer, nn.Conv3d) else "linear"
            weight = layer.weight.detach().numpy()
            bias = np.zeros(weight.shape[0]) if layer.bias is None else layer.bias.detach().numpy()
            layers.append((kind, weight, bias))
    return layers


def predicted(outputs):
    return np.where(np.arange(2) == outputs.argmax(), outputs, 0.0)


def images(count=3, shape=SHAPE):
    generator = torch.Generator().manual_seed(7)
    return torch.rand(count, 1, *shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("rules_name", ["paper", "paper_without_bias"])
@pytest.mark.parametrize(
    ("channels", "pool", "size"),
    [((1, 2, 3), 1, SHAPE), ((1, 2, 2), 2, (9, 10, 11)), ((1, 2, 2, 2, 2), 1, (6, 5, 7)), ((1, 3), 1, (5, 4, 5))],
)
def test_the_map_is_what_the_definitions_give(channels, pool, size, rules_name):
    network = tiny_network(channels=channels, pool=pool, size=size)
    batch = images(shape=size)
    found = explain_batch(network, batch, rules=rules_name)
    for index in range(len(batch)):
        outputs, relevance, _ = reference.explain(
            described(network), batch[index, 0].numpy(), predicted, bias=rules_name == "paper"
        )
        np.testing.assert_allclose(found.logits[index].numpy(), outputs, atol=1e-12)
        scale = np.abs(relevance).max()
        np.testing.assert_allclose(found.relevance[index, 0].numpy(), relevance, rtol=0, atol=1e-9 * scale)
        assert scale > 0


def exact_rules(sums=None):
    """Of the paper's table, with an epsilon too small to take anything; notes the sum after each layer."""
    table = [rules.flat, rules.flat, rules.alpha_beta, rules.alpha_beta]
    table += [lambda *arguments: rules.epsilon(*arguments, amount=1e-12)] * 3

    def noting(rule):
        def noted(*arguments):
            relevance = rule(*arguments)
            sums.append(relevance.sum().item())
            return relevance

        return noted

    return table if sums is None else [noting(rule) for rule in table]


@pytest.mark.parametrize("seed", range(3))
def test_without_biases_relevance_is_conserved_at_every_layer(seed):
    network = tiny_network(channels=(1, 3, 3, 3, 3), size=(6, 5, 7), bias=False, seed=seed)
    sums = []
    found = explain_batch(network, 100 * images(1, (6, 5, 7)), rules=exact_rules(sums))
    assert len(sums) == 7
    np.testing.assert_allclose(sums, found.logits.max().item(), rtol=1e-3)


def test_biases_keep_their_share_unless_they_are_left_out():
    network, batch = tiny_network(channels=(1, 3, 3, 3, 3), size=(6, 5, 7)), 100 * images(1, (6, 5, 7))
    with torch.no_grad():
        for layer in network:
            if isinstance(layer, nn.Conv3d):
                layer.bias.fill_(5.0)
    kept = explain_batch(network, batch)
    left_out = explain_batch(network, batch, rules="paper_without_bias")
    lost = abs(kept.relevance.sum() - kept.logits.max()) / kept.logits.max()
    assert lost > 0.05
    assert abs(left_out.relevance.sum() - left_out.logits.max()) / left_out.logits.max() < 0.01


def test_single_precision_agrees_with_double_precision():
    network, batch = tiny_network(), images()
    exact = propagate(network, batch)
    rounded = propagate(network.float(), batch.float())
    assert rounded.dtype == torch.float32
    assert (rounded - exact).abs().max() <= 1e-5 * exact.abs().max()


def test_the_log_odds_map_is_the_positive_map_less_the_negative_one():
    network, batch = tiny_network(), images()
    maps = {target: propagate(network, batch, target=target) for target in ("positive", "negative", "log_odds")}
    torch.testing.assert_close(maps["log_odds"], maps["positive"] - maps["negative"], rtol=1e-9, atol=1e-15)


def test_without_biases_the_log_odds_map_sums_to_the_log_odds():
    network = tiny_network(channels=(1, 3, 3, 3, 3), size=(6, 5, 7), bias=False)
    # Where an output has no negative contribution alpha-beta passes on alpha times its relevance; z+ has no such case.
    table = [rules.z_plus if rule is rules.alpha_beta else rule for rule in exact_rules()]
    found = explain_batch(network, 100 * images(3, (6, 5, 7)), target="log_odds", rules=table)
    log_odds = found.logits[:, 1] - found.logits[:, 0]
    torch.testing.assert_close(found.relevance.sum(dim=(1, 2, 3, 4)), log_odds, rtol=1e-3, atol=0)


def test_the_predicted_map_is_that_of_the_most_activated_output():
    network, batch = tiny_network(seed=4), images(4)
    found = explain_batch(network, batch)
    for index in range(4):
        name = LABELS[int(found.logits[index].argmax())]
        alone = propagate(network, batch[index : index + 1], target=name)
        assert torch.equal(found.relevance[index : index + 1], alone)


def test_a_study_gets_the_same_bits_alone_and_in_a_batch():
    network, batch = tiny_network().float(), images().float()
    together = propagate(network, batch)
    assert all(torch.equal(together[i : i + 1], propagate(network, batch[i : i + 1])) for i in range(3))


@pytest.mark.parametrize("size", [SHAPE, (9, 10, 11)])
def test_bits_do_not_depend_on_the_room_for_studies_that_pass_together(size, monkeypatch):
    # Blocks of a whole number of cache lines, as in every network of the paper's kind.
    monkeypatch.setattr(layers, "BLOCK", 64)
    network, batch = tiny_network(channels=(1, 4, 16), size=size).float(), images(5, size).float()
    expected = [explain_batch(network, batch[i : i + 1]) for i in range(5)]
    for memory_bytes in (0, 100_000, 2**30):
        found = explain_batch(network, batch, memory_bytes=memory_bytes)
        assert torch.equal(found.relevance, torch.cat([one.relevance for one in expected]))
        assert torch.equal(found.logits, torch.cat([one.logits for one in expected]))


def test_a_batch_of_no_studies_gives_no_maps():
    assert propagate(tiny_network(), images(1)[:0]).shape == (0, 1, *SHAPE)


def test_dropout_is_off_and_network_and_images_stay_as_they_were():
    network, batch = tiny_network().train(), images()
    before, image = {k: v.clone() for k, v in network.state_dict().items()}, batch.clone()
    assert torch.equal(propagate(network, batch), propagate(network, batch))
    assert network.training
    assert torch.equal(batch, image)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_activation_on_the_image_itself_leaves_the_image_alone():
    network, batch = nn.Sequential(nn.ReLU(), *tiny_network()), images() - 0.5
    kept = batch.clone()
    torch.testing.assert_close(propagate(network, batch), propagate(network[1:], kept.clamp(min=0)))
    assert torch.equal(batch, kept)


def test_a_wrong_question_is_refused_by_name():
    network, batch = tiny_network(), images(1)
    with pytest.raises(ConfigurationError, match="unknown target"):
        propagate(network, batch, target="both")
    with pytest.raises(ConfigurationError, match="unknown rules"):
        propagate(network, batch, rules="magic")
    with pytest.raises(ConfigurationError, match="1 rules were given for 5 layers"):
        propagate(network, batch, rules=[rules.flat])
    with pytest.raises(GridMismatchError, match="do not fit"):
        propagate(network, images(1, (7, 8, 7)))
    with pytest.raises(GridMismatchError, match="do not fit"):
        propagate(network, images(1, (7, 2, 6)))
    with pytest.raises(GridMismatchError, match="must be"):
        propagate(network, batch[0])
    with pytest.raises(ModelError, match="kind Sigmoid"):
        propagate(nn.Sequential(*network, nn.Sigmoid()), batch)
    with pytest.raises(ModelError, match="2 outputs"):
        propagate(nn.Sequential(*network[:-1]), batch)
    with pytest.raises(ModelError, match="ungrouped"):
        propagate(nn.Sequential(nn.Conv3d(2, 2, 1, groups=2), *network), batch)
