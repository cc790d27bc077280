"""Rounding of stored values to fewer mantissa bits, so that they compress."""

from __future__ import annotations

import numpy as np

from datbatch.arrays import Floats32

MANTISSA_BITS = 23


def round_mantissa(values: Floats32, bits: int) -> Floats32:
    """Round float32 values to the nearest with `bits` mantissa bits (1 to 23), ties to even (IEEE 754, 4.3.1).

    Gives a new array. The relative error is at most 2^-(bits + 1). NaN and infinities stay; a value that would
    round to infinity is rounded towards zero. A `ValueError` refuses other bits, and values that are not float32.
    """
    if not 1 <= bits <= MANTISSA_BITS:
        raise ValueError(f"mantissa bits must be 1 to {MANTISSA_BITS}, not {bits}")
    if values.dtype != np.float32:
        raise ValueError(f"values must be float32, not {values.dtype}")
    dropped = np.uint32(MANTISSA_BITS - bits)
    if dropped == 0:
        return values.copy()
    pattern = np.ascontiguousarray(values).view(np.uint32)
    one = np.uint32(1)
    kept = ~((one << dropped) - one)
    # Half a unit of the last kept bit, less one where that bit is even: a tie then carries only into an odd one.
    half = (one << (dropped - one)) - one + ((pattern >> dropped) & one)
    with np.errstate(over="ignore"):
        rounded = ((pattern + half) & kept).view(np.float32)
    finite = np.isfinite(values)
    overflowed = finite & ~np.isfinite(rounded)
    rounded = np.where(overflowed, (pattern & kept).view(np.float32), rounded)
    return np.where(finite, rounded, values).reshape(values.shape)
