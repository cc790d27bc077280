"""Decode JPEG lossless, process 14: Huffman-coded differences from a predictor (ITU-T T.81 annex H).

At damaged streams decoders in C end the whole process or allocate as much memory as the stream declares. This decoder
fills only the frame whose size was checked in the DICOM header.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from datbatch.archive.dicom.jpeg_segments import START_OF_SCAN, FrameSize, check_end, frame_size, segments
from datbatch.errors import LossyCompressionError, TruncatedError, UnreadableDicomError

_LOSSLESS_FRAME, _HUFFMAN, _RESTART = 0xC3, 0xC4, 0xDD
_OTHER_FRAMES = frozenset(range(0xC0, 0xD0)) - {_LOSSLESS_FRAME, _HUFFMAN, 0xC8, 0xCC}
_CUT, _NO_CODE, _OUT_OF_RANGE, _NO_RESTART = 1, 2, 3, 4
_REASONS = {
    _CUT: "a compressed frame ends inside its samples",
    _NO_CODE: "a compressed frame holds a code that its table lacks",
    _OUT_OF_RANGE: "a compressed frame holds samples out of their range",
    _NO_RESTART: "a compressed frame lacks a restart marker",
}

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Scan:
    """What the segments before the scan say."""

    size: FrameSize
    lookup: npt.NDArray[np.int16]
    """For each pattern of 16 bits: length * 32 + category of the code at its start, or -1 for no code."""
    predictor: int
    restart_rows: int
    """Rows between restart markers; 0 without markers."""
    start: int


def decode_jpeg_lossless(stream: bytes, rows: int, columns: int) -> npt.NDArray[np.uint16]:
    """Decode one frame: each sample is its prediction plus a Huffman-coded difference, modulo 2^16."""
    scan = _read_scan(stream, rows, columns)
    out = np.zeros((rows, columns), dtype=np.uint16)
    data = np.frombuffer(stream, dtype=np.uint8)
    fault, end = _decode(data, scan.start, scan.lookup, out, scan.predictor, scan.size.precision, scan.restart_rows)
    if fault:
        kind = TruncatedError if fault == _CUT else UnreadableDicomError
        raise kind(_REASONS[fault])
    check_end(stream, end)
    return out


def _read_scan(stream: bytes, rows: int, columns: int) -> _Scan:
    size: FrameSize | None = None
    tables: dict[int, npt.NDArray[np.int16]] = {}
    interval = 0
    for marker, content, end in segments(stream):
        if marker == _LOSSLESS_FRAME and size is None:
            size = frame_size(content, rows, columns)
        elif marker == _LOSSLESS_FRAME or marker in _OTHER_FRAMES:
            raise UnreadableDicomError("a compressed frame is not of the lossless process, or has two frame headers")
        elif marker == _HUFFMAN:
            tables.update(_huffman_tables(content))
        elif marker == _RESTART and len(content) == 2:
            interval = int.from_bytes(content, "big")
        elif marker == START_OF_SCAN:
            if size is None or len(content) != 6 or content[0] != 1:
                raise UnreadableDicomError("the scan of a compressed frame does not have one component")
            table, predictor, point = content[2] >> 4, content[3], content[5] & 0x0F
            if table not in tables or not 1 <= predictor <= 7:
                raise UnreadableDicomError("the scan of a compressed frame names no table or predictor")
            if point:
                raise LossyCompressionError("the JPEG stream dropped bits (point transform)")
            if interval % columns:
                raise UnreadableDicomError("restarts of a compressed frame are not at the start of rows")
            return _Scan(size, tables[table], predictor, interval // columns, end)
    raise UnreadableDicomError("a compressed frame has no scan")


def _huffman_tables(content: bytes) -> dict[int, npt.NDArray[np.int16]]:
    """Give the lookup table of each Huffman table in a segment (T.81 annex C)."""
    found: dict[int, npt.NDArray[np.int16]] = {}
    while content:
        counts, total = content[1:17], sum(content[1:17])
        categories = content[17 : 17 + total]
        if len(counts) < 16 or len(categories) < total or any(category > 16 for category in categories):
            raise UnreadableDicomError("a Huffman table of a compressed frame is damaged")
        lookup = np.full(1 << 16, -1, dtype=np.int16)
        code, used = 0, 0
        for length, count in enumerate(counts, start=1):
            for category in categories[used : used + count]:
                first = code << (16 - length)
                if first >= 1 << 16:
                    raise UnreadableDicomError("a Huffman table of a compressed frame is damaged")
                lookup[first : first + (1 << (16 - length))] = length * 32 + category
                code += 1
            used += count
            code <<= 1
        found[content[0] & 0x0F] = lookup
        content = content[17 + total :]
    return found


@numba.njit(cache=True, nogil=True)  # type: ignore[misc]
def _decode(
    data: Bytes,
    at: int,
    lookup: npt.NDArray[np.int16],
    out: npt.NDArray[np.uint16],
    predictor: int,
    precision: int,
    restart_rows: int,
) -> tuple[int, int]:
    """Fill `out`; give a fault (0 for none) and the position after the scan."""
    rows, columns = out.shape
    buffer, bits, padding, restarts = np.int64(0), 0, 0, 0
    first_row = 0
    for row in range(rows):
        if restart_rows > 0 and row > 0 and row % restart_rows == 0:
            if at + 1 >= data.size or data[at] != 0xFF or data[at + 1] != 0xD0 + restarts % 8 or bits - padding > 7:
                return _NO_RESTART, at
            at, restarts, first_row = at + 2, restarts + 1, row
            buffer, bits, padding = np.int64(0), 0, 0
        for column in range(columns):
            while bits < 32:
                byte = np.int64(0)
                if at < data.size and (data[at] != 0xFF or (at + 1 < data.size and data[at + 1] == 0)):
                    byte = np.int64(data[at])
                    at += 2 if data[at] == 0xFF else 1
                else:
                    padding += 8
                buffer = (buffer << 8) | byte
                bits += 8
            entry = lookup[(buffer >> (bits - 16)) & 0xFFFF]
            if entry < 0:
                return _CUT if padding > bits - 16 else _NO_CODE, at
            bits -= entry >> 5
            category = entry & 31
            difference = np.int64(0)
            if category == 16:
                difference = np.int64(32768)
            elif category > 0:
                bits -= category
                difference = (buffer >> bits) & ((1 << category) - 1)
                if difference < 1 << (category - 1):
                    difference -= (1 << category) - 1
            buffer &= (np.int64(1) << bits) - 1
            if padding > bits:
                return _CUT, at
            if row == first_row and column == 0:
                predicted = np.int64(1) << (precision - 1)
            elif row == first_row:
                predicted = np.int64(out[row, column - 1])
            elif column == 0:
                predicted = np.int64(out[row - 1, 0])
            else:
                left = np.int64(out[row, column - 1])
                above = np.int64(out[row - 1, column])
                corner = np.int64(out[row - 1, column - 1])
                halves = left + ((above - corner) >> 1), above + ((left - corner) >> 1), (left + above) >> 1
                # The seven predictors of T.81 table H.1, in their order.
                predicted = (left, above, corner, left + above - corner, *halves)[predictor - 1]
            value = (predicted + difference) & 0xFFFF
            if value >> precision:
                return _OUT_OF_RANGE, at
            out[row, column] = value
    # Fewer than 8 bits pad the last byte; more bits would be samples beyond the end of the frame.
    if bits - padding > 7:
        return _OUT_OF_RANGE, at
    return 0, at
