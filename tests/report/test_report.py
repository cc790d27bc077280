"""The page says what the store holds, loads nothing, and survives whatever the store lacks."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from datbatch.errors import ConfigurationError, ModelError
from datbatch.report import write_report
from datbatch.report.cohort import contents
from datbatch.report.cohort import relevance as relevance_sections
from datbatch.report.cohort.contents import gather
from datbatch.report.cohort.pages import RECORD_FILE, render
from datbatch.report.parts import plates
from datbatch.report.parts.document import POLICY
from datbatch.report.parts.wording import scientific
from tests.report.parsed import Page
from tests.report.synthetic import CARD, LEFT_OUT, TEST_SET, WHOLE, Synthetic, build_cohort

HOSTILE = "<script>alert('x')</script>\"><img src=https://example.org/p.png>"


@pytest.fixture
def written(monkeypatch):
    """Write the page of a cohort without files and parse it; the slow sheets of all slices are left blank."""
    monkeypatch.setattr(plates, "all_slices", lambda *args: Figure(figsize=(1, 1)))

    def write(*args, **kwargs) -> Page:
        return Page(render(gather(build_cohort(*args, **kwargs), None, "radiological")))

    return write


def test_the_headline_counts_the_studies_and_tells_the_test_sets_figures_with_their_intervals(page) -> None:
    assert "Studies found 17 1 excluded" in page.text
    assert "Processed 13" in page.text
    assert "Failed 3 for 2 reasons" in page.text
    assert "Positive, of those with a label 46.2 % 6/13" in page.text
    assert "Accuracy, test set 71.4 % 5/7; 95 % CI 35.9 to 91.8" in page.text
    assert "Sensitivity 66.7 % 2/3" in page.text
    assert "Specificity 75.0 % 3/4" in page.text
    assert "in or next to the striatum 100.0 % within 10 mm; 7/7" in page.text


def test_the_diagram_shows_every_number_of_the_flow(page) -> None:
    start = page.source.index("<svg")
    words = re.findall(r">([^<>]+)</text>", page.source[start : page.source.index("</svg>")])
    for line in (
        "n = 40", "Files skipped: 5", "not dicom: 3", "wrong modality: 2", "n = 17", "Excluded: 1",
        "I1 other indication: 1", "n = 16", "Failed: 3", "truncated: 2", "views missing: 1", "n = 13",
        "n = 4", "2 negative, 2 positive", "n = 2", "n = 7", "4 negative, 3 positive", "Network: negative",
        "3 true negative", "1 false negative", "2 true positive", "1 false positive",
    ):  # fmt: skip
        assert line in words, line


def test_table_1_stands_as_in_the_paper(page) -> None:
    rows = page.table_with("Negative, females")
    assert rows["Whole sample (n = 13)"][0] == "60.8 ± 2.5 (n = 4)"
    assert rows["Training set (n = 4)"][1] == "– (n = 0)"
    assert rows["Test set (n = 7)"][1] == "59.0 (n = 2, age of 1 unknown)"


def test_failures_are_listed_by_pseudonym_with_code_and_reason(page) -> None:
    rows = page.table_with("Reason")
    assert set(rows) == {study.study for study in LEFT_OUT}
    assert rows["sc02"] == ["south", "failed", "truncated", "reconstruct", "60 of 120 frames"]
    meanings = page.table_with("Remedy")
    assert meanings["truncated"][1:] == [
        "The file holds fewer bytes or frames than its header declares.",
        "Copy or export the file again; it was cut.",
        "2",
    ]


def test_classifiers_stand_beside_the_papers_figures(page) -> None:
    rows = page.table_with("Classifier")
    assert rows["Network"][:4] == ["3", "2", "1", "1"]
    assert rows["Network"][4] == "71.4 35.9 to 91.8 5/7"
    assert rows["Network, Nazari et al. 2022"][:5] == ["148", "128", "10", "2", "95.8 92.9 to 97.6 276/288"]
    assert rows["Putamen relevance, cut at zero"][:4] == ["3", "3", "0", "1"]
    assert rows["Putamen relevance, learned cut (+0.05)"][:4] == ["3", "3", "0", "1"]
    assert rows["Conventional: putamen SBR below 1.50"][:4] == ["4", "3", "0", "0"]


def test_every_misclassified_study_has_its_picture(page) -> None:
    drawn = [
        attributes["alt"] for tag, attributes in page.tags if tag == "img" and "misclassified" in attributes["alt"]
    ]
    assert len(drawn) == 1
    assert drawn[0].endswith("true positive ones: sb06, sb07.")
    rows = page.table_with("Map")
    assert rows["sb06"] == ["north", "false negative", "–", "0.12", "0.60", "+0.1", "inconsistent"]
    assert rows["sb07"][1] == "false positive"
    assert rows["sb07"][-1].startswith("consistent"), "what follows the last table is counted in by the parser"


def test_the_methods_have_the_runs_own_parameters_and_before_them_the_models(written, page) -> None:
    assert "cutoff of 1.25 cycles/cm" in page.text
    assert "trained for 3 epochs" in page.text
    config = json.loads(build_cohort().attrs["config"])
    config["reconstruct"] = {"filter": "hann", "cutoff_per_cm": 0.7}
    config["archive"]["inclusion"] = "all"
    config["register"] = {"template": "sha256:0123456789abcdef"}
    config["quantify"] = {"atlas": "sha256:0123456789abcdef"}
    attributes = {"config": json.dumps(config), "simulated": False}
    text = written(TEST_SET, (), attributes=attributes).text
    assert "a Hann filter and a cutoff of 0.7 cycles/cm" in text
    assert "All studies whose raw projections were available were included" in text
    assert "against a template of the centre's own" in text
    assert "an atlas of the centre's own" in text
    card = {**CARD, "config": {"train": {"learning_rate": 0.003}}}
    assert "learning rate 0.003" in written(TEST_SET, card=card).text


def test_the_notice_stands_at_top_and_bottom(written, page) -> None:
    assert page.text.count("Research software, not a medical device. Simulated studies.") == 2
    assert page.source.index("not a medical device") < page.source.index("<main")
    assert page.source.rindex("not a medical device") > page.source.index("</main")
    real = written(TEST_SET, (), attributes={})
    assert real.text.count("Research software, not a medical device.") == 2
    assert "imulated" not in real.text
    assert "Simulated studies." in written(TEST_SET, (), attributes={"archive_kind": "simulated"}).text


def test_the_page_loads_nothing_and_runs_nothing(page, report_file) -> None:
    policies = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [POLICY]
    assert policies[0].startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "iframe", "object", "embed", "audio", "video", "base"})
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), f"{tag} has a handler"
            if name in ("src", "href", "srcset", "action", "data"):
                beside = tag == "a" and (report_file.parent / value).exists() and value.startswith("report/")
                assert beside or value.startswith(("data:", "#")), f"{tag} points to {value[:40]}"
    assert "url(" not in page.source
    assert "@import" not in page.source


def test_every_picture_says_in_words_what_it_shows(page) -> None:
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) > 10
    for attributes in pictures:
        assert len(attributes["alt"] or "") > 30
        assert (attributes["src"] or "").startswith("data:image/png;base64,iVBOR")
    identifiers = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(identifiers) == len(set(identifiers))
    for _, attributes in page.tags:
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in identifiers


def test_hostile_words_of_the_store_are_shown_not_obeyed(written) -> None:
    study = Synthetic("sx01", site=HOSTILE, status="failed", code="truncated", reason=HOSTILE)
    wrong = replace(TEST_SET[5], study="sx<b>", site=HOSTILE)
    found = written((*TEST_SET, study, wrong))
    assert HOSTILE in found.text
    assert "<script" not in found.source
    assert "example.org" not in found.source.replace("https://example.org/p.png&gt;", "")
    assert not [attributes for tag, attributes in found.tags if tag == "b" and attributes]
    assert {tag for tag, _ in found.tags}.isdisjoint({"script"})


def test_the_report_is_small_and_the_same_every_time(report_file, tmp_path, monkeypatch) -> None:
    assert report_file.stat().st_size < 8_000_000
    # All slices take long to draw; one sheet stands for them.
    monkeypatch.setattr(plates, "all_slices", lambda *args: Figure(figsize=(1, 1)))
    write_report(build_cohort(), tmp_path / report_file.name)

    def files(folder: Path) -> dict[str, bytes]:
        found = (path for path in folder.rglob("*.*") if path.is_file() and "all_slices" not in path.name)
        return {str(path.relative_to(folder)): path.read_bytes() for path in found if path.suffix != ".html"}

    assert files(tmp_path) == files(report_file.parent)


def test_every_figure_has_its_picture_for_print_and_its_data(report_file, page) -> None:
    folder = report_file.with_suffix("")
    names = sorted(path.stem for path in (folder / "figures").glob("*.svg"))
    assert len(names) == page.source.count("<figure")
    for name in names:
        with Image.open(folder / "figures" / f"{name}.png") as image:
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        assert (folder / "figures" / f"{name}.svg").read_bytes().startswith(b"<?xml")
        assert list((folder / "figures").glob(f"{name}*.csv")) or "all_slices" in name
    tables = sorted((folder / "tables").glob("*.csv"))
    assert len(tables) == page.source.count("<table>")
    demographics = next(path for path in tables if "demographics" in path.name).read_text()
    assert demographics.splitlines()[:2] == [
        "set,label,sex,n,age_known,age_mean,age_sd",
        "whole,negative,F,4,4,60.75,2.5",
    ]
    sites = next(path for path in tables if "sites" in path.name).read_text()
    assert sites.splitlines()[1].startswith("north Acme SPECT 2,"), "words as they are shown, without markup"
    assert "&lt;a" not in page.source
    assert f'href="report/{tables[0].relative_to(folder)}"' in page.source


def test_volumes_behind_figures_lie_in_space_with_the_ipsilateral_side_left(report_file) -> None:
    volumes = report_file.with_suffix("") / "volumes"
    image = nibabel.load(volumes / "heat_map.nii.gz")
    peak = np.unravel_index(np.argmax(image.get_fdata()), image.shape)
    x_mm, y_mm, z_mm = nibabel.affines.apply_affine(image.affine, peak)
    assert (x_mm, y_mm, z_mm) == pytest.approx((-26, 2, 0), abs=1.01), "positive less negative is highest there"
    region = nibabel.load(volumes / "putamen_region_ipsilateral.nii.gz")
    inside = nibabel.affines.apply_affine(region.affine, np.argwhere(np.asarray(region.dataobj) > 0))
    assert inside[:, 0].max() < 0
    drawn = pd.read_csv(next((report_file.with_suffix("") / "figures").glob("*mean_images.csv")))
    assert drawn.loc[drawn["heat_map"].idxmax(), "x_mm"] == pytest.approx(-26, abs=1.01)


def test_methods_go_into_a_manuscript_with_their_works(report_file) -> None:
    folder = report_file.with_suffix("")
    text, works = (folder / "methods.md").read_text(), (folder / "references.bib").read_text()
    named = set(re.findall(r"@([a-z]+[0-9]{4})", text))
    assert "nazari2022" in named
    assert set(re.findall(r"@[a-z]+\{(\w+),", works)) == named
    assert "doi = {10.1007/s00259-021-05569-9}" in works
    record = json.loads((folder / RECORD_FILE).read_text())
    assert record["weights_sha256"] == CARD["weights_sha256"]
    assert record["simulated"] is True
    assert record["parameters"]["reconstruct"]["cutoff_per_cm"] == 1.25


def test_a_report_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch) -> None:
    target = tmp_path / "deep" / "report.html"
    assert write_report(build_cohort(TEST_SET[:1], ()), target) == target
    before = target.read_bytes()

    def refuse(self, other):
        raise OSError("no space")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", refuse)
        with pytest.raises(OSError, match="no space"):
            write_report(build_cohort(TEST_SET[:2], ()), target)
    assert target.read_bytes() == before
    assert sorted(path.name for path in target.parent.iterdir()) == ["report", "report.html"]
    record = (target.parent / "report" / RECORD_FILE).read_bytes()
    write_report(build_cohort(TEST_SET[:2], ()), target)
    assert target.read_bytes() != before
    assert (target.parent / "report" / RECORD_FILE).read_bytes() == record
    assert sorted(path.name for path in target.parent.iterdir()) == ["report", "report.html"]


def test_a_folder_of_something_else_is_not_replaced_and_an_unknown_model_is_refused_by_name(tmp_path) -> None:
    kept = tmp_path / "mine" / "thesis.txt"
    kept.parent.mkdir()
    kept.write_text("years of work")
    with pytest.raises(ConfigurationError, match="something else"):
        write_report(build_cohort(TEST_SET[:1], ()), tmp_path / "mine.html")
    assert kept.read_text() == "years of work"
    assert not (tmp_path / "mine.html").exists()
    with pytest.raises(ModelError, match="'nobody'"):
        write_report(build_cohort(TEST_SET[:1]), tmp_path / "report.html", model="nobody")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_store_without_models_is_reported_without_classification(written) -> None:
    found = written(WHOLE, ())
    assert "The store has no model yet" in found.text
    assert "Studies found 17" in found.text
    assert "Accuracy" not in found.text


@pytest.mark.parametrize(
    ("studies", "words"),
    [
        ((), "Studies found 0"),
        (LEFT_OUT, "No study of the test set has both a label and a prediction"),
        (TEST_SET[:3], "Without any positive study, figures of that class do not exist"),
        (TEST_SET[3:5], "Without any negative study, figures of that class do not exist"),
        (TEST_SET[5:], "of 0 true negatives, 0 true positives"),
        ((*TEST_SET[:2], *TEST_SET[3:5]), "No study of the test set was misclassified"),
        (tuple(replace(study, age=float("nan"), sex="") for study in TEST_SET), "The sex of 7 labelled studies"),
        (tuple(replace(study, split="") for study in TEST_SET), "In no set (no label, or added later): 7"),
        ((Synthetic("sp01", status="pending"), TEST_SET[0]), "Not processed yet: 1"),
    ],
)
def test_what_is_missing_is_said(written, studies, words) -> None:
    found = written(studies)
    assert words in found.text or any(words in (a.get("alt") or "") for tag, a in found.tags if tag == "img")
    assert found.source.endswith("</html>\n")


def test_a_card_without_history_or_orientation_is_reported(written) -> None:
    card = {"preset": "paper", "orientation": None}
    found = written(TEST_SET, card=card)
    assert "no training history" in found.text
    assert "The model's card has no orientation" in found.text
    assert "learned cut (" not in found.text


def test_too_many_misclassified_studies_are_cut_and_the_cut_is_told(written, monkeypatch) -> None:
    monkeypatch.setattr(contents, "SHOWN_CASES", 4)
    monkeypatch.setattr(relevance_sections, "CASES_ON_A_PLATE", 3)
    found = written(tuple(replace(TEST_SET[5], study=f"sw{number:02}") for number in range(6)))
    assert "The first 4 are drawn" in found.text
    plates_shown = [a["alt"] for tag, a in found.tags if tag == "img" and "misclassified" in (a.get("alt") or "")]
    assert [words.split(": ")[1] for words in plates_shown] == ["sw00, sw01, sw02.", "sw03."]
    assert "sw05" in found.table_with("Map"), "the table lists them all"


def test_the_report_needs_neither_zarr_nor_dask_nor_torch_nor_a_display() -> None:
    program = "import sys, datbatch.report; print(sorted({'zarr', 'dask', 'distributed', 'torch', 'matplotlib.pyplot'} "
    program += "& set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-0.0, "0"), (-0.05, "-0.05"), (12.345, "+12.3"), (-8.4298e-05, "-8.43 × 10⁻⁵"), (float("nan"), "–")],
)
def test_relevance_of_any_size_is_written_shortly(value, text) -> None:
    assert scientific(value) == text
