"""Tasks that run together: they start together, start again together, and tell the error that has a name."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client

from datbatch.errors import DivergedError, NoAcceleratorError
from datbatch.workers import driver
from datbatch.workers.group import Member, run_group


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with driver.connect(workers=2) as found:
        yield found


def fragile(markers: Path, member: Member) -> tuple[int, int, str]:
    """End the second worker at the first start; the first, which waits for it, fails."""
    own = markers / member.meeting
    if member.rank == 1:
        first_start = not list(markers.iterdir())
        own.touch()
        if first_start:
            os.kill(os.getpid(), signal.SIGKILL)
    while not own.exists():
        time.sleep(0.05)
    if len(list(markers.iterdir())) == 1:
        raise ConnectionResetError("the other is gone")
    return member.rank, member.size, member.host


def diverging(_: int, member: Member) -> int:
    raise DivergedError("the loss is not finite") if member.rank == 1 else RuntimeError("connection closed")


def test_tasks_that_run_together_need_as_many_workers_and_say_so(client) -> None:
    with pytest.raises(NoAcceleratorError, match=r"needs 3 workers .* there are 2"):
        run_group(client, fragile, Path(), size=3, poll=lambda: None)


def test_when_a_worker_is_lost_all_start_again_together(client, tmp_path) -> None:
    polls: list[int] = []
    found = run_group(client, fragile, tmp_path, size=2, poll=lambda: polls.append(1))
    assert found == (0, 2, "127.0.0.1")
    assert len(list(tmp_path.iterdir())) == 2
    assert polls


def test_the_error_that_has_a_name_is_the_one_that_is_told(client) -> None:
    with pytest.raises(DivergedError):
        run_group(client, diverging, 1, size=2, poll=lambda: None)
