"""What training needs is known before it starts, and refused where it is not there."""

from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
import torch

from datbatch.classifier import memory, train_network
from datbatch.classifier.memory import available_memory, plan_memory, require_disk
from datbatch.config import TrainConfig
from datbatch.errors import MemoryPlanError
from datbatch.schema import SHAPE

PAPER = TrainConfig()


def plan(config=PAPER, processes=1, threads=2):
    return plan_memory(SHAPE, config, processes=processes, threads=threads)


def test_the_papers_network_needs_four_times_its_weights_and_its_feature_maps():
    found = plan()
    assert found.weights == found.gradients == found.moments / 2 == 4 * 236_087_106
    assert found.checkpoint == 3 * found.weights
    maps = 16 * (89 * 107 * 61 + 87 * 105 * 59 + 85 * 103 * 57 + 83 * 101 * 55) + 3 * 89 * 107 * 61
    passing = 2 * (16 + 3) * 89 * 107 * 61 * 4
    assert found.activations == 4 * (8 * maps + passing)


def test_less_is_needed_with_more_processes_a_smaller_batch_or_the_compact_preset():
    whole = plan()
    assert plan(processes=4).activations < whole.activations / 3
    assert plan(replace(PAPER, batch_size=2)).total < whole.total
    assert plan(replace(PAPER, preset="compact")).total < whole.total / 5


def test_a_training_that_does_not_fit_is_refused_before_it_starts():
    labels = np.array([0, 1])
    with pytest.raises(MemoryPlanError, match=r"needs 6\.\d\d GB .* there are 1\.00 GB") as raised:
        train_network(
            [], labels, np.array(["train", "train"]), shape=SHAPE, config=PAPER, threads=2, memory_bytes=10**9
        )
    assert "compact" in raised.value.advice


def test_a_disk_too_small_for_two_checkpoints_is_refused(tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(memory.shutil, "disk_usage", lambda folder: usage(10**9))
    with pytest.raises(MemoryPlanError, match=r"5\.67 GB of disk .* 1\.00 GB"):
        require_disk(plan(), tmp_path)


def test_the_limit_of_the_control_group_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    machine = available_memory(torch.device("cpu"))
    assert machine > 0
    (tmp_path / "memory.max").write_text("5000000\n")
    (tmp_path / "memory.current").write_text("2000000\n")
    assert available_memory(torch.device("cpu")) == 3_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory(torch.device("cpu")) > 3_000_000
