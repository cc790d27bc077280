"""The lock of a store on S3: one holder at a time, whatever clocks say, and a killed one is in nobody's way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from datbatch import location
from datbatch.cohort import lease
from datbatch.cohort.lease import Lease
from datbatch.cohort.lock import lock_path, sole_writer
from datbatch.errors import StoreInUseError
from datbatch.location import S3Location

HOLD = (
    "import sys; from datbatch.cohort.lock import sole_writer; from datbatch.location import parse_location\n"
    "with sole_writer(parse_location(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
)


@contextmanager
def held_elsewhere(store: S3Location) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def as_of_another_machine(place: S3Location) -> None:
    content = {"token": "another", "count": 1, "holder": {"boot": "another", "process": 1, "began": "1"}}
    location.write(place, json.dumps(content).encode())


def test_the_second_writer_is_refused_until_the_first_has_ended_and_nothing_is_left(s3: S3Location) -> None:
    store = s3 / "cohort.zarr"
    with held_elsewhere(store) as first:
        with pytest.raises(StoreInUseError), sole_writer(store):
            pass
        first.communicate("")
        with sole_writer(store), sole_writer(store):
            assert location.names(s3) == ["cohort.lock"]
    assert location.names(s3) == []


def test_a_killed_writer_of_this_machine_is_not_waited_for(s3: S3Location) -> None:
    store = s3 / "cohort.zarr"
    with held_elsewhere(store) as first:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        assert location.names(s3) == ["cohort.lock"]
        with sole_writer(store):
            pass


def test_another_machines_dead_lock_is_taken_over_by_one_of_many(
    s3: S3Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = lock_path(s3 / "cohort.zarr")
    assert isinstance(place, S3Location)
    as_of_another_machine(place)
    with pytest.raises(StoreInUseError, match="until a minute ago"):
        Lease(place).acquire()
    monkeypatch.setattr(lease, "STALE_SECONDS", 0.0)
    monkeypatch.setattr(lease, "WATCH_SECONDS", 0.5)
    monkeypatch.setattr(lease, "_POLL_SECONDS", 0.1)

    def take(_: int) -> Lease | None:
        one = Lease(place)
        try:
            one.acquire()
        except StoreInUseError:
            return None
        return one

    with ThreadPoolExecutor(8) as pool:
        held = [one for one in pool.map(take, range(8)) if one is not None]
    assert len(held) == 1
    held[0].release()
    assert location.names(s3) == []


def test_a_lock_that_beats_is_alive_whatever_the_clocks_say(s3: S3Location, monkeypatch: pytest.MonkeyPatch) -> None:
    place = lock_path(s3 / "cohort.zarr")
    assert isinstance(place, S3Location)
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.2)
    # A server's clock that jumped makes every lock look old.
    monkeypatch.setattr(lease, "STALE_SECONDS", 0.0)
    monkeypatch.setattr(lease, "_POLL_SECONDS", 0.1)
    first = Lease(place)
    first.acquire()
    with pytest.raises(StoreInUseError):
        Lease(place).acquire()
    first.release()


def test_a_writer_whose_lock_was_taken_over_is_stopped(s3: S3Location, monkeypatch: pytest.MonkeyPatch) -> None:
    store = s3 / "cohort.zarr"
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.2)
    place = lock_path(store)
    assert isinstance(place, S3Location)

    def work() -> None:
        with sole_writer(store):
            as_of_another_machine(place)
            time.sleep(60)

    with pytest.raises(StoreInUseError, match="took over"):
        work()
    assert location.names(s3) == ["cohort.lock"], "the other's lock stays"
