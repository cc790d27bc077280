"""Fragments become frames by the tables or the streams, and what contradicts itself is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.uid import JPEG2000Lossless

from datbatch.archive import read_study
from datbatch.errors import DatbatchError, TruncatedError, UnreadableDicomError
from tests.archive.writer import Style, write

SMALL = Style("small", (90.0, 270.0), views=16, rows=8, bins=10)


def frames(ds: Dataset) -> list[bytes]:
    return list(generate_frames(ds.PixelData, number_of_frames=ds.NumberOfFrames))


def packed(fragments: int, *, table: bool) -> Callable[[Dataset], None]:
    def edit(ds: Dataset) -> None:
        ds.PixelData = encapsulate(frames(ds), fragments_per_frame=fragments, has_bot=table)

    return edit


def extended(ds: Dataset) -> None:
    ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulate_extended(frames(ds))


def wrong_table(ds: Dataset) -> None:
    packed(1, table=True)(ds)
    # The second offset is moved by two.
    content = bytearray(ds.PixelData)
    content[12] += 2
    ds.PixelData = bytes(content)


def wrong_extended(ds: Dataset) -> None:
    extended(ds)
    ds.ExtendedOffsetTable = bytes(8) + ds.ExtendedOffsetTable[:-8]


def one_frame_less(ds: Dataset) -> None:
    ds.PixelData = encapsulate(frames(ds)[:-1])


def bomb(ds: Dataset) -> None:
    ds.Rows = ds.Columns = 2000


WAYS = {
    "table": packed(1, table=True),
    "no table": packed(1, table=False),
    "two fragments and a table": packed(2, table=True),
    "two fragments, no table": packed(2, table=False),
    "extended table": extended,
}
FAULTS: dict[str, tuple[Callable[[Dataset], None], type[DatbatchError]]] = {
    "a table that points elsewhere": (wrong_table, UnreadableDicomError),
    "an extended table that names a frame twice": (wrong_extended, UnreadableDicomError),
    "one fragment less": (one_frame_less, TruncatedError),
    "a size that the bytes cannot hold": (bomb, UnreadableDicomError),
}


def read_edited(folder: Path, style: Style, edit: Callable[[Dataset], None]) -> np.ndarray:
    path = write(folder, style)[0]
    ds = dcmread(path)
    edit(ds)
    ds.save_as(path)
    return read_study(path).projections


@pytest.mark.parametrize("way", WAYS)
def test_fragments_are_put_together(way, tmp_path) -> None:
    plain = read_study(write(tmp_path / "plain", SMALL)).projections
    found = read_edited(tmp_path / "packed", replace(SMALL, syntax="jpeg"), WAYS[way])
    np.testing.assert_array_equal(found, plain)


@pytest.mark.parametrize("fault", FAULTS)
def test_contradictions_are_refused(fault, tmp_path) -> None:
    edit, kind = FAULTS[fault]
    with pytest.raises(kind):
        read_edited(tmp_path, replace(SMALL, syntax="jpeg"), edit)


@pytest.mark.parametrize(("syntax", "written", "declared"), [("rle", b".5", b".1"), ("explicit", b".1", b".5")])
def test_fragments_belong_to_compressed_pixels_and_to_them_alone(syntax, written, declared, tmp_path) -> None:
    path = write(tmp_path, replace(SMALL, syntax=syntax))[0]
    uid = b"1.2.840.10008.1.2"
    path.write_bytes(path.read_bytes().replace(uid + written + b"\0", uid + declared + b"\0", 1))
    with pytest.raises(UnreadableDicomError, match="encapsulation"):
        read_study(path)


def test_run_lengths_of_several_fragments_without_a_table_cannot_be_told_apart(tmp_path) -> None:
    with pytest.raises(UnreadableDicomError, match="told apart"):
        read_edited(tmp_path, replace(SMALL, syntax="rle"), packed(2, table=False))


def test_a_stream_of_another_syntax_is_refused(tmp_path) -> None:
    def other(ds: Dataset) -> None:
        ds.file_meta.TransferSyntaxUID = JPEG2000Lossless

    with pytest.raises((UnreadableDicomError, TruncatedError)):
        read_edited(tmp_path, replace(SMALL, syntax="jpeg"), other)


def test_jpeg_ls_of_another_encoder_gives_the_same_projections(tmp_path) -> None:
    plain = read_study(write(tmp_path / "plain", SMALL)).projections
    found = read_study(write(tmp_path / "packed", replace(SMALL, syntax="jpeg ls"))).projections
    np.testing.assert_array_equal(found, plain)


@pytest.mark.parametrize(("representation", "swapped"), [("OW", True), ("OB", False)])
def test_bytes_in_big_endian_words_are_not_taken_for_neighbouring_bins(representation, swapped, tmp_path) -> None:
    def store(ds: Dataset) -> None:
        images = np.frombuffer(ds.PixelData, np.uint8)
        ds.PixelData = (images.reshape(-1, 2)[:, ::-1] if swapped else images).tobytes()
        ds["PixelData"].VR = representation

    plain = read_study(write(tmp_path / "plain", replace(SMALL, bits=8))).projections
    big = replace(SMALL, bits=8, syntax="big", edit=store)
    np.testing.assert_array_equal(read_study(write(tmp_path / "big", big)).projections, plain)
