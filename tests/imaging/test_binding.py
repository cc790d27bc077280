"""Each definition of binding finds known binding, and what depends on resolution is only what is said to."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from datbatch import schema
from datbatch.config import QuantifyConfig
from datbatch.errors import ConfigurationError, EmptyVolumeError, GridMismatchError
from datbatch.imaging import analytic_atlas, large_volume_masks, measure_binding, mirror, quantify
from datbatch.imaging.binding import asymmetry_indices, putamen_to_caudate_ratios
from datbatch.simulation.phantom import SIDES, Anatomy, Grid, StriatalBinding, build_phantom

CONFIG = QuantifyConfig()
HOTTEST, FIXED, LARGE = range(3)
SWAPPED = [schema.STRIATAL.index(f"{s}_{side}") for s in schema.STRUCTURES for side in reversed(schema.SIDES)]
VOXEL_ML = 0.008


def mask_of(region: str) -> np.ndarray:
    return analytic_atlas().masks[schema.REGIONS.index(region)]


def piecewise(**values: float) -> np.ndarray:
    """A head whose regions have known uptake: 0.3 outside the brain, 1 in it."""
    volume = np.full(schema.SHAPE, 0.3, np.float32)
    volume[mask_of("whole_brain")] = 1.0
    for region, value in values.items():
        volume[mask_of(region)] = value
    return volume


STRIATA = {
    "putamen_ipsilateral": 3.0,
    "putamen_contralateral": 5.0,
    "caudate_ipsilateral": 4.0,
    "caudate_contralateral": 6.0,
}


def test_fixed_regions_give_the_known_binding_of_constant_structures() -> None:
    head = piecewise(**STRIATA, occipital=1.25)
    binding = measure_binding(head, CONFIG)
    whole = head[mask_of("whole_brain")].mean(dtype=np.float64)
    reference = piecewise(occipital=1.25)[mask_of("reference")].mean(dtype=np.float64)
    for j, level in enumerate((reference, 1.25, whole)):
        for name, value in STRIATA.items():
            assert binding.binding_ratio[FIXED, j, schema.STRIATAL.index(name)] == pytest.approx(value / level - 1)
    for side in schema.SIDES:
        mean = head[mask_of(f"putamen_{side}") | mask_of(f"caudate_{side}")].mean(dtype=np.float64)
        assert binding.ratio("fixed_regions")[f"striatum_{side}"] == pytest.approx(mean / reference - 1)


def test_the_large_volume_gives_the_specific_counts_over_the_anatomical_volume() -> None:
    found = measure_binding(piecewise(**STRIATA), CONFIG).ratio("large_volume")
    for side in schema.SIDES:
        counts = sum((STRIATA[f"{s}_{side}"] - 1) * mask_of(f"{s}_{side}").sum() for s in ("putamen", "caudate"))
        assert found[f"striatum_{side}"] == pytest.approx(VOXEL_ML * counts / 11.2, rel=1e-6)
        assert np.isnan([found[f"putamen_{side}"], found[f"caudate_{side}"]]).all(), "they cannot be told apart"


def by_definition(
    uptake: np.ndarray, large: dict[str, np.ndarray], definition: str, background: str, region: str
) -> float:
    """The equations, with Boolean masks."""
    structure, side = region.split("_")
    both = ("putamen", "caudate") if structure == "striatum" else (structure,)
    area = large[background] if definition == "large_volume" else mask_of(background)
    level = uptake[area].mean(dtype=np.float64)
    if definition == "hottest_voxels":
        level = 1.0 if background == "reference" else level
        volumes = {"putamen": 1250, "caudate": 625}
        hottest = [np.sort(uptake[analytic_atlas().hottest[f"{s}_{side}"]])[-volumes[s] :] for s in both]
        return float(np.concatenate(hottest).mean(dtype=np.float64) / level - 1)
    if definition == "fixed_regions":
        return float(uptake[np.any([mask_of(f"{s}_{side}") for s in both], axis=0)].mean(dtype=np.float64) / level - 1)
    if structure != "striatum":
        return np.nan
    inside = uptake[large[region]]
    return float(VOXEL_ML * (inside.sum(dtype=np.float64) / level - inside.size) / 11.2)


def test_every_definition_against_every_background_is_its_equation(asymmetric_head) -> None:
    uptake = quantify(asymmetric_head, CONFIG).uptake
    found, large = measure_binding(uptake, CONFIG).binding_ratio, large_volume_masks()
    for (i, d), (j, b), (k, r) in product(*map(enumerate, (schema.DEFINITIONS, schema.BACKGROUNDS, schema.STRIATAL))):
        assert found[i, j, k] == pytest.approx(by_definition(uptake, large, d, b, r), rel=1e-6, nan_ok=True), (d, b, r)


def test_hottest_voxels_against_the_reference_are_the_papers_ratio(asymmetric_head) -> None:
    result = quantify(asymmetric_head, CONFIG)
    np.testing.assert_array_equal(result.binding.binding_ratio[HOTTEST, 0, :4], result.specific_binding_ratio[:4])


@pytest.fixture(scope="module")
def sharp_head() -> np.ndarray:
    """The simulator's mean anatomy without any blur, with all its tissues, 30 mm more than the grid on every side."""
    healthy = {side: StriatalBinding(6.8, 6.6, 6.4) for side in SIDES}
    margin = 15
    shape = tuple(n + 2 * margin for n in schema.SHAPE)
    first = tuple(start - 2 * schema.SPACING_MM * margin / 2 for start in schema.ORIGIN_MM)
    return np.asarray(build_phantom(Anatomy(healthy), np.eye(4), Grid(shape, first, schema.SPACING_MM)).activity)


def test_the_large_volume_does_not_depend_on_resolution(sharp_head) -> None:
    large, hottest = [], []
    for fwhm_mm in (6.0, 10.0, 15.0, 20.0):
        blurred = gaussian_filter(sharp_head, fwhm_mm / 2.355 / schema.SPACING_MM)[15:-15, 15:-15, 15:-15]
        ratios = quantify(blurred, CONFIG).binding.binding_ratio[:, 0, 4:]
        large.append(ratios[LARGE].mean())
        hottest.append(ratios[HOTTEST].mean())
    assert np.ptp(large) < 0.03 * large[0]
    assert np.ptp(hottest) > 0.30 * hottest[0]


@settings(max_examples=5)
@given(st.integers(0, 10_000))
def test_a_mirrored_image_gives_exactly_swapped_values(seed) -> None:
    noise = np.random.default_rng(seed).normal(1.0, 0.3, schema.SHAPE).astype(np.float32)
    noise[:, :, : seed % 20] = 0
    one, other = measure_binding(noise, CONFIG), measure_binding(mirror(noise), CONFIG)
    np.testing.assert_array_equal(other.binding_ratio, one.binding_ratio[..., SWAPPED])
    np.testing.assert_array_equal(other.asymmetry_index, -one.asymmetry_index)
    np.testing.assert_array_equal(other.putamen_to_caudate_ratio, one.putamen_to_caudate_ratio[:, ::-1])


def test_asymmetry_is_positive_where_the_contralateral_side_binds_more(asymmetric_head) -> None:
    binding = quantify(asymmetric_head, CONFIG).binding
    assert (binding.asymmetry_index[[HOTTEST, FIXED]] > 20).all()
    assert binding.asymmetry_index[LARGE, schema.STRUCTURES.index("striatum")] > 20
    assert np.isnan(binding.asymmetry_index[LARGE, :2]).all()


@given(st.lists(st.floats(-1.0, 20.0).map(lambda v: round(v, 9)), min_size=6, max_size=6), st.floats(0.01, 100.0))
def test_asymmetry_and_putamen_to_caudate_are_ratios(values, factor) -> None:
    ratios = np.array(values)
    found = asymmetry_indices(ratios)
    for index, structure in enumerate(schema.STRUCTURES):
        low, high = (ratios[schema.STRIATAL.index(f"{structure}_{side}")] for side in schema.SIDES)
        if low > 0 and high > 0:
            assert found[index] == pytest.approx(100 * (high - low) / ((high + low) / 2))
            assert abs(found[index]) <= 200 + 1e-9
        else:
            assert np.isnan(found[index])
    np.testing.assert_allclose(asymmetry_indices(factor * ratios), found, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(asymmetry_indices(ratios[SWAPPED]), -found)
    for index, caudate in enumerate(ratios[2:4]):
        quotient = putamen_to_caudate_ratios(ratios)[index]
        assert quotient == pytest.approx(ratios[index] / caudate) if caudate > 0 else np.isnan(quotient)


def test_what_was_not_seen_has_no_value(asymmetric_head) -> None:
    uptake = quantify(asymmetric_head, CONFIG).uptake
    low = uptake.copy()
    low[:, :, schema.coordinates_mm(2) < -16] = 0
    found = measure_binding(low, CONFIG).binding_ratio
    assert np.isnan(found[LARGE]).all(), "the large volume lacks counts"
    assert np.isfinite(found[[HOTTEST, FIXED], 0]).all()
    behind = uptake.copy()
    behind[:, schema.coordinates_mm(1) < -60] = 0
    found = measure_binding(behind, CONFIG).binding_ratio
    assert np.isnan(found[:, schema.BACKGROUNDS.index("occipital")]).all()
    assert np.isfinite(found[:, 0, 4:]).all()
    half = uptake.copy()
    half[schema.coordinates_mm(0) > 4] = 0
    found = measure_binding(half, CONFIG).binding_ratio
    assert np.isnan(found[..., 1::2]).all()


def test_an_image_that_is_no_image_is_refused() -> None:
    with pytest.raises(GridMismatchError):
        measure_binding(np.ones((3, 4, 5), np.float32), CONFIG)
    with pytest.raises(EmptyVolumeError):
        measure_binding(np.full(schema.SHAPE, np.nan, np.float32), CONFIG)
    with pytest.raises(ConfigurationError, match="striatum_ml"):
        measure_binding(np.ones(schema.SHAPE, np.float32), QuantifyConfig(striatum_ml=0.0))
    empty = measure_binding(np.zeros(schema.SHAPE, np.float32), CONFIG)
    negative = measure_binding(np.full(schema.SHAPE, -1.0, np.float32), CONFIG)
    assert np.isnan(empty.binding_ratio).all()
    assert np.isnan(negative.binding_ratio[FIXED:]).all(), "no background is positive"


def test_the_large_volumes_hold_the_striata_and_share_no_voxel() -> None:
    masks = large_volume_masks()
    left, right = (masks[f"striatum_{side}"] for side in schema.SIDES)
    np.testing.assert_array_equal(left, right[::-1])
    assert not (left & right).any()
    assert not ((left | right) & ~mask_of("whole_brain")).any()
    for name in STRIATA:
        assert not (mask_of(name) & ~masks[f"striatum_{name.split('_')[1]}"]).any()
    assert 150 < VOXEL_ML * left.sum() < 200
    for name in ("reference", "occipital"):
        assert not (masks[name] & (left | right)).any()
        assert not (masks[name] & ~mask_of(name)).any()
        assert VOXEL_ML * masks[name].sum() > 40
    edge = np.argwhere(~mask_of("whole_brain"))[::997]
    for voxel in np.argwhere(masks["reference"])[::997]:
        assert (np.linalg.norm(edge - voxel, axis=1) * schema.SPACING_MM).min() > 12.0
