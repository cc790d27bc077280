"""A process that can be lost: crash, hang and hunger end it alone, are named, and the next item gets a new one.

What is sent to it arrives as it was, and an end that closes is noticed.
"""

import ctypes
import operator
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datbatch.config import LimitsConfig
from datbatch.errors import (
    ClusterError,
    DatbatchError,
    InternalError,
    MemoryExceededError,
    StoreError,
    TimeExceededError,
    WorkerLostError,
)
from datbatch.workers.losable import Channel, LosableMap, LosableProcess
from tests.pipeline import wait_until

ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.uint8, np.bool_, np.int16]), hnp.array_shapes(min_dims=0, min_side=0)
)
LIMITS = LimitsConfig(study_seconds=1.0, study_gb=0.2)


@pytest.fixture
def process() -> Iterator[LosableProcess]:
    made = LosableProcess("operator", LIMITS)
    yield made
    made.close()


def identity(process: LosableProcess) -> int:
    return process.call(os.getpgid, 0) and process.call(os.path.realpath, "/proc/self").rsplit("/")[-1]  # type: ignore


@pytest.mark.parametrize(
    ("function", "item", "kind", "words"),
    [
        (ctypes.string_at, 0, WorkerLostError, "SIGSEGV"),
        (signal.raise_signal, signal.SIGABRT, WorkerLostError, "SIGABRT"),
        (os._exit, 3, WorkerLostError, "exit status 3"),
        (time.sleep, 60.0, TimeExceededError, "1 s"),
        (signal.raise_signal, signal.SIGSTOP, TimeExceededError, "1 s"),
        (bytearray, 10**9, MemoryExceededError, "memory"),
        (operator.neg, "text", InternalError, "TypeError"),
    ],
)
def test_what_ends_the_process_is_named_and_the_next_item_goes_on(process, function, item, kind, words) -> None:
    with pytest.raises(kind, match=words):
        process.call(function, item)
    assert process.call(operator.neg, 2) == -2


def test_one_process_serves_many_items_and_one_that_others_killed_is_replaced_and_the_item_done(process) -> None:
    first = identity(process)
    assert identity(process) == first
    psutil.Process(int(first)).kill()
    assert process.call(operator.neg, 2) == -2
    assert identity(process) != first


def test_what_the_system_refused_comes_back_without_its_path(process) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        process.call(os.listdir, "/nowhere/DOE^JOHN")
    assert "DOE" not in str(caught.value)


def test_the_process_leaves_no_image_of_its_memory_and_is_the_first_to_go(process) -> None:
    there = Path("/proc") / identity(process)
    cores = next(line for line in (there / "limits").read_text().splitlines() if "core file" in line)
    assert cores.split()[4] == "0"
    assert int((there / "oom_score_adj").read_text()) >= 500


def test_memory_of_one_study_serves_the_next_though_dask_tells_its_workers_to_give_it_back(monkeypatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    pages, process = 4000, LosableProcess("operator", LIMITS)
    faults = []
    for _ in range(6):
        assert process.call(eval, f"len(bytearray({pages * resource.getpagesize()}))")
        faults.append(process.call(resource.getrusage, resource.RUSAGE_SELF).ru_minflt)
    process.close()
    assert faults[-1] - faults[0] < pages


def test_the_process_ends_with_whoever_started_it() -> None:
    code = (
        "import os, sys, operator\n"
        "from datbatch.config import LimitsConfig\n"
        "from datbatch.workers.losable import LosableProcess\n"
        "process = LosableProcess('operator', LimitsConfig())\n"
        "print(process.call(os.path.realpath, '/proc/self').rsplit('/')[-1], flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout
    wait_until(
        lambda: not psutil.pid_exists(int(said)) or psutil.Process(int(said)).status() == psutil.STATUS_ZOMBIE,
        "it outlived its owner",
    )


def test_a_map_keeps_the_order_and_replaces_what_was_lost() -> None:
    def lost(function: Callable[..., Any], error: DatbatchError) -> str:
        return f"{function.__name__} {error.code}"

    with LosableMap("operator", LIMITS, 2, lost) as mapper:
        assert list(mapper(operator.neg, range(50))) == [-n for n in range(50)]
        assert list(mapper(signal.raise_signal, [signal.SIGABRT])) == ["raise_signal worker-lost"]
        assert list(mapper(operator.neg, [1])) == [-1]


def test_an_error_of_the_project_passes() -> None:
    process = LosableProcess("datbatch.cohort.store", LimitsConfig())
    from datbatch.cohort.store import Store

    with pytest.raises(StoreError):
        process.call(Store, Path("/nowhere"))
    process.close()


def test_a_process_that_cannot_start_is_an_error_of_the_machine_not_of_the_study() -> None:
    with pytest.raises(ClusterError, match="exit status 1"):
        LosableProcess("no_such_module", LimitsConfig()).call(operator.neg, 1)


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    both = [Channel(end) for end in socket.socketpair()]
    yield both[0], both[1]
    for end in both:
        end.close()


@given(values=st.lists(ARRAYS, max_size=3), turned=st.booleans(), text=st.text())
def test_what_arrives_is_what_was_sent(values, turned, text) -> None:
    sent = [value.T[..., ::2] if turned and value.ndim else value for value in values]
    first, second = (Channel(end) for end in socket.socketpair())
    first.send((text, {"arrays": sent}))
    name, content = second.receive(5.0)
    first.close()
    second.close()
    assert name == text
    for before, after in zip(sent, content["arrays"], strict=True):
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)
        after[...] = 0


def test_more_than_the_socket_holds_comes_whole_and_in_order(ends) -> None:
    volumes = [np.random.default_rng(n).normal(size=(91, 109, 63)).astype(np.float32) for n in range(5)]
    sender = threading.Thread(target=lambda: [ends[0].send({"volume": volume}) for volume in volumes])
    sender.start()
    for volume in volumes:
        np.testing.assert_array_equal(ends[1].receive(30.0)["volume"], volume)
    sender.join()


def test_nothing_in_time_is_told_apart_from_a_closed_end(ends) -> None:
    with pytest.raises(TimeoutError):
        ends[1].receive(0.05)
    ends[0].close()
    with pytest.raises(EOFError):
        ends[1].receive()


def test_an_end_that_closes_in_the_middle_is_noticed() -> None:
    sender, receiver = socket.socketpair()
    # One part of 100 bytes was promised, ten came.
    sender.sendall((1).to_bytes(8, "little") + (100).to_bytes(8, "little") + b"0123456789")
    sender.close()
    end = Channel(receiver)
    with pytest.raises(EOFError):
        end.receive()
    end.close()
