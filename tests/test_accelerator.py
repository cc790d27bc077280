"""A graphics processor computes what the processor does; without one the same tests run on the processor."""

import os

import numpy as np
import pytest
import torch

from datbatch.classifier import network as networks
from datbatch.classifier import predict, train_network
from datbatch.classifier import train as training
from datbatch.classifier.memory import available_memory
from datbatch.classifier.model import Model
from datbatch.classifier.network import arrange, build_network
from datbatch.config import TrainConfig
from datbatch.precision import products
from datbatch.relevance import explain_batch
from datbatch.study import relevance as explaining
from datbatch.workers import driver
from datbatch.workers.cluster_file import ACCELERATOR

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
SHAPE = (31, 37, 25)
CONFIG = TrainConfig(epochs=2, batch_size=4, learning_rate=3e-4, checkpoint_minutes=0.0)


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Make one device the one that is chosen."""
    chosen = torch.device(request.param)
    for module in (networks, training, explaining):
        monkeypatch.setattr(module, "choose_device", lambda: chosen)
    return chosen


def images(count: int) -> np.ndarray:
    return np.random.default_rng(5).random((count, *SHAPE), dtype=np.float32)


def network(device: torch.device, kind: torch.dtype) -> torch.nn.Module:
    return arrange(build_network(SHAPE, pool=2, seed=3), device).to(kind).eval()


@pytest.mark.parametrize("rules", ["paper", "paper_without_bias"])
def test_relevance_and_logits_are_those_of_double_precision_on_the_processor(device, rules) -> None:
    volumes = torch.from_numpy(images(3)[:, None])
    exact = explain_batch(network(torch.device("cpu"), torch.float64), volumes.double(), rules=rules)
    found = explain_batch(network(device, torch.float32), volumes.to(device), rules=rules)
    assert found.relevance.device.type == device.type
    largest = exact.relevance.abs().amax(dim=(1, 2, 3, 4), keepdim=True)
    bound = 1e-4 if rules == "paper" else 1e-2
    assert ((found.relevance.double().cpu() - exact.relevance).abs() / largest).max() < bound
    torch.testing.assert_close(found.logits.double().cpu(), exact.logits, rtol=1e-4, atol=1e-6)


def test_inference_is_that_of_double_precision_whatever_products_the_caller_allows(device) -> None:
    volumes = images(5)
    with products("tf32"):
        found = predict(network(device, torch.float32), volumes, np.arange(5), shape=SHAPE)
        assert torch.backends.cudnn.allow_tf32
    with torch.no_grad():
        exact = network(torch.device("cpu"), torch.float64)(torch.from_numpy(volumes[:, None]).double())
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_an_interrupted_training_ends_with_the_bits_of_an_uninterrupted_one(device, precision, tmp_path) -> None:
    labels, split = (np.arange(12) % 2).astype(np.int64), np.repeat(["train", "validation"], [8, 4])
    volumes = images(12) + labels[:, None, None, None].astype(np.float32)
    config = TrainConfig(**{**vars(CONFIG), "precision": precision})
    options = {"shape": SHAPE, "config": config, "threads": 1}

    def stop(epoch: object, _: int) -> None:
        raise InterruptedError

    whole = train_network(volumes, labels, split, **options)
    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(InterruptedError):
        train_network(volumes, labels, split, checkpoint=checkpoint, progress=stop, **options)
    resumed = train_network(volumes, labels, split, checkpoint=checkpoint, **options)
    assert next(whole.network.parameters()).device.type == device.type
    assert resumed.history == whole.history
    for one, other in zip(resumed.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_stored_model_computes_on_the_accelerator(device, monkeypatch, tmp_path) -> None:
    built = network(torch.device("cpu"), torch.float32)
    monkeypatch.setattr(explaining, "load_model", lambda folder: Model(built, None))
    model = explaining.load_model_once(tmp_path / device.type)
    assert next(model.network.parameters()).device.type == device.type


def test_memory_is_that_of_the_device(device) -> None:
    assert available_memory(device) > 2**28


def test_each_worker_of_this_machine_sees_a_graphics_processor_of_its_own(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv(driver.VISIBLE_DEVICES, raising=False)
    assert driver._accelerators() == ["0", "1"]
    monkeypatch.setenv(driver.VISIBLE_DEVICES, "3,GPU-5f")
    with driver.connect(workers=2, resource=ACCELERATOR) as client:
        assert sorted(client.run(os.getenv, driver.VISIBLE_DEVICES).values()) == ["3", "GPU-5f"]
