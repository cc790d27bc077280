"""Read pixels, after their declared size was compared with the bytes of the file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch.archive.dicom.elements import PixelSpan
from datbatch.archive.dicom.encapsulated import decode_frame, frame_fragments
from datbatch.archive.dicom.frames import Integers, frame_count
from datbatch.archive.dicom.header import Header
from datbatch.errors import (
    NotProjectionsError,
    TruncatedError,
    UnreadableDicomError,
    UnsupportedGeometryError,
    UnsupportedPixelsError,
)

MAX_PIXELS = 1 << 27
MAX_SIDE = 2048
_SIZE_MM = (0.5, 30.0)
_MAX_GROWTH = 500
_ANY_GROWTH_BYTES = 1 << 23
"""Above this size, compressed counts may grow by `_MAX_GROWTH` at most: a header must not decide how much memory is
taken."""
_SLOPE = (1e-6, 1e6)
_MAX_COUNTS = 1e9
"""Of a pixel; no camera can count so many."""


@dataclass(frozen=True)
class PixelFormat:
    """How the frames of one file are stored."""

    frames: int
    rows: int
    columns: int
    dtype: np.dtype[Any]
    """Of the stored value, in the byte order of the file."""
    bits_stored: int
    row_size_mm: float
    pixel_size_mm: float
    slope: float
    intercept: float
    swapped_bytes: bool = False
    """Whether pairs of 8-bit pixels are big-endian words (PS3.5 8.2: value representation OW)."""

    @property
    def rescaled(self) -> bool:
        """Whether slope and intercept turn stored values into counts."""
        return (self.slope, self.intercept) != (1.0, 0.0)


def pixel_format(header: Header) -> PixelFormat:
    """Read how pixels are stored, and compare it with the bytes of the file.

    Raises
    ------
    TruncatedError
        When there are fewer bytes or fragments than the header declares.
    UnreadableDicomError
        When there are more, or the declaration makes no sense.
    NotProjectionsError
        When no pixels are declared, or more than projections can have.
    UnsupportedPixelsError
        When pixels are not single grey values of 8, 16 or 32 bits.
    UnsupportedGeometryError
        When the size of a pixel is missing or impossible.
    """
    elements = header.elements
    if header.pixels is None:
        raise TruncatedError("the object has no PixelData, or ends before it")
    frames = frame_count(elements)
    rows, columns = elements.integer("Rows") or 0, elements.integer("Columns") or 0
    if not (0 < rows <= MAX_SIDE and 0 < columns <= MAX_SIDE) or frames * rows * columns > MAX_PIXELS:
        raise NotProjectionsError(f"{frames} frames of {rows} rows and {columns} columns cannot be projections")
    allocated, stored = elements.integer("BitsAllocated"), elements.integer("BitsStored")
    sign = elements.integer("PixelRepresentation") or 0
    if (elements.integer("SamplesPerPixel") or 1) != 1 or elements.text("PhotometricInterpretation") != "MONOCHROME2":
        raise UnsupportedPixelsError("pixels are not single grey values (MONOCHROME2)")
    if allocated not in (8, 16, 32) or sign not in (0, 1):
        raise UnsupportedPixelsError(f"BitsAllocated is {allocated}, PixelRepresentation {sign}")
    stored = allocated if stored is None else stored
    if not 0 < stored <= allocated or elements.integer("HighBit") not in (None, stored - 1):
        raise UnsupportedPixelsError(f"BitsStored is {stored} of {allocated}, HighBit {elements.integer('HighBit')}")
    dtype = np.dtype(f"{header.layout.order}{'i' if sign else 'u'}{allocated // 8}")
    slope, intercept = elements.number("RescaleSlope"), elements.number("RescaleIntercept")
    if slope is not None and not _SLOPE[0] <= slope <= _SLOPE[1]:
        raise UnsupportedPixelsError(f"RescaleSlope is {slope:g}")
    if intercept is not None and abs(intercept) > _MAX_COUNTS:
        raise UnsupportedPixelsError(f"RescaleIntercept is {intercept:g}")
    spacing = elements.numbers("PixelSpacing")
    if len(spacing) != 2 or not all(_SIZE_MM[0] <= size <= _SIZE_MM[1] for size in spacing):
        raise UnsupportedGeometryError(
            "PixelSpacing is missing or impossible", "Export the study with its pixel spacing."
        )
    if (header.pixels.fragments is not None) != header.is_encapsulated:
        raise UnreadableDicomError("the transfer syntax and the encapsulation of PixelData contradict each other")
    _check_length(header.pixels, frames, frames * rows * columns * dtype.itemsize)
    return PixelFormat(
        frames,
        rows,
        columns,
        dtype,
        stored,
        *spacing,
        1.0 if slope is None else slope,
        intercept or 0.0,
        dtype.itemsize == 1 and header.pixels.words and not header.layout.little,
    )


def _check_length(span: PixelSpan, frames: int, expected: int) -> None:
    if span.fragments is not None:
        fragments = len(span.fragments) - 1
        if fragments < frames:
            raise TruncatedError(f"{frames} frames are declared, {fragments} fragments are there")
        if expected > max(_ANY_GROWTH_BYTES, _MAX_GROWTH * span.length):
            raise UnreadableDicomError(f"{span.length} compressed bytes cannot hold {expected} bytes of counts")
        return
    if span.length < expected:
        raise TruncatedError(f"the frames need {expected} bytes, PixelData has {span.length}")
    if span.length > expected + expected % 2:
        raise UnreadableDicomError(f"PixelData has {span.length} bytes, the frames need {expected}")


def read_frames(header: Header, form: PixelFormat, frames: Integers) -> npt.NDArray[Any]:
    """Read the counts of some frames of a file.

    Parameters
    ----------
    header : Header
        Of the file.
    form : PixelFormat
        What `pixel_format` gave for it.
    frames : ndarray, shape (n,), int64
        Numbers of the frames, from 0.

    Returns
    -------
    ndarray, shape (n, row, bin)
        Unsigned integers, or float32 where the header rescales.

    Raises
    ------
    UnsupportedPixelsError
        When no decoder reads them, or values are negative, too large, or exceed the declared bits.
    UnreadableDicomError, TruncatedError, LossyCompressionError
        When compressed pixels are corrupt, cut, or lost information.
    """
    chosen = stored_frames(header, form, frames)
    if not form.rescaled:
        if chosen.min(initial=0) < 0:
            raise UnsupportedPixelsError("pixels are negative: not counts")
        return chosen.astype(chosen.dtype.str.replace("i", "u"))
    counts = chosen * form.slope + form.intercept
    if counts.min(initial=0.0) < 0.0 or counts.max(initial=0.0) > _MAX_COUNTS:
        raise UnsupportedPixelsError("rescaled pixels are negative or too large: not counts")
    return counts.astype(np.float32)


def stored_frames(header: Header, form: PixelFormat, frames: Integers) -> npt.NDArray[Any]:
    """Read the stored values of some frames, signed or unsigned; see `read_frames`."""
    span = header.pixels
    if span is None:
        raise TruncatedError("the object has no PixelData")
    if span.fragments is None:
        chosen = _stored(header.data, span, form)[frames].astype(form.dtype.newbyteorder("="))
    else:
        chosen = _decoded(header, span, form, frames)
    limit = 1 << (form.bits_stored - (form.dtype.kind == "i"))
    if chosen.max(initial=0) >= limit or chosen.min(initial=0) < -limit:
        raise UnsupportedPixelsError(f"pixels exceed the {form.bits_stored} bits that are declared as stored")
    return chosen


def _stored(data: bytes, span: PixelSpan, form: PixelFormat) -> npt.NDArray[Any]:
    """Give all uncompressed frames of a file."""
    start, shape = span.start, (form.frames, form.rows, form.columns)
    if form.swapped_bytes:
        data, start = np.frombuffer(data, ">u2", span.length // 2, start).astype("<u2").tobytes(), 0
    return np.frombuffer(data, form.dtype, math.prod(shape), start).reshape(shape)


def _decoded(header: Header, span: PixelSpan, form: PixelFormat, frames: Integers) -> npt.NDArray[Any]:
    """Decode some compressed frames of a file."""
    fragments = frame_fragments(span, header.elements, form.frames, header.data)
    dtype = form.dtype.newbyteorder("=")
    chosen = np.zeros((len(frames), form.rows, form.columns), dtype=dtype)
    for place, frame in enumerate(frames):
        stream = b"".join(header.data[start : start + length] for start, length in fragments[frame])
        chosen[place] = decode_frame(stream, header.transfer_syntax, form.rows, form.columns, dtype)
    return chosen
