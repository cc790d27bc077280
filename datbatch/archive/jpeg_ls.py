"""Decode JPEG-LS without loss: Golomb-coded differences from an adaptive median predictor (ITU-T T.87 annex A).

The usual library can be made to run for ever by a damaged stream; here each sample takes a bounded number of bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from datbatch.archive.jpeg_segments import START_OF_SCAN, FrameSize, check_end, frame_size, segments
from datbatch.errors import LossyCompressionError, TruncatedError, UnreadableDicomError, UnsupportedPixelsError

_FRAME, _PRESET, _RESTART = 0xF7, 0xF8, 0xDD
_CUT, _BROKEN = 1, 2
_REASONS = {
    _CUT: "a compressed frame ends inside its samples",
    _BROKEN: "a compressed frame holds codes that no encoder writes",
}
_RESET = 64
_RUN_LENGTHS = np.array([*[0] * 4, *[1] * 4, *[2] * 4, *[3] * 4, 4, 4, 5, 5, 6, 6, 7, 7, *range(8, 16)], dtype=np.int64)
"""The variable J: order of the run length code for each run index (T.87 A.2.1)."""


@dataclass(frozen=True)
class _Presets:
    """Coding parameters: the largest sample, three thresholds of the gradients, the counter's limit."""

    largest: int
    thresholds: tuple[int, int, int]
    reset: int


def default_thresholds(largest: int) -> tuple[int, int, int]:
    """Give the default thresholds of lossless coding (T.87 C.2.4.1.1.1).

    Parameters
    ----------
    largest : int
        Largest possible sample, MAXVAL.
    """

    def clamped(value: int, least: int) -> int:
        return least if value > largest or value < least else value

    if largest >= 128:
        factor = (min(largest, 4095) + 128) // 256
        first = clamped(factor + 2, 1)
        second = clamped(factor * 4 + 3, first)
        return first, second, clamped(factor * 17 + 4, second)
    factor = 256 // (largest + 1)
    first = clamped(max(2, 3 // factor), 1)
    second = clamped(max(3, 7 // factor), first)
    return first, second, clamped(max(4, 21 // factor), second)


def decode_jpeg_ls(stream: bytes, rows: int, columns: int) -> npt.NDArray[np.uint16]:
    """Decode one frame.

    Parameters
    ----------
    stream : bytes
        From the start of the image to its end.
    rows, columns : int
        Size that the DICOM header declares.

    Returns
    -------
    ndarray, shape (rows, columns), uint16

    Raises
    ------
    UnreadableDicomError, TruncatedError
        When the stream is damaged or of another size.
    LossyCompressionError
        When it is near-lossless.
    UnsupportedPixelsError
        When it uses restart markers or mapping tables.
    """
    presets, start = _read_scan(stream, rows, columns)
    out = np.zeros((rows, columns), dtype=np.uint16)
    data = np.frombuffer(stream, dtype=np.uint8)
    fault, end = _decode(data, start, out, presets.largest, *presets.thresholds, presets.reset, _RUN_LENGTHS)
    if fault:
        raise (TruncatedError if fault == _CUT else UnreadableDicomError)(_REASONS[fault])
    check_end(stream, end)
    return out


def _read_scan(stream: bytes, rows: int, columns: int) -> tuple[_Presets, int]:
    size: FrameSize | None = None
    preset = b""
    for marker, content, end in segments(stream):
        if marker == _FRAME and size is None:
            size = frame_size(content, rows, columns)
        elif marker == _PRESET and content[:1] == b"\x01" and len(content) == 11:
            preset = content[1:]
        elif marker == _RESTART and any(content):
            raise UnsupportedPixelsError("the JPEG-LS stream has restart markers")
        elif marker == START_OF_SCAN:
            if size is None or len(content) != 6 or content[0] != 1 or content[4]:
                raise UnreadableDicomError("the scan of a compressed frame does not have one component")
            if content[2]:
                raise UnsupportedPixelsError("the JPEG-LS stream has a mapping table")
            if content[3] or content[5]:
                raise LossyCompressionError("the JPEG-LS stream is near-lossless")
            return _presets(preset, size.precision), end
        elif marker in (_PRESET, _FRAME) or 0xC0 <= marker <= 0xCF:
            raise UnreadableDicomError("a compressed frame is not of JPEG-LS")
    raise UnreadableDicomError("a compressed frame has no scan")


def _presets(stated: bytes, precision: int) -> _Presets:
    values = [int.from_bytes(stated[k : k + 2], "big") for k in range(0, 10, 2)] if stated else [0] * 5
    largest = values[0] or (1 << precision) - 1
    defaults = (*default_thresholds(largest), _RESET)
    first, second, third, reset = (value or default for value, default in zip(values[1:], defaults, strict=True))
    if largest >= 1 << precision or not 1 <= first <= second <= third <= largest or reset < 3:
        raise UnreadableDicomError("the coding parameters of a compressed frame are out of range")
    return _Presets(largest, (first, second, third), reset)


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
def _decode(
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
    """Fill `out` and give a fault (0: none) and the place behind the scan."""
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
                        return _CUT, state[0]
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
                    return _CUT, state[0]
                if column + length >= columns:
                    return _BROKEN, state[0]
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
                return _BROKEN, state[0]
            out[row, column] = value
            column += 1
    end = state[0]
    if state[2] == 0xFF and end < data.size and data[end] == 0 and state[1] == 0:
        end += 1  # the byte that is stuffed behind a last byte of ones
    return 0, end
