"""The simulated people, their disease and their readers resemble the paper's cohort."""

import dataclasses

import numpy as np
import pytest

from datbatch.schema import READS
from datbatch.simulation import draw_reads, draw_subject
from datbatch.simulation.phantom import SIDES, Tube, striatum
from datbatch.simulation.population import (
    CAUDATE_VOLUME_ASYMMETRY,
    PUTAMEN_VOLUME_ASYMMETRY,
    THICKNESS_SD,
    anatomy,
    evidence,
    normal_binding,
    striatal_binding,
    template_to_study,
    true_label,
)
from datbatch.simulation.readers import consensus, majority
from datbatch.simulation.shapes import filled
from datbatch.simulation.sites import SITES, site_named

PAPER = 1306
"""Studies of Nazari et al. 2022."""


@pytest.fixture(scope="module")
def subjects():
    return [draw_subject(index, seed=0) for index in range(PAPER)]


@pytest.fixture(scope="module")
def reads(subjects):
    return [draw_reads(subject) for subject in subjects]


def test_a_subject_depends_on_seed_and_number_alone():
    assert draw_subject(5, seed=1) == draw_subject(5, seed=1)
    assert draw_subject(5, seed=1) != draw_subject(5, seed=2)
    assert draw_reads(draw_subject(5, seed=1)) == draw_reads(draw_subject(5, seed=1))


def test_classes_sexes_and_ages_are_those_of_the_paper(subjects, reads):
    label = np.array([consensus(read) for read in reads])
    sex = np.array([subject.sex for subject in subjects])
    age = np.array([subject.age_years for subject in subjects])
    readable = label != "atypical"
    assert (label[readable] == "positive").mean() == pytest.approx(620 / 1296, abs=0.02)
    for name, female in (("negative", 296 / 676), ("positive", 246 / 620)):
        assert (sex[label == name] == "F").mean() == pytest.approx(female, abs=0.05)
        for which in "FM":
            cell = age[(label == name) & (sex == which)]
            assert 65.5 < cell.mean() < 69.5
            assert 9.0 < cell.std() < 12.5


def test_readers_agree_as_those_of_the_paper(reads):
    calls = np.array([[majority(read, reader) == "positive" for reader in (1, 2)] for read in reads])
    agreement = (calls[:, 0] == calls[:, 1]).mean()
    first, second = calls.mean(axis=0)
    chance = first * second + (1 - first) * (1 - second)
    kappa = (agreement - chance) / (1 - chance)
    assert 0.93 <= kappa <= 0.975


def test_third_readings_happen_when_the_first_two_differ_and_joint_ones_when_readers_do(reads):
    for read in reads:
        for reader in (1, 2):
            first, second, third = (read[f"reader{reader}_{name}"] for name in ("first", "second", "third"))
            assert {first, second} <= {"negative", "positive"}
            assert (third != "") == (first != second)
        assert (read["joint"] != "") == (majority(read, 1) != majority(read, 2))
        assert tuple(read) == READS
    assert any(read["reader1_third"] for read in reads)
    assert any(read["joint"] for read in reads)


def test_atypical_studies_are_rare_and_called_so_in_the_joint_session_alone(subjects, reads):
    atypical = [subject.atypical != "none" for subject in subjects]
    assert 0.003 < np.mean(atypical) < 0.015
    found = [consensus(read) == "atypical" for read in reads]
    assert not any(f and not a for f, a in zip(found, atypical, strict=True))
    assert np.sum(found) >= 0.8 * np.sum(atypical)


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4, 5, 6, 7])
def test_any_eight_studies_hold_both_classes(seed):
    for start in (0, 8, 40):
        labels = {true_label(draw_subject(index, seed)) for index in range(start, start + 8)}
        assert {"negative", "positive"} <= labels


def test_sites_have_their_shares_and_each_class_occurs_at_each(subjects):
    for site in SITES:
        assert np.mean([subject.site == site.name for subject in subjects]) == pytest.approx(site.share, abs=0.01)
        positive = [true_label(s) == "positive" for s in subjects[:64] if s.site == site.name]
        assert 0.2 < np.mean(positive) < 0.8


def test_binding_declines_by_about_six_percent_a_decade_and_is_higher_in_women():
    assert 1 - normal_binding(70, "F") / normal_binding(60, "F") == pytest.approx(0.055, abs=0.005)
    assert normal_binding(65, "F") / normal_binding(65, "M") == pytest.approx(1.06, abs=0.01)


def test_disease_takes_the_posterior_putamen_first_and_the_caudate_last(subjects):
    healthy = dataclasses.replace(subjects[0], atypical="none", severity=0.0, side="left")
    normal = striatal_binding(healthy)["left"]
    before = (1.0, 1.0, 1.0)
    for severity in (0.15, 0.3, 0.5, 0.7, 1.0):
        sick = striatal_binding(dataclasses.replace(healthy, severity=severity))["left"]
        left = tuple(
            getattr(sick, part) / getattr(normal, part) for part in ("putamen_posterior", "putamen_anterior", "caudate")
        )
        assert left[0] < left[1] < left[2]
        assert all(now < then for now, then in zip(left, before, strict=True))
        before = left


@pytest.mark.parametrize("side", SIDES)
def test_the_more_affected_side_has_the_lower_binding(subjects, side):
    sick = dataclasses.replace(
        subjects[0], atypical="none", severity=0.6, asymmetry=0.5, side=side, gain={"left": 1.0, "right": 1.0}
    )
    binding = striatal_binding(sick)
    other = "right" if side == "left" else "left"
    assert binding[side].putamen(side) < binding[other].putamen(other)


def test_atypical_patterns_are_what_the_paper_describes(subjects):
    base = dataclasses.replace(subjects[0], severity=0.0, side="right", gain={"left": 1.0, "right": 1.0})
    caudate = striatal_binding(dataclasses.replace(base, atypical="caudate"))
    assert caudate["right"].caudate < 0.2 * caudate["left"].caudate
    assert caudate["right"].putamen_posterior == pytest.approx(caudate["left"].putamen_posterior)
    whole = striatal_binding(dataclasses.replace(base, atypical="hemisphere"))
    assert whole["right"].putamen("right") < 0.1 * whole["left"].putamen("left")
    assert whole["right"].caudate < 0.1 * whole["left"].caudate


def test_severity_is_a_continuum_with_borderline_cases(subjects):
    loss = np.sort([evidence(subject) for subject in subjects if subject.atypical == "none"])
    near = loss[(loss > 0.1) & (loss < 0.6)]
    assert np.diff(near).max() < 0.03, "no gap between the classes"
    assert 0.01 < np.mean(np.abs(loss - 0.3) < 0.05) < 0.10


def test_either_side_may_be_more_affected(subjects):
    assert np.mean([subject.side == "left" for subject in subjects]) == pytest.approx(0.5, abs=0.05)


def test_heads_vary_in_size_and_pose_within_what_is_clinical(subjects):
    matrices = np.array([subject.pose.matrix()[:3, :3] for subject in subjects])
    scale = np.cbrt(np.linalg.det(matrices))
    assert 0.02 < scale.std() < 0.05
    assert 0.86 < scale.min() < scale.max() < 1.08
    rotation = np.array([subject.pose.rotation_deg for subject in subjects])
    assert np.abs(rotation).max() <= 15
    assert (rotation.std(axis=0) > 2).all()


def test_a_cut_field_of_view_leaves_out_brain_but_not_the_striatum(subjects):
    cut = [subject for subject in subjects if subject.cut != "none"]
    assert 0.02 < len(cut) / len(subjects) < 0.07
    for subject in cut:
        half = site_named(subject.site).camera.field_of_view_mm / 2
        z = [(template_to_study(subject) @ [0.0, -10.0, height, 1.0])[2] for height in (70.0, 28.0, -14.0, -55.0)]
        assert (z[0] > half) == (subject.cut == "top")
        assert (z[3] < -half) == (subject.cut == "base")
        assert max(abs(z[1]), abs(z[2])) < half


def test_counts_are_clinical(subjects):
    counts = np.array([subject.expected_counts for subject in subjects])
    assert 1.5e6 <= counts.min() < counts.max() <= 6e6
    assert counts.std() > 0.5e6


def volume_ml(shape: Tube, step_mm: float = 3.0) -> float:
    reach = np.arange(-shape.reach_mm - step_mm, shape.reach_mm + step_mm, step_mm)
    points = np.stack(np.meshgrid(reach, reach, reach, indexing="ij"), axis=-1) + shape.centre_mm
    return float(filled(shape, points, step_mm).sum()) * step_mm**3 / 1000


@pytest.mark.parametrize(
    ("place", "known"), [(0, PUTAMEN_VOLUME_ASYMMETRY), (1, CAUDATE_VOLUME_ASYMMETRY)], ids=["putamen", "caudate"]
)
def test_a_persons_two_putamina_and_caudates_differ_in_volume_as_in_life(subjects, place, known):
    volumes = np.array(
        [[volume_ml(striatum(anatomy(subject), side)[place]) for side in SIDES] for subject in subjects[:160]]
    )
    asymmetry = 2 * (volumes[:, 0] - volumes[:, 1]) / volumes.sum(axis=1)
    assert asymmetry.std() == pytest.approx(known, rel=0.12)
    assert abs(asymmetry.mean()) < 0.04
    assert np.corrcoef(volumes.T)[0, 1] > 0.75


@pytest.mark.parametrize("structure", ["putamen", "caudate"])
def test_people_differ_in_size_as_much_as_each_of_their_sides(subjects, structure):
    thickness = np.array([[getattr(subject, structure)[side].thickness for side in SIDES] for subject in subjects])
    np.testing.assert_allclose(thickness.std(axis=0), THICKNESS_SD, rtol=0.06)
    np.testing.assert_allclose(thickness.mean(axis=0), 1.0, atol=0.005)
    shift = np.array([[getattr(subject, structure)[side].shift_mm for side in SIDES] for subject in subjects])
    assert abs(np.corrcoef(shift[:, 0, 0], shift[:, 1, 0])[0, 1]) < 0.1
