"""What training will need of memory and disk, before it starts."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import torch
from torch import nn

from datbatch.classifier.network import KERNEL, build_network, parameter_count, preset
from datbatch.config import TrainConfig
from datbatch.errors import MemoryPlanError

NUMBER = 4
"""Bytes of a float32."""
ALLOWANCE = 2**28
"""Peaks were measured up to 0.2 GB above the sum of the tensors."""
SPARE_SHARE = 0.5
"""Share of the memory left by a training in which volumes may be kept; the rest is for the machine's other users."""
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes that one process of the training needs beyond the libraries."""

    weights: int
    gradients: int
    """As many as weights."""
    moments: int
    """Adam's two, for every weight."""
    activations: int
    """Feature maps of the micro-batches that one process computes, and their gradients in passing."""
    features: int
    """Input of the fully connected layers for the whole batch, and its gradient."""
    batches: int
    """Volumes that are read ahead."""
    allowance: int
    """What allocators keep of what was given back."""

    @property
    def total(self) -> int:
        """Sum of all."""
        return sum(vars(self).values())

    @property
    def checkpoint(self) -> int:
        """Bytes of a checkpoint on disk: weights and moments."""
        return self.weights + self.moments


def plan_memory(shape: tuple[int, int, int], config: TrainConfig, *, processes: int, threads: int) -> MemoryPlan:
    """Plan the memory of one of the `processes` that train together on volumes of a grid (x, y, z).

    Each carries `threads` micro-batches back at the same time.
    """
    with torch.device("meta"):
        network = build_network(shape, pool=preset(config.preset).pool)
        image = torch.empty(1, 1, *shape)
        maps: list[int] = []
        for layer in network:
            if isinstance(layer, nn.Flatten):
                break
            image = layer(image)
            if isinstance(layer, nn.AvgPool3d):
                maps.append(image.numel())
            elif isinstance(layer, nn.Conv3d):
                # The first convolution keeps its input shifted to every place of the kernel along z.
                maps.append(image.numel() + (KERNEL * math.prod(image.shape[2:]) if layer.in_channels == 1 else 0))
    weights = NUMBER * parameter_count(network)
    parts = math.ceil(config.batch_size / config.micro_batch)
    own = min(config.batch_size, math.ceil(parts / processes) * config.micro_batch)
    # In the backward pass the gradients of a map and of the map before it are in memory together.
    passing = 2 * max(maps) * min(own, threads * config.micro_batch)
    return MemoryPlan(
        weights=weights,
        gradients=weights,
        moments=2 * weights,
        activations=NUMBER * (sum(maps) * own + passing),
        features=2 * NUMBER * config.batch_size * image.numel(),
        batches=4 * NUMBER * own * math.prod(shape),
        allowance=ALLOWANCE,
    )


def available_memory(device: torch.device) -> int:
    """Give the bytes that can still be had: of the accelerator, or of the machine and its control group."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    try:
        limit = int((CGROUP / "memory.max").read_text())
        return min(free, limit - int((CGROUP / "memory.current").read_text()))
    except (OSError, ValueError):
        return free


def spare_memory(plan: MemoryPlan, device: torch.device, *, processes: int, limit: int | None = None) -> int:
    """Give the bytes of main memory in which one of `processes` may keep volumes beyond what it needs.

    `limit` is the memory of the device that this process may use; its share of what is left by default.
    """
    share = available_memory(torch.device("cpu")) // processes
    left = share if device.type != "cpu" else (share if limit is None else limit) - plan.total
    return max(0, int(SPARE_SHARE * left))


def require_memory(plan: MemoryPlan, available: int) -> None:
    """Refuse a training that does not fit, by a `MemoryPlanError` with what it needs and what there is."""
    if plan.total > available:
        raise MemoryPlanError(
            f"training needs {_gb(plan.total)} of memory (weights, gradients and moments "
            f"{_gb(plan.weights + plan.gradients + plan.moments)}), there are {_gb(available)}"
        )


def require_disk(plan: MemoryPlan, folder: Path) -> None:
    """Refuse, by a `MemoryPlanError`, a training whose checkpoint does not fit on the disk beside the one before."""
    free = shutil.disk_usage(folder).free
    if 2 * plan.checkpoint > free:
        raise MemoryPlanError(
            f"checkpoints need {_gb(2 * plan.checkpoint)} of disk beside the store, there are {_gb(free)}",
            'Make room on the disk, or use train.preset = "compact".',
        )


def _gb(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
