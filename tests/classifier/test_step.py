"""A step in micro-batches has the gradients of ordinary back-propagation."""

import copy
from functools import partial

import pytest
import torch
from torch.nn.functional import cross_entropy

from datbatch.classifier.group import ALONE
from datbatch.classifier.network import arrange, build_network
from datbatch.classifier.step import Step
from datbatch.classifier.threads import Threads

SHAPE = (11, 12, 10)


@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize(("studies", "micro_batch"), [(8, 2), (7, 3), (1, 4), (5, 8)])
def test_gradients_are_those_of_autograd_over_the_whole_batch(monkeypatch, studies, micro_batch, pool):
    shape = tuple(pool * size for size in SHAPE)
    network = arrange(build_network(shape, pool=pool, seed=1), torch.device("cpu")).double().eval()
    reference = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(studies, 1, *shape, generator=generator, dtype=torch.float64)
    truth = torch.arange(studies) % 2
    expected = cross_entropy(reference(images), truth)
    expected.backward()
    monkeypatch.setattr("datbatch.classifier.step.BLOCK", 100)
    with Threads(torch.device("cpu")) as threads:
        step = Step(network, micro_batch=micro_batch, group=ALONE, threads=threads)
        assert step.own(list(range(studies))) == list(range(studies))
        for _ in range(2):  # gradients of an earlier step must not remain
            loss = step.gradients(images, studies, partial(cross_entropy, target=truth))
            assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
            for parameter, wanted in zip(network.parameters(), reference.parameters(), strict=True):
                torch.testing.assert_close(parameter.grad, wanted.grad, rtol=1e-5, atol=1e-9)
                assert parameter.grad.stride() == parameter.stride()


def test_products_of_bfloat16_still_tell_studies_apart_that_differ_by_little(monkeypatch):
    """On the full grid the first sums of two studies differ by a thousandth, a quarter of a step of bfloat16."""
    shape = (40, 40, 40)
    generator = torch.Generator().manual_seed(4)
    one = torch.rand(1, 1, *shape, generator=generator)
    other = one + 0.02 * torch.nn.functional.interpolate(torch.rand(1, 1, 5, 5, 5, generator=generator), shape)
    images = torch.cat([one, other]).contiguous(memory_format=torch.channels_last_3d)
    seen = []

    def loss(logits):
        seen.append(logits.detach().clone())
        return logits.sum()

    for autocast in (None, torch.bfloat16):
        network = arrange(build_network(shape, dropout=0.0, seed=1), torch.device("cpu"))
        with Threads(torch.device("cpu")) as threads:
            Step(network, micro_batch=2, group=ALONE, threads=threads, autocast=autocast).gradients(images, 2, loss)
    exact, rounded = (logits[1] - logits[0] for logits in seen)
    assert exact.abs().max() < 2e-3 * seen[0].abs().max()
    assert (rounded - exact).abs().max() < exact.abs().max()
