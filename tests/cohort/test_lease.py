"""The lock of a store on S3: one holder at a time, whatever clocks say, and a killed one is in nobody's way."""

import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from datbatch import location
from datbatch.cohort import lease
from datbatch.cohort.lease import Lease
from datbatch.cohort.lock import lock_path, sole_writer
from datbatch.errors import StoreInUseError
from datbatch.location import S3Location


def as_of_another_machine(place: S3Location) -> None:
    content = {"token": "another", "count": 1, "holder": {"boot": "another", "process": 1, "began": "1"}}
    location.write(place, json.dumps(content).encode())


def test_another_machines_dead_lock_is_taken_over_by_one_of_many(s3, monkeypatch) -> None:
    place = lock_path(s3 / "cohort.zarr")
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


def test_a_lock_that_beats_is_alive_whatever_the_clocks_say(s3, monkeypatch) -> None:
    place = lock_path(s3 / "cohort.zarr")
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.2)
    # A server's clock that jumped makes every lock look old.
    monkeypatch.setattr(lease, "STALE_SECONDS", 0.0)
    monkeypatch.setattr(lease, "_POLL_SECONDS", 0.1)
    first = Lease(place)
    first.acquire()
    with pytest.raises(StoreInUseError):
        Lease(place).acquire()
    first.release()


def test_a_writer_whose_lock_was_taken_over_is_stopped(s3, monkeypatch) -> None:
    store = s3 / "cohort.zarr"
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.2)
    place = lock_path(store)

    def work() -> None:
        with sole_writer(store):
            as_of_another_machine(place)
            time.sleep(60)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(StoreInUseError, match="took over"):
        work()
    signal.signal(signal.SIGINT, before)
    assert location.names(s3) == ["cohort.lock"], "the other's lock stays"
