"""Every header style gives the same acquisition, left on the left."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from datbatch.archive import Acquisition, read_study
from datbatch.errors import NoPhotopeakError
from tests.archive.styles import STYLES, both, in_detector, own_angles, setting
from tests.archive.writer import Style, dataset, frames_of, project, write


def expected_angles(style: Style) -> np.ndarray:
    found = {round(style.angle(h, v), 3) % 360.0 for h in range(len(style.starts_deg)) for v in range(style.views)}
    return np.array(sorted(found))


def multiplicity(style: Style) -> int:
    return style.rotations * len(style.starts_deg) * style.views // expected_angles(style).size


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
def test_each_view_shows_the_sources_where_its_angle_says(style, acquired) -> None:
    acquisition = acquired(style)
    angles = expected_angles(style)
    np.testing.assert_allclose(acquisition.angles_deg, angles, atol=1e-2)
    assert (np.diff(acquisition.angles_deg) > 0).all()
    assert (acquisition.pixel_size_mm, acquisition.row_size_mm) == (style.bin_mm, style.row_mm)
    times = multiplicity(style) / (8.0 if style.bits == 8 else 1.0)
    for angle, image in zip(angles, acquisition.projections, strict=True):
        truth = times * project(float(angle), style.rows, style.bins, style.row_mm, style.bin_mm)
        assert np.abs(image - truth).max() < 0.5 * multiplicity(style) + 1.0


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
def test_detector_and_moment_of_each_view_lead_back_to_its_angle(style, tmp_path) -> None:
    acquisition = read_study(write(tmp_path, style))
    if multiplicity(style) > 1 or style.edit is own_angles:
        assert acquisition.head is None
        assert acquisition.moment is None
        return
    for head in range(acquisition.head.max() + 1):
        mine = np.flatnonzero(acquisition.head == head)
        mine = mine[np.argsort(acquisition.moment[mine])]
        assert acquisition.moment[mine].tolist() == list(range(mine.size))
        steps = np.mod(np.diff(acquisition.angles_deg[mine]), 360.0)
        expected = style.arc_deg / style.views
        np.testing.assert_allclose(steps, 360.0 - expected if style.direction == "CW" else expected, atol=0.01)


def test_a_source_on_the_patients_left_is_seen_left_from_behind_and_right_from_the_front(tmp_path) -> None:
    acquisition = read_study(write(tmp_path, STYLES[0]))
    strongest = {
        int(angle): np.unravel_index(image.argmax(), image.shape)
        for angle, image in zip(acquisition.angles_deg, acquisition.projections, strict=True)
    }
    middle_row, middle_bin = (STYLES[0].rows - 1) / 2, (STYLES[0].bins - 1) / 2
    assert strongest[0][1] < middle_bin - 10
    assert strongest[180][1] > middle_bin + 10
    # The strongest source lies above the middle: row 0 is the head's.
    assert all(row < middle_row for row, _ in strongest.values())


def test_facts_identify_nobody(tmp_path) -> None:
    acquisition = read_study(write(tmp_path, STYLES[0]))
    assert acquisition.study.scanner == "SIEMENS NM Symbia T2"
    assert (acquisition.study.sex, acquisition.study.age_years, acquisition.study.detectors) == ("F", 70.0, 2)
    assert "anary" not in repr(acquisition)
    assert (acquisition.radius_mm == 135.0).all()


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("two heads all round", "heads-summed"),
        ("two rotations", "rotations-summed"),
        ("half a circle", "arc-partial"),
        ("views from order", "view-order-from-frames"),
        ("step from arc", "step-from-arc"),
        ("start in the rotation item", "start-angle-from-rotation"),
    ],
)
def test_what_is_unusual_yet_safe_is_flagged(name, flag, tmp_path) -> None:
    style = next(style for style in STYLES if style.name == name)
    assert flag in read_study(write(tmp_path, style)).study.flags
    assert flag not in read_study(write(tmp_path / "plain", STYLES[0])).study.flags


def same(one: Acquisition, other: Acquisition) -> bool:
    return bool(
        np.array_equal(one.projections, other.projections) and np.allclose(one.angles_deg, other.angles_deg, atol=1e-9)
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.randoms(use_true_random=False))
def test_the_order_of_frames_does_not_matter_where_vectors_say_what_they_are(order, tmp_path) -> None:
    style = Style("small", (90.0, 270.0), "CW", views=16, rows=8, bins=10, windows_kev=((120.0, 140.0), (143.0, 175.0)))
    frames = frames_of(style)
    straight, shuffled = tmp_path / "straight.dcm", tmp_path / "shuffled.dcm"
    dataset(style, frames).save_as(straight, enforce_file_format=True)
    order.shuffle(frames)  # type: ignore[attr-defined]
    dataset(style, frames).save_as(shuffled, enforce_file_format=True)
    assert same(read_study([straight]), read_study([shuffled]))


def test_the_order_of_files_does_not_matter(tmp_path) -> None:
    paths = write(tmp_path, Style("views", views=16, rows=8, bins=10, split="view", start_in="both"))
    assert same(read_study(paths), read_study(paths[::-1]))
    assert same(read_study(paths), read_study([*paths, paths[3]]))


def hot(ds: Dataset) -> None:
    ds.PixelData = (200 * np.frombuffer(ds.PixelData, "<u4")).tobytes()


@pytest.mark.parametrize(
    ("style", "slope", "intercept"),
    [
        (Style("rescaled", edit=setting(RescaleSlope=0.25, RescaleIntercept=1.5)), 0.25, 1.5),
        (Style("hot", bits=32, edit=hot), 200, 0),
    ],
)
def test_rescaled_pixels_become_counts_also_beyond_16_bits(style, slope, intercept, tmp_path) -> None:
    plain = read_study(write(tmp_path / "plain", STYLES[0])).projections
    found = read_study(write(tmp_path / "other", style)).projections
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, plain.astype(np.float64) * slope + intercept)


@pytest.mark.parametrize(
    ("windows", "limits"),
    [
        (((143.1, 174.9), (50.0, 600.0)), (143.1, 174.9)),
        (((120.0, 140.0), (135.0, 175.0), (143.0, 175.0)), (143.0, 175.0)),
    ],
)
def test_of_several_windows_the_one_centred_at_the_photopeak_is_read(windows, limits, tmp_path) -> None:
    style = Style("windows", views=16, rows=8, bins=10, windows_kev=windows)
    assert read_study(write(tmp_path, style)).study.window_kev == pytest.approx(limits)


def test_a_photopeak_split_in_two_windows_is_put_together(tmp_path) -> None:
    acquisition = read_study(write(tmp_path, Style("halves", windows_kev=((143.0, 159.0), (159.0, 175.0)))))
    plain = read_study(write(tmp_path / "plain", STYLES[0]))
    assert acquisition.study.window_kev == (143.0, 175.0)
    assert "windows-summed" in acquisition.study.flags
    np.testing.assert_array_equal(acquisition.projections, 2 * plain.projections)


def test_no_window_over_the_photopeak_is_said_with_the_windows_that_are_there(tmp_path) -> None:
    paths = write(tmp_path, Style("technetium", windows_kev=((126.0, 154.0),)))
    with pytest.raises(NoPhotopeakError, match="126-154 keV"):
        read_study(paths)


def test_a_derived_copy_beside_the_original_is_left_out(tmp_path) -> None:
    def derive(ds: Dataset) -> None:
        ds.ImageType = ["DERIVED", "PRIMARY", "TOMO", "EMISSION"]
        ds.SOPInstanceUID = "1.2.3.8"
        ds.PixelData = bytes(len(ds.PixelData))

    original = write(tmp_path / "original", STYLES[0])
    derived = write(tmp_path / "derived", Style("derived", edit=derive))
    acquisition = read_study([*derived, *original])
    assert same(acquisition, read_study(original))
    assert "derived-left-out" in acquisition.study.flags


def test_radii_follow_the_view_numbers(tmp_path) -> None:
    def contour(ds: Dataset) -> None:
        for head, item in enumerate(ds.DetectorInformationSequence):
            item.RadialPosition = [100.0 + 50.0 * head + view for view in range(16)]

    style = Style("contour", (0.0, 180.0), "CW", views=16, rows=8, bins=10, edit=contour)
    acquisition = read_study(write(tmp_path / "contour", style))
    radius = dict(zip(np.round(acquisition.angles_deg, 2), acquisition.radius_mm, strict=True))
    # Clockwise from 0: the second view of the first head stands one step below 360.
    assert (radius[0.0], radius[348.75], radius[180.0], radius[168.75]) == (100.0, 101.0, 150.0, 151.0)
    nowhere = both(in_detector(1, RadialPosition=0.0), in_detector(2, RadialPosition=0.0))
    style = Style("none", views=16, rows=8, bins=10, edit=nowhere)
    assert np.isnan(read_study(write(tmp_path / "none", style)).radius_mm).all()
