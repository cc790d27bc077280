"""Decode JPEG-LS without loss: Golomb-coded differences from an adaptive median predictor (ITU-T T.87 annex A).

The usual library can be made to run for ever by a damaged stream; here each sample takes a bounded number of bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datbatch.archive.dicom.jpeg_ls_scan import BROKEN, CUT, RUN_LENGTHS, decode_scan
from datbatch.archive.dicom.jpeg_segments import START_OF_SCAN, FrameSize, check_end, frame_size, segments
from datbatch.errors import LossyCompressionError, TruncatedError, UnreadableDicomError, UnsupportedPixelsError

_FRAME, _PRESET, _RESTART = 0xF7, 0xF8, 0xDD
_REASONS = {
    CUT: "a compressed frame ends inside its samples",
    BROKEN: "a compressed frame holds codes that no encoder writes",
}
_RESET = 64


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
    fault, end = decode_scan(data, start, out, presets.largest, *presets.thresholds, presets.reset, RUN_LENGTHS)
    if fault:
        raise (TruncatedError if fault == CUT else UnreadableDicomError)(_REASONS[fault])
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
