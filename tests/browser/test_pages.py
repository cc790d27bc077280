"""The cohort's report and the page of one study, in a real browser."""

import pytest

from tests.browser.conftest import SMALL, WIDE
from tests.pipeline import call_command, made_once


@pytest.mark.parametrize("size", [WIDE, SMALL], ids=["wide", "small"])
def test_the_report_needs_no_network_and_is_accessible(visit, cohort, size) -> None:
    seen = visit(cohort.with_name(f"{cohort.stem}.report.html"), size=size)
    seen.assert_accessible()
    seen.assert_quiet()
    assert "not a medical device" in seen.page.inner_text("body")


def test_the_page_of_a_study_needs_no_network_and_is_accessible(visit, cohort, some_study, shared_folder) -> None:
    folder = shared_folder / "made-study-page"
    (model,) = (cohort.parent / f"{cohort.stem}.models").iterdir()
    command = ("study", *some_study, "--model", model, "--output", folder / "study")
    made_once(folder, lambda: call_command(*command) and None)
    (page,) = (folder / "study").glob("*.html")
    seen = visit(page)
    seen.assert_accessible()
    seen.assert_quiet()
    assert "not a medical device" in seen.page.inner_text("body").lower()
