"""What cannot be read safely is refused by name, never guessed."""

import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset

from datbatch import errors
from datbatch.archive import inspect_file, read_study
from datbatch.archive.inspection import StudyFiles, check_study
from datbatch.config import ArchiveConfig
from tests.archive.styles import both, code, in_detector, in_rotation, one_head_in_name, setting, without
from tests.archive.writer import SYNTAXES, Style, dataset, frames_of, write

Contradiction = errors.ContradictoryGeometryError
SMALL = Style("small", (90.0, 270.0), views=16, rows=8, bins=10, start_in="both")


def keep_frames(chosen: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[[Dataset], None]:
    """Leave frames out, with their vectors, by detector and view number."""

    def edit(ds: Dataset) -> None:
        kept = np.flatnonzero(chosen(np.array(ds.DetectorVector), np.array(ds.AngularViewVector)))
        frames = np.frombuffer(ds.PixelData, "<u2").reshape(ds.NumberOfFrames, ds.Rows, ds.Columns)
        ds.PixelData = frames[kept].tobytes()
        ds.NumberOfFrames = len(kept)
        for name in ("EnergyWindowVector", "DetectorVector", "RotationVector", "AngularViewVector"):
            setattr(ds, name, [getattr(ds, name)[k] for k in kept])

    return edit


def orientation(*values: float) -> Callable[[Dataset], None]:
    return in_detector(1, ImageOrientationPatient=list(values))


feet_first = setting(PatientGantryRelationshipCodeSequence=[code("F-10480", "feet-first")])


def prone(ds: Dataset) -> None:
    item = code("F-10450", "recumbent")
    item.PatientOrientationModifierCodeSequence = [code("", "Prone position")]
    ds.PatientOrientationCodeSequence = [item]


def negative(ds: Dataset) -> None:
    ds.PixelRepresentation = 1
    frames = np.frombuffer(ds.PixelData, "<i2").copy()
    frames[5] = -1
    ds.PixelData = frames.tobytes()


CASES: dict[str, tuple[Callable[[Dataset], None], type[errors.DatbatchError]]] = {
    "start angles missing": (without("StartAngle"), errors.MissingAnglesError),
    "start angle of one head missing": (
        lambda ds: ds.DetectorInformationSequence[1].pop("StartAngle"),
        errors.MissingAnglesError,
    ),
    "rotation items missing": (without("RotationInformationSequence"), errors.MissingAnglesError),
    "direction missing": (in_rotation(RotationDirection=""), errors.MissingAnglesError),
    "step and arc missing": (in_rotation(AngularStep=0, ScanArc=0), errors.MissingAnglesError),
    "negative step": (in_rotation(AngularStep=-11.25), Contradiction),
    "step against arc": (in_rotation(AngularStep=5.0), Contradiction),
    "both heads at one place": (in_detector(2, StartAngle=90.0), Contradiction),
    "rotation starts where no head is": (in_rotation(StartAngle=45.0), Contradiction),
    "views under one head, rotation starts at the other": (
        both(one_head_in_name, in_rotation(StartAngle=270.0)),
        Contradiction,
    ),
    "orientation of the opposite detector": (orientation(0, -1, 0, 0, 0, -1), Contradiction),
    "orientation mirrored": (orientation(0, 1, 0, 0, 0, 1), Contradiction),
    "orientation not orthogonal": (orientation(0, 1, 0, 0, 1, 0), Contradiction),
    "detector tilted": (orientation(0, 1, 0, 0.5, 0, -0.8660254), errors.UnsupportedGeometryError),
    "feet first, nothing more": (feet_first, errors.UnsupportedGeometryError),
    "prone, nothing more": (prone, errors.UnsupportedGeometryError),
    "feet first against head first": (both(feet_first, setting(PatientPosition="HFS")), Contradiction),
    "fan beam": (in_detector(1, CollimatorType="FANB"), errors.UnsupportedGeometryError),
    "fan beam in the grid's name": (
        in_detector(1, CollimatorType="UNKN", CollimatorGridName="LEFANBEAM"),
        errors.UnsupportedGeometryError,
    ),
    "focal distance": (in_detector(1, CollimatorType="", FocalDistance=500), errors.UnsupportedGeometryError),
    "slant hole": (in_detector(1, CollimatorType="SLNT"), errors.UnsupportedGeometryError),
    "gantry tilted": (in_detector(2, GantryDetectorTilt=15), errors.UnsupportedGeometryError),
    "no pixel spacing": (without("PixelSpacing"), errors.UnsupportedGeometryError),
    "quarter of a circle": (in_rotation(AngularStep=4.0, ScanArc=64.0), errors.MissingViewsError),
    "view numbers all one, two heads unnamed": (
        setting(AngularViewVector=[1] * 32, DetectorVector=[1] * 32),
        errors.MissingAnglesError,
    ),
    "a view twice": (setting(AngularViewVector=[*range(1, 16), 15, *range(1, 17)]), Contradiction),
    "view numbers from zero": (setting(AngularViewVector=[*range(16), *range(16)]), Contradiction),
    "views dropped at the end": (keep_frames(lambda _, view: view < 15), errors.MissingViewsError),
    "one view dropped": (keep_frames(lambda head, view: (head == 1) | (view != 7)), errors.MissingViewsError),
    "every second view dropped": (keep_frames(lambda _, view: view % 2 == 1), errors.MissingViewsError),
    "a head dropped": (keep_frames(lambda head, _: head == 1), errors.MissingViewsError),
    "views dropped, count not declared": (
        both(keep_frames(lambda _, view: (view < 7) | (view > 9)), in_rotation(NumberOfFramesInRotation=1)),
        errors.MissingViewsError,
    ),
    "vectors longer than frames": (setting(AngularViewVector=[*range(1, 18), *range(1, 18)]), errors.MissingViewsError),
    "no frames": (setting(NumberOfFrames=0), errors.MissingViewsError),
    "a million frames": (setting(NumberOfFrames=1_000_000), errors.NotProjectionsError),
    "no window limits": (setting(EnergyWindowInformationSequence=[Dataset()]), errors.NoPhotopeakError),
    "window vector beyond the windows": (setting(EnergyWindowVector=[2] * 32), errors.MissingViewsError),
    "negative pixels": (negative, errors.UnsupportedPixelsError),
    "no counts": (setting(PixelData=bytes(32 * 8 * 10 * 2)), errors.NoCountsError),
    "static": (setting(ImageType=["ORIGINAL", "PRIMARY", "STATIC", "EMISSION"]), errors.NotProjectionsError),
    "gated": (setting(ImageType=["ORIGINAL", "PRIMARY", "GATED TOMO", "EMISSION"]), errors.NotProjectionsError),
    "transmission": (setting(ImageType=["ORIGINAL", "PRIMARY", "TOMO", "TRANSMISSION"]), errors.NotProjectionsError),
    "no image type": (without("ImageType"), errors.NotProjectionsError),
    "slices in disguise": (setting(FrameIncrementPointer=[0x00540080]), errors.NotProjectionsError),
    "gates in disguise": (setting(FrameIncrementPointer=[0x00540090, 0x00540060]), errors.NotProjectionsError),
    "CT by name": (setting(Modality="CT"), errors.WrongModalityError),
    "secondary capture": (setting(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), errors.WrongModalityError),
    "lossy once": (setting(LossyImageCompression="01"), errors.LossyCompressionError),
    "colour": (setting(PhotometricInterpretation="PALETTE COLOR"), errors.UnsupportedPixelsError),
    "64 bits": (setting(BitsAllocated=64), errors.UnsupportedPixelsError),
    "more bits stored than allocated": (setting(BitsStored=20), errors.UnsupportedPixelsError),
    "counts beyond the stored bits": (setting(BitsStored=4, HighBit=3), errors.UnsupportedPixelsError),
    "slope zero": (setting(RescaleSlope=0, RescaleIntercept=0), errors.UnsupportedPixelsError),
    "slope negative": (setting(RescaleSlope=-1, RescaleIntercept=0), errors.UnsupportedPixelsError),
    "slope absurd": (setting(RescaleSlope="1e38", RescaleIntercept=0), errors.UnsupportedPixelsError),
    "slope not a number": (setting(RescaleSlope="1e999", RescaleIntercept=0), errors.UnreadableDicomError),
    "intercept absurd": (setting(RescaleSlope=1, RescaleIntercept="1e30"), errors.UnsupportedPixelsError),
    "counts negative after rescale": (setting(RescaleSlope=1, RescaleIntercept=-7), errors.UnsupportedPixelsError),
    "counts absurd after rescale": (setting(RescaleSlope="1e6", RescaleIntercept="1e9"), errors.UnsupportedPixelsError),
    "no rows": (setting(Rows=0), errors.NotProjectionsError),
    "more rows than pixels": (setting(Rows=9), errors.TruncatedError),
    "fewer rows than pixels": (setting(Rows=7), errors.UnreadableDicomError),
    "no pixels": (without("PixelData"), errors.TruncatedError),
}


@pytest.mark.parametrize("case", CASES)
def test_each_fault_has_its_name(case, tmp_path) -> None:
    edit, kind = CASES[case]
    paths = write(tmp_path, SMALL)
    read_study(paths)
    ds = dcmread(paths[0])
    edit(ds)
    ds.save_as(paths[0])
    with pytest.raises(errors.DatbatchError) as caught:
        read_study(paths)
    assert type(caught.value) is kind
    assert "anary" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_feet_first_is_read_where_the_orientation_is_stated(tmp_path) -> None:
    style = Style("feet first", (90.0, 270.0), orientation=True, edit=feet_first)
    plain = Style("head first", (90.0, 270.0))
    stated, usual = read_study(write(tmp_path / "a", style)), read_study(write(tmp_path / "b", plain))
    np.testing.assert_array_equal(stated.projections, usual.projections)


def test_files_of_two_studies_are_not_mixed(tmp_path) -> None:
    first, second = write(tmp_path / "a", SMALL), write(tmp_path / "b", SMALL, study="1.2.4")
    with pytest.raises(Contradiction, match="several studies"):
        read_study([*first, *second])


def test_the_same_acquisition_twice_is_not_added_up(tmp_path) -> None:
    first = write(tmp_path / "a", SMALL)
    dataset(SMALL, frames_of(SMALL), number=9).save_as(tmp_path / "again.dcm", enforce_file_format=True)
    with pytest.raises(Contradiction):
        read_study([*first, tmp_path / "again.dcm"])


def test_a_missing_file_of_one_view_is_noticed(tmp_path) -> None:
    paths = write(tmp_path, Style("views", views=16, rows=8, bins=10, split="view", start_in="both"))
    with pytest.raises(errors.MissingViewsError):
        read_study(paths[:7] + paths[8:])


def test_no_files_are_refused() -> None:
    with pytest.raises(errors.ArchiveError):
        read_study([])


@pytest.mark.parametrize("keep", [0.05, 0.3, 0.7, 0.999])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_cut_file_is_called_cut(keep, syntax, tmp_path) -> None:
    path = write(tmp_path, fuzzed(syntax))[0]
    content = path.read_bytes()
    path.write_bytes(content[: max(400, int(len(content) * keep))])
    with pytest.raises(errors.TruncatedError):
        read_study(path)


def fuzzed(syntax: str) -> Style:
    """Give a small acquisition in a syntax; OpenJPEG's encoder wants 32 rows."""
    rows, bins = (32, 32) if syntax == "jpeg 2000" else (8, 10)
    return Style("fuzz", (90.0, 270.0), views=16, rows=rows, bins=bins, syntax=syntax)


def bomb() -> bytes:
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return b"".join(squeezer.compress(bytes(1 << 20)) for _ in range(200)) + squeezer.flush()


@pytest.mark.parametrize(
    ("syntax", "body", "reason"),
    [
        ("deflated", bomb(), "grows beyond"),
        ("implicit", bytes.fromhex("0900 1010 ffffffff feff 00e0 ffffffff") * 5000, "nested"),
    ],
    ids=["deflated bomb", "deep nesting"],
)
def test_what_grows_without_end_is_stopped(syntax, body, reason, tmp_path) -> None:
    path = write(tmp_path, fuzzed(syntax))[0]
    content = path.read_bytes()
    path.write_bytes(content[: 132 + 12 + int.from_bytes(content[140:144], "little")] + body)
    with pytest.raises(errors.UnreadableDicomError, match=reason):
        read_study(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@pytest.mark.parametrize("syntax", SYNTAXES)
@given(data=st.data())
def test_damaged_bytes_never_raise_anything_but_a_named_error(data, syntax, tmp_path) -> None:
    path = tmp_path / "whole.dcm"
    if not path.exists():
        dataset(fuzzed(syntax), frames_of(fuzzed(syntax))).save_as(path, enforce_file_format=True)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(132, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    del content[data.draw(st.integers(132, 4 * len(content))) :]
    damaged = tmp_path / "damaged.dcm"
    damaged.write_bytes(content)
    facts = inspect_file(damaged)
    check = check_study(StudyFiles((damaged,), ArchiveConfig()))
    # Only named errors come out, and what the header alone refuses is refused by the reader too.
    assert check.outcome.code in {"", *errors.by_code()} - {errors.InternalError.code}
    assert check.outcome.code or not facts.outcome.code
