"""A process for functions that read foreign files: a crash, too much memory or too much time ends only this process.

A Dask worker has one such process and gives it one study after the other; a scan has several. What ends the process
becomes the error of the study, and the next study gets a new process.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib
import os
import pickle
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np

from datbatch.config import LimitsConfig
from datbatch.errors import (
    ClusterError,
    DatbatchError,
    InternalError,
    MemoryExceededError,
    TimeExceededError,
    WorkerLostError,
)

DEATHS = 3
"""How many times an item may end its process before it fails: something else may have killed the process."""
START_SECONDS = 600.0
"""Time for the libraries to load: minutes on a slow network file system."""
GRACE_SECONDS = 5.0
"""Time after which a process that is out of time ends itself."""
LOST = (WorkerLostError, TimeExceededError, MemoryExceededError)
"""Errors of an item that was too much for its process."""
ITEMS_OF_A_START = 32
"""About as many files are read while one more process starts: with fewer it is not worth its start."""
_SIZE = struct.Struct("<Q")
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Names of the allocator's parameters in glibc's malloc.h."""
KEPT_BYTES = 1 << 30
LARGEST_KEPT_BYTES = 1 << 25
"""The greatest value that glibc accepts for blocks that it does not return at once."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class LosableProcess:
    """A process that calls functions on one item at a time, each call within `limits`.

    It loads `module` before the first call, so that loading is no part of a study's time.
    """

    def __init__(self, module: str, limits: LimitsConfig) -> None:
        self._module, self._limits = module, limits
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None

    def call(self, function: Callable[[_Item], _Result], item: _Item) -> _Result:
        """Call a function of a module's top level on an item; nothing that it prints is shown.

        Raises
        ------
        WorkerLostError
            When the item ended the process `DEATHS` times.
        TimeExceededError, MemoryExceededError
            When it needed too much time or memory.
        ClusterError
            When no process can be started here.
        DatbatchError, OSError
            What the function raised.
        """
        for _ in range(DEATHS):
            channel = self._started()
            try:
                channel.send((function, item))
                result, error = channel.receive(self._limits.study_seconds or None)
            except TimeoutError:
                self._end(patience_seconds=0.0)
                raise TimeExceededError(f"the study took over {self._limits.study_seconds:g} s") from None
            except (EOFError, ConnectionError):
                ended = self._end()
                continue
            if error is not None:
                raise error
            return result  # type: ignore[no-any-return]
        raise WorkerLostError(f"the study ended its process {DEATHS} times, the last time by {_name(ended)}")

    def close(self) -> None:
        """End the process."""
        self._end()

    def _started(self) -> Channel:
        if self._process is not None and self._process.poll() is None and self._channel is not None:
            return self._channel
        for _ in range(DEATHS):
            self._end()
            ours, theirs = socket.socketpair()
            with theirs:
                number = theirs.fileno()
                limits = [repr(self._limits.study_seconds), repr(self._limits.study_gb)]
                # Libraries may print arguments, and arguments hold paths. -P: nothing is loaded from this folder.
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", __name__, str(number), self._module, *limits],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=[number],
                )  # fmt: skip
            self._channel = Channel(ours)
            with contextlib.suppress(EOFError, OSError):
                self._channel.receive(START_SECONDS)
                return self._channel
        raise ClusterError(f"a process for the studies could not be started; it ended by {_name(self._end())}")

    def _end(self, patience_seconds: float = 1.0) -> int:
        """End the process, if it is still running, and give its exit status."""
        if self._channel is not None:
            # An idle process ends when its channel is closed.
            self._channel.close()
            self._channel = None
        if self._process is None:
            return 0
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=patience_seconds)
        self._process.kill()
        status = self._process.wait()
        self._process = None
        return status


def _name(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


_own = threading.local()


def call_losable(function: Callable[[_Item], _Result], item: _Item, limits: LimitsConfig, module: str = "") -> _Result:
    """Call a function in this thread's own process, which loads `module`, or else the function's own, before.

    See `LosableProcess.call`.
    """
    module = module or function.__module__
    held: tuple[str, LimitsConfig, LosableProcess] | None = getattr(_own, "held", None)
    if held is None or held[:2] != (module, limits):
        if held is not None:
            held[2].close()
        held = _own.held = (module, limits, LosableProcess(module, limits))
        atexit.register(held[2].close)
    return held[2].call(function, item)


class LosableMap:
    """Like `map`, in several `LosableProcess` at a time: results in order, few items ahead.

    `on_lost` gives the result of an item that ended its process, or took too long, from the function and the error.
    """

    def __init__(
        self,
        module: str,
        limits: LimitsConfig,
        processes: int,
        on_lost: Callable[[Callable[..., Any], DatbatchError], Any],
    ) -> None:
        self._idle: SimpleQueue[LosableProcess] = SimpleQueue()
        self._unused = [LosableProcess(module, limits) for _ in range(processes)]
        self._given = 0
        self._threads = ThreadPoolExecutor(processes)
        self._processes, self._on_lost = processes, on_lost

    def __enter__(self) -> LosableMap:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)
        while not self._idle.empty():
            self._idle.get().close()

    def __call__(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """Call a function on every item."""
        ahead: deque[Future[_Result]] = deque()
        for item in items:
            if self._unused and self._given % ITEMS_OF_A_START == 0:
                self._idle.put(self._unused.pop())
            self._given += 1
            ahead.append(self._threads.submit(self._one, function, item))
            if len(ahead) > 4 * self._processes:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    def _one(self, function: Callable[[_Item], _Result], item: _Item) -> _Result:
        process = self._idle.get()
        try:
            return process.call(function, item)
        except LOST as error:
            result: _Result = self._on_lost(function, error)
            return result
        finally:
            self._idle.put(process)


class Channel:
    """One end of a socket between two processes of one machine that trust each other: what arrives is unpickled.

    The bytes of an array go directly into the receiver's memory. `multiprocessing.connection` copies them four times,
    which took 2.5 ms of the 150 ms of a study (`benchmarks/throughput.py`).
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def send(self, value: Any) -> None:
        """Send an object, or raise ConnectionError when the other end is closed."""
        buffers: list[pickle.PickleBuffer] = []
        pickled = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        parts = [memoryview(pickled), *(buffer.raw() for buffer in buffers)]
        sizes = [len(parts), *(part.nbytes for part in parts)]
        self._socket.sendall(b"".join(map(_SIZE.pack, sizes)))
        for part in parts:
            self._socket.sendall(part)

    def receive(self, patience_seconds: float | None = None) -> Any:
        """Wait for an object and give it; its arrays are writable.

        Raises
        ------
        TimeoutError
            When nothing came in this time; the channel cannot be used any more, because the rest may still come.
        EOFError, ConnectionError
            When the other end is closed.
        """
        self._socket.settimeout(patience_seconds)
        (count,) = _SIZE.unpack(self._take(_SIZE.size))
        sizes = [size for (size,) in _SIZE.iter_unpack(self._take(count * _SIZE.size))]
        pickled, *buffers = [self._take(size) for size in sizes]
        return pickle.loads(pickled, buffers=buffers)

    def close(self) -> None:
        """Close this end; the other end notices it."""
        self._socket.close()

    def _take(self, size: int) -> memoryview:
        taken = np.empty(size, dtype=np.uint8).data
        left = taken
        while len(left):
            count = self._socket.recv_into(left)
            if not count:
                raise EOFError
            left = left[count:]
        return taken


def _serve(channel: Channel, seconds: float) -> None:
    """Answer calls until the other end is closed."""
    while True:
        try:
            function, item = channel.receive()
        except (EOFError, ConnectionError):
            return
        if seconds:
            # Usually the caller ends this process; the alarm ends it where the caller is gone.
            signal.setitimer(signal.ITIMER_REAL, seconds + GRACE_SECONDS)
        result: Any = None
        error: Exception | None = None
        try:
            result = function(item)
        except DatbatchError as named:
            error = named
        except MemoryError:
            error = MemoryExceededError("the study needed more memory than it may take")
        except OSError as refused:
            # Without its path.
            error = OSError(refused.errno, refused.strerror)
        except Exception as unforeseen:
            error = InternalError(f"unforeseen {type(unforeseen).__name__}")
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        channel.send((result, error))


@cache
def keep_memory() -> None:
    """Let the allocator of this process keep freed memory, where it is glibc's; others are not changed.

    Dask lets its workers and their children return freed memory at once. To get it back, page by page, took as long as
    the imaging itself, and as long as writing in the worker (`benchmarks/throughput.py`).
    """
    with contextlib.suppress(OSError, AttributeError):
        tell = ctypes.CDLL(None).mallopt
        tell(_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
        tell(_TRIM_THRESHOLD, KEPT_BYTES)


def return_memory() -> None:
    """Return free memory between small used blocks to the system, where the allocator is glibc's.

    The driver calls it after phases that need much memory for a moment, so that these do not add up.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _be_modest(gigabytes: float) -> None:
    """Limit the memory, let a machine without memory end this process first, and write no core dump."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    if gigabytes:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + int(gigabytes * 1e9)
        resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def main(descriptor: str, module: str, seconds: str, gigabytes: str) -> None:
    """Be the process that can be lost."""
    # A user's Ctrl-C is meant for the command; the command then ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_memory()
    importlib.import_module(module)
    _be_modest(float(gigabytes))
    channel = Channel(socket.socket(fileno=int(descriptor)))
    with contextlib.suppress(ConnectionError):
        channel.send("ready")
        _serve(channel, float(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
