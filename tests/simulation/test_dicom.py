"""Simulated studies are valid DICOM that states the geometry it was made with, in each site's way."""

import dataclasses
import shutil
import subprocess

import numpy as np
import pydicom
import pytest

from datbatch.simulation import SITES, acquire, canonical_normal, draw_subject, simulate_study, view_angles, write_study
from datbatch.simulation.archive import draw_study, write_drawn
from datbatch.simulation.nuclear_medicine import detector_orientation
from datbatch.simulation.population import Pose

BY_NAME = {site.name: site for site in SITES}


@pytest.fixture(scope="module", params=sorted(BY_NAME))
def written(request, tmp_path_factory):
    study = acquire(dataclasses.replace(draw_subject(1), site=request.param, atypical="none", cut="none"))
    return study, write_study(tmp_path_factory.mktemp(request.param), study)


def _validator_errors(path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian's dicom3tools) is not installed")
    said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    lines = (said.stdout + said.stderr).splitlines()
    assert "NMImage" in lines or "CTImage" in lines, "the validator did not recognise the object"
    return [line for line in lines if line.startswith("Error")]


def test_the_validator_finds_no_error(written):
    assert _validator_errors(written[1]) == []


@pytest.mark.parametrize("index", [9, 34, 50, 57])
def test_objects_that_are_wrong_in_kind_are_valid_of_their_kind(index, tmp_path):
    plan = draw_study(index)
    write_drawn(tmp_path, plan)
    (path,) = (tmp_path / plan.path).iterdir()
    assert _validator_errors(path) == []


def test_frames_are_where_the_vectors_say(written):
    study, path = written
    dataset = pydicom.dcmread(path)
    frames = dataset.pixel_array
    assert frames.dtype == np.uint16
    windows = dataset.EnergyWindowInformationSequence
    views = study.site.convention.views_per_head
    seen = set()
    for frame, window, head, rotation, view in zip(
        frames,
        dataset.EnergyWindowVector,
        dataset.DetectorVector,
        dataset.RotationVector,
        dataset.AngularViewVector,
        strict=True,
    ):
        limits = windows[window - 1].EnergyWindowRangeSequence[0]
        low, high = float(limits.EnergyWindowLowerLimit), float(limits.EnergyWindowUpperLimit)
        if low > 1000:
            low, high = low / 100, high / 100
        source = study.projections if low < 159 < high else study.scatter_window
        np.testing.assert_array_equal(frame, source[(head - 1) * views + view - 1])
        assert rotation == 1
        seen.add((window, head, view))
    assert len(seen) == len(frames) == len(windows) * len(study.projections)


def test_header_angles_follow_the_standard(written):
    study, path = written
    dataset = pydicom.dcmread(path)
    (rotation,) = dataset.RotationInformationSequence
    sign = {"CC": 1, "CW": -1}[rotation.RotationDirection]
    angles = []
    for head, detector in enumerate(dataset.DetectorInformationSequence):
        start = detector.get("StartAngle")
        if start is None:
            start = float(rotation.StartAngle) + 180 * head
        angles += [
            (float(start) + sign * float(rotation.AngularStep) * view) % 360
            for view in range(rotation.NumberOfFramesInRotation)
        ]
    np.testing.assert_allclose(study.angles_deg, angles, atol=1e-9)
    assert len(set(np.round(angles, 3))) == 120, "two half circles make a whole one"


def test_sites_differ_in_what_their_headers_do():
    conventions = [site.convention for site in SITES]
    assert {convention.direction for convention in conventions} == {"CC", "CW"}
    assert {convention.start_angles_deg[0] for convention in conventions} == {0.0, 180.0, 90.0, 44.93}
    assert {convention.interleaved for convention in conventions} == {True, False}
    assert {convention.start_per_detector for convention in conventions} == {True, False}
    assert {convention.energy_unit_kev for convention in conventions} == {1.0, 0.01}
    assert {convention.windows for convention in conventions} == {
        ("photopeak",),
        ("scatter", "photopeak"),
        ("photopeak", "scatter"),
    }
    assert {convention.radius_in for convention in conventions} == {"detector", "rotation", "zero"}
    assert {site.camera.bins for site in SITES} == {64, 128}
    assert len({site.camera.pixel_size_mm for site in SITES}) == len(SITES)


@pytest.mark.parametrize(
    ("angle", "orientation"),
    [
        # Right of the image, then down, in LPS, as someone behind the detector sees the patient.
        (0, [-1, 0, 0, 0, 0, -1]),
        (90, [0, 1, 0, 0, 0, -1]),
        (180, [1, 0, 0, 0, 0, -1]),
        (270, [0, -1, 0, 0, 0, -1]),
    ],
)
def test_detector_orientation_is_that_of_the_standard(angle, orientation):
    np.testing.assert_allclose(detector_orientation(angle), orientation, atol=1e-6)


def test_a_healthy_left_striatum_alone_shows_on_the_correct_side_in_the_file(tmp_path):
    """From anatomy to pixels: with the right striatum gone, the excess is on the patient's left in every view."""
    base = dataclasses.replace(draw_subject(0), site="B", pose=Pose(), cut="none", expected_counts=20e6)
    base = dataclasses.replace(base, severity=0.0, gain={"left": 1.0, "right": 1.0}, atypical="none", side="right")
    both = acquire(base).projections.astype(float)
    left_only = acquire(dataclasses.replace(base, atypical="hemisphere")).projections.astype(float)
    lost = both / both.sum() - left_only / left_only.sum()
    angles = view_angles(BY_NAME["B"].convention)
    u = (np.arange(128) - 63.5) * 2.46
    for wanted, side in ((0.0, 1.0), (180.0, -1.0)):
        view = int(np.argmin(np.abs((angles - wanted + 180) % 360 - 180)))
        profile = lost[view, 50:78].sum(axis=0)
        hot = profile > 0.3 * profile.max()
        # Seen from the back the patient's right is on the right, seen from the front on the left.
        assert np.sign(np.average(u[hot], weights=profile[hot])) == side


def test_the_same_study_gives_the_same_bytes(tmp_path):
    first = write_study(tmp_path / "a", simulate_study(2, seed=4))
    second = write_study(tmp_path / "b", simulate_study(2, seed=4))
    assert first.read_bytes() == second.read_bytes()


def test_totals_are_the_expected_counts(written):
    study, _ = written
    assert study.projections.sum(dtype=float) == pytest.approx(study.truth.expected_counts, rel=0.01)


def test_the_canonical_study_is_normal_in_mni_space_with_little_noise():
    study = canonical_normal()
    np.testing.assert_allclose(study.truth.template_to_study, np.eye(4), atol=1e-12)
    assert study.truth.label == "negative"
    assert study.projections.sum(dtype=float) > 20e6
