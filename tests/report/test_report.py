"""The page says what the store holds, loads nothing, and survives whatever the store lacks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from datbatch.errors import ModelError
from datbatch.report import plates, write_report
from datbatch.report.contents import SHOWN_CASES
from datbatch.report.document import POLICY
from datbatch.report.figures import to_png
from datbatch.report.wording import scientific
from tests.report.parsed import Page
from tests.report.synthetic import CARD, LEFT_OUT, TEST_SET, WHOLE, Synthetic, build_cohort

HOSTILE = "<script>alert('x')</script>\"><img src=https://example.org/p.png>"


@pytest.fixture
def written(tmp_path: Path, monkeypatch):
    """Write the report of a cohort and parse it; the slow sheets of all slices are left blank."""
    blank = store_slice_png()
    monkeypatch.setattr(plates, "all_slices", lambda *args: blank)

    def write(*args, **kwargs) -> Page:
        path = write_report(build_cohort(*args, **kwargs), tmp_path / "report.html")
        return Page(path.read_text(encoding="utf-8"))

    return write


def store_slice_png() -> bytes:
    """Give any small picture."""
    return to_png(Figure(figsize=(1, 1)))


def test_the_headline_counts_the_studies(page: Page) -> None:
    assert "Studies found 17 1 excluded" in page.text
    assert "Processed 13" in page.text
    assert "Failed 3 for 2 reasons" in page.text
    assert "Positive, of those with a label 46.2 % 6/13" in page.text


def test_the_headline_tells_the_test_sets_figures_with_their_intervals(page: Page) -> None:
    assert "Accuracy, test set 71.4 % 5/7; 95 % CI 35.9 to 91.8" in page.text
    assert "Sensitivity 66.7 % 2/3" in page.text
    assert "Specificity 75.0 % 3/4" in page.text
    assert "in or next to the striatum 100.0 % within 10 mm; 7/7" in page.text


def test_the_diagram_shows_every_number_of_the_flow(page: Page) -> None:
    start = page.source.index("<svg")
    words = re.findall(r">([^<>]+)</text>", page.source[start : page.source.index("</svg>")])
    for line in (
        "n = 40", "Files skipped: 5", "not-dicom: 3", "n = 17", "Excluded: 1", "I1 other indication: 1", "n = 16",
        "Failed: 3", "truncated: 2", "views-missing: 1", "n = 13", "n = 4", "2 negative, 2 positive", "n = 2", "n = 7",
        "4 negative, 3 positive",
    ):  # fmt: skip
        assert line in words, line


def test_table_1_stands_as_in_the_paper(page: Page) -> None:
    rows = page.table_with("Negative, females")
    assert rows["Whole sample (n = 13)"][0] == "60.8 ± 2.5 (n = 4)"
    assert rows["Training set (n = 4)"][1] == "– (n = 0)"
    assert rows["Test set (n = 7)"][1] == "59.0 (n = 2, age of 1 unknown)"


def test_failures_are_listed_by_pseudonym_with_code_and_reason(page: Page) -> None:
    rows = page.table_with("Reason")
    assert set(rows) == {study.study for study in LEFT_OUT}
    assert rows["sc02"] == ["south", "failed", "truncated", "reconstruct", "60 of 120 frames"]
    meanings = page.table_with("Remedy")
    assert meanings["truncated"][1:] == [
        "The file holds fewer bytes or frames than its header declares.",
        "Copy or export the file again; it was cut.",
        "2",
    ]


def test_classifiers_stand_beside_the_papers_figures(page: Page) -> None:
    rows = page.table_with("Classifier")
    assert rows["Network"][:4] == ["3", "2", "1", "1"]
    assert rows["Network"][4] == "71.4 35.9 to 91.8 5/7"
    assert rows["Network, Nazari et al. 2022"][:5] == ["148", "128", "10", "2", "95.8 92.9 to 97.6 276/288"]
    assert rows["Putamen relevance, cut at zero"][:4] == ["3", "3", "0", "1"]
    assert rows["Putamen relevance, learned cut (+0.05)"][:4] == ["3", "3", "0", "1"]
    assert rows["Conventional: putamen SBR below 1.50"][:4] == ["4", "3", "0", "0"]


def test_every_misclassified_study_has_its_picture(page: Page) -> None:
    assert "sb06 false negative: label positive, probability of positive 0.12" in page.text
    assert page.text.count("Inconsistent map.") == 1
    assert "sb07 false positive" in page.text
    assert "Mean true negative (n = 3), for comparison" in page.text


def test_the_methods_have_the_runs_own_parameters(written, page: Page) -> None:
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


def test_the_models_own_parameters_win_over_the_runs(written) -> None:
    card = {**CARD, "config": {"train": {"learning_rate": 0.003}}}
    assert "learning rate 0.003" in written(TEST_SET, card=card).text


def test_the_notice_stands_at_top_and_bottom(written, page: Page) -> None:
    assert page.text.count("Research software, not a medical device. Simulated studies.") == 2
    assert page.source.index("not a medical device") < page.source.index("<main")
    assert page.source.rindex("not a medical device") > page.source.index("</main")
    real = written(TEST_SET, (), attributes={})
    assert real.text.count("Research software, not a medical device.") == 2
    assert "imulated" not in real.text
    assert "Simulated studies." in written(TEST_SET, (), attributes={"archive_kind": "simulated"}).text


def test_the_page_loads_nothing_and_runs_nothing(page: Page) -> None:
    policies = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [POLICY]
    assert policies[0].startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "iframe", "object", "embed", "audio", "video", "base"})
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), f"{tag} has a handler"
            if name in ("src", "href", "srcset", "action", "data"):
                assert value is not None
                assert value.startswith(("data:", "#")), f"{tag} points to {value[:40]}"
    assert "url(" not in page.source
    assert "@import" not in page.source


def test_every_picture_says_in_words_what_it_shows(page: Page) -> None:
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


def test_the_report_is_small_and_the_same_every_time(report_file: Path, tmp_path: Path) -> None:
    again = write_report(build_cohort(), tmp_path / "again.html")
    assert again.read_bytes() == report_file.read_bytes()
    assert report_file.stat().st_size < 8_000_000


def test_a_report_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch) -> None:
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
    assert [path.name for path in target.parent.iterdir()] == ["report.html"]


def test_a_store_without_models_is_reported_without_classification(written) -> None:
    found = written(WHOLE, ())
    assert "The store has no model yet" in found.text
    assert "Studies found 17" in found.text
    assert "Accuracy" not in found.text


def test_an_unknown_model_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="'nobody'"):
        write_report(build_cohort(TEST_SET[:1]), tmp_path / "report.html", model="nobody")
    assert not list(tmp_path.iterdir())


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
def test_what_is_missing_is_said(written, studies, words: str) -> None:
    found = written(studies)
    assert words in found.text or any(words in (a.get("alt") or "") for tag, a in found.tags if tag == "img")
    assert found.source.endswith("</html>\n")


def test_a_card_without_history_or_orientation_is_reported(written) -> None:
    card = {"preset": "paper", "orientation": None}
    found = written(TEST_SET, card=card)
    assert "no training history" in found.text
    assert "The model's card has no orientation" in found.text
    assert "learned cut (" not in found.text


def test_too_many_misclassified_studies_are_cut_and_the_cut_is_told(written) -> None:
    wrong = tuple(replace(TEST_SET[5], study=f"sw{number:02}") for number in range(SHOWN_CASES + 3))
    found = written(wrong)
    assert f"The first {SHOWN_CASES} are shown" in found.text
    assert f"sw{SHOWN_CASES - 1:02} false negative" in found.text
    assert f"sw{SHOWN_CASES:02} false negative" not in found.text


def test_the_report_needs_neither_zarr_nor_dask_nor_torch_nor_a_display() -> None:
    program = "import sys, datbatch.report; print(sorted({'zarr', 'dask', 'distributed', 'torch', 'matplotlib.pyplot'} "
    program += "& set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-0.0, "0"), (-0.05, "-0.05"), (12.345, "+12.3"), (-8.4298e-05, "-8.43 × 10⁻⁵"), (float("nan"), "–")],
)
def test_relevance_of_any_size_is_written_shortly(value: float, text: str) -> None:
    assert scientific(value) == text
