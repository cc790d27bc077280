"""The bounded walk reads what pydicom reads, and stops where a file is damaged."""

import struct
import tracemalloc

import pytest
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword

from datbatch.archive.dicom.elements import TAGS, Elements, Layout, Walk
from datbatch.archive.dicom.header import parse
from datbatch.errors import NotDicomError, TruncatedError, UnreadableDicomError
from tests.archive.writer import SYNTAXES, UNCOMPRESSED, Style, write


def test_no_element_that_names_a_person_or_place_is_decoded() -> None:
    decoded = {tag for tag, _ in TAGS.values()}
    named = ("PatientName", "InstitutionName", "StationName", "StudyDescription", "ReferringPhysicianName")
    assert not decoded & {tag_for_keyword(name) for name in named}


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_values_are_those_that_pydicom_reads(syntax, tmp_path) -> None:
    rows, bins = (32, 32) if syntax == "jpeg 2000" else (8, 10)
    style = Style(
        "style", (44.93, 224.93), views=16, rows=rows, bins=bins, syntax=syntax, orientation=True, start_in="both"
    )
    path = write(tmp_path, style)[0]
    header, truth = parse(path.read_bytes()), dcmread(path)
    assert header.problem is None
    found = header.elements
    for name in ("Rows", "NumberOfFrames", "AngularViewVector", "DetectorVector"):
        value = truth[name].value
        assert list(found.integers(name)) == (list(value) if truth[name].VM > 1 else [value])
    assert found.texts("ImageType") == tuple(truth.ImageType)
    assert found.numbers("PixelSpacing") == tuple(truth.PixelSpacing)
    for mine, theirs in zip(found.items("DetectorInformationSequence"), truth.DetectorInformationSequence, strict=True):
        assert mine.number("StartAngle") == theirs.StartAngle
        assert mine.numbers("ImageOrientationPatient") == tuple(theirs.ImageOrientationPatient)
    if syntax in UNCOMPRESSED:
        assert header.data[header.pixels.start :][: header.pixels.length] == truth.PixelData


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    if vr in (b"SQ", b"UN", b"OW"):
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def walk(data: bytes) -> Walk:
    return Walk(data, Layout(explicit=True, little=True), len(data)).run(0)


ROWS = element(0x00280010, b"US", b"\x40\x00")


def test_a_sequence_of_unknown_representation_is_read_as_the_standard_says() -> None:
    # PS3.5 6.2.2 note 4: value representation UN and undefined length: implicit little endian within.
    angle = struct.pack("<HHI", 0x0054, 0x0200, 4) + b"90.0"
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(angle)) + angle
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    sequence = struct.pack("<HH2sHI", 0x0054, 0x0022, b"UN", 0, 0xFFFFFFFF) + item + end
    found = walk(ROWS + sequence + ROWS.replace(b"\x10\x00", b"\x11\x00"))
    assert found.problem is None
    assert found.found.items("DetectorInformationSequence")[0].number("StartAngle") == 90.0
    assert found.found.integer("Columns") == 64


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", TruncatedError),
        (b"\x08\x00", TruncatedError),
        (ROWS[:-1], TruncatedError),
        (ROWS + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 1 << 31), TruncatedError),
        (ROWS + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF), TruncatedError),
        (ROWS + ROWS, UnreadableDicomError),
        (ROWS.replace(b"US", b"\x02\x00"), UnreadableDicomError),
        (ROWS + struct.pack("<HHI", 0xFFFE, 0xE00D, 0), UnreadableDicomError),
        (ROWS + bytes(16) + ROWS, UnreadableDicomError),
        (element(0x00540200, b"DS", b" " * 65534) * 2, UnreadableDicomError),
    ],
)
def test_each_kind_of_damage_is_found(data, kind) -> None:
    assert isinstance(walk(data).problem, kind)


def test_zeros_that_fill_the_last_block_are_padding() -> None:
    assert walk(ROWS + bytes(500)).problem is None
    assert walk(ROWS + bytes(3)).problem is None


@pytest.mark.parametrize("text", [b"ninety", b"1e999 ", b"nan ", b"3,5 "])
def test_a_number_that_is_none_is_refused(text) -> None:
    found = walk(element(0x00540200, b"DS", text)).found
    with pytest.raises(UnreadableDicomError, match="StartAngle"):
        found.number("StartAngle")


def test_memory_does_not_follow_a_declared_length() -> None:
    data = ROWS + struct.pack("<HH2sHI", 0x0054, 0x0090, b"UN", 0, 0xFFFFFFF0) + bytes(100)
    tracemalloc.start()
    walk(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def test_without_its_mark_a_file_is_not_dicom() -> None:
    with pytest.raises(NotDicomError):
        parse(bytes(128) + b"DICX" + ROWS)


def test_an_unknown_transfer_syntax_is_refused(tmp_path) -> None:
    path = write(tmp_path, Style("rle", views=16, rows=8, bins=10, syntax="rle"))[0]
    damaged = path.read_bytes().replace(b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.5\xff", 1)
    problem = parse(damaged).problem
    assert isinstance(problem, UnreadableDicomError)
    assert "unknown" in problem.reason


def test_what_came_before_the_damage_stays_readable() -> None:
    found = walk(element(0x0020000D, b"UI", b"1.2.3\0") + ROWS[:-1])
    assert isinstance(found.problem, TruncatedError)
    assert isinstance(found.found, Elements)
    assert found.found.text("StudyInstanceUID") == "1.2.3"
