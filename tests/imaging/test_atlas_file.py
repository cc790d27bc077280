"""A user's own atlas gives its regions in whatever form it comes, and is refused by name where it is of no use."""

import json
from collections.abc import Mapping
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
from nibabel.orientations import inv_ornt_aff

from datbatch import schema
from datbatch.errors import AtlasError, GridMismatchError
from datbatch.imaging import analytic_atlas, atlas_from_labels, read_atlas, write_labels
from datbatch.imaging.atlas_file import NAMES

PLAIN = {
    "putamen_left": 1,
    "putamen_right": 2,
    "caudate_left": 3,
    "caudate_right": 4,
    "thalamus": 5,
    "brain_stem": 6,
    "ventricles": 7,
    "occipital": 8,
    "brain": [9, 10],
    "pallidum": 11,
    "accumbens": 12,
}
"""Names of the values of `label_volume`, as a user would write them."""


def labels() -> npt.NDArray[np.int16]:
    return analytic_atlas().labels.astype(np.int16)


def write(
    path: Path,
    data: npt.NDArray[np.generic],
    affine: npt.NDArray[np.float64] | None = None,
    names: Mapping[str, object] = PLAIN,
) -> Path:
    image = nibabel.Nifti1Image(data, schema.grid_affine() if affine is None else affine)
    image.to_filename(path)
    if names:
        (path.parent / path.name.replace(".nii.gz", ".json")).write_text(json.dumps(names))
    return path


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "own.nii.gz"


def assert_analytic(path: Path, given: Mapping[str, list[int]] | None = None) -> None:
    atlas, wanted = read_atlas(path, given), analytic_atlas()
    np.testing.assert_array_equal(atlas.masks, wanted.masks)
    np.testing.assert_array_equal(atlas.labels, wanted.labels)
    assert atlas.hottest.keys() == wanted.hottest.keys()
    assert all(np.array_equal(atlas.hottest[name], wanted.hottest[name]) for name in wanted.hottest)
    assert atlas.digest == wanted.digest


def test_what_is_written_reads_back_as_the_same_regions(own) -> None:
    table = write_labels(own)
    assert table.read_text().splitlines()[:2] == ["index\tname", "1\tputamen_left"]
    assert_analytic(own)
    again = own.with_name("again.nii.gz")
    write_labels(again)
    assert again.read_bytes() == own.read_bytes()


@pytest.mark.parametrize("axes", [((0, -1), (1, 1), (2, 1)), ((2, 1), (0, 1), (1, -1)), ((1, -1), (2, -1), (0, -1))])
def test_the_order_and_direction_of_the_axes_do_not_matter(own, axes) -> None:
    turn = np.array(axes, dtype=float)
    turned = nibabel.orientations.apply_orientation(labels(), turn)
    affine = schema.grid_affine() @ inv_ornt_aff(turn, schema.SHAPE)
    assert_analytic(write(own, turned, affine))


def test_the_full_mni_grid_is_cut_to_that_of_the_store(own) -> None:
    # As FSL and SPM write it: x grows to the left, and there are slices below and above the store's.
    full = np.full((91, 109, 91), 9, np.int16)
    full[:, :, 14:77] = labels()
    affine = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
    assert_analytic(write(own, full[::-1], affine))


def test_names_can_stand_in_the_parameters(own) -> None:
    given = {name: value if isinstance(value, list) else [value] for name, value in PLAIN.items()}
    assert_analytic(write(own, labels(), names={}), given)


def test_each_side_becomes_the_union_of_both_and_the_first_structure_has_a_contested_voxel(own) -> None:
    mine = labels()
    left, right = (mine == 1), (mine == 2)
    only_right = np.argwhere(right)[0]
    twin = np.array([schema.SHAPE[0] - 1 - only_right[0], *only_right[1:]])
    # The left putamen lacks one voxel, and gives it to the caudate; the right one has it.
    mine[tuple(twin)] = 3
    atlas = read_atlas(write(own, mine))
    np.testing.assert_array_equal(atlas.mask("putamen_ipsilateral"), left)
    # One that only the left thalamus has is the right one's too.
    alone = tuple(np.argwhere(mine == 9)[0])
    mine[alone] = 5
    thalamus = read_atlas(write(own, mine)).mask("thalamus")
    assert thalamus[alone]
    np.testing.assert_array_equal(thalamus, thalamus[::-1])


def test_pallidum_and_accumbens_need_not_be_drawn(own) -> None:
    mine = labels()
    mine[mine > 10] = 9
    names = {name: value for name, value in PLAIN.items() if name not in ("pallidum", "accumbens")}
    atlas = read_atlas(write(own, mine, names=names))
    np.testing.assert_array_equal(atlas.masks[:4], analytic_atlas().masks[:4])
    assert atlas.mask("reference").sum() > analytic_atlas().mask("reference").sum()


def changed(**values: object) -> dict[str, object]:
    return {**PLAIN, **values}


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (changed(DOE_JOHN=13), "unknown"),
        (changed(brain=[9]), "have no name, the first is 10"),
        (changed(thalamus=[1, 5]), "two names"),
        (changed(thalamus=[0, 5]), "label 0"),
        (changed(putamen_left=2, putamen_right=1), "other side"),
        (changed(putamen_left="one"), "cannot be read"),
        ([1, 2], "cannot be read"),
    ],
)
def test_names_that_are_wrong_are_refused(own, names, reason) -> None:
    write(own, labels(), names={})
    own.with_name("own.json").write_text(json.dumps(names))
    with pytest.raises(AtlasError, match=reason) as caught:
        read_atlas(own)
    assert "DOE" not in str(caught.value)


def test_an_atlas_without_table_is_refused(own) -> None:
    with pytest.raises(AtlasError, match="no table"):
        read_atlas(write(own, labels(), names={}))


@pytest.mark.parametrize(("value", "region"), [(1, "putamen_left"), (7, "ventricles"), (8, "occipital")])
def test_a_missing_structure_is_named(own, value, region) -> None:
    mine = labels()
    mine[mine == value] = 9
    with pytest.raises(AtlasError, match=region):
        read_atlas(write(own, mine))


@pytest.mark.parametrize(
    ("data", "affine", "kind"),
    [
        (labels()[:-1], None, GridMismatchError),
        (labels(), np.diag([1.0, 1.0, 1.0, 1.0]), GridMismatchError),
        (labels(), schema.grid_affine() + np.eye(4, k=3), GridMismatchError),
        (labels() + np.float32(0.5), None, AtlasError),
        (np.where(labels() == 9, np.nan, labels()).astype(np.float32), None, AtlasError),
        (np.zeros(schema.SHAPE, np.int16), None, AtlasError),
        (np.stack([labels()] * 2, axis=-1), None, AtlasError),
    ],
    ids=["cut", "1 mm", "shifted", "fractions", "nan", "empty", "4-D"],
)
def test_an_image_that_is_no_atlas_of_this_grid_is_refused(own, data, affine, kind) -> None:
    with pytest.raises(kind):
        read_atlas(write(own, data, affine))


def test_a_file_that_is_no_image_is_refused(own) -> None:
    with pytest.raises(AtlasError, match="cannot be read"):
        read_atlas(own)
    own.write_bytes(b"\x1f\x8b broken")
    with pytest.raises(AtlasError, match="cannot be read"):
        read_atlas(own)
    with pytest.raises(AtlasError, match=r"ends in \.nii"):
        write_labels(own.with_name("atlas.img"))


def test_labels_that_are_not_symmetric_or_on_another_grid_are_refused() -> None:
    mine = analytic_atlas().labels.copy()
    mine[tuple(np.argwhere(mine == 5)[0])] = 9
    with pytest.raises(AtlasError, match="mirror"):
        atlas_from_labels(mine)
    with pytest.raises(GridMismatchError):
        atlas_from_labels(mine[:, :, 1:])


def test_every_name_stands_for_a_structure_that_the_atlas_knows() -> None:
    sided = {f"{structure}_{side}" for structure in ("putamen", "caudate") for side in ("left", "right")}
    others = {"thalamus", "ventricles", "brain_stem", "accumbens", "pallidum", "occipital", "brain", ""}
    assert set(NAMES.values()) == sided | others
