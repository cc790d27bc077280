"""The network is the paper's, on any grid, from any seed."""

import pytest
import torch
from torch import nn

from datbatch.classifier import PRESETS, build_network
from datbatch.classifier.network import parameter_count, preset
from datbatch.errors import GridMismatchError, ModelError
from datbatch.schema import LABELS, SHAPE


def test_the_paper_preset_has_the_papers_number_of_parameters():
    with torch.device("meta"):
        network = build_network(SHAPE, pool=PRESETS["paper"].pool)
    assert parameter_count(network) == 236_087_106


def test_the_compact_preset_is_the_same_network_on_the_four_millimetre_grid():
    with torch.device("meta"):
        compact = build_network(SHAPE, pool=PRESETS["compact"].pool)
        coarse = build_network((46, 55, 32))
        pooled = compact[0](torch.empty(1, 1, *SHAPE))
    assert pooled.shape[2:] == (46, 55, 32)
    assert [p.shape for p in compact.parameters()] == [p.shape for p in coarse.parameters()]


def test_layers_are_those_of_the_papers_figure():
    network = build_network((12, 11, 10))
    convolutions = [layer for layer in network if isinstance(layer, nn.Conv3d)]
    assert [(c.out_channels, c.kernel_size, c.stride, c.padding) for c in convolutions] == [
        (16, (3, 3, 3), (1, 1, 1), (0, 0, 0))
    ] * 4
    assert [layer.out_features for layer in network if isinstance(layer, nn.Linear)] == [32, 16, len(LABELS)]
    assert [layer.p for layer in network if isinstance(layer, nn.Dropout)] == [0.2]
    assert not any(isinstance(layer, nn.MaxPool3d | nn.AvgPool3d | nn.Softmax) for layer in network)
    assert network(torch.zeros(3, 1, 12, 11, 10)).shape == (3, 2)


def test_a_seed_fixes_the_weights_and_leaves_torchs_generator_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, same, other = (build_network((10, 10, 10), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    again = build_network((10, 10, 10), seed=1)
    for a, b, c in zip(one.parameters(), same.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
    assert not torch.equal(one[0].weight, other[0].weight)


def test_a_grid_too_small_for_four_convolutions_is_refused():
    with pytest.raises(GridMismatchError, match="too small"):
        build_network((9, 9, 8))
    with pytest.raises(GridMismatchError, match="too small"):
        build_network((17, 17, 16), pool=2)


def test_an_unknown_preset_is_named():
    with pytest.raises(ModelError, match="'huge'"):
        preset("huge")


def test_on_a_large_grid_no_neuron_starts_silent_and_a_step_moves_its_input_by_less_than_one():
    network = build_network((46, 55, 32), seed=1)
    position = next(index for index, layer in enumerate(network) if isinstance(layer, nn.Linear))
    with torch.no_grad():
        features = network[:position](torch.rand(1, 1, 46, 55, 32))
        assert (network[position](features) > 0).all()
    assert 0.01 < 1e-4 * features.sum().item() < 1.0
