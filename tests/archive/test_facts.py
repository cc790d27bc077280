"""Facts of the injection and the frames: right, or left out and said so."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from datbatch.archive import StudyFacts, read_study
from tests.archive.styles import both, setting
from tests.archive.writer import Style, write

SMALL = Style("facts", views=16, rows=8, bins=10)


def injected(**values: Any) -> Callable[[Dataset], None]:
    item = Dataset()
    setting(**values)(item)
    return setting(RadiopharmaceuticalInformationSequence=[item])


def facts(folder: Path, injection: dict[str, Any], frame: dict[str, Any] | None = None) -> StudyFacts:
    acquired = {"AcquisitionDate": "20100303", "AcquisitionTime": "131500.25", **(frame or {})}
    return read_study(write(folder, replace(SMALL, edit=both(injected(**injection), setting(**acquired))))).study


@pytest.mark.parametrize(
    ("dose", "expected"),
    [(185.0, 185.0), (185e6, 185.0), (0.0, None), (5.0, None), (185e3, None), (-185.0, None), (1e12, None)],
)
def test_the_injected_activity_is_in_megabecquerel_or_left_out(dose, expected, tmp_path) -> None:
    found = facts(tmp_path, {"RadionuclideTotalDose": dose})
    assert found.extra.get("injected_mbq") == expected
    assert ("injected-activity-implausible" in found.flags) == (expected is None and dose != 0.0)


@pytest.mark.parametrize(
    ("injection", "acquired", "expected"),
    [
        ({"RadiopharmaceuticalStartTime": "091500"}, "131500", 240.0),
        ({"RadiopharmaceuticalStartTime": "2245"}, "0215", 210.0),
        ({"RadiopharmaceuticalStartDateTime": "20100302224500"}, "021500", 210.0),
        ({"RadiopharmaceuticalStartDateTime": "20100303091500.00+0100"}, "131500", 240.0),
        ({"RadiopharmaceuticalStartTime": "091500", "RadiopharmaceuticalStartDateTime": "201003030915"}, "1315", 240.0),
        # The next day's injection, a clock that runs behind, times that contradict each other.
        ({"RadiopharmaceuticalStartDateTime": "20100304091500"}, "131500", None),
        ({"RadiopharmaceuticalStartTime": "131600"}, "131500", None),
        ({"RadiopharmaceuticalStartTime": "081500", "RadiopharmaceuticalStartDateTime": "201003030915"}, "1315", None),
    ],
)
def test_the_delay_runs_over_midnight_and_is_never_a_guess(injection, acquired, expected, tmp_path) -> None:
    found = facts(tmp_path, injection, {"AcquisitionTime": acquired})
    assert found.extra.get("delay_min") == expected
    assert ("delay-implausible" in found.flags) == (expected is None)


def test_the_delay_of_many_files_is_that_of_the_first_acquired(tmp_path) -> None:
    style = Style("views", views=16, rows=8, bins=10, split="view", start_in="both")

    def later(ds: Dataset) -> None:
        injected(RadiopharmaceuticalStartTime="091500")(ds)
        ds.AcquisitionTime = f"13{15 + ds.AngularViewVector:02d}00"

    paths = write(tmp_path, replace(style, edit=later))
    assert read_study(paths).study.extra["delay_min"] == 241.0
    assert read_study(paths[::-1]).study.extra["delay_min"] == 241.0


def test_an_unreadable_time_or_activity_leaves_the_study_readable(tmp_path) -> None:
    path = write(tmp_path, replace(SMALL, edit=injected(RadionuclideTotalDose="185.5 ")))[0]
    path.write_bytes(path.read_bytes().replace(b"185.5 ", b"185MBq"))
    found = read_study(path).study
    assert "injected_mbq" not in found.extra
    assert "injected-activity-implausible" in found.flags


def test_the_frame_duration_is_given_where_all_agree(tmp_path) -> None:
    def rotations(first: int, second: int) -> Style:
        def edit(ds: Dataset) -> None:
            for item, duration in zip(ds.RotationInformationSequence, (first, second), strict=True):
                item.ActualFrameDuration = duration

        return Style("two rotations", views=16, rows=8, bins=10, rotations=2, start_in="both", edit=edit)

    agreed = read_study(write(tmp_path / "a", rotations(30000, 30000))).study
    assert agreed.extra["frame_duration_ms"] == 30000.0
    differing = read_study(write(tmp_path / "b", rotations(30000, 20000))).study
    assert "frame_duration_ms" not in differing.extra
    assert "frame-duration-differs" in differing.flags
