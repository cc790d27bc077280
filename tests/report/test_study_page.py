"""The page and the files of one study: sides, what stands there, nothing from outside, all or nothing."""

import base64
import gzip
import hashlib
import html
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from datbatch import schema
from datbatch.archive import Acquisition
from datbatch.errors import ConfigurationError
from datbatch.report.parts.document import POLICY
from datbatch.report.study import film as study_film
from datbatch.report.study import folder as study_folder
from datbatch.report.study import pictures as study_pictures
from datbatch.report.study.charts import age_panels, relevance_chart
from datbatch.report.study.film import view_marks
from datbatch.report.study.folder import FILES, write_study
from datbatch.report.study.page import study_page
from tests.report.explained import HOT, comparison, explained_study, with_ages
from tests.report.parsed import Page


def blocks(text: str) -> dict[str, str]:
    return dict(re.findall(r'<script type="application/[a-z]+" id="([^"]+)">([^<]*)</script>', text))


def test_the_page_is_well_formed_and_loads_nothing() -> None:
    text = study_page(explained_study())
    page = Page(text)
    outside = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert len(outside) > 10
    assert all((value or "").startswith("data:") for value in outside)
    assert text.count("not a medical device") >= 2


def test_only_the_two_scripts_that_the_policy_names_can_run() -> None:
    text = study_page(explained_study())
    policy = html.unescape(re.search(r'content="(default-src[^"]+)"', text)[1])
    assert policy.startswith(POLICY)
    assert "unsafe-eval" not in policy
    assert "unsafe-inline" not in policy.split("script-src")[1]
    (own,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    library = gzip.decompress(base64.b64decode(blocks(text)["viewer-code"]))
    for code in (own.encode(), library):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(code).digest()).decode()}'" in policy
    assert policy.count("sha256-") == 2


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_live_volumes_are_the_patients_own_up_to_the_stated_rounding(mirrored) -> None:
    study = explained_study(mirrored=mirrored)
    found = blocks(study_page(study))
    for name, given, step in (("uptake", study.uptake, 0.01), ("relevance", -study.relevance, 1e-6)):
        image = nibabel.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(found[f"viewer-{name}"])))
        data = image.get_fdata()
        place = image.affine @ [*np.unravel_index(data.argmax(), data.shape), 1]
        np.testing.assert_allclose(place[:3], HOT, atol=schema.SPACING_MM)
        first = np.rint((image.affine[:3, 3] - schema.ORIGIN_MM) / schema.SPACING_MM).astype(int)
        box = tuple(slice(at, at + size) for at, size in zip(first, data.shape, strict=True))
        np.testing.assert_allclose(data, given[:: -1 if mirrored else 1][box], atol=0.51 * step)
    labels = np.frombuffer(gzip.decompress(base64.b64decode(found["viewer-regions"])), np.uint8)
    names = json.loads(found["viewer-settings"])["regions"]
    index = np.rint((np.array([-26.0, 2.0, 0.0]) - schema.ORIGIN_MM) / schema.SPACING_MM).astype(int)
    assert names[labels.reshape(schema.SHAPE, order="F")[tuple(index)]] == "left putamen"


def test_a_noisy_study_fits_into_four_megabytes() -> None:
    noise = np.random.default_rng(1)
    # Sharper and noisier than any reconstruction: 5 mm of resolution, half of the mean in noise.
    grain = ndimage.gaussian_filter(noise.normal(size=schema.SHAPE), 1.0)
    uptake = (1.0 + 0.5 * grain / grain.std()).astype(np.float32)
    counts = noise.poisson(20.0, (120, 128, 128)).astype(np.uint16)
    angles = np.arange(120) * 3.0
    projections = Acquisition(counts, angles, 3.0, 3.0, np.full(120, 140.0))
    study = explained_study(uptake=uptake, relevance=1e-4 * explained_study().uptake * uptake, projections=projections)
    assert len(study_page(study).encode()) <= 4_000_000


def test_a_projection_is_marked_by_what_the_detector_sees() -> None:
    for angle in range(0, 360, 15):
        right_in_lps = np.array([-np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
        left, right = view_marks(float(angle))
        towards = {"L": (1.0, 0.0), "R": (-1.0, 0.0), "P": (0.0, 1.0), "A": (0.0, -1.0)}
        assert right_in_lps @ towards[right] > 0.7
        assert right_in_lps @ towards[left] < -0.7


def test_what_shines_left_lies_where_the_view_from_the_front_says_left() -> None:
    angles = np.arange(8) * 45.0
    counts = np.ones((8, 64, 64), dtype=np.uint16)
    for view, angle in enumerate(np.deg2rad(angles)):
        # 40 mm to the patient's left, at the head's end of the field of view.
        counts[view, 10:18, (column := round(31.5 - np.cos(angle) * 40.0 / 4.0)) - 4 : column + 5] = 200
    text = "".join(study_film.film(Acquisition(counts, angles, 4.0, 4.0, np.full(8, 140.0))))
    for name, side in (("anterior", "right"), ("posterior", "left")):
        source, label = re.search(
            rf'<img src="data:image/png;base64,([^"]+)" alt="(projection, {name}[^"]*)"', text
        ).groups()
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(source))).convert("L"), dtype=float)
        row, column = np.unravel_index(picture.argmin(), picture.shape)
        assert (column > picture.shape[1] / 2) == (side == "right")
        assert row < picture.shape[0] / 2
        assert f"{side}: L" in label or f"{side} of the picture: L" in label


@pytest.mark.parametrize(("z", "kind"), [(-3.0, "outside"), (0.1, "inside")])
def test_binding_stands_at_the_persons_age_over_the_normal_range(z, kind) -> None:
    found = age_panels(explained_study(comparison=with_ages(comparison(z))), "hottest_voxels")
    assert found.count("<polygon") == 4
    assert found.count(f'class="{kind}"') == 4
    names = re.findall(r'class="name">([^:<]+)', found)
    assert names == ["Right putamen", "Left putamen", "Right caudate", "Left caudate"]
    (panel, *_) = re.findall(r"<svg.*?</svg>", found)
    x = float(re.search(r'<circle cx="([\d.]+)"', panel)[1])
    ticks = {int(age): float(at) for at, age in re.findall(r'<text x="([\d.]+)" y="149"[^>]*>(\d+)<', panel)}
    assert ticks[60] < x < ticks[70]
    assert age_panels(explained_study(), "hottest_voxels") is None


def test_an_age_that_points_to_a_person_is_not_given() -> None:
    old = with_ages(comparison())
    old = replace(old, person=replace(old.person, age_years=93.4))
    text = study_page(explained_study(comparison=old))
    assert "age over 89" in text
    assert "93" not in Page(text.split("<script")[0]).text


@pytest.mark.parametrize("orientation", [1, -1])
def test_relevance_bars_are_turned_so_that_right_speaks_for_reduced_uptake(orientation) -> None:
    regional = np.zeros((len(schema.REGIONS), len(schema.STATISTICS)))
    positive, negative = schema.STATISTICS.index("positive_mass"), schema.STATISTICS.index("negative_mass")
    masses = (positive, negative) if orientation > 0 else (negative, positive)
    for region, values in (("putamen_ipsilateral", (0.6, 0.0)), ("occipital", (0.0, 0.2)), ("whole_brain", (0.8, 0.2))):
        regional[schema.REGIONS.index(region), list(masses)] = values
    # The store keeps negative masses below zero.
    regional[:, negative] *= -1
    chart = relevance_chart(explained_study(regional=regional, orientation=orientation))
    widths = {
        kind: [float(w) for w in re.findall(rf'width="([\d.]+)"[^>]*class="{kind}"', chart)]
        for kind in ("reduced", "intact")
    }
    left_putamen, occipital = 0, list(schema.REGIONS).index("occipital")
    assert widths["reduced"][left_putamen] == max(widths["reduced"]) > 0
    assert widths["intact"][occipital] == max(widths["intact"]) > 0
    assert widths["reduced"][occipital] == widths["intact"][left_putamen] == 0.0


@pytest.mark.parametrize("convention", ["radiological", "neurological"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_patients_own_left_is_shown_where_it_is_marked(mirrored, convention) -> None:
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
    assert coronal.image.shape[0] == schema.SHAPE[2]
    row = int(np.unravel_index(coronal.image.argmax(), coronal.image.shape)[0])
    low, high = coronal.extent_mm[2:]
    assert high - (row + 0.5) * schema.SPACING_MM == pytest.approx(HOT[2], abs=schema.SPACING_MM)
    assert low < high


def test_what_is_seen_as_outside_the_normal_range_contradictions_and_doubts_are_said() -> None:
    text = study_page(explained_study())
    assert "below the normal range" in text
    assert "z = −3.0" in text
    assert "Network and binding disagree" not in text
    assert "fewer than 3 normal studies" in text
    assert "The head moved during the acquisition." in text
    text = study_page(explained_study(comparison=comparison(0.1), certain=False, inconsistent=True))
    assert "Network and binding disagree" in text
    assert "It is uncertain" in text
    assert "typical of the other class" in text


def test_what_is_not_known_is_said_to_be_unknown() -> None:
    bare = explained_study(
        comparison=None,
        not_compared="there is none",
        certain=None,
        not_judged="nobody called `datbatch <evaluate>`",
        calibrated_probability=np.nan,
        uncertain_share=np.nan,
    )
    told = bare.text().splitlines()
    assert told[0].endswith("(not calibrated), certain or not is not known")
    assert told[1] == "not known whether certain: nobody called `datbatch <evaluate>`"
    text = study_page(bare)
    assert "not calibrated" in text
    assert "Whether the reading is certain is not known: nobody called <code>datbatch &lt;evaluate&gt;</code>" in text
    assert "No normal range: there is none" in text
    said = re.sub(r"<script.*?</script>|data:[^\"]*", "", text, flags=re.DOTALL)
    assert "nan" not in said.lower().replace("nanm", "")


def test_of_a_study_that_was_reconstructed_elsewhere_nothing_is_said_about_projections() -> None:
    acquired = {"scanner": "", "views": 0, "missing_views": 0, "pixel_size_mm": np.nan}
    text = study_page(
        explained_study(source="tomogram", counts=np.nan, flags=(), quantification_flags=(), acquired=acquired)
    )
    said = re.sub(r"<[^>]*>", " ", re.sub(r"<(script|style).*?</\1>", "", text, flags=re.DOTALL))
    assert "reconstructed elsewhere" in said
    assert "nothing is known of its projections" in said
    assert not re.search(r"Counts|Views|Missing views|Motion of the head|unusual about projections", said)


def test_hostile_text_is_escaped() -> None:
    text = study_page(explained_study(model="<script>alert(1)</script>", study="</script><b>"))
    assert "<script>alert" not in text
    assert "<b>" not in text.split("<h1>")[1].split("</header>")[0]


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_volumes_are_the_patients_own_and_say_so(tmp_path, mirrored) -> None:
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


def test_the_summary_is_strict_json(tmp_path) -> None:
    write_study(explained_study(), tmp_path / "out")

    def refuse(name: str) -> None:
        raise AssertionError(name)

    summary = json.loads((tmp_path / "out" / "summary.json").read_text(), parse_constant=refuse)
    assert summary["certain"] is True
    assert summary["motion_mm"] is None
    assert summary["normal_range"]["measures"]["hottest_voxels putamen_ipsilateral"]["z"] == -3.0
    assert "medical device" in summary["notice"]


def test_an_earlier_output_is_replaced_whole_or_not_at_all_and_other_files_are_never_lost(
    tmp_path, monkeypatch
) -> None:
    out, written = tmp_path / "out", study_folder.write_whole

    def full(path: Path, content: bytes) -> Path:
        if path.name == "study.html":
            raise OSError(28, "No space left on device")
        return written(path, content)

    write_study(explained_study(), out)
    before = (out / "study.html").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(study_folder, "write_whole", full)
        with pytest.raises(OSError, match="No space"):
            write_study(explained_study(model="another"), out)
    assert (out / "study.html").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    write_study(explained_study(model="another"), out)
    assert "another" in (out / "study.html").read_text()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="other files"):
        write_study(explained_study(), out)
    assert (out / "mine.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
