"""Pixels, after their declared size was compared with the bytes that are there."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch.archive.elements import PixelSpan
from datbatch.archive.frames import Integers, frame_count
from datbatch.archive.header import Header
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

    @property
    def rescaled(self) -> bool:
        """Whether stored values are not counts yet."""
        return (self.slope, self.intercept) != (1.0, 0.0)


def pixel_format(header: Header) -> PixelFormat:
    """Read how pixels are stored and check it against the bytes that are there.

    Raises
    ------
    TruncatedError
        When there are fewer bytes or fragments than the header declares, or none.
    UnreadableDicomError
        When there are more, or the declaration makes no sense.
    NotProjectionsError
        When there are more pixels than projections can have, or none are declared.
    UnsupportedPixelsError
        When pixels are not single grey values of 8, 16 or 32 bits.
    UnsupportedGeometryError
        When the size of a pixel is missing or absurd.
    """
    elements = header.elements
    if header.pixels is None:
        raise TruncatedError("the object ends before its PixelData, or was stripped of it")
    frames = frame_count(elements)
    rows, columns = elements.integer("Rows") or 0, elements.integer("Columns") or 0
    if not (0 < rows <= MAX_SIDE and 0 < columns <= MAX_SIDE) or frames * rows * columns > MAX_PIXELS:
        raise NotProjectionsError(f"{frames} frames of {rows} rows and {columns} columns are no projections")
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
    if slope is not None and slope <= 0.0:
        raise UnsupportedPixelsError(f"RescaleSlope is {slope:g}")
    spacing = elements.numbers("PixelSpacing")
    if len(spacing) != 2 or not all(_SIZE_MM[0] <= size <= _SIZE_MM[1] for size in spacing):
        raise UnsupportedGeometryError("PixelSpacing is missing or absurd", "Export the study with its pixel spacing.")
    _check_length(header.pixels, frames, frames * rows * columns * dtype.itemsize)
    return PixelFormat(
        frames, rows, columns, dtype, stored, *spacing, 1.0 if slope is None else slope, intercept or 0.0
    )


def _check_length(span: PixelSpan, frames: int, expected: int) -> None:
    if span.fragments is not None:
        fragments = len(span.fragments) - 1
        if fragments < frames:
            raise TruncatedError(f"{frames} frames are declared, {fragments} fragments are there")
        return
    present = span.length
    if present < expected:
        raise TruncatedError(f"the frames need {expected} bytes, PixelData has {present}")
    if present > expected + expected % 2:
        raise UnreadableDicomError(f"PixelData has {present} bytes, the frames need {expected}")


def read_frames(header: Header, form: PixelFormat, frames: Integers) -> npt.NDArray[Any]:
    """Read some frames of a file as they are stored.

    Parameters
    ----------
    header : Header
        Checked by `pixel_format`.
    form : PixelFormat
        How the pixels are stored.
    frames : ndarray, shape (n,), int64
        Numbers from 0.

    Returns
    -------
    ndarray, shape (n, row, bin)
        Unsigned integers, or float32 where the header rescales.

    Raises
    ------
    UnsupportedPixelsError
        When no decoder reads them, values are negative, or exceed the declared bits.
    UnreadableDicomError
        When compressed pixels are corrupt.
    """
    span = header.pixels
    if span is None:
        raise TruncatedError("the object has no PixelData")
    if span.fragments is None:
        count = form.frames * form.rows * form.columns
        everything = np.frombuffer(header.data, form.dtype, count, span.start)
        everything = everything.reshape(form.frames, form.rows, form.columns)
    else:
        everything = _decode(header, form)
    chosen = everything[frames].astype(form.dtype.newbyteorder("="))
    if form.dtype.kind == "i" and chosen.min(initial=0) < 0 and not form.rescaled:
        raise UnsupportedPixelsError("pixels are negative: not counts")
    limit = 1 << (form.bits_stored - (form.dtype.kind == "i"))
    if chosen.max(initial=0) >= limit:
        raise UnsupportedPixelsError(f"pixels exceed the {form.bits_stored} bits that are declared as stored")
    if not form.rescaled:
        return chosen.astype(chosen.dtype.str.replace("i", "u"))
    counts = (chosen * form.slope + form.intercept).astype(np.float32)
    if not np.isfinite(counts).all() or counts.min(initial=0.0) < 0.0:
        raise UnsupportedPixelsError("rescaled pixels are negative or not finite: not counts")
    return counts


def _decode(header: Header, form: PixelFormat) -> npt.NDArray[Any]:
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    span = header.pixels
    try:
        decoder = get_decoder(UID(header.transfer_syntax))
    except NotImplementedError:
        raise UnsupportedPixelsError("there is no decoder for the transfer syntax") from None
    if span is None or not decoder.is_available:
        raise UnsupportedPixelsError("no decoder for the transfer syntax is installed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            decoded, _ = decoder.as_array(
                header.data[span.start : span.start + span.length],
                raw=True,
                rows=form.rows,
                columns=form.columns,
                number_of_frames=form.frames,
                samples_per_pixel=1,
                photometric_interpretation="MONOCHROME2",
                pixel_representation=int(form.dtype.kind == "i"),
                bits_allocated=form.dtype.itemsize * 8,
                bits_stored=form.bits_stored,
                pixel_keyword="PixelData",
            )
    except Exception as error:
        # Decoders raise whatever they like at corrupt streams; all of it means the same to the operator.
        raise UnreadableDicomError(f"the compressed pixels are corrupt ({type(error).__name__})") from None
    decoded = np.asarray(decoded)
    expected = (form.frames, form.rows, form.columns)
    if decoded.size != np.prod(expected) or decoded.dtype.itemsize != form.dtype.itemsize:
        raise UnreadableDicomError("the compressed pixels are not of the declared size")
    return decoded.reshape(expected)
