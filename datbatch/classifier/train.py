"""Training of the network, interruptible after every epoch without a trace in the weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from datbatch.classifier.checkpoint import read_checkpoint, write_checkpoint
from datbatch.classifier.inference import predict
from datbatch.classifier.loader import Batch, Images, epoch_order, load_batches
from datbatch.classifier.network import arrange, build_network, choose_device, preset
from datbatch.classifier.split import SETS
from datbatch.cohort.schema import LABELS
from datbatch.config import TrainConfig, digest
from datbatch.errors import DivergedError, TrainingDataError

CHECKPOINT_SECONDS = 15.0
"""Least time between two checkpoints: writing weights and moments thrice the model's size can outlast an epoch."""


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training set left."""

    epoch: int
    """Number of the pass, from 1."""
    train_loss: float
    """Mean cross-entropy of the training studies, each before its own step."""
    validation_loss: float | None
    """Mean cross-entropy of the validation studies; None without any."""
    validation_accuracy: float | None
    """Share of validation studies classified rightly; None without any."""


@dataclass(frozen=True)
class TrainedModel:
    """A network after its last epoch."""

    network: nn.Module
    """On the device that trained it, in evaluation mode."""
    history: tuple[Epoch, ...]
    """One entry per epoch."""


Progress = Callable[[Epoch, int], None]
"""Called after each epoch with its entry and the number of epochs in all."""


def train_network(
    images: Images,
    labels: npt.NDArray[np.int64],
    split: npt.NDArray[np.str_],
    *,
    shape: tuple[int, int, int],
    config: TrainConfig,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    threads: int | None = None,
) -> TrainedModel:
    """Train the paper's network: cross-entropy without class weights, Adam (Nazari et al. 2022).

    The order of studies and the dropped neurons of an epoch depend on `config.seed` and the epoch alone. So
    a run that was stopped and continues from its checkpoint ends with the bits of an uninterrupted one
    (same processor, same thread count).

    Parameters
    ----------
    images : Images
        Store of volumes (x, y, z), indexed by study.
    labels : ndarray of int64, shape (study,)
        As `encode_labels` gives them.
    split : ndarray of str, shape (study,)
        As `assign_split` gives it. Test studies are not touched.
    shape : tuple of int
        Grid (x, y, z) of the volumes.
    config : TrainConfig
        Preset, epochs, batch size, learning rate, dropout, seed.
    checkpoint : Path, optional
        File written after each epoch and continued from; the caller removes it once the model is saved. One
        of other parameters or studies is not continued but replaced.
    progress : callable, optional
        See `Progress`.
    threads : int, optional
        Threads of the computation; torch's setting is restored afterwards.

    Raises
    ------
    TrainingDataError
        When the training set lacks a class.
    DivergedError
        When a loss is not finite; names the positions of the batch's studies and leaves the last checkpoint.
    ModelError
        When the checkpoint is damaged.
    """
    members = {name: np.flatnonzero((split == name) & (labels >= 0)) for name in SETS}
    missing = [name for index, name in enumerate(LABELS) if not (labels[members["train"]] == index).any()]
    if missing:
        raise TrainingDataError(f"the training set has no {' and no '.join(missing)} study")
    run = digest([asdict(config), list(shape), members["train"].tolist(), labels[members["train"]].tolist()])
    device = choose_device()
    with _thread_count(threads):
        pool = preset(config.preset).pool
        network = arrange(build_network(shape, pool=pool, dropout=config.dropout, seed=config.seed), device)
        optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate, fused=True)
        history = [Epoch(**entry) for entry in read_checkpoint(checkpoint, network, optimizer, run)]
        due = 0.0
        for number in range(len(history) + 1, config.epochs + 1):
            order = epoch_order(members["train"], seed=config.seed, epoch=number)
            loader = load_batches(images, labels, order, shape=shape, batch_size=config.batch_size, device=device)
            rates = _learning_rates(config, number, -(-order.size // config.batch_size))
            with _seeded(config.seed, number, device):
                train_loss = _train_epoch(network, optimizer, loader, rates, number)
            logits = predict(network, images, members["validation"], shape=shape, batch_size=config.batch_size)
            history.append(Epoch(number, train_loss, *_validate(logits, labels[members["validation"]])))
            if checkpoint is not None and (number == config.epochs or time.monotonic() >= due):
                write_checkpoint(checkpoint, network, optimizer, run, [asdict(entry) for entry in history])
                due = time.monotonic() + CHECKPOINT_SECONDS
            if progress is not None:
                progress(history[-1], config.epochs)
    return TrainedModel(network=network.eval(), history=tuple(history))


def _learning_rates(config: TrainConfig, epoch: int, steps: int) -> list[float]:
    """Give the step size of each step of an epoch.

    Cosine: eta_t = eta (1 + cos(pi t / T)) / 2 for step t of T in the whole training (Loshchilov and Hutter 2017,
    "SGDR", without restarts).
    """
    if config.schedule == "constant":
        return [config.learning_rate] * steps
    done, total = (epoch - 1) * steps, config.epochs * steps
    return [config.learning_rate * (1 + math.cos(math.pi * (done + step) / total)) / 2 for step in range(steps)]


def _train_epoch(
    network: nn.Module, optimizer: torch.optim.Optimizer, loader: Iterator[Batch], rates: list[float], number: int
) -> float:
    """Take one optimisation step per batch and give the mean loss."""
    network.train()
    total, studies = 0.0, 0
    for batch, rate in zip(loader, rates, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        device = batch.images.device
        # bfloat16 has the range of float32, so that no loss scaling is needed.
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            loss = cross_entropy(network(batch.images).float(), batch.labels)
        value = loss.item()
        if not math.isfinite(value):
            positions = ", ".join(str(index) for index in batch.indices)
            raise DivergedError(f"the loss of epoch {number} is not finite for the studies at positions {positions}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total, studies = total + value * len(batch.indices), studies + len(batch.indices)
    return total / studies


def _validate(
    logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]
) -> tuple[float, float] | tuple[None, None]:
    if not labels.size:
        return None, None
    loss = cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)).item()
    if not math.isfinite(loss):
        raise DivergedError("the loss of the validation studies is not finite")
    return loss, float((logits.argmax(axis=1) == labels).mean())


@contextmanager
def _thread_count(threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _seeded(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Let dropout depend on seed and epoch alone, and leave the caller's generator as it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1))
        yield
