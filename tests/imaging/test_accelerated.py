"""PyTorch's back-projection is the processor's, checked on PyTorch's own processor backend and on a GPU if any."""

import numpy as np
import pytest
import torch

from datbatch.config import ReconstructConfig
from datbatch.errors import ConfigurationError, MissingDeviceError
from datbatch.imaging.reconstruction import accelerated, backprojection
from datbatch.imaging.reconstruction.backprojection import back_project

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def projected(projections, angles_deg, **options):
    return back_project(projections, angles_deg, 4.0, ReconstructConfig(cutoff_per_cm=0.9, **options), threads=1)


@pytest.fixture
def on_torch(monkeypatch):
    """Give `back_project` through PyTorch on any of its devices."""
    original = accelerated.filter_and_accumulate

    def run(projections, angles_deg, device, **options):
        monkeypatch.setattr(
            backprojection, "filter_and_accumulate", lambda *arguments, **_: original(*arguments, device=device)
        )
        return projected(projections, angles_deg, device="cuda", **options)

    return run


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["ram-lak", "shepp-logan", "none"])
@pytest.mark.parametrize(
    ("views", "rows", "bins", "angles"),
    [
        (24, 5, 33, np.arange(24) * 15.0),
        (15, 1, 16, 90.0 - np.arange(15) * 12.0),
        (9, 4, 2, np.array([0.0, 20.0, 60.0, 90.0, 150.0, 180.0, 200.0, 201.0, 330.0])),
        (60, 20, 64, np.arange(60) * 6.0),
    ],
)
def test_it_agrees_with_the_processor(on_torch, device, name, views, rows, bins, angles):
    projections = np.random.default_rng(1).poisson(30, (views, rows, bins)).astype(np.uint16)
    expected = projected(projections, angles, filter=name)
    found = on_torch(projections, angles, device, filter=name)
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("device", DEVICES)
def test_bounded_memory_changes_nothing(on_torch, device, monkeypatch):
    projections, angles = np.random.default_rng(3).random((12, 3, 21)), np.arange(12) * 15.0
    expected = on_torch(projections, angles, device, filter="hann")
    monkeypatch.setattr(accelerated, "TAPS_AT_ONCE", 100)
    np.testing.assert_array_equal(on_torch(projections, angles, device, filter="hann"), expected)


def test_a_missing_or_unknown_device_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MissingDeviceError):
        projected(np.ones((4, 2, 8)), np.arange(4) * 45.0, filter="hann", device="cuda")
    with pytest.raises(ConfigurationError):
        projected(np.ones((4, 2, 8)), np.arange(4) * 45.0, filter="hann", device="tpu")
