"""A bounded walk over the elements of a DICOM data set.

General readers allocate what a length field declares, recurse as deep as a file asks, and let a cut or corrupt
stream pass as a nearly empty data set. This walk only ever looks at bytes that are there, checks each length
against what encloses it, and keeps the values of the elements in `TAGS` alone: a patient's name is never decoded.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field

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

TAGS: dict[str, tuple[int, str]] = {
    "TransferSyntaxUID": (0x00020010, "UI"),
    "MediaStorageSOPClassUID": (0x00020002, "UI"),
    "ImageType": (0x00080008, "CS"),
    "SOPClassUID": (0x00080016, "UI"),
    "SOPInstanceUID": (0x00080018, "UI"),
    "StudyDate": (0x00080020, "DA"),
    "AcquisitionDate": (0x00080022, "DA"),
    "AcquisitionTime": (0x00080032, "TM"),
    "AccessionNumber": (0x00080050, "SH"),
    "Modality": (0x00080060, "CS"),
    "Manufacturer": (0x00080070, "LO"),
    "CodeValue": (0x00080100, "SH"),
    "CodeMeaning": (0x00080104, "LO"),
    "ManufacturerModelName": (0x00081090, "LO"),
    "PatientID": (0x00100020, "LO"),
    "PatientBirthDate": (0x00100030, "DA"),
    "PatientSex": (0x00100040, "CS"),
    "PatientAge": (0x00101010, "AS"),
    "SpacingBetweenSlices": (0x00180088, "DS"),
    "RadiopharmaceuticalStartTime": (0x00181072, "TM"),
    "RadionuclideTotalDose": (0x00181074, "DS"),
    "RadiopharmaceuticalStartDateTime": (0x00181078, "DT"),
    "GantryDetectorTilt": (0x00181120, "DS"),
    "RotationDirection": (0x00181140, "CS"),
    "RadialPosition": (0x00181142, "DS"),
    "ScanArc": (0x00181143, "DS"),
    "AngularStep": (0x00181144, "DS"),
    "CollimatorGridName": (0x00181180, "SH"),
    "CollimatorType": (0x00181181, "CS"),
    "FocalDistance": (0x00181182, "IS"),
    "ActualFrameDuration": (0x00181242, "IS"),
    "PatientPosition": (0x00185100, "CS"),
    "StudyInstanceUID": (0x0020000D, "UI"),
    "SeriesInstanceUID": (0x0020000E, "UI"),
    "PatientOrientation": (0x00200020, "CS"),
    "ImagePositionPatient": (0x00200032, "DS"),
    "ImageOrientationPatient": (0x00200037, "DS"),
    "SamplesPerPixel": (0x00280002, "US"),
    "PhotometricInterpretation": (0x00280004, "CS"),
    "NumberOfFrames": (0x00280008, "IS"),
    "FrameIncrementPointer": (0x00280009, "AT"),
    "Rows": (0x00280010, "US"),
    "Columns": (0x00280011, "US"),
    "PixelSpacing": (0x00280030, "DS"),
    "BitsAllocated": (0x00280100, "US"),
    "BitsStored": (0x00280101, "US"),
    "HighBit": (0x00280102, "US"),
    "PixelRepresentation": (0x00280103, "US"),
    "RescaleIntercept": (0x00281052, "DS"),
    "RescaleSlope": (0x00281053, "DS"),
    "LossyImageCompression": (0x00282110, "CS"),
    "EnergyWindowVector": (0x00540010, "US"),
    "NumberOfEnergyWindows": (0x00540011, "US"),
    "EnergyWindowInformationSequence": (0x00540012, "SQ"),
    "EnergyWindowRangeSequence": (0x00540013, "SQ"),
    "EnergyWindowLowerLimit": (0x00540014, "DS"),
    "EnergyWindowUpperLimit": (0x00540015, "DS"),
    "RadiopharmaceuticalInformationSequence": (0x00540016, "SQ"),
    "DetectorVector": (0x00540020, "US"),
    "NumberOfDetectors": (0x00540021, "US"),
    "DetectorInformationSequence": (0x00540022, "SQ"),
    "PhaseVector": (0x00540030, "US"),
    "RotationVector": (0x00540050, "US"),
    "NumberOfRotations": (0x00540051, "US"),
    "RotationInformationSequence": (0x00540052, "SQ"),
    "NumberOfFramesInRotation": (0x00540053, "US"),
    "SliceVector": (0x00540080, "US"),
    "RRIntervalVector": (0x00540060, "US"),
    "TimeSlotVector": (0x00540070, "US"),
    "TimeSliceVector": (0x00540100, "US"),
    "AngularViewVector": (0x00540090, "US"),
    "StartAngle": (0x00540200, "DS"),
    "TypeOfDetectorMotion": (0x00540202, "CS"),
    "ViewCodeSequence": (0x00540220, "SQ"),
    "PatientOrientationCodeSequence": (0x00540410, "SQ"),
    "PatientOrientationModifierCodeSequence": (0x00540412, "SQ"),
    "PatientGantryRelationshipCodeSequence": (0x00540414, "SQ"),
    "ExtendedOffsetTable": (0x7FE00001, "OV"),
}
"""Keyword to tag and value representation of every element that is ever decoded."""

_KINDS = dict(TAGS.values())
_NAMES = {tag: name for name, (tag, _) in TAGS.items()}


@dataclass(frozen=True)
class Layout:
    """How elements are written: with or without value representation, in which byte order."""

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
    """Bytes of the value, all of them present."""
    words: bool = False
    """Whether they are written as words (value representation OW, or implicit)."""
    fragments: tuple[tuple[int, int], ...] | None = None
    """Start and length of each fragment where the pixels are encapsulated (the first is the offset table)."""


@dataclass
class Elements:
    """Decoded on demand: the wanted elements of one data set or sequence item."""

    layout: Layout
    raw: dict[int, bytes] = field(default_factory=dict, repr=False)
    sequences: dict[int, list[Elements]] = field(default_factory=dict, repr=False)

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Give the values of a text element, stripped of padding; nothing where it is absent or empty."""
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
        tag, kind = TAGS[keyword]
        if kind == "US":
            value = self.raw.get(tag, b"")
            if len(value) % 2:
                raise UnreadableDicomError(f"{keyword} has an odd length")
            return struct.unpack(f"{self.layout.order}{len(value) // 2}H", value)
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
        """Give the values of an element of whole numbers."""
        found = self.numbers(keyword)
        if any(value != int(value) for value in found):
            raise UnreadableDicomError(f"{keyword} is not a whole number")
        return tuple(int(value) for value in found)

    def integer(self, keyword: str) -> int | None:
        """Give the first value of an element of whole numbers, or None."""
        return next(iter(self.integers(keyword)), None)

    def wide_integers(self, keyword: str) -> tuple[int, ...]:
        """Give the values of an element of 64-bit words.

        Raises
        ------
        UnreadableDicomError
            When its length is none of whole words.
        """
        value = self.raw.get(TAGS[keyword][0], b"")
        if len(value) % 8:
            raise UnreadableDicomError(f"{keyword} has an odd length")
        return struct.unpack(f"{self.layout.order}{len(value) // 8}Q", value)

    def pointers(self, keyword: str) -> tuple[str, ...]:
        """Give the keywords of the tags that an element of tags names (an empty string for tags not in `TAGS`)."""
        value = self.raw.get(TAGS[keyword][0], b"")
        halves = struct.unpack(f"{self.layout.order}{len(value) // 4 * 2}H", value[: len(value) // 4 * 4])
        return tuple(_NAMES.get(high << 16 | low, "") for high, low in zip(halves[::2], halves[1::2], strict=True))

    def items(self, keyword: str) -> tuple[Elements, ...]:
        """Give the items of a sequence."""
        return tuple(self.sequences.get(TAGS[keyword][0], ()))


class Walk:
    """One walk over a data set; what was found before a fault stays readable.

    Parameters
    ----------
    data : bytes
        The data set, or its beginning.
    layout : Layout
        How it is written.
    size : int
        Bytes of the whole data set, of which `data` may hold the beginning only.
    """

    def __init__(self, data: bytes, layout: Layout, size: int) -> None:
        self.data, self.size = data, size
        self.found = Elements(layout)
        self.pixels: PixelSpan | None = None
        self.problem: DatbatchError | None = None
        self._count = 0

    def run(self, start: int) -> Walk:
        """Walk from byte `start` to the end; a fault is kept in `problem`."""
        try:
            if start >= self.size:
                raise TruncatedError("the file ends before its data set")
            self._elements(self.found, start, self.size, 0, open_end=False)
        except DatbatchError as problem:
            self.problem = problem
        return self

    def file_meta(self, at: int) -> int:
        """Walk the file meta group from byte `at`, whatever length it declares, and give its end."""
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
            raise UnreadableDicomError("the header lies beyond the part of a large file that is read")

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
        layout = into.layout
        at, length, vr = self._length(at, end, layout)
        kind = _KINDS.get(tag)
        is_sequence = vr == b"SQ" or (kind == "SQ" and vr in (b"", b"UN"))
        if tag == _PIXEL_DATA and depth == 0:
            if self.pixels is not None:
                raise UnreadableDicomError("PixelData occurs twice")
            return self._pixel_data(at, length, end, words=vr in (b"OW", b""))
        if length == _UNDEFINED:
            if vr not in (b"SQ", b"UN", b""):
                raise UnreadableDicomError("an element that is no sequence has no length")
            inner = Layout(explicit=False, little=True) if vr == b"UN" else layout
            items, at = self._items(at, end, inner, depth, open_end=True)
            self._keep_sequence(into, tag, items)
            return at
        if length > end - at:
            raise TruncatedError("an element is longer than what encloses it")
        if is_sequence and kind == "SQ":
            inner = Layout(explicit=False, little=True) if vr == b"UN" else layout
            items, _ = self._items(at, at + length, inner, depth, open_end=False)
            self._keep_sequence(into, tag, items)
        elif kind is not None and kind != "SQ":
            if length > MAX_VALUE_BYTES:
                raise UnreadableDicomError(f"{_NAMES[tag]} has {length} bytes")
            self._need(at, length, end)
            if tag in into.raw:
                raise UnreadableDicomError(f"{_NAMES[tag]} occurs twice")
            into.raw[tag] = self.data[at : at + length]
        return at + length

    @staticmethod
    def _keep_sequence(into: Elements, tag: int, items: list[Elements]) -> None:
        if _KINDS.get(tag) == "SQ":
            if tag in into.sequences:
                raise UnreadableDicomError(f"{_NAMES[tag]} occurs twice")
            into.sequences[tag] = items

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
