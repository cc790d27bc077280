"""Throughput, memory and bits of training, beside a plain loop of torch over tensors in memory.

    python benchmarks/training.py --preset compact --studies 32 --epochs 3
    python benchmarks/training.py --preset paper --studies 8 --epochs 2 --processes 1

Both sides have the same network, loss, Adam and batches, and take turns, an epoch each. Ours reads a Zarr store, the
plain loop a TensorDataset. The bits are those of a small grid, after 1, 2 and 4 processes and after an interruption.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from datbatch import __version__, schema
from datbatch.classifier.group import ALONE, joined
from datbatch.classifier.memory import plan_memory
from datbatch.classifier.network import arrange, build_network, choose_device, preset
from datbatch.classifier.train import Epoch, TrainedModel, train_network
from datbatch.cohort.shard import VolumeReader
from datbatch.cohort.store import Store
from datbatch.config import TrainConfig
from datbatch.precision import products

SMALL = (14, 15, 13)
SMALL_CONFIG = TrainConfig(epochs=3, checkpoint_minutes=0.0, learning_rate=3e-4)
SMALL_STUDIES = 30


class StoppedError(Exception):
    """Stands for an interruption."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=["compact", "paper"], default="compact")
    parser.add_argument("--studies", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--precision", choices=["float32", "tf32", "bfloat16"], default="float32")
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2, 4])
    options = parser.parse_args()
    config = TrainConfig(preset=options.preset, epochs=options.epochs + 1, precision=options.precision)
    print(f"datbatch {__version__}, torch {torch.__version__}, Python {platform.python_version()}, "
          f"{time.strftime('%Y-%m-%d')}, {options.threads} threads, {device_name()}\n")  # fmt: skip
    print("| figure | value |\n|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_store(folder / "cohort.zarr", options.studies)
        ours, plain = throughput(folder / "cohort.zarr", config, options.studies, options.threads)
        row(f"ours, {options.preset}, {options.precision}, from the store", f"{ours:.2f} studies/s")
        row("plain loop, tensors in memory", f"{plain:.2f} studies/s")
        row("ours / plain loop", f"{100 * ours / plain:.1f} %")
        planned = plan_memory(schema.SHAPE, config, processes=1, threads=options.threads).total
        peak = in_process(peak_memory, folder / "cohort.zarr", config, options.studies, options.threads)
        row("memory planned / measured peak", f"{planned / 1e9:.2f} GB / {float(peak) / 1e9:.2f} GB")
        for count in options.processes:
            row(f"weights after {count} process(es)", processes_digest(folder, count))
        row("weights after an interruption within an epoch", interrupted_digest(folder))


def device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no accelerator"


def row(name: str, value: str) -> None:
    print(f"| {name} | {value} |", flush=True)


def labels_of(studies: int) -> npt.NDArray[np.int64]:
    return (np.arange(studies) % 2).astype(np.int64)


def make_store(path: Path, studies: int) -> None:
    """Write volumes that a granule's workers would have left, of noise."""
    store = Store.create(path, granule_studies=min(32, studies))
    store.grow([f"s{n}" for n in range(studies)])
    rng = np.random.default_rng(1)
    for granule, first in enumerate(range(0, studies, store.granule_studies)):
        count = min(store.granule_studies, studies - first)
        store.write_volumes(schema.UPTAKE.name, granule, rng.random((count, *schema.SHAPE), dtype=np.float32))


def throughput(path: Path, config: TrainConfig, studies: int, threads: int) -> tuple[float, float]:
    """Give the median studies per second of ours and of the plain loop; the first epoch of each is not counted."""
    images, labels = VolumeReader(path, schema.UPTAKE.name), labels_of(studies)
    tensors = TensorDataset(
        torch.from_numpy(np.stack([images[n] for n in range(studies)]))[:, None], torch.from_numpy(labels)
    )
    pool, device = preset(config.preset).pool, choose_device()
    network = arrange(build_network(schema.SHAPE, pool=pool, seed=1), device).train()
    # Readers and pinned memory, as a careful user of an accelerator would have them.
    beside = {"num_workers": 4, "pin_memory": True, "persistent_workers": True} if device.type == "cuda" else {}
    loader = DataLoader(tensors, batch_size=config.batch_size, shuffle=True, **beside)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate, fused=True)
    ours: list[float] = []
    plain: list[float] = []
    autocast = {"dtype": torch.bfloat16, "enabled": config.precision == "bfloat16"}

    def take_turns(epoch: Epoch, _: int) -> None:
        ours.append(time.perf_counter() - started[0])
        begin = time.perf_counter()
        for batch, truth in loader:
            optimizer.zero_grad(set_to_none=True)
            batch, truth = batch.to(device, non_blocking=True), truth.to(device, non_blocking=True)
            with products(config.precision):
                with torch.autocast(device.type, **autocast):
                    logits = network(batch.contiguous(memory_format=torch.channels_last_3d))
                cross_entropy(logits.float(), truth).backward()
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        plain.append(time.perf_counter() - begin)
        started[0] = time.perf_counter()

    started = [time.perf_counter()]
    split = np.full(studies, "train")
    train_network(images, labels, split, shape=schema.SHAPE, config=config, threads=threads, progress=take_turns)
    return studies / statistics.median(ours[1:]), studies / statistics.median(plain[1:])


def peak_memory(path: Path, config: TrainConfig, studies: int, threads: int) -> str:
    """Give the bytes that an epoch needs beyond the loaded libraries."""
    images, labels = VolumeReader(path, schema.UPTAKE.name), labels_of(studies)
    assert images[0].size
    before = memory_field("VmRSS")
    # Just what the plan says: nothing is kept in what is left.
    limit = plan_memory(schema.SHAPE, config, processes=1, threads=threads).total
    split, once = np.full(studies, "train"), replace(config, epochs=1)
    train_network(images, labels, split, shape=schema.SHAPE, config=once, threads=threads, memory_bytes=limit)
    return str(memory_field("VmHWM") - before)


def memory_field(name: str) -> int:
    """Read a figure of this process, in bytes; unlike `getrusage`, it starts anew with the interpreter."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _answer(connection: Connection, function, arguments) -> None:  # type: ignore[no-untyped-def]
    connection.send(function(*arguments))


def in_process(function, *arguments) -> str:  # type: ignore[no-untyped-def]
    """Run a function in a fresh interpreter."""
    return start(function, *arguments)()


def start(function, *arguments):  # type: ignore[no-untyped-def]
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_answer, args=(sender, function, arguments))
    process.start()
    sender.close()

    def finish() -> str:
        answer = receiver.recv()
        process.join()
        return str(answer)

    return finish


def weights_digest(trained: TrainedModel) -> str:
    content = hashlib.sha256()
    for value in trained.network.state_dict().values():
        content.update(value.cpu().contiguous().numpy().tobytes())
    return content.hexdigest()[:16]


def small_images() -> npt.NDArray[np.float32]:
    return np.random.default_rng(2).random((SMALL_STUDIES, *SMALL), dtype=np.float32)


def small_training(rendezvous: Path, rank: int, size: int) -> str:
    labels, split = labels_of(SMALL_STUDIES), np.full(SMALL_STUDIES, "train")
    options = {"shape": SMALL, "config": SMALL_CONFIG, "threads": 1}
    if size == 1:
        return weights_digest(train_network(small_images(), labels, split, group=ALONE, **options))
    with joined(rendezvous, rank=rank, size=size, host="127.0.0.1") as group:
        return weights_digest(train_network(small_images(), labels, split, group=group, **options))


def processes_digest(folder: Path, size: int) -> str:
    running = [start(small_training, folder / f"rendezvous-{size}", rank, size) for rank in range(size)]
    digests = {finish() for finish in running}
    return ", ".join(sorted(digests))


def interrupted_digest(folder: Path) -> str:
    images, labels, split = small_images(), labels_of(SMALL_STUDIES), np.full(SMALL_STUDIES, "train")
    reads = 0

    class Interrupted:
        """A store that fails in the second epoch."""

        def __getitem__(self, index: int) -> npt.NDArray[np.float32]:
            nonlocal reads
            reads += 1
            if reads > SMALL_STUDIES * 3 // 2:
                raise StoppedError
            return images[index]

    options = {"shape": SMALL, "config": SMALL_CONFIG, "threads": 1, "checkpoint": folder / "run.safetensors"}
    # Nothing is kept from the first epoch, so that the second reads again.
    limit = plan_memory(SMALL, SMALL_CONFIG, processes=1, threads=1).total
    try:
        train_network(Interrupted(), labels, split, memory_bytes=limit, **options)
    except StoppedError:
        return weights_digest(train_network(images, labels, split, **options))
    raise AssertionError("the training was not interrupted")


if __name__ == "__main__":
    main()
