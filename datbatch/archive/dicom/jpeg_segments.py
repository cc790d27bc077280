"""The marker segments before the scan of a JPEG or JPEG-LS stream (ITU-T T.81 annex B, T.87 annex C)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from datbatch.errors import TruncatedError, UnreadableDicomError

START_OF_SCAN = 0xDA
END_OF_IMAGE = b"\xff\xd9"
_ALONE = frozenset({0x01, *range(0xD0, 0xDA)})
"""Markers without a length; they are not allowed before the scan."""


@dataclass(frozen=True)
class FrameSize:
    """What the frame header of a stream declares."""

    precision: int
    """Bits of a sample."""
    rows: int
    columns: int


def segments(stream: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Give marker, content and end of each segment up to the start of the scan, which is the last."""
    if stream[:2] != b"\xff\xd8":
        raise UnreadableDicomError("a compressed frame does not begin as JPEG does")
    at = 2
    while at + 4 <= len(stream):
        if stream[at] != 0xFF or stream[at + 1] in _ALONE:
            raise UnreadableDicomError("a compressed frame holds something else than segments before its scan")
        if stream[at + 1] == 0xFF:  # a padding byte
            at += 1
            continue
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        end = at + 2 + length
        if length < 2 or end > len(stream):
            raise TruncatedError("a segment of a compressed frame is cut")
        yield stream[at + 1], stream[at + 4 : end], end
        if stream[at + 1] == START_OF_SCAN:
            return
        at = end
    raise TruncatedError("a compressed frame ends before its scan")


def frame_size(content: bytes, rows: int, columns: int) -> FrameSize:
    """Read a frame header; refuse another size than `rows` and `columns`, and several components."""
    if len(content) != 9 or content[5] != 1:
        raise UnreadableDicomError("a compressed frame does not have one component")
    size = FrameSize(content[0], int.from_bytes(content[1:3], "big"), int.from_bytes(content[3:5], "big"))
    if (size.rows, size.columns) != (rows, columns):
        raise UnreadableDicomError(
            f"a compressed frame has {size.rows} rows and {size.columns} columns, the header says {rows} and {columns}"
        )
    if not 2 <= size.precision <= 16:
        raise UnreadableDicomError(f"a compressed frame has samples of {size.precision} bits")
    return size


def check_end(stream: bytes, at: int) -> None:
    """Refuse a stream that does not end after its scan, at position `at`."""
    while stream[at : at + 2] == b"\xff\xff":
        at += 1
    if len(stream) < at + 2:
        raise TruncatedError("a compressed frame has no end")
    if stream[at : at + 2] != END_OF_IMAGE:
        raise UnreadableDicomError("a compressed frame continues after its samples")
