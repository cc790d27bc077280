"""The state of a training run between two steps, as one safetensors file."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from datbatch.errors import ModelError

MOMENTS = ("exp_avg", "exp_avg_sq", "step")
"""What Adam keeps per parameter."""


@dataclass(frozen=True)
class Position:
    """How far a run has come."""

    history: tuple[dict[str, Any], ...] = ()
    """One entry per finished epoch."""
    step: int = 0
    """Steps taken of the epoch that is running."""
    loss: float = 0.0
    """Sum of the losses of the studies that these steps saw."""


def write_checkpoint(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, run: str, position: Position
) -> None:
    """Save weights, Adam's moments and the position; the file is replaced as a whole or not at all.

    Adam must have a state for every parameter, which it has after its first step. `run` is the digest of what makes
    the run: parameters, studies, labels. The epoch alone gives the order of its studies, so `position` tells where
    to go on.
    """
    tensors = {f"weights.{name}": value for name, value in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        tensors |= {f"{moment}.{name}": optimizer.state[parameter][moment] for moment in MOMENTS}
    save_tensors(path, tensors, {"run": run, "position": json.dumps(asdict(position), allow_nan=False)})


def read_checkpoint(path: Path | None, network: nn.Module, optimizer: torch.optim.Optimizer, run: str) -> Position:
    """Bring network and optimizer to where a run stopped, and give that position.

    Without a checkpoint, or with one of another run, nothing changes and the position is the start. A `ModelError`
    says that the file is damaged.
    """
    if path is None or not path.exists():
        return Position()
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
            if metadata.get("run") != run:
                return Position()
            with torch.no_grad():
                for name, value in network.state_dict().items():
                    value.copy_(stored.get_tensor(f"weights.{name}"))
                for name, parameter in network.named_parameters():
                    moments = {moment: stored.get_tensor(f"{moment}.{name}") for moment in MOMENTS}
                    # Place and memory order of the parameter: the fused step walks all of them side by side.
                    optimizer.state[parameter] = {
                        moment: torch.empty_like(parameter).copy_(value) if value.ndim else value.to(parameter.device)
                        for moment, value in moments.items()
                    }
            found = json.loads(metadata["position"])
            return Position(tuple(found["history"]), found["step"], found["loss"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"the checkpoint of the training is damaged ({type(error).__name__})",
            "Delete the checkpoint to train from the start.",
        ) from error


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file through a temporary one beside it, flushed before it takes the name."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, temporary, metadata)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
