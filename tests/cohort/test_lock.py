"""Two commands never write to one store at the same time, and a killed one leaves no lock behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from datbatch import location
from datbatch.cohort.lock import lock_path, sole_writer, writes
from datbatch.errors import StoreInUseError
from datbatch.location import Location

HOLD = (
    "import sys; from datbatch.cohort.lock import sole_writer; from datbatch.location import parse_location\n"
    "with sole_writer(parse_location(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
)


@contextmanager
def held_elsewhere(store: Location) -> Iterator[subprocess.Popen[str]]:
    """Let another process hold the lock."""
    command = [sys.executable, "-c", HOLD, str(store)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def as_of_another_machine(store: Path, seconds_ago: float) -> None:
    path = lock_path(store)
    path.write_text(json.dumps({"machine": "elsewhere", "process": 1}))
    then = path.stat().st_mtime - seconds_ago
    os.utime(path, (then, then))


def test_the_second_writer_is_refused_until_the_first_has_ended_and_nothing_is_left(place) -> None:
    store = place / "cohort.zarr"
    with held_elsewhere(store) as first:
        with pytest.raises(StoreInUseError), sole_writer(store):
            pass
        first.communicate("")
        with sole_writer(store), sole_writer(store):
            assert location.names(place) == ["cohort.lock"]
    assert location.names(place) == []


def test_a_killed_writer_of_this_machine_is_not_waited_for(place) -> None:
    store = place / "cohort.zarr"
    with held_elsewhere(store) as first:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        assert location.names(place) == ["cohort.lock"]
        with sole_writer(store):
            pass


def test_another_machine_counts_where_the_kernels_lock_does_not_reach_and_is_forgotten_after_a_minute(tmp_path) -> None:
    store = tmp_path / "cohort.zarr"
    as_of_another_machine(store, seconds_ago=5.0)
    with pytest.raises(StoreInUseError, match="machine"), sole_writer(store):
        pass
    as_of_another_machine(store, seconds_ago=61.0)
    with sole_writer(store):
        pass


def test_a_writer_may_call_another_writer(tmp_path) -> None:
    store = tmp_path / "cohort.zarr"

    @writes
    def inner(cohort: Path) -> bool:
        return lock_path(cohort).exists()

    @writes
    def outer(number: int, cohort: Path) -> bool:
        return inner(cohort) and lock_path(cohort).exists() and number == 1

    assert outer(1, cohort=store)
    assert not lock_path(store).exists()
