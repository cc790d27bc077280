"""A bounded walk over the elements of a DICOM data set.

General readers allocate as much memory as a length field declares, recurse as deep as a file asks, and accept a cut or
corrupt stream as a nearly empty data set. This walk reads only bytes that exist and checks each length against the
length of what encloses it. It keeps only the elements of `TAGS`: a patient's name is never decoded.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Container
from dataclasses import dataclass, field

from pydicom.datadict import dictionary_VR, tag_for_keyword

from datbatch.errors import DatbatchError, TruncatedError, UnreadableDicomError

MAX_DEPTH = 16
MAX_ELEMENTS = 500_000
MAX_VALUE_BYTES = 1 << 16

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXEL_DATA = 0x7FE00010
_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SHORT = frozenset(
    {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT"}
    | {b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"}
)

_KEYWORDS = """TransferSyntaxUID MediaStorageSOPClassUID ImageType SOPClassUID SOPInstanceUID StudyDate AcquisitionDate
    AcquisitionTime AccessionNumber Modality Manufacturer CodeValue CodeMeaning ManufacturerModelName PatientID
    PatientBirthDate PatientSex PatientAge SpacingBetweenSlices RadiopharmaceuticalStartTime
    RadionuclideTotalDose RadiopharmaceuticalStartDateTime GantryDetectorTilt RotationDirection RadialPosition
    ScanArc AngularStep CollimatorGridName CollimatorType FocalDistance ActualFrameDuration PatientPosition
    StudyInstanceUID SeriesInstanceUID PatientOrientation ImagePositionPatient ImageOrientationPatient
    SamplesPerPixel PhotometricInterpretation NumberOfFrames FrameIncrementPointer Rows Columns PixelSpacing
    BitsAllocated BitsStored HighBit PixelRepresentation RescaleIntercept RescaleSlope LossyImageCompression
    EnergyWindowVector NumberOfEnergyWindows EnergyWindowInformationSequence EnergyWindowRangeSequence
    EnergyWindowLowerLimit EnergyWindowUpperLimit RadiopharmaceuticalInformationSequence DetectorVector
    NumberOfDetectors DetectorInformationSequence PhaseVector RotationVector NumberOfRotations
    RotationInformationSequence NumberOfFramesInRotation SliceVector RRIntervalVector TimeSlotVector
    TimeSliceVector AngularViewVector StartAngle TypeOfDetectorMotion ViewCodeSequence
    PatientOrientationCodeSequence PatientOrientationModifierCodeSequence PatientGantryRelationshipCodeSequence
    ExtendedOffsetTable"""
TAGS: dict[str, tuple[int, str]] = {
    keyword: (int(tag_for_keyword(keyword)), dictionary_VR(keyword)) for keyword in _KEYWORDS.split()
}
"""Tag and value representation of every element that is decoded, by keyword."""

_KINDS = dict(TAGS.values())
_NAMES = {tag: name for name, (tag, _) in TAGS.items()}


@dataclass(frozen=True)
class Layout:
    """How elements are written: with or without a value representation, and in which byte order."""

    explicit: bool
    little: bool

    @property
    def order(self) -> str:
        """Byte order mark of `struct` and numpy."""
        return "<" if self.little else ">"


@dataclass(frozen=True)
class PixelSpan:
    """Where the pixels lie in the walked bytes."""

    start: int
    length: int
    """Bytes of the value; all of them are in the file."""
    words: bool = False
    """Whether the pixels are written as words (value representation OW, or implicit)."""
    fragments: tuple[tuple[int, int], ...] | None = None
    """Start and length of each fragment of encapsulated pixels; the first fragment is the offset table."""


@dataclass
class Elements:
    """The elements of `TAGS` in one data set or sequence item; values are decoded when they are asked for."""

    layout: Layout
    raw: dict[int, bytes] = field(default_factory=dict, repr=False)
    sequences: dict[int, list[Elements]] = field(default_factory=dict, repr=False)

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Give the values of a text element without padding; none where it is absent or empty."""
        value = self.raw.get(TAGS[keyword][0], b"")
        try:
            text = value.decode("utf-8")
        except UnicodeDecodeError:
            text = value.decode("latin-1")
        text = text.strip(" \0\t\r\n")
        return tuple(part.strip(" \0") for part in text.split("\\")) if text else ()

    def text(self, keyword: str) -> str:
        """Give the first value of a text element, or an empty string."""
        return next(iter(self.texts(keyword)), "")

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """Give the values of a numeric element.

        Raises
        ------
        UnreadableDicomError
            When a value is not a finite number.
        """
        if TAGS[keyword][1] == "US":
            return self._words(keyword, "H")
        try:
            found = tuple(float(text) for text in self.texts(keyword) if text)
        except ValueError:
            raise UnreadableDicomError(f"{keyword} is not a number") from None
        if not all(map(math.isfinite, found)):
            raise UnreadableDicomError(f"{keyword} is not finite")
        return found

    def number(self, keyword: str) -> float | None:
        """Give the first value of a numeric element, or None."""
        return next(iter(self.numbers(keyword)), None)

    def integers(self, keyword: str) -> tuple[int, ...]:
        """Give the values of an element of whole numbers; others are refused as in `numbers`."""
        found = self.numbers(keyword)
        if any(value != int(value) for value in found):
            raise UnreadableDicomError(f"{keyword} is not a whole number")
        return tuple(map(int, found))

    def integer(self, keyword: str) -> int | None:
        """Give the first value of an element of whole numbers, or None."""
        return next(iter(self.integers(keyword)), None)

    def wide_integers(self, keyword: str) -> tuple[int, ...]:
        """Give the values of an element of 64-bit words; a broken last word is refused."""
        return self._words(keyword, "Q")

    def _words(self, keyword: str, code: str) -> tuple[int, ...]:
        value, size = self.raw.get(TAGS[keyword][0], b""), struct.calcsize(f"={code}")
        if len(value) % size:
            raise UnreadableDicomError(f"{keyword} has an odd length")
        return struct.unpack(f"{self.layout.order}{len(value) // size}{code}", value)

    def pointers(self, keyword: str) -> tuple[str, ...]:
        """Give the keyword of each tag in an element of tags; empty for a tag that is not in `TAGS`."""
        value = self.raw.get(TAGS[keyword][0], b"")
        halves = struct.unpack(f"{self.layout.order}{len(value) // 4 * 2}H", value[: len(value) // 4 * 4])
        return tuple(_NAMES.get(high << 16 | low, "") for high, low in zip(halves[::2], halves[1::2], strict=True))

    def items(self, keyword: str) -> tuple[Elements, ...]:
        """Give the items of a sequence."""
        return tuple(self.sequences.get(TAGS[keyword][0], ()))


class Walk:
    """One walk over a data set of `size` bytes; `data` may be its beginning. What was found before a fault is kept."""

    def __init__(self, data: bytes, layout: Layout, size: int) -> None:
        self.data, self.size = data, size
        self.found = Elements(layout)
        self.pixels: PixelSpan | None = None
        self.problem: DatbatchError | None = None
        self._count = 0

    def run(self, start: int) -> Walk:
        """Walk from byte `start` to the end; keep a fault in `problem`."""
        try:
            if start >= self.size:
                raise TruncatedError("the file ends before its data set")
            self._elements(self.found, start, self.size, 0, open_end=False)
        except DatbatchError as problem:
            self.problem = problem
        return self

    def file_meta(self, at: int) -> int:
        """Walk the file meta group from byte `at` and give its end, whatever length the group declares."""
        while self.data[at : at + 2] == b"\x02\x00":
            self._need(at, 8, self.size)
            at = self._element(self.found, self._tag(at, self.found.layout), at, self.size, 0)
        return at

    def _tag(self, at: int, layout: Layout) -> int:
        high, low = struct.unpack_from(layout.order + "HH", self.data, at)
        return int(high) << 16 | int(low)

    def _long(self, at: int, layout: Layout) -> int:
        return int(struct.unpack_from(layout.order + "I", self.data, at)[0])

    def _need(self, at: int, count: int, end: int) -> None:
        if end - at < count:
            raise TruncatedError("the data set ends inside an element")
        if at + count > len(self.data):
            raise UnreadableDicomError("the file is too large: its header lies beyond the part that is read")

    def _elements(self, into: Elements, at: int, end: int, depth: int, *, open_end: bool) -> int:
        if depth > MAX_DEPTH:
            raise UnreadableDicomError(f"sequences are nested deeper than {MAX_DEPTH}")
        while at < end:
            if depth == 0 and at >= len(self.data):
                return end
            if depth == 0 and self._only_padding(at, end):
                return end
            self._need(at, 8, end)
            self._count += 1
            if self._count > MAX_ELEMENTS:
                raise UnreadableDicomError(f"the data set has more than {MAX_ELEMENTS} elements")
            tag = self._tag(at, into.layout)
            if tag == _ITEM_END and open_end:
                return at + 8
            if tag >> 16 == 0xFFFE:
                raise UnreadableDicomError("an item or delimiter stands outside a sequence")
            at = self._element(into, tag, at, end, depth)
        if open_end:
            raise TruncatedError("an item has no end")
        return at

    def _only_padding(self, at: int, end: int) -> bool:
        # Some writers fill the last block of the file with zeros; no element has tag (0000,0000) there.
        if self.data[at : at + 8].strip(b"\0"):
            return False
        if self.data[at:end].strip(b"\0"):
            raise UnreadableDicomError("an element has the tag (0000,0000)")
        return True

    def _element(self, into: Elements, tag: int, at: int, end: int, depth: int) -> int:
        layout, kind = into.layout, _KINDS.get(tag)
        at, length, vr = self._length(at, end, layout)
        if tag == _PIXEL_DATA and depth == 0:
            if self.pixels is not None:
                raise UnreadableDicomError("PixelData occurs twice")
            return self._pixel_data(at, length, end, words=vr in (b"OW", b""))
        holds_items, open_end = vr in (b"SQ", b"UN", b""), length == _UNDEFINED
        if open_end and not holds_items:
            raise UnreadableDicomError("an element that is no sequence has no length")
        if not open_end and length > end - at:
            raise TruncatedError("an element is longer than what encloses it")
        if open_end or (holds_items and kind == "SQ"):
            inner = Layout(explicit=False, little=True) if vr == b"UN" else layout
            items, at = self._items(at, end if open_end else at + length, inner, depth, open_end=open_end)
            if kind == "SQ":
                self._refuse_second(tag, into.sequences)
                into.sequences[tag] = items
            return at
        if kind is not None and kind != "SQ":
            if length > MAX_VALUE_BYTES:
                raise UnreadableDicomError(f"{_NAMES[tag]} has {length} bytes")
            self._need(at, length, end)
            self._refuse_second(tag, into.raw)
            into.raw[tag] = self.data[at : at + length]
        return at + length

    @staticmethod
    def _refuse_second(tag: int, found: Container[int]) -> None:
        if tag in found:
            raise UnreadableDicomError(f"{_NAMES[tag]} occurs twice")

    def _length(self, at: int, end: int, layout: Layout) -> tuple[int, int, bytes]:
        if not layout.explicit:
            return at + 8, self._long(at + 4, layout), b""
        vr = self.data[at + 4 : at + 6]
        if vr in _SHORT:
            return at + 8, int(struct.unpack_from(layout.order + "H", self.data, at + 6)[0]), vr
        if vr not in _LONG:
            raise UnreadableDicomError("an element has an invalid value representation")
        self._need(at, 12, end)
        return at + 12, self._long(at + 8, layout), vr

    def _items(self, at: int, end: int, layout: Layout, depth: int, *, open_end: bool) -> tuple[list[Elements], int]:
        found: list[Elements] = []
        while open_end or at < end:
            self._need(at, 8, end)
            tag, length = self._tag(at, layout), self._long(at + 4, layout)
            at += 8
            if tag == _SEQUENCE_END and open_end:
                return found, at
            if tag != _ITEM:
                raise UnreadableDicomError("a sequence holds something else than items")
            item = Elements(layout)
            if length == _UNDEFINED:
                at = self._elements(item, at, end, depth + 1, open_end=True)
            elif length > end - at:
                raise TruncatedError("an item is longer than its sequence")
            else:
                at = self._elements(item, at, at + length, depth + 1, open_end=False)
            found.append(item)
        return found, at

    def _pixel_data(self, at: int, length: int, end: int, *, words: bool) -> int:
        if length != _UNDEFINED:
            if length > end - at:
                raise TruncatedError(f"PixelData declares {length} bytes, the file holds {end - at}")
            self.pixels = PixelSpan(at, length, words)
            return at + length
        start = at
        fragments: list[tuple[int, int]] = []
        little = Layout(explicit=True, little=True)
        while True:
            self._need(at, 8, end)
            tag, size = self._tag(at, little), self._long(at + 4, little)
            at += 8
            if tag == _SEQUENCE_END:
                self.pixels = PixelSpan(start, at - start, words, tuple(fragments))
                return at
            if tag != _ITEM:
                raise UnreadableDicomError("encapsulated PixelData holds something else than fragments")
            if size > end - at:
                raise TruncatedError("a fragment of PixelData is cut")
            fragments.append((at, size))
            at += size
