"""Decode DICOM's run length encoding (PS3.5 annex G); a frame never grows beyond the size that the header declares."""

from __future__ import annotations

import struct

import numba
import numpy as np
import numpy.typing as npt

from datbatch.errors import TruncatedError, UnreadableDicomError

_HEADER = 64


def decode_run_length(stream: bytes, rows: int, columns: int, sample_bytes: int) -> npt.NDArray[np.unsignedinteger]:
    """Decode one frame; each byte of a sample has its own segment, the most significant byte first."""
    if len(stream) < _HEADER:
        raise TruncatedError("a compressed frame is shorter than its header")
    count, *offsets = struct.unpack_from(f"<{sample_bytes + 1}I", stream)
    ends = [*offsets[1:], len(stream)]
    if count != sample_bytes:
        raise UnreadableDicomError(f"a compressed frame has {count} segments, its samples {sample_bytes} bytes")
    if offsets[0] < _HEADER or any(start >= end for start, end in zip(offsets, ends, strict=True)):
        raise UnreadableDicomError("the segments of a compressed frame lie outside it or overlap")
    planes = np.zeros((sample_bytes, rows * columns), dtype=np.uint8)
    data = np.frombuffer(stream, dtype=np.uint8)
    for plane, start, end in zip(planes, offsets, ends, strict=True):
        filled = _unpack(data[start:end], plane)
        if filled < 0:
            raise UnreadableDicomError("a compressed frame holds more samples than the header says")
        if filled < plane.size:
            raise TruncatedError("a compressed frame ends inside its samples")
    samples = np.ascontiguousarray(planes.T).view(f">u{sample_bytes}").reshape(rows, columns)
    return samples.astype(f"=u{sample_bytes}")


@numba.njit(cache=True, nogil=True)  # type: ignore[misc]
def _unpack(packed: npt.NDArray[np.uint8], out: npt.NDArray[np.uint8]) -> int:
    """Unpack bytes into `out` (PS3.5 G.3.2) and give their number; -1 where `out` is too small."""
    at, filled = 0, 0
    while at < packed.size and filled < out.size:
        code = int(packed[at])
        at += 1
        if code < 128:
            length = min(code + 1, packed.size - at)
            if filled + length > out.size:
                return -1
            out[filled : filled + length] = packed[at : at + length]
            at += length
        elif code > 128:
            if at >= packed.size:
                return filled
            length = 257 - code
            if filled + length > out.size:
                return -1
            out[filled : filled + length] = packed[at]
            at += 1
        else:
            length = 0
        filled += length
    # One more byte may pad the segment to an even length.
    return filled if packed.size - at <= 1 else -1
