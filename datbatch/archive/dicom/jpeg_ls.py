"""Decode JPEG-LS without loss (ITU-T T.87) with CharLS, after a check of the stream's header and its end."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from datbatch.archive.dicom.jpeg_segments import START_OF_SCAN, check_end, frame_size, segments
from datbatch.errors import LossyCompressionError, UnreadableDicomError, UnsupportedPixelsError

_FRAME, _PRESET, _RESTART = 0xF7, 0xF8, 0xDD
_MARKER = re.compile(rb"\xff[\x80-\xff]")
"""End of a scan: inside a scan a zero bit follows each byte of ones."""


def decode_jpeg_ls(stream: bytes, rows: int, columns: int) -> npt.NDArray[np.uint16]:
    """Decode one frame; restart markers, mapping tables and an own largest sample are not read."""
    precision, start = _read_header(stream, rows, columns)
    # CharLS does not check for the end of the image.
    end = _MARKER.search(stream, start)
    check_end(stream, end.start() if end else len(stream))
    from jpeg_ls import decode_from_buffer

    try:
        samples = decode_from_buffer(stream)
    except RuntimeError:
        raise UnreadableDicomError("a compressed frame holds codes that no encoder writes") from None
    return np.frombuffer(samples, "<u1" if precision <= 8 else "<u2").reshape(rows, columns).astype(np.uint16)


def _read_header(stream: bytes, rows: int, columns: int) -> tuple[int, int]:
    """Check the segments before the scan; give the bits of a sample and the start of the scan."""
    precision = largest = 0
    for marker, content, end in segments(stream):
        if marker == _FRAME and not precision:
            precision = frame_size(content, rows, columns).precision
        elif marker == _PRESET and content[:1] == b"\x01" and len(content) == 11:
            largest = int.from_bytes(content[1:3], "big")
        elif marker == _RESTART and any(content):
            raise UnsupportedPixelsError("the JPEG-LS stream has restart markers")
        elif marker == START_OF_SCAN:
            if not precision or len(content) != 6 or content[0] != 1 or content[4]:
                raise UnreadableDicomError("the scan of a compressed frame does not have one component")
            if content[2]:
                raise UnsupportedPixelsError("the JPEG-LS stream has a mapping table")
            # With any other largest sample CharLS follows its own encoder, not the standard.
            if largest not in (0, (1 << precision) - 1):
                raise UnsupportedPixelsError(f"the JPEG-LS stream states a largest sample of {largest}")
            if content[3] or content[5]:
                raise LossyCompressionError("the JPEG-LS stream is near-lossless")
            return precision, end
        elif marker in (_PRESET, _FRAME) or 0xC0 <= marker <= 0xCF:
            raise UnreadableDicomError("a compressed frame is not of JPEG-LS")
    raise UnreadableDicomError("a compressed frame has no scan")
