"""A tomogram is read the same whatever its axes, with left on the left, or it is refused by name."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from datbatch import errors
from datbatch.archive import SOURCES, read_tomogram
from datbatch.archive.geometry.tomogram import Tomogram
from tests.archive.styles import code, in_detector, setting, without
from tests.archive.tomograms import (
    AFFINE,
    ALL_AXES,
    CANARY,
    PLANES,
    SHAPE,
    TRANSAXIAL,
    blob_mm,
    left_blob,
    multi_frame,
    nifti,
    single_slices,
)

HEAD = left_blob()
Contradiction = errors.ContradictoryGeometryError


def assert_is_the_head(found: Tomogram) -> None:
    np.testing.assert_array_equal(found.data, HEAD)
    np.testing.assert_allclose(found.affine, AFFINE, atol=1e-4)
    assert found.data.flags.c_contiguous
    x, y, z = blob_mm(found.data, found.affine)
    assert x < -20
    assert y > 10
    assert z > 5


@pytest.mark.parametrize("forms", ["sform", "qform", "both"])
def test_a_nifti_is_the_same_in_every_order_and_direction_of_axes(tmp_path, forms) -> None:
    assert len(ALL_AXES) == 48
    for axes in ALL_AXES:
        assert_is_the_head(read_tomogram([nifti(tmp_path / f"{axes}.nii", HEAD, AFFINE, axes=axes, forms=forms)]))


@pytest.mark.parametrize("axes", TRANSAXIAL)
def test_slices_in_one_object_are_stacked_by_the_sign_of_their_spacing(tmp_path, axes) -> None:
    order = np.random.default_rng(1).permutation(SHAPE[2])
    assert_is_the_head(read_tomogram([multi_frame(tmp_path / "a.dcm", HEAD, AFFINE, axes=axes, order=order)]))


def test_single_slices_are_stacked_by_their_positions_in_every_plane(tmp_path) -> None:
    # Every fifth, so that all orders and directions occur, but not all of them together.
    for axes in PLANES[::5]:
        assert_is_the_head(read_tomogram(single_slices(tmp_path / axes, HEAD, AFFINE, axes=axes)))


@pytest.mark.parametrize("axes", ["LFP", "LFA", "PFR", "PFL"])
def test_coronal_and_sagittal_slices_that_only_a_sign_orders_are_refused(tmp_path, axes) -> None:
    with pytest.raises(errors.MissingOrientationError, match="coronal or sagittal"):
        read_tomogram([multi_frame(tmp_path / "a.dcm", HEAD, AFFINE, axes=axes)])


def test_what_the_header_says_of_the_person_and_camera_comes_along(tmp_path) -> None:
    facts = read_tomogram([multi_frame(tmp_path / "a.dcm", HEAD, AFFINE)]).study
    assert (facts.sex, facts.age_years, facts.scanner) == ("F", 70.0, "SIEMENS NM Symbia T2")


def test_slope_and_intercept_of_each_slice_count_and_may_lead_below_zero(tmp_path) -> None:
    def scale(ds: Dataset, place: int) -> None:
        ds.RescaleSlope, ds.RescaleIntercept = 0.5 + place, -3.0

    found = read_tomogram(single_slices(tmp_path / "a", HEAD, AFFINE, edit=scale)).data
    np.testing.assert_allclose(found, HEAD * (0.5 + np.arange(SHAPE[2])) - 3.0, rtol=1e-6)


def test_a_nifti_is_scaled_by_its_slope_and_its_lengths_by_their_unit(tmp_path) -> None:
    def edit(header: nibabel.Nifti1Header) -> None:
        metres = np.diag([0.001, 0.001, 0.001, 1.0]) @ AFFINE
        header.set_xyzt_units("meter")
        header.set_qform(metres, 1)
        header.set_sform(metres, 1)
        header["scl_slope"], header["scl_inter"] = 2.0, -5.0

    path = nifti(tmp_path / "a.nii", HEAD.astype(np.int16), AFFINE, edit=edit)
    found = read_tomogram([path])
    np.testing.assert_allclose(found.data, 2.0 * HEAD - 5.0)
    np.testing.assert_allclose(found.affine, AFFINE, atol=1e-4)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float64", ">f4", ">i2"])
def test_every_version_compression_and_type_of_number_is_read(tmp_path, kind, suffix, dtype) -> None:
    head = (HEAD / 8).round()
    path = nifti(tmp_path / f"a{suffix}", head.astype(np.dtype(dtype).newbyteorder("=")), AFFINE, kind=kind)
    if dtype.startswith(">"):
        image = nibabel.load(path, mmap=False)
        path = tmp_path / f"swapped{suffix}"
        kind(np.asarray(image.dataobj), None, image.header.as_byteswapped(">")).to_filename(path)
    np.testing.assert_array_equal(read_tomogram([path]).data, head)


def forms(sform: np.ndarray | None = None, qform: np.ndarray | None = None, codes: tuple[int, int] = (1, 1)) -> Any:
    """Give an edit that sets a NIfTI's matrices, each the true one where it is not given."""

    def edit(header: nibabel.Nifti1Header) -> None:
        header.set_sform(AFFINE if sform is None else sform, codes[0])
        header.set_qform(AFFINE if qform is None else qform, codes[1])
        header["pixdim"][1:4] = np.linalg.norm(AFFINE[:3, :3], axis=0)

    return edit


def field(**values: Any) -> Callable[[nibabel.Nifti1Header], None]:
    def edit(header: nibabel.Nifti1Header) -> None:
        for name, value in values.items():
            header[name] = value

    return edit


def scaled(factor: float) -> np.ndarray:
    return np.diag([factor, factor, factor, 1.0]) @ AFFINE


MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])
TURN = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
OBLIQUE = nibabel.affines.from_matvec(nibabel.eulerangles.euler2mat(z=np.radians(40.0)) @ AFFINE[:3, :3], AFFINE[:3, 3])
SHEARED = AFFINE @ np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
NIFTI_REFUSALS: dict[str, tuple[type[errors.DatbatchError], str, Any]] = {
    "neither sform nor qform": (errors.MissingOrientationError, "neither sform nor qform", forms(codes=(0, 0))),
    "a mirrored sform": (Contradiction, "left and right", forms(sform=MIRROR @ AFFINE)),
    "a mirrored sform into a template": (Contradiction, "left and right", forms(sform=MIRROR @ AFFINE, codes=(4, 1))),
    "a turned sform": (Contradiction, "90 degrees", forms(sform=TURN @ AFFINE)),
    "an sform of another size": (Contradiction, "pixdim", forms(sform=scaled(1.6))),
    "oblique": (errors.InvalidTomogramError, "40 degrees", forms(OBLIQUE, OBLIQUE)),
    "sheared": (errors.InvalidTomogramError, "perpendicular", forms(sform=SHEARED, codes=(2, 0))),
    "a matrix of zeros": (errors.InvalidTomogramError, "voxel is missing", field(srow_x=0.0)),
    "a matrix of nothing": (errors.UnreadableNiftiError, "not finite", field(srow_x=np.nan)),
    "voxels without size": (errors.InvalidTomogramError, "size of a voxel", field(pixdim=[1, 0, 5.5, 5, 0, 0, 0, 0])),
    "voxels of micrometres": (errors.InvalidTomogramError, "a voxel of", field(xyzt_units=3)),
    "an unknown unit": (errors.UnreadableNiftiError, "unit", field(xyzt_units=5)),
    "an infinite intercept": (errors.UnreadableNiftiError, "scl_inter", field(scl_inter=np.inf, scl_slope=1.0)),
}  # fmt: skip


def test_a_qform_without_its_sign_is_refused_where_nothing_else_says_where_left_is(tmp_path) -> None:
    unsigned = field(pixdim=[0, 6, 5.5, 5, 0, 0, 0, 0])
    assert_is_the_head(read_tomogram([nifti(tmp_path / "a.nii", HEAD, AFFINE, edit=unsigned)]))
    with pytest.raises(errors.MissingOrientationError, match="sign"):
        read_tomogram([nifti(tmp_path / "a.nii", HEAD, AFFINE, forms="qform", edit=unsigned)])


VALUES: dict[str, tuple[np.ndarray, np.ndarray, type[errors.DatbatchError], str]] = {
    "not finite": (np.where(HEAD > 500, np.nan, HEAD), AFFINE, errors.EmptyVolumeError, "not finite"),
    "infinite": (np.where(HEAD > 500, np.inf, HEAD), AFFINE, errors.EmptyVolumeError, "not finite"),
    "negative": (-1.0 - HEAD, AFFINE, errors.EmptyVolumeError, "nowhere positive"),
    "empty": (0.0 * HEAD, AFFINE, errors.EmptyVolumeError, "nowhere positive"),
    "constant": (0.0 * HEAD + 7.0, AFFINE, errors.EmptyVolumeError, "same"),
    "a time series": (np.stack([HEAD] * 3, -1), AFFINE, errors.InvalidTomogramError, "28 x 32 x 20 x 3"),
    "one slice": (HEAD[:, :, 0], AFFINE, errors.InvalidTomogramError, "three-dimensional"),
    "a mouse": (HEAD, scaled(0.02), errors.InvalidTomogramError, "voxel"),
    "a brain's part": (HEAD[:10, :10, :10], AFFINE, errors.InvalidTomogramError, "not of a head"),
    "a hall": (np.tile(HEAD, (1, 1, 9)), AFFINE, errors.InvalidTomogramError, "not of a head"),
    "coarse": (HEAD, scaled(3.0), errors.InvalidTomogramError, "voxel"),
    "colours": (
        np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]), AFFINE, errors.UnsupportedPixelsError, "real",
    ),
    "complex": (HEAD.astype(np.complex64), AFFINE, errors.UnsupportedPixelsError, "real"),
}  # fmt: skip


@pytest.mark.parametrize("case", VALUES)
def test_a_volume_that_cannot_be_a_head_is_refused_by_name(tmp_path, case) -> None:
    values, affine, kind, reason = VALUES[case]
    path = tmp_path / "a.nii"
    image = nibabel.Nifti1Image(values, affine)
    image.set_sform(affine, 1)
    image.to_filename(path)
    with pytest.raises(kind, match=reason):
        read_tomogram([path])


def test_damaged_files_are_named(tmp_path) -> None:
    whole = nifti(tmp_path / "a.nii", HEAD, AFFINE).read_bytes()
    packed = gzip.compress(whole)
    damaged = {
        "cut": (whole[:-1], errors.TruncatedError),
        "cut within the header": (whole[:300], errors.UnreadableNiftiError),
        "cut when packed": (packed[:-1000], errors.TruncatedError),
        "flipped bit when packed": (
            packed[:2000] + bytes([packed[2000] ^ 1]) + packed[2001:],
            errors.UnreadableNiftiError,
        ),
        "a text": (b"no image at all", errors.UnreadableNiftiError),
        "without its image": (whole[:344] + b"ni1\0" + whole[348:], errors.UnreadableNiftiError),
        "image before its header's end": (whole[:108] + bytes(4) + whole[112:], errors.UnreadableNiftiError),
        "too large to be there": (whole[:42] + b"\xff\x7f" * 3 + whole[48:], errors.InvalidTomogramError),
    }
    for case, (content, kind) in damaged.items():
        path = tmp_path / f"{case}.nii"
        path.write_bytes(content)
        with pytest.raises(kind):
            read_tomogram([path])
        assert SOURCES["tomogram"].inspect(path).outcome.code == kind.code, case


DICOM_REFUSALS: dict[str, tuple[type[errors.DatbatchError], str, Callable[[Dataset], None]]] = {
    "no orientation": (errors.MissingOrientationError, "ImageOrientationPatient", without("ImageOrientationPatient")),
    "no direction of slices": (errors.MissingOrientationError, "SpacingBetweenSlices", without("SpacingBetweenSlices")),
    "two orientations": (Contradiction, "contradict", setting(ImageOrientationPatient=[-1, 0, 0, 0, 1, 0])),
    "no directions at all": (
        Contradiction, "perpendicular",
        in_detector(1, ImageOrientationPatient=[1, 0, 0, 1, 0, 0]),
    ),
    "five numbers": (Contradiction, "six values", in_detector(1, ImageOrientationPatient=[1, 0, 0, 0, 1])),
    "letters for another side": (Contradiction, "rows run to R", setting(PatientOrientation=["R", "P"])),
    "two poses": (
        Contradiction, "feet first",
        setting(PatientPosition="HFS", PatientGantryRelationshipCodeSequence=[code("1", "feet-first")]),
    ),
    "a slice named twice": (Contradiction, "SliceVector", setting(SliceVector=[1] * SHAPE[2])),
    "two places": (Contradiction, "ImagePositionPatient", setting(ImagePositionPatient=[0.0, 0.0, 0.0])),
    "projections": (
        errors.NotTomogramError, "raw projections", setting(ImageType=["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"]),
    ),
    "an attenuation map": (
        errors.NotTomogramError, "EMISSION",
        setting(ImageType=["DERIVED", "PRIMARY", "RECON TOMO", "TRANSMISSION"]),
    ),
    "gated": (errors.NotTomogramError, "more than the slice", setting(FrameIncrementPointer=[0x00540080, 0x00540070])),
    "another modality": (errors.NotTomogramError, "Modality", setting(Modality="CT")),
    "lossy": (errors.LossyCompressionError, "lost", setting(LossyImageCompression="01")),
    "tilted": (
        errors.InvalidTomogramError, "degrees",
        in_detector(1, ImageOrientationPatient=[0.7660444, 0.6427876, 0, -0.6427876, 0.7660444, 0]),
    ),
    "no size": (errors.UnsupportedGeometryError, "PixelSpacing", without("PixelSpacing")),
}  # fmt: skip


def sixth(**values: Any) -> Callable[[Dataset, int], None]:
    return lambda ds, at: setting(**values)(ds) if at == 5 else None


SERIES_REFUSALS: dict[str, tuple[type[errors.DatbatchError], str, Callable[[Dataset, int], None]]] = {
    "a slice elsewhere": (errors.InvalidTomogramError, "equally far", sixth(ImagePositionPatient=[80.0, -80.0, -12.0])),
    "a slice aside": (
        errors.InvalidTomogramError, "above each other", sixth(ImagePositionPatient=[95.0, -75.5, -15.0]),
    ),
    "a slice twice": (Contradiction, "same", sixth(ImagePositionPatient=[80.0, 95.0, -20.0])),
    "a mirrored slice": (Contradiction, "differs", sixth(ImageOrientationPatient=[-1, 0, 0, 0, 1, 0])),
    "a slice without place": (errors.MissingOrientationError, "ImagePosition", sixth(ImagePositionPatient=None)),
    "two series": (errors.SeveralTomogramsError, "2 series", sixth(SeriesInstanceUID="1.2.3.99")),
    "pixels of another size": (Contradiction, "PixelSpacing", sixth(PixelSpacing=[5.0, 5.0])),
    "another distance": (Contradiction, "SpacingBetweenSlices", sixth(SpacingBetweenSlices=10.0)),
}  # fmt: skip


FORMS: dict[str, tuple[dict[str, Any], Callable[[Path, Any], list[Path]]]] = {
    "nifti": (NIFTI_REFUSALS, lambda folder, edit: [nifti(folder / "a.nii", HEAD, AFFINE, edit=edit)]),
    "object": (DICOM_REFUSALS, lambda folder, edit: [multi_frame(folder / "a.dcm", HEAD, AFFINE, edit=edit)]),
    "series": (SERIES_REFUSALS, lambda folder, edit: single_slices(folder, HEAD, AFFINE, edit=edit)),
}


@pytest.mark.parametrize(("form", "case"), [(form, case) for form, (cases, _) in FORMS.items() for case in cases])
def test_what_does_not_say_safely_how_it_lies_is_refused_by_name(tmp_path, form, case) -> None:
    cases, written = FORMS[form]
    kind, reason, edit = cases[case]
    with pytest.raises(kind, match=reason):
        read_tomogram(written(tmp_path, edit))


def test_a_few_slices_or_slices_with_a_hole_are_no_tomogram(tmp_path) -> None:
    paths = single_slices(tmp_path / "a", HEAD, AFFINE)
    with pytest.raises(errors.InvalidTomogramError, match="3 slices"):
        read_tomogram(sorted(single_slices(tmp_path / "b", HEAD[:, :, :3], AFFINE)))
    with pytest.raises(errors.InvalidTomogramError, match="equally far"):
        read_tomogram(paths[1:])


def test_of_several_tomograms_none_is_chosen(tmp_path) -> None:
    whole = multi_frame(tmp_path / "a.dcm", HEAD, AFFINE)
    other = multi_frame(tmp_path / "b.dcm", HEAD + 1, AFFINE)
    for second in (other, nifti(tmp_path / "c.nii", HEAD, AFFINE)):
        with pytest.raises(errors.SeveralTomogramsError):
            read_tomogram([whole, second])
    with pytest.raises(errors.SeveralTomogramsError):
        read_tomogram([nifti(tmp_path / "d.nii", HEAD + 1, AFFINE), tmp_path / "c.nii"])


def test_two_files_of_equal_values_and_other_sides_are_refused_together(tmp_path) -> None:
    one = nifti(tmp_path / "a.nii", HEAD, AFFINE)
    other = nifti(tmp_path / "b.nii", HEAD[::-1], AFFINE)
    inspect = SOURCES["tomogram"].inspect
    assert inspect(one).values == inspect(other).values != ""
    assert inspect(one).digest != inspect(other).digest
    with pytest.raises(Contradiction, match="different places in space"):
        read_tomogram([one, other])


@given(place=st.integers(0, 351), value=st.integers(0, 255), length=st.integers(0, 400))
def test_no_byte_of_a_nifti_header_leads_beyond_a_named_refusal(tmp_path_factory, place, value, length) -> None:
    path = tmp_path_factory.mktemp("nifti") / "a.nii"
    whole = bytearray(nifti(path, HEAD, AFFINE).read_bytes())
    whole[place] = value
    for content in (bytes(whole), bytes(whole[:length])):
        path.write_bytes(content)
        facts = SOURCES["tomogram"].inspect(path)
        assert facts.outcome.code == "" or facts.outcome.code in errors.by_code()


def test_nothing_that_is_known_of_a_file_shows_its_texts(tmp_path) -> None:
    for path in (nifti(tmp_path / "a.nii", HEAD, AFFINE), multi_frame(tmp_path / "a.dcm", HEAD, AFFINE)):
        assert CANARY.encode() in path.read_bytes()
        facts = SOURCES["tomogram"].inspect(path)
        assert CANARY not in repr(facts)
        assert CANARY not in repr(read_tomogram([path]))


def test_real_tomograms_are_read_where_they_say_how_they_lie(test_data) -> None:
    folder = test_data / "dicom" / "nm"
    found = read_tomogram([folder / "mediso_recon_tomo_jaszczak.dcm"])
    assert found.data.shape == (128, 128, 45)
    np.testing.assert_allclose(np.diag(found.affine)[:3], 4.13, atol=1e-3)
    # Rows run to the left, columns to the back, slices (spacing below zero) to the feet: all reversed in RAS.
    np.testing.assert_allclose(found.affine[:3, 3], [-127 * 4.13, 264.32 - 127 * 4.13, -165.2 - 44 * 4.13], atol=0.05)
    with pytest.raises(errors.MissingOrientationError):
        read_tomogram([folder / "acme_recon_tomo_heart.dcm"])
    for path in folder.glob("mediso_*static*"):
        with pytest.raises(errors.NotTomogramError):
            read_tomogram([path])
