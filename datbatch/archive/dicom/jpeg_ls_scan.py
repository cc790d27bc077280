"""The samples of a JPEG-LS scan without loss (ITU-T T.87 annex A): bits, Golomb codes, runs and contexts."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

CUT, BROKEN = 1, 2
"""Faults: the scan ends inside its samples, or holds codes that no encoder writes."""
RUN_LENGTHS = np.array([*[0] * 4, *[1] * 4, *[2] * 4, *[3] * 4, 4, 4, 5, 5, 6, 6, 7, 7, *range(8, 16)], dtype=np.int64)
"""The variable J: order of the run length code for each run index (T.87 A.2.1)."""


@numba.njit(cache=True, nogil=True)  # type: ignore[misc]
def _bit(data: npt.NDArray[np.uint8], state: npt.NDArray[np.int64]) -> int:
    """Give the next bit, -1 at the end; state: place, bits left, byte, whether the byte before was all ones."""
    if state[1] == 0:
        at = state[0]
        if at >= data.size or (state[2] == 0xFF and data[at] >= 0x80):
            return -1
        if data[at] == 0xFF and (at + 1 >= data.size or data[at + 1] >= 0x80):
            return -1  # a marker
        # Behind a byte of ones the first bit is stuffed.
        state[1] = 7 if state[2] == 0xFF else 8
        state[2] = data[at]
        state[0] = at + 1
    state[1] -= 1
    return int((state[2] >> state[1]) & 1)


@numba.njit(cache=True, nogil=True)  # type: ignore[misc]
def _bits(data: npt.NDArray[np.uint8], state: npt.NDArray[np.int64], count: int) -> int:
    value = 0
    for _ in range(count):
        bit = _bit(data, state)
        if bit < 0:
            return -1
        value = (value << 1) | bit
    return value


@numba.njit(cache=True, nogil=True)  # type: ignore[misc]
def _golomb(data: npt.NDArray[np.uint8], state: npt.NDArray[np.int64], k: int, limit: int, depth: int) -> int:
    """Read a Golomb code of limited length (T.87 A.5.3); -1 at the end, -2 where the code is too long."""
    zeros = 0
    while True:
        bit = _bit(data, state)
        if bit < 0:
            return -1
        if bit:
            break
        zeros += 1
        if zeros > limit:
            return -2
    if zeros < limit - depth - 1:
        low = _bits(data, state, k)
        return -1 if low < 0 else (zeros << k) + low
    low = _bits(data, state, depth)
    return -1 if low < 0 else low + 1


@numba.njit(cache=True, nogil=True)  # type: ignore[misc]
def _quantised(gradient: int, first: int, second: int, third: int) -> int:
    size = abs(gradient)
    level = 0 if size == 0 else 1 if size < first else 2 if size < second else 3 if size < third else 4
    return level if gradient >= 0 else -level


@numba.njit(cache=True, nogil=True)  # type: ignore[misc]
def decode_scan(
    data: npt.NDArray[np.uint8],
    at: int,
    out: npt.NDArray[np.uint16],
    largest: int,
    first: int,
    second: int,
    third: int,
    reset: int,
    run_lengths: npt.NDArray[np.int64],
) -> tuple[int, int]:
    """Decode the samples of a scan.

    Parameters
    ----------
    data : ndarray, shape (byte,), uint8
        The stream.
    at : int
        Where the scan begins.
    out : ndarray, shape (rows, columns), uint16
        Filled.
    largest, first, second, third, reset : int
        Coding parameters MAXVAL, T1, T2, T3, RESET.
    run_lengths : ndarray, shape (32,), int64
        `RUN_LENGTHS`.

    Returns
    -------
    fault : int
        0, `CUT` or `BROKEN`.
    end : int
        Place behind the scan.
    """
    rows, columns = out.shape
    span = largest + 1
    depth = 0
    while (1 << depth) < span:
        depth += 1
    bits_per_sample = max(2, depth)
    limit = 2 * (bits_per_sample + max(8, bits_per_sample))
    # Contexts 0 to 364 of the regular mode, 365 and 366 of the ends of runs: T.87 A.2.1.
    sizes = np.full(367, max(2, (span + 32) // 64), dtype=np.int64)
    counts = np.ones(367, dtype=np.int64)
    bias = np.zeros(367, dtype=np.int64)
    correction = np.zeros(367, dtype=np.int64)
    negative = np.zeros(367, dtype=np.int64)
    state = np.array([at, 0, 0, 0], dtype=np.int64)
    run_index = 0
    for row in range(rows):
        column = 0
        while column < columns:
            above = np.int64(out[row - 1, column]) if row else 0
            above_right = np.int64(out[row - 1, min(column + 1, columns - 1)]) if row else 0
            if column:
                left = np.int64(out[row, column - 1])
                corner = np.int64(out[row - 1, column - 1]) if row else 0
            else:
                left = np.int64(above)
                corner = np.int64(out[row - 2, 0]) if row > 1 else 0
            q1 = _quantised(above_right - above, first, second, third)
            q2 = _quantised(above - corner, first, second, third)
            q3 = _quantised(corner - left, first, second, third)
            if q1 == 0 and q2 == 0 and q3 == 0:
                ended = False
                while column < columns:
                    bit = _bit(data, state)
                    if bit < 0:
                        return CUT, state[0]
                    if bit == 0:
                        ended = True
                        break
                    length = 1 << run_lengths[run_index]
                    filled = min(length, columns - column)
                    out[row, column : column + filled] = left
                    column += filled
                    if filled == length and run_index < 31:
                        run_index += 1
                if not ended:
                    continue
                length = _bits(data, state, run_lengths[run_index])
                if length < 0:
                    return CUT, state[0]
                if column + length >= columns:
                    return BROKEN, state[0]
                out[row, column : column + length] = left
                column += length
                above = np.int64(out[row - 1, column]) if row else 0
                same = 1 if left == above else 0
                context = 365 + same
                sign = -1 if same == 0 and left > above else 1
                aim = sizes[365] if same == 0 else sizes[366] + (counts[366] >> 1)
                k = 0
                while (counts[context] << k) < aim and k < 32:
                    k += 1
                code = _golomb(data, state, k, limit - run_lengths[run_index] - 1, depth)
                if code < 0:
                    return -code, state[0]
                total = code + same
                odd = total & 1
                error = (total + odd) >> 1
                flipped = k == 0 and 2 * negative[context] < counts[context]
                if (odd == 1) != flipped:
                    error = -error
                if error < 0:
                    negative[context] += 1
                sizes[context] += (code + 1 - same) >> 1
                if counts[context] == reset:
                    sizes[context] >>= 1
                    counts[context] >>= 1
                    negative[context] >>= 1
                counts[context] += 1
                value = int((left if same else above) + sign * error)
                if run_index > 0:
                    run_index -= 1
            else:
                sign = 1
                if q1 < 0 or (q1 == 0 and (q2 < 0 or (q2 == 0 and q3 < 0))):
                    q1, q2, q3, sign = -q1, -q2, -q3, -1
                context = 81 * q1 + 9 * q2 + q3
                if corner >= max(left, above):
                    predicted = min(left, above)
                elif corner <= min(left, above):
                    predicted = max(left, above)
                else:
                    predicted = left + above - corner
                predicted = min(max(predicted + sign * correction[context], 0), largest)
                k = 0
                while (counts[context] << k) < sizes[context] and k < 32:
                    k += 1
                code = _golomb(data, state, k, limit, depth)
                if code < 0:
                    return -code, state[0]
                if k == 0 and 2 * bias[context] <= -counts[context]:
                    error = (code - 1) >> 1 if code & 1 else -(code >> 1) - 1
                else:
                    error = -((code + 1) >> 1) if code & 1 else code >> 1
                bias[context] += error
                sizes[context] += abs(error)
                if counts[context] == reset:
                    sizes[context] >>= 1
                    bias[context] >>= 1
                    counts[context] >>= 1
                counts[context] += 1
                if bias[context] <= -counts[context]:
                    correction[context] = max(correction[context] - 1, -128)
                    bias[context] = max(bias[context] + counts[context], 1 - counts[context])
                elif bias[context] > 0:
                    correction[context] = min(correction[context] + 1, 127)
                    bias[context] = min(bias[context] - counts[context], 0)
                value = int(predicted + sign * error)
            if value < 0:
                value += span
            elif value > largest:
                value -= span
            if value < 0 or value > largest:
                return BROKEN, state[0]
            out[row, column] = value
            column += 1
    end = state[0]
    if state[2] == 0xFF and end < data.size and data[end] == 0 and state[1] == 0:
        end += 1  # the byte that is stuffed behind a last byte of ones
    return 0, end
