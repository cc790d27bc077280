"""The page and the files of one study: sides, what stands there, nothing from outside, all or nothing."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from datbatch.cohort import schema
from datbatch.errors import ConfigurationError
from datbatch.report import study_folder, study_pictures
from datbatch.report.document import POLICY
from datbatch.report.study_folder import FILES, write_study
from datbatch.report.study_page import study_page
from tests.report.explained import HOT, comparison, explained_study
from tests.report.parsed import Page


def test_the_page_is_well_formed_and_loads_nothing() -> None:
    text = study_page(explained_study())
    page = Page(text)
    assert POLICY in text.replace("&#x27;", "'")
    assert "<script" not in text
    outside = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert len(outside) > 10
    assert all((value or "").startswith("data:") for value in outside)
    assert text.count("not a medical device") >= 2


@pytest.mark.parametrize("convention", ["radiological", "neurological"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_patients_own_left_is_shown_where_it_is_marked(mirrored: bool, convention) -> None:
    study = explained_study(mirrored=mirrored)
    cut = study_pictures.slices(study, convention)[1]
    column = int(np.unravel_index(cut.uptake.image.argmax(), cut.uptake.image.shape)[1])
    on_the_right = column > cut.uptake.image.shape[1] / 2
    assert on_the_right == (convention == "radiological")
    row = study_pictures.uptake_row(study, [cut], convention)
    assert f'class="{"right" if on_the_right else "left"}">L<' in row
    assert cut.relevance.image.max() > 5e-4, "relevance is turned so that positive speaks for reduced uptake"


def test_a_coronal_slice_has_the_vertex_at_the_top() -> None:
    study = explained_study()
    coronal = study_pictures.slices(study, "radiological")[-1].uptake
    assert coronal.image.shape == (schema.SHAPE[2], schema.SHAPE[0])
    row = int(np.unravel_index(coronal.image.argmax(), coronal.image.shape)[0])
    low, high = coronal.extent_mm[2:]
    assert high - (row + 0.5) * schema.SPACING_MM == pytest.approx(HOT[2], abs=schema.SPACING_MM)
    assert low < high


def test_what_is_seen_as_outside_the_normal_range_is_said() -> None:
    text = study_page(explained_study())
    assert "below the normal range" in text
    assert "z = −3.0" in text
    assert "Network and binding disagree" not in text
    assert "fewer than 3 normal studies" in text
    assert "The head moved during the acquisition." in text


def test_contradictions_and_doubts_are_said() -> None:
    text = study_page(explained_study(comparison=comparison(0.1), certain=False, inconsistent=True))
    assert "Network and binding disagree" in text
    assert "It is uncertain" in text
    assert "typical of the other class" in text


def test_what_is_not_known_is_said_to_be_unknown() -> None:
    bare = explained_study(
        comparison=None,
        not_compared="there is none",
        certain=None,
        calibrated_probability=np.nan,
        uncertain_share=np.nan,
    )
    text = study_page(bare)
    assert "not calibrated" in text
    assert "Whether the reading is certain is not known" in text
    assert "No normal range: there is none" in text
    assert "nan" not in text.lower().replace("nanm", "")


def test_hostile_text_is_escaped() -> None:
    text = study_page(explained_study(model="<script>alert(1)</script>"))
    assert "<script" not in text


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_volumes_are_the_patients_own_and_say_so(tmp_path: Path, mirrored: bool) -> None:
    study = explained_study(mirrored=mirrored)
    page = write_study(study, tmp_path / "out")
    assert sorted(path.name for path in page.parent.iterdir()) == sorted(FILES)
    for name, turned in (("uptake.nii.gz", study.uptake), ("relevance.nii.gz", -study.relevance)):
        image = nibabel.load(page.parent / name)
        data = np.asarray(image.dataobj)
        place = image.affine @ [*np.unravel_index(data.argmax(), data.shape), 1]
        np.testing.assert_allclose(place[:3], HOT, atol=schema.SPACING_MM)
        assert data.max() == turned.max()
        assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
        assert image.header["sform_code"] == image.header["qform_code"] == 4
        np.testing.assert_array_equal(image.get_qform(), image.get_sform())
        assert b"patient L x<0" in bytes(image.header["descrip"])
        assert gzip.decompress((page.parent / name).read_bytes())[344:348] == b"n+1\0"


def test_the_summary_is_strict_json(tmp_path: Path) -> None:
    write_study(explained_study(), tmp_path / "out")

    def refuse(name: str) -> None:
        raise AssertionError(name)

    summary = json.loads((tmp_path / "out" / "summary.json").read_text(), parse_constant=refuse)
    assert summary["certain"] is True
    assert summary["motion_mm"] is None
    assert summary["normal_range"]["measures"]["hottest_voxels putamen_ipsilateral"]["z"] == -3.0
    assert "medical device" in summary["notice"]


def test_an_earlier_output_is_replaced_and_other_files_are_never_lost(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_study(explained_study(), out)
    write_study(explained_study(model="another"), out)
    assert "another" in (out / "study.html").read_text()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="other files"):
        write_study(explained_study(), out)
    assert (out / "mine.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_nothing_is_left_when_the_page_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = study_folder.write_whole

    def full(path: Path, content: bytes) -> Path:
        if path.name == "study.html":
            raise OSError(28, "No space left on device")
        return written(path, content)

    write_study(explained_study(), tmp_path / "out")
    before = (tmp_path / "out" / "study.html").read_bytes()
    monkeypatch.setattr(study_folder, "write_whole", full)
    with pytest.raises(OSError, match="No space"):
        write_study(explained_study(model="another"), tmp_path / "out")
    assert (tmp_path / "out" / "study.html").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
