"""Compressed frames: what other encoders wrote comes out exactly, and damage has its name."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jpeg_ls import encode_buffer
from openjpeg.utils import encode_array
from pydicom import dcmread

from datbatch.archive.dicom.encapsulated import (
    JPEG_2000,
    JPEG_LOSSLESS,
    JPEG_LS,
    RUN_LENGTH,
    decode_frame,
    frame_fragments,
)
from datbatch.archive.dicom.header import read_header
from datbatch.archive.dicom.jpeg_2000 import decode_jpeg_2000
from datbatch.archive.dicom.jpeg_lossless import decode_jpeg_lossless
from datbatch.archive.dicom.jpeg_ls import decode_jpeg_ls
from datbatch.archive.dicom.run_length import decode_run_length
from datbatch.errors import (
    DatbatchError,
    LossyCompressionError,
    TruncatedError,
    UnreadableDicomError,
    UnsupportedPixelsError,
)
from tests.archive.encoders import by_others, jpeg_lossless, known_images, run_length, segment

IMAGES = known_images()
SQUARE = [image for image in IMAGES if min(image.shape) > 1]
LARGE = np.tile(SQUARE[3], (3, 3))
"""OpenJPEG's encoder halves an image five times."""


def jpeg_2000(image: np.ndarray, ratio: int = 0) -> bytes:
    return bytes(
        encode_array(image, photometric_interpretation=2, use_mct=False, compression_ratios=[ratio] if ratio else None)
    )


@pytest.mark.parametrize("number", range(len(SQUARE)))
@pytest.mark.parametrize("encoder", ["libjpeg_turbo", "lj92"])
def test_jpeg_lossless_streams_of_other_encoders_come_out_exactly(encoder, number) -> None:
    image = SQUARE[number]
    np.testing.assert_array_equal(decode_jpeg_lossless(by_others(encoder)[number], *image.shape), image)


@pytest.mark.parametrize("number", range(len(IMAGES)))
def test_jpeg_ls_streams_of_another_encoder_come_out_exactly(number) -> None:
    image = IMAGES[number]
    np.testing.assert_array_equal(decode_jpeg_ls(by_others("charls")[number], *image.shape), image)


@pytest.mark.parametrize("bits", range(2, 17))
def test_jpeg_ls_keeps_samples_of_every_depth(bits) -> None:
    image = (np.arange(13 * 17).reshape(13, 17) ** 3 % (1 << bits)).astype("<u1" if bits <= 8 else "<u2")
    stream = bytes(encode_buffer(image.tobytes(), *image.shape, 1, bits))
    np.testing.assert_array_equal(decode_jpeg_ls(stream, *image.shape), image)


def test_a_real_compressed_file_has_the_pixels_that_other_decoders_give(test_data) -> None:
    folder = test_data / "dicom" / "nm"
    header = read_header(folder / "ge_wholebody_jpeg_lossless.dcm")
    (fragments,) = frame_fragments(header.pixels, header.elements, 1, header.data)
    assert len(fragments) > 1
    stream = b"".join(header.data[start : start + length] for start, length in fragments)
    truth = dcmread(folder / "ge_wholebody_uncompressed.dcm").pixel_array
    decoded = decode_frame(stream, header.transfer_syntax, *truth.shape, np.dtype("i2"))
    # GDCM, libjpeg-turbo and LJ92 agree on these bytes; the uncompressed file is the image after a lossy detour.
    digest = "a6e9d32143339d3f5748b5520aa4e6c6ffb3550b6f71fdf17bdb2ebb44bc2611"
    assert hashlib.sha256(decoded.astype("<i2").tobytes()).hexdigest() == digest
    assert np.corrcoef(decoded.ravel(), truth.ravel())[0, 1] > 0.9


@given(
    image=hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)),
    predictor=st.integers(1, 7),
    restart_rows=st.integers(0, 3),
)
def test_jpeg_lossless_decodes_every_image(image, predictor, restart_rows) -> None:
    stream = jpeg_lossless(image, predictor=predictor, restart_rows=restart_rows)
    np.testing.assert_array_equal(decode_jpeg_lossless(stream, *image.shape), image)


@given(
    image=hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.uint32]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
        elements=st.integers(0, 255),
    )
)
def test_run_lengths_decode_every_image(image) -> None:
    decoded = decode_run_length(run_length(image), *image.shape, image.dtype.itemsize)
    np.testing.assert_array_equal(decoded, image)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_jpeg_2000_decodes_every_kind_of_sample(dtype) -> None:
    image = (LARGE % 120).astype(dtype)
    np.testing.assert_array_equal(decode_jpeg_2000(jpeg_2000(image), *image.shape), image)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4"])
def test_stored_types_are_kept(dtype) -> None:
    image = (np.arange(80).reshape(8, 10) % 100).astype(dtype)
    unsigned = image.view(f"u{image.dtype.itemsize}")
    np.testing.assert_array_equal(decode_frame(run_length(unsigned), RUN_LENGTH, 8, 10, image.dtype), image)
    if image.dtype.itemsize < 4:
        stream = jpeg_lossless(unsigned, bits=8 * image.dtype.itemsize)
        np.testing.assert_array_equal(decode_frame(stream, JPEG_LOSSLESS[0], 8, 10, image.dtype), image)
        large = np.tile(image, (4, 4))
        np.testing.assert_array_equal(decode_frame(jpeg_2000(large), JPEG_2000, 32, 40, image.dtype), large)


def test_what_dropped_bits_is_lossy() -> None:
    image = SQUARE[3]
    point = jpeg_lossless(image).replace(bytes([1, 1, 0, 1, 0, 0]), bytes([1, 1, 0, 1, 0, 2]))
    with pytest.raises(LossyCompressionError, match="point transform"):
        decode_jpeg_lossless(point, *image.shape)
    with pytest.raises(LossyCompressionError, match="transform"):
        decode_jpeg_2000(jpeg_2000(LARGE, ratio=4), *LARGE.shape)


START_OF_SCAN = segment(0xDA, bytes([1, 1, 0, 0, 0, 0]))
HEADERS = {
    "near-lossless": (segment(0xDA, bytes([1, 1, 0, 2, 0, 0])), LossyCompressionError),
    "one component": (segment(0xDA, bytes([1, 1, 0, 0, 1, 0])), UnreadableDicomError),
    "mapping table": (segment(0xDA, bytes([1, 1, 1, 0, 0, 0])), UnsupportedPixelsError),
    "restart markers": (segment(0xDD, bytes([0, 13])) + START_OF_SCAN, UnsupportedPixelsError),
    "largest sample of 4000": (segment(0xF8, b"\1\x0f\xa0" + bytes(8)) + START_OF_SCAN, UnsupportedPixelsError),
    "not of JPEG-LS": (segment(0xC3, bytes(9)) + START_OF_SCAN, UnreadableDicomError),
}


@pytest.mark.parametrize("fault", HEADERS)
def test_jpeg_ls_of_another_form_is_refused_by_its_header(fault) -> None:
    header, kind = HEADERS[fault]
    with pytest.raises(kind, match=fault):
        decode_jpeg_ls(by_others("charls")[3].replace(START_OF_SCAN, header), *SQUARE[3].shape)


CODECS = {
    "jpeg lossless": (jpeg_lossless(LARGE), JPEG_LOSSLESS[1], LARGE.shape),
    "jpeg lossless, libjpeg": (by_others("libjpeg_turbo")[3], JPEG_LOSSLESS[0], SQUARE[3].shape),
    "jpeg ls": (by_others("charls")[3], JPEG_LS, SQUARE[3].shape),
    "jpeg 2000": (jpeg_2000(LARGE), JPEG_2000, LARGE.shape),
    "run length": (run_length(LARGE), RUN_LENGTH, LARGE.shape),
}


@pytest.mark.parametrize("name", CODECS)
def test_a_stream_of_another_size_is_refused(name) -> None:
    stream, syntax, (rows, columns) = CODECS[name]
    for size in ((rows + 1, columns), (rows, columns - 1), (columns, rows)):
        if name == "run length" and size[0] * size[1] == rows * columns:
            continue  # the stream does not say its shape
        with pytest.raises((UnreadableDicomError, TruncatedError)):
            decode_frame(stream, syntax, *size, np.dtype("u2"))


@pytest.mark.parametrize("name", CODECS)
def test_a_cut_stream_is_called_cut(name) -> None:
    stream, syntax, shape = CODECS[name]
    for keep in (0, 1, 30, len(stream) // 2, len(stream) - 3):
        with pytest.raises((TruncatedError, UnreadableDicomError)):
            decode_frame(stream[:keep], syntax, *shape, np.dtype("u2"))


@pytest.mark.parametrize("keep", [150, 200, 270])
def test_jpeg_ls_that_was_cut_and_closed_is_refused(keep) -> None:
    with pytest.raises(UnreadableDicomError):
        decode_jpeg_ls(by_others("charls")[3][:keep] + b"\xff\xd9", *SQUARE[3].shape)


@pytest.mark.parametrize("name", CODECS)
@given(data=st.data())
def test_damaged_streams_never_raise_anything_but_a_named_error(name, data) -> None:
    content, syntax, shape = CODECS[name]
    stream = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    del stream[data.draw(st.integers(len(stream) // 2, 2 * len(stream))) :]
    try:
        decoded = decode_frame(bytes(stream), syntax, *shape, np.dtype("u2"))
    except DatbatchError:
        return
    assert decoded.shape == shape
    assert decoded.dtype == np.uint16
