"""Open one DICOM Part 10 file within limits of time and memory."""

from __future__ import annotations

import os
import re
import stat
import zlib
from dataclasses import dataclass, field

from datbatch.archive.dicom.elements import Elements, Layout, PixelSpan, Walk
from datbatch.errors import DatbatchError, NotDicomError, TruncatedError, UnreadableDicomError
from datbatch.location import Location, S3Location, read

MAX_FILE_BYTES = 1 << 29
"""Of a longer file only the beginning is read, never the pixels."""
MAX_INFLATED_BYTES = 1 << 27
"""The greatest size of a data set after inflation."""
_LARGE_FILE_BEGINNING = 1 << 24
_META = Layout(explicit=True, little=True)

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
_ENCAPSULATED = re.compile(r"1\.2\.840\.10008\.1\.2\.(4\.\d{1,3}|5)", re.ASCII)


@dataclass(frozen=True)
class Header:
    """What one file's header says, and where its pixels lie; `repr` shows none of the content."""

    elements: Elements = field(repr=False)
    transfer_syntax: str
    pixels: PixelSpan | None = field(repr=False)
    data: bytes = field(repr=False)
    """The bytes in which `pixels` lie: the file, or the inflated data set."""
    problem: DatbatchError | None = None
    """The fault at which reading stopped; `elements` holds what was found before it."""

    @property
    def layout(self) -> Layout:
        """How the elements are written."""
        return self.elements.layout

    @property
    def is_encapsulated(self) -> bool:
        """Whether the transfer syntax stores pixels in fragments."""
        return _ENCAPSULATED.fullmatch(self.transfer_syntax) is not None


def read_bytes(path: Location) -> tuple[bytes, int]:
    """Read a regular file, or the beginning of a very long one; give its bytes, and the size of the whole file.

    Raises
    ------
    UnreadableDicomError
        When the operating system refuses.
    NotDicomError
        When it is not a regular file.
    StorageError
        When S3 does not give it.
    """
    try:
        if isinstance(path, S3Location):
            data, size = read(path, limit=MAX_FILE_BYTES)
            return data if size <= MAX_FILE_BYTES else data[:_LARGE_FILE_BEGINNING], size
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise NotDicomError("not a regular file")
            size = status.st_size
            return stream.read(size if size <= MAX_FILE_BYTES else _LARGE_FILE_BEGINNING), size
    except OSError as error:
        raise UnreadableDicomError(f"the file cannot be read ({type(error).__name__})") from None


def has_mark(data: bytes) -> bool:
    """Tell whether the bytes begin as a DICOM Part 10 file does."""
    return data[128:132] == b"DICM"


def parse(data: bytes, size: int | None = None) -> Header:
    """Walk the bytes of a file of `size` bytes; keep a fault after the DICM mark in the header's `problem`.

    Raises
    ------
    NotDicomError
        When the DICM mark is missing.
    """
    if not has_mark(data):
        raise NotDicomError("the DICM mark is missing")
    size = len(data) if size is None else size
    try:
        walk = Walk(data, _META, len(data))
        start, meta = walk.file_meta(132), walk.found
        syntax = meta.text("TransferSyntaxUID")
        layout = _layout(syntax)
    except DatbatchError as problem:
        return Header(Elements(_META), "", None, b"", problem)
    inflating: DatbatchError | None = None
    if syntax == DEFLATED:
        if size > len(data):
            too_long = UnreadableDicomError(f"a deflated file of more than {MAX_FILE_BYTES} bytes")
            return Header(meta, syntax, None, b"", too_long)
        data, inflating = _inflate(data[start:])
        start, size = 0, len(data)
    walk = Walk(data, layout, size).run(start)
    walk.found.raw.update(meta.raw)
    return Header(walk.found, syntax, walk.pixels, data, inflating or walk.problem)


def read_header(path: Location) -> Header:
    """Open a file; see `read_bytes` and `parse` for what they refuse and what they keep in `problem`."""
    return parse(*read_bytes(path))


def _layout(syntax: str) -> Layout:
    if not syntax:
        raise UnreadableDicomError("the transfer syntax is missing")
    if syntax == IMPLICIT_LITTLE:
        return Layout(explicit=False, little=True)
    if syntax == EXPLICIT_BIG:
        return Layout(explicit=True, little=False)
    if syntax in (EXPLICIT_LITTLE, DEFLATED) or _ENCAPSULATED.fullmatch(syntax):
        return Layout(explicit=True, little=True)
    raise UnreadableDicomError("the transfer syntax is unknown")


def _inflate(packed: bytes) -> tuple[bytes, DatbatchError | None]:
    """Inflate up to the limit; give also what came out before a fault."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = stream.decompress(packed, MAX_INFLATED_BYTES + 1)
    except zlib.error:
        return b"", UnreadableDicomError("the deflated data set is corrupt")
    if len(data) > MAX_INFLATED_BYTES:
        return b"", UnreadableDicomError(f"the deflated data set grows beyond {MAX_INFLATED_BYTES} bytes")
    if not stream.eof:
        return data, TruncatedError("the deflated data set is cut")
    if len(stream.unused_data) > 8:  # up to 8: the check sum and length that gzip appends
        return data, UnreadableDicomError("bytes follow the deflated data set")
    return data, None
