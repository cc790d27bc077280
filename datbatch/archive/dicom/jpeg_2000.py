"""Decode JPEG 2000 without loss (ITU-T T.800) with OpenJPEG, after a check of the stream's own size and transform."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch.errors import LossyCompressionError, TruncatedError, UnreadableDicomError

_START = b"\xff\x4f\xff\x51"
_END = b"\xff\xd9"
_CODING_STYLE, _COMPONENT_STYLE, _TILE = 0xFF52, 0xFF53, 0xFF90
_REVERSIBLE = 1
_MAX_TILES = 4096


def decode_jpeg_2000(stream: bytes, rows: int, columns: int) -> npt.NDArray[Any]:
    """Decode one frame to int8, int16, uint8 or uint16; one byte may pad the stream to an even length."""
    dtype, at = _sample_type(stream, rows, columns)
    _check_reversible(stream, at)
    if _END not in (stream[-2:], stream[-3:-1]):
        raise TruncatedError("a compressed frame has no end")
    from openjpeg import decode

    try:
        samples = decode(stream, 0, reshape=False)
    except Exception as error:
        # At corrupt streams the library raises errors of many types; for the user they all mean the same.
        raise UnreadableDicomError(f"a compressed frame is corrupt ({type(error).__name__})") from None
    if samples.size != rows * columns * dtype.itemsize:
        raise UnreadableDicomError("a compressed frame is not of the declared size")
    return np.asarray(samples).view(dtype).reshape(rows, columns)


def _sample_type(stream: bytes, rows: int, columns: int) -> tuple[np.dtype[Any], int]:
    """Check the size segment (T.800 A.5.1); give the type of the samples and the end of the segment."""
    if stream[:4] != _START:
        raise UnreadableDicomError("a compressed frame does not begin as JPEG 2000 does")
    if len(stream) < 45:
        raise TruncatedError("a segment of a compressed frame is cut")
    length, _, *grid, components, depth, across, down = struct.unpack_from(">HH8IH3B", stream, 4)
    width, height, left, top, tile_width, tile_height, tile_left, tile_top = grid
    if (height, width) != (rows, columns) or left or top or tile_left or tile_top:
        raise UnreadableDicomError(
            f"a compressed frame has {height} rows and {width} columns, the header says {rows} and {columns}"
        )
    if length != 41 or (components, across, down) != (1, 1, 1):
        raise UnreadableDicomError("a compressed frame does not have one component")
    if not tile_width or not tile_height or -(-width // tile_width) * -(-height // tile_height) > _MAX_TILES:
        raise UnreadableDicomError("a compressed frame is cut into too many tiles")
    bits = (depth & 0x7F) + 1
    if bits > 16:
        raise UnreadableDicomError(f"a compressed frame has samples of {bits} bits")
    return np.dtype(f"<{'i' if depth & 0x80 else 'u'}{1 if bits <= 8 else 2}"), 4 + length


def _check_reversible(stream: bytes, at: int) -> None:
    """Refuse a lossy wavelet transform: the coding style in the main header names it (T.800 A.6.1, A.6.2)."""
    stated = False
    while True:
        if len(stream) < at + 4:
            raise TruncatedError("a compressed frame ends before its samples")
        marker, length = struct.unpack_from(">HH", stream, at)
        if marker == _TILE:
            break
        content = stream[at + 4 : at + 2 + length]
        if marker >> 8 != 0xFF or length < 2 or len(content) != length - 2:
            raise UnreadableDicomError("the header of a compressed frame is damaged")
        place = {_CODING_STYLE: 9, _COMPONENT_STYLE: 6}.get(marker)
        if place is not None:
            if content[place : place + 1] != bytes([_REVERSIBLE]):
                raise LossyCompressionError("the JPEG 2000 stream uses a transform that loses information")
            stated |= marker == _CODING_STYLE
        at += 2 + length
    if not stated:
        raise UnreadableDicomError("the header of a compressed frame is damaged")
