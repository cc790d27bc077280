"""What becomes of memory that was freed: a worker keeps it for its next study, the driver gives it back."""

from __future__ import annotations

import contextlib
import ctypes
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Names of the allocator's parameters in glibc's malloc.h."""
KEPT_BYTES = 1 << 30
LARGEST_KEPT_BYTES = 1 << 25
"""The most that glibc takes for blocks that it does not return at once."""


@cache
def keep_memory() -> None:
    """Tell the allocator of this process to keep what is freed, where it is glibc's; elsewhere nothing is changed.

    Dask tells its workers, and so their children, to give all of it back at once. Fetching it anew, page by page, took
    as long as the imaging itself, and as long as writing in the worker (`benchmarks/throughput.py`).
    """
    with contextlib.suppress(OSError, AttributeError):
        tell = ctypes.CDLL(None).mallopt
        tell(_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
        tell(_TRIM_THRESHOLD, KEPT_BYTES)


def return_memory() -> None:
    """Give back what is free, where the allocator is glibc's: between small blocks in use it would be kept.

    The driver calls it between phases that need much for a moment, so that their needs do not add up.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
