"""A wrong left or right is the worst that a reader can do: right, or refused with both fields named, never flipped."""

import contextlib
import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from datbatch.archive import Acquisition, read_study
from datbatch.errors import ContradictoryGeometryError, DatbatchError, UnsupportedGeometryError
from tests.archive.styles import STYLES, both, code, in_detector, lying, setting
from tests.archive.writer import SOURCES, Style, write

FLIPS = tuple(itertools.product((1.0, -1.0), repeat=3))


def likeness(acquisition: Acquisition, flip: tuple[float, float, float]) -> float:
    """Sum the counts that lie where the sources, turned over by signs of x, y and z, would be seen."""
    rows, bins = acquisition.projections.shape[1:]
    views = np.arange(acquisition.angles_deg.size)
    angle = np.radians(acquisition.angles_deg)
    found = 0.0
    for place, strength in SOURCES:
        x, y, z = np.array(place) * flip
        across = (-x * np.cos(angle) + y * np.sin(angle)) / acquisition.pixel_size_mm + (bins - 1) / 2.0
        row = round((rows - 1) / 2.0 - z / acquisition.row_size_mm)
        found += strength * acquisition.projections[views, row, np.rint(across).astype(int)].astype(float).sum()
    return found


def is_turned_over(acquisition: Acquisition) -> bool:
    return max(FLIPS, key=lambda flip: likeness(acquisition, flip)) != (1.0, 1.0, 1.0)


def test_wrong_side_over_all_header_styles_is_zero(acquired) -> None:
    turned = [style.name for style in STYLES if is_turned_over(acquired(style))]
    assert len(STYLES) >= 50
    assert len(turned) == 0, turned


@st.composite
def styles(draw: st.DrawFn) -> Style:
    """Draw any consistent convention: heads, arcs, direction, start, order, windows, pixels, files."""
    heads = draw(st.sampled_from([(0.0,), (0.0, 180.0), (180.0, 0.0), (0.0, 90.0), (0.0, 120.0, 240.0), (0.0, 76.0)]))
    start = draw(st.sampled_from([0.0, 90.0, 180.0, 270.0, 44.93]) | st.floats(0.0, 359.0).map(lambda a: round(a, 2)))
    arc = draw(st.sampled_from([90.0, 120.0, 180.0, 360.0]))
    orientation = draw(st.booleans())
    return Style(
        "drawn",
        tuple((start + head) % 360.0 for head in heads),
        draw(st.sampled_from(["CC", "CW"])),
        views=int(arc / draw(st.sampled_from([7.5, 10.0]))),
        arc_deg=arc,
        rows=draw(st.sampled_from([24, 32])),
        bins=draw(st.sampled_from([24, 32, 40])),
        row_mm=draw(st.sampled_from([7.0, 9.0])),
        bin_mm=draw(st.sampled_from([8.0, 9.0])),
        start_in=draw(st.sampled_from(["detector", "both", "rotation"])),
        interleaved=draw(st.booleans()),
        windows_kev=draw(st.permutations([(143.1, 174.9), (110.0, 134.0)])),
        unit_kev=draw(st.sampled_from([1.0, 0.01])),
        split=draw(st.sampled_from(["", "head", "window"])),
        orientation=orientation,
        feet_up=orientation and draw(st.booleans()),
        syntax=draw(st.sampled_from(["explicit", "implicit", "big", "deflated", "rle"])),
        bits=draw(st.sampled_from([16, 32])),
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(style=styles())
def test_any_convention_is_read_right_or_refused(style, tmp_path) -> None:
    if style.syntax == "rle":
        style = replace(style, bits=16)
    number = len(list(tmp_path.iterdir()))
    paths = write(tmp_path / str(number), style)
    opposite = len(style.starts_deg) == 1 or (style.starts_deg[0] - style.starts_deg[1]) % 360.0 == 180.0
    whole = 180.0 if len(style.starts_deg) == 1 else 360.0
    if opposite and style.arc_deg * len(style.starts_deg) >= whole and style.split != "head":
        # What is usual must be read: one head, or two opposite ones.
        assert not is_turned_over(read_study(paths))
        return
    with contextlib.suppress(DatbatchError):
        assert not is_turned_over(read_study(paths))


def gantry(meaning: str, value: str = "") -> Callable[[Dataset], None]:
    return setting(PatientGantryRelationshipCodeSequence=[code(value, meaning)])


POSITION, GANTRY = "PatientPosition", "PatientGantryRelationshipCodeSequence"
MODIFIER, IMAGE = "PatientOrientationModifierCodeSequence", "ImageOrientationPatient"
VIEW, OPPOSITE = "ViewCodeSequence", ("StartAngle says 0 ", "ImageOrientationPatient says 180")
CONTRADICTIONS: dict[str, tuple[Callable[[Dataset], None], tuple[str, ...]]] = {
    "feet first against head first": (lying("FFS", "headfirst", "supine"), (POSITION, GANTRY)),
    "prone against supine": (lying("HFP", "headfirst", "supine"), (POSITION, MODIFIER)),
    "side against supine": (lying("HFDR", "headfirst", "supine"), (POSITION, MODIFIER)),
    "code against its own meaning": (gantry("feet-first", "F-10470"), (GANTRY,)),
    "letters: columns to the head": (setting(PatientOrientation=["R", "H"]), ("PatientOrientation", "StartAngle")),
    "letters: rows mirrored": (setting(PatientOrientation=["L", "F"]), ("PatientOrientation", "StartAngle")),
    "letters: rows from back to front": (setting(PatientOrientation=["A", "F"]), ("PatientOrientation", "StartAngle")),
    "view named from the other side": (in_detector(1, ViewCodeSequence=[code("", "Anterior")]), ("StartAngle", VIEW)),
    "second head named lateral": (in_detector(2, ViewCodeSequence=[code("", "Left lateral")]), ("StartAngle", VIEW)),
    "orientation of the opposite detector": (in_detector(1, **{IMAGE: [1, 0, 0, 0, 0, -1]}), OPPOSITE),
    "orientation of one head only, feet up": (in_detector(1, **{IMAGE: [1, 0, 0, 0, 0, 1]}), (IMAGE,)),
    "orientation of the object against the heads'": (
        both(in_detector(1, **{IMAGE: [-1, 0, 0, 0, 0, -1]}), setting(**{IMAGE: [1, 0, 0, 0, 0, -1]})),
        (IMAGE,),
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_two_fields_that_contradict_each_other_are_both_named(case, tmp_path) -> None:
    edit, fields = CONTRADICTIONS[case]
    style = Style("contradiction", views=16, rows=8, bins=10, edit=edit)
    with pytest.raises(ContradictoryGeometryError) as caught:
        read_study(write(tmp_path, style))
    assert all(field in caught.value.reason for field in fields), caught.value.reason


def test_a_single_head_whose_two_start_angles_differ_is_refused(tmp_path) -> None:
    # -90 is an angle like any other; only -1 is known to stand for "see the rotation".
    edit = in_detector(1, StartAngle=-90.0)
    style = Style("one head", (200.0,), views=64, arc_deg=360.0, rows=8, bins=10, start_in="both", edit=edit)
    with pytest.raises(ContradictoryGeometryError, match="StartAngle of the rotation item"):
        read_study(write(tmp_path, style))


@pytest.mark.parametrize("position", ["FFS", "HFP", "FFP", "HFDL", "FFDR", "LFP", "AFDR", "HFX"])
def test_other_positions_without_orientation_are_refused(position, tmp_path) -> None:
    style = Style("position", views=16, rows=8, bins=10, edit=setting(PatientPosition=position))
    with pytest.raises(UnsupportedGeometryError, match="ImageOrientationPatient"):
        read_study(write(tmp_path, style))


@pytest.mark.parametrize("arc_deg", [180.0, 360.0])
@pytest.mark.parametrize("second_deg", [180.0, 270.0])
def test_a_second_head_that_was_not_opposite_is_noticed_without_its_angle(arc_deg, second_deg, tmp_path) -> None:
    def forget(ds: Dataset) -> None:
        for item in ds.DetectorInformationSequence:
            del item.StartAngle
        ds.RotationInformationSequence[0].StartAngle = 90.0

    # Heads at right angles, or opposite ones, with no angle of their own.
    style = Style("forgotten", (90.0, second_deg), views=int(arc_deg / 6), arc_deg=arc_deg, edit=forget)
    if second_deg == 270.0:
        assert not is_turned_over(read_study(write(tmp_path, style)))
        return
    with pytest.raises(ContradictoryGeometryError, match="not opposite"):
        read_study(write(tmp_path, style))


def test_a_position_that_nothing_states_is_flagged(tmp_path) -> None:
    unstated, stated = Style("unstated"), Style("stated", edit=lying("HFS", "headfirst", "supine"))
    assert "patient-position-unstated" in read_study(write(tmp_path / "a", unstated)).study.flags
    assert "patient-position-unstated" not in read_study(write(tmp_path / "b", stated)).study.flags
