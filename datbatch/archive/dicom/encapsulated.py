"""Encapsulated pixels: which fragments belong to each frame, and how a frame is decoded."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch.archive.dicom.elements import Elements, PixelSpan
from datbatch.errors import TruncatedError, UnreadableDicomError, UnsupportedPixelsError

RUN_LENGTH = "1.2.840.10008.1.2.5"
JPEG_LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
"""Process 14 with any predictor, and with the first."""
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
LOSSLESS = (RUN_LENGTH, *JPEG_LOSSLESS, JPEG_LS, JPEG_2000)
"""Encapsulated transfer syntaxes that keep every bit."""
_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")
"""How the streams of JPEG, JPEG-LS and JPEG 2000 begin. Only the first fragment of a frame begins like this."""

Span = tuple[int, int]


def frame_fragments(span: PixelSpan, elements: Elements, frames: int, data: bytes) -> tuple[tuple[Span, ...], ...]:
    """Give start and length of each fragment in `data`, frame by frame (PS3.5 A.4).

    The offset table says where a frame begins. Without a table each frame has one fragment, or its stream shows where
    it begins. Too few fragments, and fragments that contradict the table, are refused.
    """
    table, *fragments = span.fragments or ((0, 0),)
    if len(fragments) < frames:
        raise TruncatedError(f"{frames} frames are declared, {len(fragments)} fragments are there")
    # Offsets count from the item tag of the first fragment; a fragment's own start lies 8 bytes behind its tag.
    places = {start - 8 - (fragments[0][0] - 8): number for number, (start, _) in enumerate(fragments)}
    firsts = _first_fragments(_offsets(table, elements, data), places, frames)
    if firsts is None:
        if len(fragments) == frames:
            firsts = list(range(frames))
        elif frames == 1:
            firsts = [0]
        else:
            firsts = [k for k, (start, _) in enumerate(fragments) if data[start : start + 4].startswith(_STARTS)]
    if len(firsts) != frames or firsts[0] != 0:
        raise UnreadableDicomError(f"{len(fragments)} fragments cannot be told apart as {frames} frames")
    return tuple(tuple(fragments[start:end]) for start, end in zip(firsts, [*firsts[1:], len(fragments)], strict=True))


def _offsets(table: Span, elements: Elements, data: bytes) -> tuple[int, ...]:
    start, length = table
    extended = elements.wide_integers("ExtendedOffsetTable")
    if length and extended:
        raise UnreadableDicomError("there are a basic and an extended offset table")
    if length % 4:
        raise UnreadableDicomError("the offset table is damaged")
    return extended or struct.unpack(f"<{length // 4}I", data[start : start + length])


def _first_fragments(offsets: tuple[int, ...], places: dict[int, int], frames: int) -> list[int] | None:
    """Give the number of each frame's first fragment; None without an offset table."""
    if not offsets:
        return None
    firsts = [places.get(offset, -1) for offset in offsets]
    if len(firsts) != frames or min(firsts) < 0 or sorted(set(firsts)) != firsts:
        raise UnreadableDicomError("the offset table and the fragments contradict each other")
    return firsts


def decode_frame(
    stream: bytes, transfer_syntax: str, rows: int, columns: int, dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    """Decode one frame without loss.

    Parameters
    ----------
    stream : bytes
        The frame's fragments, joined.
    transfer_syntax : str
        UID.
    rows, columns : int
        Size that the DICOM header declares.
    dtype : dtype
        Type of the stored values that the DICOM header declares.

    Returns
    -------
    ndarray, shape (rows, columns), dtype

    Raises
    ------
    UnsupportedPixelsError
        When the transfer syntax, its combination with the type, or an option of the stream is not read.
    UnreadableDicomError, TruncatedError
        When the stream is damaged, cut, or of another size.
    LossyCompressionError
        When the compression lost information.
    """
    if transfer_syntax == RUN_LENGTH:
        from datbatch.archive.dicom.run_length import decode_run_length

        return decode_run_length(stream, rows, columns, dtype.itemsize).view(dtype)
    if dtype.itemsize > 2:
        raise UnsupportedPixelsError(f"compressed pixels of {8 * dtype.itemsize} bits are not read")
    decoded: npt.NDArray[Any]
    if transfer_syntax in JPEG_LOSSLESS:
        from datbatch.archive.dicom.jpeg_lossless import decode_jpeg_lossless

        decoded = decode_jpeg_lossless(stream, rows, columns)
    elif transfer_syntax == JPEG_LS:
        from datbatch.archive.dicom.jpeg_ls import decode_jpeg_ls

        decoded = decode_jpeg_ls(stream, rows, columns)
    elif transfer_syntax == JPEG_2000:
        from datbatch.archive.dicom.jpeg_2000 import decode_jpeg_2000

        decoded = decode_jpeg_2000(stream, rows, columns)
        if (decoded.dtype.kind == "i") != (dtype.kind == "i"):
            raise UnreadableDicomError("PixelRepresentation and the compressed frame contradict each other")
    else:
        raise UnsupportedPixelsError("there is no decoder for the transfer syntax")
    if decoded.dtype.kind == "i":
        return decoded.astype(dtype)
    if decoded.max(initial=0) >= 1 << 8 * dtype.itemsize:
        raise UnreadableDicomError(f"a compressed frame holds values of more than {8 * dtype.itemsize} bits")
    # JPEG has no signs: these are the bits of the stored value.
    return decoded.astype(f"=u{dtype.itemsize}").view(dtype)
