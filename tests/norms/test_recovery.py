"""Recovery factors: read with every fault named, applied to ratios alone."""

from pathlib import Path

import numpy as np
import pytest

from datbatch.errors import RecoveryTableError
from datbatch.norms import read_recovery, recover
from datbatch.schema import DEFINITIONS, MEASURES

GOOD = "scanner,definition,recovery,sd\nDuo 2,hottest_voxels,0.5,0.05\nDuo 2,fixed_regions,0.4,\n"


def written(tmp_path: Path, text: str) -> Path:
    (tmp_path / "Mr Smith.csv").write_text(text)
    return tmp_path / "Mr Smith.csv"


def test_ratios_are_divided_and_the_factors_sd_goes_along(tmp_path) -> None:
    table = read_recovery(written(tmp_path, GOOD))
    values = np.full((2, len(MEASURES)), 2.0)
    found = recover(values, np.array(["Duo 2", "Gemina"]), table)
    at = MEASURES.index
    assert found.values[0, at("hottest_voxels putamen_ipsilateral")] == 4.0
    assert found.sd[0, at("hottest_voxels putamen_ipsilateral")] == pytest.approx(2.0 * 0.05 / 0.25)
    assert found.values[0, at("fixed_regions caudate_contralateral")] == 5.0
    assert np.isnan(found.sd[0, at("fixed_regions caudate_contralateral")])
    assert found.values[0, at("asymmetry hottest_voxels putamen")] == 2.0
    assert found.values[0, at("putamen_to_caudate fixed_regions ipsilateral")] == 2.0
    assert np.isnan(found.values[0, at("large_volume striatum_ipsilateral")])
    assert np.isnan(found.values[1]).all()
    assert list(found.missing) == [True, True]


def test_a_complete_camera_is_not_flagged(tmp_path) -> None:
    rows = "".join(f"A,{definition},1\n" for definition in DEFINITIONS)
    table = read_recovery(written(tmp_path, "site,definition,recovery\n" + rows))
    values = np.random.default_rng(0).normal(size=(3, len(MEASURES)))
    found = recover(values, np.array(["A", "B", "A"]), table)
    assert table.key == "site"
    assert list(found.missing) == [False, True, False]
    np.testing.assert_array_equal(found.values[[0, 2]], values[[0, 2]])


def test_without_a_table_nothing_is_known_and_nothing_is_missing() -> None:
    found = recover(np.ones((2, len(MEASURES))), np.array(["a", "b"]), None)
    assert np.isnan(found.values).all()
    assert not found.missing.any()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "no row"),
        ("scanner,definition,recovery\n", "no row"),
        ("scanner,site,definition,recovery\nA,B,fixed_regions,0.5\n", "columns"),
        ("camera,definition,recovery\nA,fixed_regions,0.5\n", "columns"),
        ("scanner,definition\nA,fixed_regions\n", "columns"),
        ("scanner,definition,recovery\nA,fixed_regions,0.5,9,9\n", "columns"),
        ("scanner,definition,recovery\nA,fixed_regions,\n", "line 2"),
        ("scanner,definition,recovery\nA,fixed_regions,half\n", "line 2"),
        ("scanner,definition,recovery\nA,fixed_regions,0\n", "line 2"),
        ("scanner,definition,recovery\nA,fixed_regions,1.2\n", "line 2"),
        ("scanner,definition,recovery\nA,fixed_regions,nan\n", "line 2"),
        ("scanner,definition,recovery,sd\nA,fixed_regions,0.5,-1\n", "line 2"),
        ("scanner,definition,recovery\n,fixed_regions,0.5\n", "line 2"),
        ("scanner,definition,recovery\nA,coldest,0.5\n", "line 2"),
        (GOOD + "Duo 2,fixed_regions,0.4\n", "line 4"),
    ],
)
def test_a_wrong_table_is_refused_by_its_line(tmp_path, text, named) -> None:
    with pytest.raises(RecoveryTableError, match=named) as caught:
        read_recovery(written(tmp_path, text))
    assert "Smith" not in str(caught.value)


def test_a_missing_binary_or_huge_file_is_refused(tmp_path) -> None:
    with pytest.raises(RecoveryTableError):
        read_recovery(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecoveryTableError):
        read_recovery(tmp_path / "b.csv")
    with pytest.raises(RecoveryTableError, match="1 MB"):
        read_recovery(written(tmp_path, GOOD + "\n" * 1_000_001))


def test_the_digest_is_of_the_content_alone(tmp_path) -> None:
    first = read_recovery(written(tmp_path, GOOD)).digest
    (tmp_path / "other.csv").write_text(GOOD)
    assert read_recovery(tmp_path / "other.csv").digest == first
    assert read_recovery(written(tmp_path, GOOD.replace("0.5,", "0.6,"))).digest != first
