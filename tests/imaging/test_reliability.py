"""A registration that went wrong is told from a good one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from datbatch.config import RegisterConfig
from datbatch.imaging import Volume, register_affine
from datbatch.imaging.registration.register import prepare
from datbatch.imaging.registration.reliability import (
    FAILURE_WEIGHTS,
    failure_probability,
    failure_terms,
    quality_scores,
)
from tests.reference.head_phantom import grid_points, head_volume, moved, random_pose

LIMIT = RegisterConfig().maximum_failure_probability
GOOD = {
    "correlation": 0.95,
    "coarse_correlation": 0.97,
    "outline_dice": 0.97,
    "coverage": 1.0,
    "drift_mm": 1.0,
    "size": 0.96,
    "shear": 0.03,
}


@pytest.fixture(scope="module")
def levels(head_template):
    """Study and template, and the true affine from the template's centred coordinates."""
    pose = random_pose(5)
    fine, coarse, _ = prepare(Volume(*head_volume(pose, noise=0.03)), head_template, RegisterConfig())
    return fine, coarse, pose @ moved(shift_mm=fine.near.centre_mm)


def probability(levels, wrong):
    fine, coarse, true = levels
    return failure_probability(quality_scores(fine, coarse, true @ wrong))


def test_the_true_affine_is_no_failure(levels):
    assert probability(levels, np.eye(4)) < LIMIT


@pytest.mark.parametrize(
    "wrong",
    [
        moved(shift_mm=(0, 0, 9)),
        moved(shift_mm=(-9, 0, 0)),
        moved(turn_deg=(15, 0, 0)),
        moved(size=0.85),
        moved(size=1.2),
        np.diag([1.0, -1.0, -1.0, 1.0]),
        np.diag([-1.0, -1.0, 1.0, 1.0]),
        np.diag([-1.0, 1.0, 1.0, 1.0]),
        moved(shift_mm=(400, 0, 0)),
        np.zeros((4, 4)),
    ],
    ids=["up", "aside", "nod", "small", "large", "over", "backwards", "mirrored", "outside", "nothing"],
)
def test_a_wrong_affine_is_a_failure(levels, wrong):
    assert probability(levels, wrong) > LIMIT


def noise(x, y, z):
    return np.where(np.hypot(x, y) < 100, np.random.default_rng(3).poisson(3.0, x.shape), 0)


def ball(x, y, z):
    return x**2 + y**2 + z**2 < 85**2


def cylinder(x, y, z):
    return (np.hypot(x, y) < 90) & (np.abs(z) < 90)


def two_rods(x, y, z):
    return 0.5 * (np.hypot(x, y) < 90) + 5.0 * (np.hypot(np.abs(x) - 30, y) < 12)


@pytest.mark.parametrize("image", [noise, ball, cylinder, two_rods])
def test_an_image_without_a_head_is_a_failure(head_template, image):
    _, affine = head_volume(np.eye(4))
    sharp = image(*np.moveaxis(grid_points(affine, (64, 64, 64)), -1, 0)).astype(np.float32)
    blurred = gaussian_filter(sharp, 1.5)
    assert register_affine(Volume(blurred, affine), head_template).failed


def test_a_noisy_head_is_no_failure(head_template):
    data, affine = head_volume(random_pose(11), noise=0.3, seed=11)
    found = register_affine(Volume(data, affine), head_template)
    assert found.quality["correlation"] < 0.93
    assert not found.failed


def test_weights_and_terms_belong_together():
    assert FAILURE_WEIGHTS.keys() == failure_terms(GOOD).keys()


@pytest.mark.parametrize(
    ("score", "worse"), [("coarse_correlation", 0.4), ("drift_mm", 9.0), ("shear", 0.4), ("size", 0.5), ("size", -0.9)]
)
def test_a_bad_score_speaks_for_failure(score, worse):
    assert failure_probability(GOOD) < failure_probability({**GOOD, score: worse})


@given(
    st.fixed_dictionaries(
        {
            **{name: st.floats(-1, 1) for name in ("correlation", "coarse_correlation", "outline_dice", "coverage")},
            "drift_mm": st.floats(0, allow_nan=False),
            "size": st.floats(-3, 3),
            "shear": st.floats(0, 50),
        }
    )
)
def test_a_probability_lies_between_0_and_1(quality):
    assert 0 <= failure_probability(quality) <= 1
