"""Objects between two processes of one machine over a socket: an array's bytes go straight into the receiver's memory.

`multiprocessing.connection` copies them four times on the way, which took 2.5 ms of the 150 that a study takes
(`benchmarks/throughput.py`).
"""

from __future__ import annotations

import pickle
import socket
import struct
from typing import Any

import numpy as np

_SIZE = struct.Struct("<Q")


class Channel:
    """One end. Both ends must trust each other: what comes is unpickled.

    Parameters
    ----------
    end : socket
        Connected to the other end; the channel owns it.
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def send(self, value: Any) -> None:
        """Send an object.

        Raises
        ------
        ConnectionError
            When the other end is closed.
        """
        buffers: list[pickle.PickleBuffer] = []
        pickled = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        parts = [memoryview(pickled), *(buffer.raw() for buffer in buffers)]
        sizes = [len(parts), *(part.nbytes for part in parts)]
        self._socket.sendall(b"".join(map(_SIZE.pack, sizes)))
        for part in parts:
            self._socket.sendall(part)

    def receive(self, patience_seconds: float | None = None) -> Any:
        """Wait for an object and give it; its arrays are writable and its own.

        Raises
        ------
        TimeoutError
            When nothing came for so long; the rest of what was on its way makes the channel useless.
        EOFError, ConnectionError
            When the other end is closed.
        """
        self._socket.settimeout(patience_seconds)
        (count,) = _SIZE.unpack(self._take(_SIZE.size))
        sizes = [size for (size,) in _SIZE.iter_unpack(self._take(count * _SIZE.size))]
        pickled, *buffers = [self._take(size) for size in sizes]
        return pickle.loads(pickled, buffers=buffers)

    def close(self) -> None:
        """Close this end; the other one sees it."""
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
