"""Movement, centre of rotation, counts, sampling and field of view are told from the projections alone."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datbatch import schema
from datbatch.archive import Acquisition, StudyFacts
from datbatch.config import QualityConfig
from datbatch.errors import InvalidProjectionsError
from datbatch.imaging import assess_projections
from datbatch.imaging.projections.motion import axial_positions
from datbatch.imaging.projections.quality import count_jump, counts_by_angle, sampling_faults
from datbatch.simulation import acquire, draw_subject
from tests.reference.moving_head import Turn, acquired, one_head, two_heads

TURNS = {"from the back": two_heads(0.0), "from the left": two_heads(90.0), "one head": one_head()}
AXIAL, LEFT, BACK = (0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


def step(turn: Turn, moment: int, displacement_mm: tuple[float, ...] | np.ndarray) -> np.ndarray:
    return (turn.moment >= moment)[:, None] * np.asarray(displacement_mm, dtype=float)


def some(acquisition: Acquisition, which: np.ndarray) -> Acquisition:
    names = ("projections", "angles_deg", "radius_mm", "head", "moment")
    return dataclasses.replace(acquisition, **{name: getattr(acquisition, name)[which] for name in names})


def changed(acquisition: Acquisition, projections: np.ndarray) -> Acquisition:
    return dataclasses.replace(acquisition, projections=projections)


@pytest.fixture(scope="module")
def still() -> Acquisition:
    return acquired(two_heads())


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
@pytest.mark.parametrize("total", [0.5e6, 3.5e6])
def test_a_head_that_lies_still_does_not_move(turn, total) -> None:
    config = QualityConfig(minimum_counts=0.0)
    for seed in range(5):
        quality = assess_projections(acquired(turn, total=total, seed=seed), config)
        assert quality.flags == ()
        assert quality.motion_mm < 0.5
        assert abs(quality.centre_of_rotation_mm) < 0.3
        assert (quality.missing_views, quality.repeated_views) == (0, 0)


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
@pytest.mark.parametrize("distance", [3.0, 6.0, 10.0])
@pytest.mark.parametrize("part", [0.15, 0.4, 0.72])
def test_a_step_is_measured(turn, distance, part) -> None:
    moment = round(part * turn.moment.max())
    axial = assess_projections(acquired(turn, step(turn, moment, distance * np.array(AXIAL))))
    assert axial.motion_axial_mm == pytest.approx(distance, abs=0.5)
    assert axial.motion_transaxial_mm < 0.5
    for direction in (LEFT, BACK):
        across = assess_projections(acquired(turn, step(turn, moment, distance * np.array(direction))))
        assert across.motion_transaxial_mm == pytest.approx(distance, abs=1.5)
        assert across.motion_axial_mm < 0.5
        assert "motion" in across.flags


def test_a_step_in_all_directions_adds_up() -> None:
    turn = two_heads()
    quality = assess_projections(acquired(turn, step(turn, 25, (3.0, 4.0, 5.0))))
    assert quality.motion_mm == pytest.approx(np.sqrt(50.0), abs=0.7)
    assert quality.motion_mm == pytest.approx(np.hypot(quality.motion_axial_mm, quality.motion_transaxial_mm), abs=0.3)


def test_a_head_that_comes_back_has_moved() -> None:
    turn = two_heads()
    path = step(turn, 20, (0.0, 0.0, 5.0)) - step(turn, 35, (0.0, 0.0, 5.0))
    assert assess_projections(acquired(turn, path)).motion_axial_mm == pytest.approx(5.0, abs=0.5)


@pytest.mark.parametrize(("direction", "part"), [(AXIAL, "motion_axial_mm"), (LEFT, "motion_transaxial_mm")])
def test_a_slow_drift_is_measured(direction, part) -> None:
    turn = two_heads()
    drift = turn.moment[:, None] / turn.moment.max() * 6.0 * np.array(direction)
    assert getattr(assess_projections(acquired(turn, drift)), part) == pytest.approx(6.0, abs=1.0)


def test_motion_is_not_known_without_the_order_in_time(still) -> None:
    quality = assess_projections(dataclasses.replace(still, head=None, moment=None))
    assert np.isnan([quality.motion_mm, quality.motion_axial_mm, quality.motion_transaxial_mm]).all()
    assert abs(quality.centre_of_rotation_mm) < 0.2
    assert quality.flags == ()


def test_real_physics_shift_the_projections_as_far_as_the_head_moved() -> None:
    subject = dataclasses.replace(draw_subject(2, seed=5), cut="none", site="C")
    path = np.zeros((60, 3))
    path[24:] = (4.0, 0.0, -6.0)
    study = acquire(subject, path_mm=path)
    moment = np.tile(np.arange(60, dtype=np.int32), 2)
    head = np.repeat(np.arange(2, dtype=np.int32), 60)
    size, radius = (study.pixel_size_mm, study.row_size_mm), np.full(120, study.radius_mm)
    quality = assess_projections(
        Acquisition(study.projections, study.angles_deg, *size, radius, head=head, moment=moment)
    )
    assert quality.motion_axial_mm == pytest.approx(6.0, abs=0.4)
    assert quality.motion_transaxial_mm == pytest.approx(4.0, abs=0.8)
    assert abs(quality.centre_of_rotation_mm) < 0.2


@pytest.mark.parametrize("offset", [-2.0, 0.7, 1.5])
@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
def test_the_centre_of_rotation_is_found(turn, offset) -> None:
    quality = assess_projections(acquired(turn, offset_mm=offset))
    assert quality.centre_of_rotation_mm == pytest.approx(offset, abs=0.2)
    assert ("centre-of-rotation" in quality.flags) == (abs(offset) > 1.0)


def test_the_worse_detector_gives_the_centre_of_rotation() -> None:
    turn = two_heads()
    quality = assess_projections(acquired(turn, offset_mm=np.where(turn.head == 0, 0.4, -1.4)))
    assert quality.centre_of_rotation_mm == pytest.approx(-1.4, abs=0.3)


def test_half_a_circle_does_not_tell_the_centre_of_rotation() -> None:
    quality = assess_projections(acquired(one_head(60), offset_mm=1.5, total=2e6))
    assert np.isnan(quality.centre_of_rotation_mm)
    assert quality.missing_views == 0
    assert quality.flags == ()


def test_detectors_at_different_heights_are_no_motion() -> None:
    turn = two_heads()
    path = np.where(turn.head == 0, 0.0, 1.2)[:, None] * np.array(AXIAL)
    assert assess_projections(acquired(turn, path)).motion_axial_mm == 0.0


@settings(max_examples=6)
@given(st.integers(0, 2**31 - 1))
def test_the_order_in_which_views_are_given_does_not_matter(seed) -> None:
    turn = two_heads()
    one = acquired(turn, step(turn, 25, (2.0, 0.0, 5.0)))
    order = np.random.default_rng(seed).permutation(turn.angles_deg.size)
    before, after = assess_projections(one), assess_projections(some(one, order))
    assert before.flags == after.flags
    for name in ("motion_mm", "motion_axial_mm", "centre_of_rotation_mm", "count_jump"):
        assert getattr(after, name) == pytest.approx(getattr(before, name), abs=1e-6)


@settings(max_examples=6)
@given(st.floats(0.05, 20.0))
def test_a_factor_on_the_counts_moves_nothing(factor) -> None:
    turn = two_heads()
    one = acquired(turn, step(turn, 25, (0.0, 0.0, 5.0)), offset_mm=1.0)
    before = assess_projections(one)
    after = assess_projections(changed(one, (factor * one.projections).astype(np.float32)))
    assert after.motion_mm == pytest.approx(before.motion_mm, abs=0.3)
    assert after.centre_of_rotation_mm == pytest.approx(before.centre_of_rotation_mm, abs=0.2)


def test_the_image_seen_in_a_mirror_has_the_opposite_centre_of_rotation() -> None:
    one = acquired(two_heads(), offset_mm=1.5)
    mirrored = dataclasses.replace(
        one, projections=one.projections[:, :, ::-1], angles_deg=np.mod(-one.angles_deg, 360.0)
    )
    expected = -assess_projections(one).centre_of_rotation_mm
    assert assess_projections(mirrored).centre_of_rotation_mm == pytest.approx(expected, abs=1e-6)


def test_the_axial_profile_is_measured_to_a_hundredth_of_a_row_without_noise() -> None:
    rows = np.arange(64)
    true = np.array([-2.2, -0.7, 0.0, 0.4, 2.5])
    profiles = np.exp(-(((rows - 30 - true[:, None]) / 12.0) ** 2)) * 1e4
    found = axial_positions(profiles, 3.0).mm
    np.testing.assert_allclose(found - found[2], 3.0 * true, atol=0.03)


def test_a_jump_of_the_counts_is_measured(still) -> None:
    assert assess_projections(still).count_jump == 0.0
    weaker = still.projections.astype(np.float64)
    weaker[(still.head == 1) & (still.moment >= 30)] *= 0.8
    thinned = np.random.default_rng(1).binomial(still.projections, weaker / np.maximum(still.projections, 1))
    quality = assess_projections(changed(still, thinned.astype(np.uint16)))
    assert quality.count_jump == pytest.approx(0.25, abs=0.06)
    assert "count-jump" in quality.flags


@pytest.mark.parametrize(("of_the_first", "of_the_second", "scale"), [(3e4, 2.4e4, 1.0), (2e4, 2e4, 50.0)])
def test_what_differs_between_detectors_alone_and_the_noise_of_scaled_counts_are_no_jump(
    of_the_first, of_the_second, scale
) -> None:
    turn = two_heads()
    counts = scale * np.random.default_rng(0).poisson(np.where(turn.head == 0, of_the_first, of_the_second))
    assert count_jump(counts, turn.head, turn.moment) == 0.0


def test_missing_views_are_counted(still) -> None:
    kept = np.setdiff1d(np.arange(120), [10, 11, 12, 77])
    quality = assess_projections(dataclasses.replace(some(still, kept), head=None, moment=None))
    assert (quality.missing_views, quality.repeated_views) == (4, 0)
    assert "views-missing" in quality.flags


def test_empty_views_are_missing_and_harm_nothing(still) -> None:
    blank = still.projections.copy()
    blank[[5, 40]] = 0
    quality = assess_projections(changed(still, blank))
    assert (quality.missing_views, quality.repeated_views) == (2, 0)
    assert quality.motion_mm < 0.5
    assert abs(quality.centre_of_rotation_mm) < 0.2


def test_repeated_views_are_counted(still) -> None:
    twice = still.projections.copy()
    twice[[31, 32]] = twice[30]
    quality = assess_projections(changed(still, twice))
    assert (quality.missing_views, quality.repeated_views) == (0, 2)
    assert "views-repeated" in quality.flags


def test_directions_taken_too_often_or_too_seldom_are_counted() -> None:
    angles = np.repeat(3.0 * np.arange(120), 2)
    projections = np.random.default_rng(0).poisson(50.0, (240, 4, 4))
    counts = projections.sum(axis=(1, 2)).astype(float)
    assert sampling_faults(projections, angles, counts) == (0, 0)
    angles[10] = angles[20]
    assert sampling_faults(projections, angles, counts) == (1, 1)


@pytest.mark.parametrize("arc", [180.0, 204.0, 270.0])
def test_the_open_side_of_an_arc_is_no_gap(arc) -> None:
    angles = np.mod(300.0 + np.arange(0.0, arc, 3.0), 360.0)
    projections = np.random.default_rng(0).poisson(50.0, (angles.size, 4, 4))
    assert sampling_faults(projections, angles, np.ones(angles.size)) == (0, 0)


def test_counts_by_angle_are_means_of_views() -> None:
    angles = np.array([0.0, 2.9999, 5.9999998, 354.0, 359.99999])
    found = counts_by_angle(np.array([10.0, 20.0, 7.0, 4.0, 12.0]), angles)
    assert found.shape == (len(schema.ANGLES_DEG),)
    assert found[[0, 1, 59]].tolist() == [14.0, 7.0, 4.0]
    assert np.isnan(found[2:59]).all()


@pytest.mark.parametrize(
    ("shift_mm", "flag"),
    [((0.0, 0.0, 110.0), "cut-top"), ((0.0, 0.0, -130.0), "cut-base"), ((120.0, 0.0, 0.0), "cut-side")],
)
def test_a_cut_field_of_view_is_flagged(shift_mm, flag) -> None:
    turn = two_heads()
    found = assess_projections(acquired(turn, step(turn, 0, shift_mm))).flags
    assert [code for code in found if code.startswith("cut-")] == [flag]


def test_facts_of_the_header_are_kept_and_flagged() -> None:
    facts = StudyFacts(extra={"injected_mbq": 30.0, "delay_min": 90.0, "frame_duration_ms": 35000.0})
    quality = assess_projections(acquired(two_heads(), facts=facts, total=0.4e6))
    assert (quality.injected_activity_mbq, quality.injection_delay_min) == (30.0, 90.0)
    assert (quality.seconds_per_view, quality.radius_mm) == (35.0, 140.0)
    assert quality.flags == ("low-counts", "delay-unusual", "activity-unusual")


def test_what_the_header_does_not_say_is_not_known_and_not_flagged(still) -> None:
    quality = assess_projections(dataclasses.replace(still, radius_mm=np.full(120, np.nan)))
    unknown = (quality.radius_mm, quality.injected_activity_mbq, quality.injection_delay_min, quality.seconds_per_view)
    assert np.isnan(unknown).all()
    assert quality.flags == ()


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_impossible_counts_are_refused(still, bad) -> None:
    projections = still.projections.astype(np.float32)
    projections[7, 20, 20] = bad
    with pytest.raises(InvalidProjectionsError):
        assess_projections(changed(still, projections))


def test_empty_projections_are_refused(still) -> None:
    with pytest.raises(InvalidProjectionsError):
        assess_projections(changed(still, np.zeros_like(still.projections)))


@pytest.mark.parametrize("views", [3, 20])
def test_few_views_of_noise_give_no_error(views) -> None:
    turn = one_head(views)
    noise = np.random.default_rng(0).poisson(1.0, (views, 8, 8)).astype(np.uint16)
    radius = np.full(views, np.nan)
    assess_projections(Acquisition(noise, turn.angles_deg, 4.0, 4.0, radius, StudyFacts(), turn.head, turn.moment))
