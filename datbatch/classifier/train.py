"""Training of the network; an interruption at any time leaves no trace in the weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from datbatch.arrays import Floats, Floats32, Ints, Texts
from datbatch.classifier.augment import augmented
from datbatch.classifier.checkpoint import Position, read_checkpoint, write_checkpoint
from datbatch.classifier.group import ALONE, Group
from datbatch.classifier.inference import predict
from datbatch.classifier.loader import Images, Kept, epoch_order, load_groups
from datbatch.classifier.loss import class_weights, mean_loss, target_probabilities
from datbatch.classifier.memory import available_memory, plan_memory, require_disk, require_memory, spare_memory
from datbatch.classifier.network import arrange, build_network, choose_device, preset
from datbatch.classifier.step import Step
from datbatch.classifier.threads import Threads
from datbatch.config import TrainConfig, digest
from datbatch.errors import ConfigurationError, DivergedError, TrainingDataError
from datbatch.precision import products
from datbatch.schema import LABELS, TRAINING, VALIDATION


@dataclass(frozen=True)
class Epoch:
    """Result of one pass over the training set."""

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

    @property
    def overfitting_since(self) -> int | None:
        """First epoch after the least validation loss; None where the last epoch has it, or without validation."""
        losses = [epoch.validation_loss for epoch in self.history if epoch.validation_loss is not None]
        least = losses.index(min(losses)) if losses else 0
        return self.history[least + 1].epoch if least + 1 < len(losses) else None


Progress = Callable[[Epoch, int], None]
"""Called after each epoch with its entry and the number of epochs in all."""


def train_network(
    images: Images,
    labels: Ints,
    split: Texts,
    *,
    shape: tuple[int, int, int],
    config: TrainConfig,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    threads: int | None = None,
    group: Group = ALONE,
    memory_bytes: int | None = None,
    names: Sequence[str] | None = None,
    positive_share: Floats | None = None,
) -> TrainedModel:
    """Train the paper's network: cross-entropy without class weights, Adam (Nazari et al. 2022).

    The order of studies and the dropped neurons depend on `config.seed`, the epoch and the step alone, sums on the
    micro-batches. So a run that was stopped and continues from its checkpoint, and one of another number of
    processes or threads, end with the same bits (same kind of processor).

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
        File written every `config.checkpoint_minutes` and continued from; every process must see it. One of other
        parameters or studies is replaced. The caller removes it once the model is saved.
    progress : callable, optional
        See `Progress`.
    threads : int, optional
        Threads of the computation; torch's setting is restored afterwards.
    group : Group
        The processes that train together, each of which makes this call; one by default.
    memory_bytes : int, optional
        Memory that this process may use; what the machine or the accelerator has left by default.
    names : sequence of str, optional
        Pseudonyms of all studies, for errors; their positions by default.
    positive_share : ndarray of float64, shape (study,), optional
        Soft labels of the training studies: probability that they are positive; NaN for the label as it is.

    Raises
    ------
    TrainingDataError
        When the training set lacks a class.
    DivergedError
        When a loss is not finite; names the batch's studies and leaves the last checkpoint.
    ModelError
        When the checkpoint is damaged.
    MemoryPlanError
        When memory, or disk for the checkpoint, is too small; before anything is allocated.
    UnlikeProcessesError
        When the processes of the group do not hold the same checkpoint or weights.
    """
    members, watched = (np.flatnonzero((split == name) & (labels >= 0)) for name in (TRAINING, VALIDATION))
    missing = [name for index, name in enumerate(LABELS) if not (labels[members] == index).any()]
    if missing:
        raise TrainingDataError(f"the training set has no {' and no '.join(missing)} study")
    if config.batch_size < 1 or config.micro_batch < 1:
        raise ConfigurationError("train.batch_size and train.micro_batch must be at least 1")
    targets = target_probabilities(labels, positive_share)
    run = digest([config.identity(), list(shape), members.tolist(), targets[members].tolist()])
    device = choose_device()
    plan = plan_memory(shape, config, processes=group.size, threads=threads or torch.get_num_threads())
    require_memory(plan, available_memory(device) if memory_bytes is None else memory_bytes)
    images = Kept(images, spare_memory(plan, device, processes=group.size, limit=memory_bytes))
    if checkpoint is not None:
        require_disk(plan, checkpoint.parent)
    with _thread_count(threads), products(config.precision), _repeatable(), Threads(device) as pieces:
        pool = preset(config.preset).pool
        network = arrange(build_network(shape, pool=pool, dropout=config.dropout, seed=config.seed), device)
        optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate, fused=True)
        position = read_checkpoint(checkpoint, network, optimizer, run)
        group.require_equal(torch.tensor([len(position.history), position.step], device=device), "their checkpoint")
        saver = _Saver(checkpoint if group.rank == 0 else None, config.checkpoint_minutes, network, optimizer, run)
        # bfloat16 has the range of float32, so that no loss scaling is needed.
        autocast = torch.bfloat16 if config.precision == "bfloat16" else None
        step = Step(network, micro_batch=config.micro_batch, group=group, threads=pieces, autocast=autocast)
        weights = class_weights(config.class_weights, labels[members]).to(device)
        while len(position.history) < config.epochs:
            number = len(position.history) + 1
            drawn = augmented(images, config, number)
            epoch = _Epoch(drawn, targets, names, members, shape, config, number, device, weights)
            network.train()
            total = epoch.run(step, optimizer, position, saver)
            validation = _validate(predict(network, images, watched, shape=shape, group=group), labels[watched])
            group.require_equal(_fingerprint(network), f"their weights after epoch {epoch.number}")
            entry = Epoch(epoch.number, total / members.size, *validation)
            position = Position((*position.history, asdict(entry)))
            saver.note(position, at_once=epoch.number == config.epochs)
            if progress is not None:
                progress(entry, config.epochs)
    return TrainedModel(network=network.eval(), history=tuple(Epoch(**entry) for entry in position.history))


def _fingerprint(network: nn.Module) -> torch.Tensor:
    """Sum the bits of each layer's weights as whole numbers, whose sum does not depend on the order."""
    return torch.stack([parameter.detach().view(torch.int32).sum() for parameter in network.parameters()])


class _Saver:
    """Writes a checkpoint when one is due."""

    def __init__(
        self, path: Path | None, minutes: float, network: nn.Module, optimizer: torch.optim.Optimizer, run: str
    ) -> None:
        self._path, self._seconds = path, 60.0 * minutes
        self._state = network, optimizer, run
        self._due = time.monotonic() + self._seconds

    def note(self, position: Position, *, at_once: bool = False) -> None:
        """Take note of where the run is."""
        if self._path is not None and (at_once or time.monotonic() >= self._due):
            write_checkpoint(self._path, *self._state, position)
            # From the end of writing: weights and moments, three times the model's size, can take longer than a step.
            self._due = time.monotonic() + self._seconds


@dataclass(frozen=True)
class _Epoch:
    """One pass over the training set."""

    images: Images
    targets: Floats32
    names: Sequence[str] | None
    members: npt.NDArray[np.integer]
    shape: tuple[int, int, int]
    config: TrainConfig
    number: int
    device: torch.device
    weights: torch.Tensor
    """Of each class in the loss."""

    def run(self, step: Step, optimizer: torch.optim.Optimizer, position: Position, saver: _Saver) -> float:
        """Take one optimisation step per batch, from the position on; give the sum of the studies' losses."""
        order, size = epoch_order(self.members, seed=self.config.seed, epoch=self.number), self.config.batch_size
        batches = [order[start : start + size] for start in range(0, order.size, size)]
        rates = _learning_rates(self.config, self.number, len(batches))
        total, todo = position.loss, range(position.step, len(batches))
        own = (step.own(batches[index].tolist()) for index in todo)
        loader = load_groups(self.images, own, shape=self.shape, device=self.device)
        # The caller's generator stays as it was.
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            for index, volumes in zip(todo, loader, strict=True):
                optimizer.param_groups[0]["lr"] = rates[index]
                studies = batches[index]
                truth = torch.from_numpy(self.targets[studies]).to(self.device)
                # Dropout depends on seed, epoch and step alone.
                seeds = np.random.SeedSequence([self.config.seed, self.number, index])
                torch.manual_seed(int(seeds.generate_state(1, np.uint64)[0] >> 1))
                loss_of = partial(mean_loss, truth=truth, weights=self.weights)
                loss = step.gradients(volumes, studies.size, loss_of).item()
                if not math.isfinite(loss):
                    named = self._named(studies)
                    raise DivergedError(f"the loss of epoch {self.number} is not finite for the studies {named}")
                optimizer.step()
                total += loss * studies.size
                saver.note(Position(position.history, index + 1, total))
        return total

    def _named(self, studies: npt.NDArray[np.integer]) -> str:
        if self.names is None:
            return f"at positions {', '.join(str(study) for study in studies)}"
        return ", ".join(self.names[study] for study in studies)


def _learning_rates(config: TrainConfig, epoch: int, steps: int) -> list[float]:
    """Give the step size of each step of an epoch.

    Cosine: eta_t = eta (1 + cos(pi t / T)) / 2 for step t of T in the whole training (Loshchilov and Hutter 2017,
    "SGDR", without restarts).
    """
    if config.schedule == "constant":
        return [config.learning_rate] * steps
    done, total = (epoch - 1) * steps, config.epochs * steps
    return [config.learning_rate * (1 + math.cos(math.pi * (done + step) / total)) / 2 for step in range(steps)]


def _validate(logits: Floats32, labels: Ints) -> tuple[float, float] | tuple[None, None]:
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
def _repeatable() -> Iterator[None]:
    """Let an accelerator use only algorithms that give the same bits each time: a resumed run ends like any other."""
    before = torch.backends.cudnn.deterministic
    try:
        torch.backends.cudnn.deterministic = True
        yield
    finally:
        torch.backends.cudnn.deterministic = before
