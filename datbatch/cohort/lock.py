"""One writer at a time: the lock of a store, which outlives nobody who held it.

Two things hold it. The kernel's lock (flock) on a file beside the store ends with its process, however that ends, and
network file systems of today (NFS 4, Lustre with `flock`, GPFS) share it between machines. Some share it only within a
machine, without saying so. Hence the file also names machine and process, and is touched every few seconds: whoever
gets the kernel's lock and finds another machine's fresh name in the file is refused too, until it has been still for a
minute.

A store on S3 has a lock of another kind: `datbatch.cohort.lease`.
"""

from __future__ import annotations

import fcntl
import functools
import inspect
import json
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

from datbatch.cohort.lease import Lease
from datbatch.cohort.store import check_layout_of
from datbatch.errors import StoreInUseError
from datbatch.location import Location, S3Location

BEAT_SECONDS = 10.0
STALE_SECONDS = 60.0

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_held: set[Location] = set()


def lock_path(store: Location) -> Location:
    """Give the place of a store's lock, beside it; it stands only while somebody writes."""
    return store.with_name(f"{store.stem}.lock")


@contextmanager
def sole_writer(store: Location) -> Iterator[None]:
    """Hold a store's lock; within the same process, whoever holds it may take it again.

    Parameters
    ----------
    store : Path or S3Location
        The store, which need not exist yet.

    Raises
    ------
    StoreInUseError
        When another process holds it.
    """
    place = lock_path(store.absolute())
    if place in _held:
        yield
        return
    with _on_s3(place) if isinstance(place, S3Location) else _on_disk(place):
        _held.add(place)
        try:
            yield
        finally:
            _held.discard(place)


@contextmanager
def _on_s3(place: S3Location) -> Iterator[None]:
    lease = Lease(place)
    lease.acquire()
    try:
        yield
    except KeyboardInterrupt:
        if lease.lost:
            raise StoreInUseError("another command took over the store while this one stood still") from None
        raise
    finally:
        lease.release()


@contextmanager
def _on_disk(path: Path) -> Iterator[None]:
    handle = _acquire(path)
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(handle, ended), name="lock", daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        # Removed while it is still held: nobody can have taken the file that goes.
        path.unlink(missing_ok=True)
        os.close(handle)


def writes(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Let a function hold the lock of the store that its argument `cohort` names; one of another layout is refused."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def locked(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        cohort = signature.bind(*args, **kwargs).arguments["cohort"]
        with sole_writer(cohort):
            check_layout_of(cohort, write=True)
            return function(*args, **kwargs)

    return locked


def _acquire(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _take(handle)
            if _is_same(handle, path):
                _refuse_another_machine(handle, path)
                os.ftruncate(handle, 0)
                os.pwrite(handle, json.dumps({"machine": socket.gethostname(), "process": os.getpid()}).encode(), 0)
                return handle
        except BaseException:
            os.close(handle)
            raise
        # Its holder removed it between our opening and our taking: there is a new one, or none.
        os.close(handle)


def _take(handle: int) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreInUseError("another command is writing to the store") from None
    except OSError:
        # A file system without locks: the name in the file and its beat are all there is.
        return


def _is_same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _refuse_another_machine(handle: int, path: Path) -> None:
    try:
        holder = json.loads(os.pread(handle, 1024, 0))["machine"]
    except (ValueError, KeyError, TypeError):
        return
    if holder == socket.gethostname():
        return
    # Clocks of machines differ: both times are the file server's.
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".lock-") as fresh:
        still = os.fstat(fresh.fileno()).st_mtime - os.fstat(handle).st_mtime
    if still < STALE_SECONDS:
        raise StoreInUseError(
            "another machine is writing to the store, or was until a minute ago",
            "Wait until it has ended; if it was lost, call again in a minute. The lock file beside the store names it.",
        )


def _beat(handle: int, ended: threading.Event) -> None:
    while not ended.wait(BEAT_SECONDS):
        os.utime(handle)
