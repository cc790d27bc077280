"""The simulated head resembles the atlases, and its voxels hold what the truth says."""

import json

import numpy as np
import pytest

from datbatch.simulation import phantom as anatomy
from datbatch.simulation.phantom import SIDES, Anatomy, Grid, StriatalBinding, Uptake, build_phantom, striatum
from datbatch.simulation.population import Pose
from datbatch.simulation.shapes import Ellipsoid, Tube, filled

BOX = Grid((100, 110, 130), (-50.0, -60.0, -75.0), 1.0)
POINTS = BOX.points_mm()


def _measure(*shapes):
    share = np.zeros(BOX.shape)
    for shape in shapes:
        share = np.maximum(share, filled(shape, POINTS, 1.0))
    return share.sum() / 1000, (POINTS * share[..., None]).sum(axis=(0, 1, 2)) / share.sum()


def test_an_ellipsoid_fills_its_volume():
    ml, centre = _measure(Ellipsoid((2.0, -3.0, 1.0), (20.0, 15.0, 10.0), yaw_deg=30.0))
    assert ml == pytest.approx(4 / 3 * np.pi * 3.0, rel=0.01)
    np.testing.assert_allclose(centre, [2, -3, 1], atol=0.05)


def test_a_straight_tube_is_a_cylinder_with_round_ends_and_flattens_with_its_factor():
    round_ml, _ = _measure(Tube(((0.0, -20.0, 0.0, 8.0), (0.0, 20.0, 0.0, 8.0))))
    flat_ml, _ = _measure(Tube(((0.0, -20.0, 0.0, 8.0), (0.0, 20.0, 0.0, 8.0)), flatness=0.5))
    assert round_ml == pytest.approx((np.pi * 64 * 40 + 4 / 3 * np.pi * 512) / 1000, rel=0.01)
    assert flat_ml == pytest.approx(round_ml / 2, rel=0.02)


@pytest.mark.parametrize("yaw", [0.0, 35.0])
def test_the_enclosing_sphere_encloses(yaw):
    for shape in (
        Ellipsoid((5.0, 0.0, 0.0), (30.0, 20.0, 10.0), 2.6, yaw),
        *anatomy.PUTAMEN.values(),
        anatomy.BRAIN_STEM,
    ):
        inside = POINTS[filled(shape, POINTS, 0.1) > 0.5]
        assert np.linalg.norm(inside - shape.centre_mm, axis=1).max() <= shape.reach_mm + 1e-6


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("putamen_left", (anatomy.PUTAMEN["left"],)),
        ("putamen_right", (anatomy.PUTAMEN["right"],)),
        ("caudate_left", (anatomy.CAUDATE["left"],)),
        ("caudate_right", (anatomy.CAUDATE["right"],)),
        ("thalamus", anatomy.THALAMUS),
        ("brain_stem", (anatomy.BRAIN_STEM,)),
    ],
)
def test_shapes_have_the_atlas_centroid_and_volume(test_data, name, shapes):
    nibabel = pytest.importorskip("nibabel")
    path = test_data / "atlas" / "subcortical_probabilities_2mm.nii.gz"
    names = json.loads(path.with_name("subcortical_probabilities_2mm.json").read_text())["volumes"]
    image = nibabel.load(path)
    weight = np.asarray(image.dataobj)[..., names.index(name)].astype(float)
    weight /= 255 if weight.max() > 1 else 1
    index = np.argwhere(weight > 0.02)
    share = weight[weight > 0.02]
    mm = index @ image.affine[:3, :3].T + image.affine[:3, 3]
    ml, centre = _measure(*shapes)
    assert ml == pytest.approx(share.sum() * 0.008, rel=0.10)
    np.testing.assert_allclose(centre, (mm * share[:, None]).sum(0) / share.sum(), atol=1.0)
    inside = np.max([filled(shape, mm, 2.0) for shape in shapes], axis=0)
    dice = 2 * np.minimum(inside, share).sum() / (inside.sum() + share.sum())
    assert dice > 0.8


def test_putaminal_mean_is_what_the_voxels_hold():
    binding = StriatalBinding(caudate=2.0, putamen_anterior=4.0, putamen_posterior=1.0)
    for side in SIDES:
        share = filled(anatomy.PUTAMEN[side], POINTS, 1.0)
        profile = anatomy.putaminal_profile(POINTS[..., 1])
        local = binding.putamen_anterior + profile * (binding.putamen_posterior - binding.putamen_anterior)
        assert (share * local).sum() / share.sum() == pytest.approx(binding.putamen(side), rel=0.02)


def _striatal_signal(binding, matrix):
    """Total activity that the striatum adds, in mm3 times the brain's non-displaceable uptake."""
    grid = Grid((64, 64, 70), (-126.0, -126.0, -140.0), 4.0)
    bound, free = (
        build_phantom(Anatomy(dict.fromkeys(SIDES, b)), matrix, grid).activity.astype(float)
        for b in (binding, StriatalBinding(0.0, 0.0, 0.0))
    )
    return (bound - free).sum() * 64


def test_coarse_voxels_hold_the_striatal_signal_of_the_fine_shapes():
    binding = StriatalBinding(0.0, 5.0, 5.0)
    visible = 0.0
    for side in SIDES:
        putamen, caudate = striatum(Anatomy({}), side)
        accumbens = anatomy.ACCUMBENS[side]
        covered = filled(putamen, POINTS, 1.0) * 5.0
        covered += (1 - filled(putamen, POINTS, 1.0)) * filled(accumbens, POINTS, 1.0) * 2.5
        visible += ((1 - filled(caudate, POINTS, 1.0)) * covered).sum()
    assert _striatal_signal(binding, np.eye(4)) == pytest.approx(visible, rel=0.03)


def test_signal_scales_with_the_volume_of_the_head():
    binding = StriatalBinding(4.0, 4.0, 4.0)
    pose = Pose(size=(0.95, 0.9, 0.97), rotation_deg=(6.0, -4.0, 5.0), centre_mm=(3.0, -20.0, -4.0))
    ratio = _striatal_signal(binding, pose.matrix()) / _striatal_signal(binding, np.eye(4))
    assert ratio == pytest.approx(0.95 * 0.9 * 0.97, rel=0.02)


def test_tissues_lie_where_they_belong():
    grid = Grid((64, 64, 70), (-126.0, -126.0, -140.0), 4.0)
    binding = {side: StriatalBinding(6.0, 6.0, 6.0) for side in SIDES}
    uptake = Uptake()
    activity = build_phantom(Anatomy(binding), np.eye(4), grid).activity

    def at(x, y, z):
        return activity[tuple(round((v - f) / 4) for v, f in zip((x, y, z), grid.first_mm, strict=True))]

    assert at(-26, 2, 2) > 6
    assert at(26, 2, 2) > 6
    assert at(0, -90, 10) == pytest.approx(uptake.grey_matter)
    assert at(-30, -20, 30) == pytest.approx(uptake.white_matter)
    assert at(0, -26, -28) == pytest.approx(uptake.brain_stem)
    assert at(-11, -19, 6) == pytest.approx(uptake.thalamus)
    assert at(118, 100, 100) == 0


def test_wide_ventricles_take_volume_and_push_the_caudate_outwards():
    wide, normal = Anatomy({}, ventricle_size=1.5), Anatomy({})
    assert striatum(wide, "left")[1].centre_mm[0] < striatum(normal, "left")[1].centre_mm[0]
    assert striatum(wide, "right")[1].centre_mm[0] > striatum(normal, "right")[1].centre_mm[0]
    assert _measure(*anatomy.ventricles(1.5))[0] > 1.5 * _measure(*anatomy.ventricles(1.0))[0]


def test_pose_maps_points_by_scale_then_rotation():
    quarter_turn = Pose(size=(1.0, 2.0, 1.0), rotation_deg=(0.0, 0.0, 90.0), centre_mm=(1.0, 2.0, 3.0)).matrix()
    # 10 mm in front of the pivot: 20 mm after scaling, turned from the front to the left.
    np.testing.assert_allclose(quarter_turn @ [0, -7, 0, 1], [1 - 20, 2, 3, 1], atol=1e-9)
    np.testing.assert_allclose(Pose().matrix(), np.eye(4), atol=1e-12)
