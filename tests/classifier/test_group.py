"""Several processes train the bits that one trains; one that dies takes the others along, and nothing is lost."""

import json
import multiprocessing
import os
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from datbatch.classifier.group import Group, joined
from datbatch.classifier.train import train_network
from datbatch.config import TrainConfig
from datbatch.errors import UnlikeProcessesError

SHAPE = (10, 11, 12)
CONFIG = TrainConfig(epochs=2, batch_size=8, micro_batch=2, learning_rate=3e-4, checkpoint_minutes=0.0)
LABELS = (np.arange(20) % 2).astype(np.int64)
SPLIT = np.array(["train"] * 15 + ["validation"] * 5)


class Images:
    """Volumes made from their number; the process that reads the given one too often is killed."""

    def __init__(self, fatal_reads=None):
        self.fatal_reads, self.reads = fatal_reads, 0

    def __getitem__(self, index):
        self.reads += 1
        if self.reads == self.fatal_reads:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.random.default_rng(index).normal(LABELS[index], 1.0, SHAPE).astype(np.float32)


def train(folder, group=None, fatal_reads=None, config=CONFIG):
    options = {} if group is None else {"group": group}
    trained = train_network(
        Images(fatal_reads), LABELS, SPLIT, shape=SHAPE, config=config, threads=1,
        checkpoint=folder / "checkpoint.safetensors", **options,
    )  # fmt: skip
    rank = 0 if group is None else group.rank
    save_file({k: v.contiguous() for k, v in trained.network.state_dict().items()}, folder / f"{rank}.safetensors")
    (folder / f"{rank}.json").write_text(json.dumps([vars(epoch) for epoch in trained.history]))


def member(folder, rank, size, fatal_reads):
    with joined(folder / "rendezvous", rank=rank, size=size, host="127.0.0.1") as group:
        train(folder, group, fatal_reads)


def run(folder, size, fatal=None):
    (folder / "rendezvous").unlink(missing_ok=True)
    spawn = multiprocessing.get_context("spawn")
    jobs = [(folder, rank, size, fatal if rank == size - 1 else None) for rank in range(size)]
    processes = [spawn.Process(target=member, args=job) for job in jobs]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    folder = tmp_path_factory.mktemp("single")
    train(folder)
    return folder


def assert_same(folder, single, ranks):
    wanted = load_file(single / "0.safetensors")
    for rank in range(ranks):
        found = load_file(folder / f"{rank}.safetensors")
        assert all(torch.equal(found[name], value) for name, value in wanted.items())
        assert (folder / f"{rank}.json").read_text() == (single / "0.json").read_text()


def test_processes_end_with_the_one_that_is_killed_and_others_continue_to_the_bits_of_one(tmp_path, single, capfd):
    assert run(tmp_path, 2, fatal=12) == [1, -signal.SIGKILL]
    assert (tmp_path / "checkpoint.safetensors").exists()
    assert not list(tmp_path.glob("*.json"))
    assert run(tmp_path, 4) == [0, 0, 0, 0]
    assert_same(tmp_path, single, 4)


def test_unlike_numbers_are_found(monkeypatch):
    group = Group(rank=0, size=2)
    monkeypatch.setattr(Group, "share", lambda self, parts: parts[1].fill_(7))
    group.require_equal(torch.tensor([7, 7]), "weights")
    with pytest.raises(UnlikeProcessesError, match="differ in weights"):
        group.require_equal(torch.tensor([7, 8]), "weights")
