"""One report of the synthetic cohort, written once for all tests of this folder."""

from pathlib import Path

import pytest

from datbatch.report import write_report
from tests.report.parsed import Page
from tests.report.synthetic import build_cohort


@pytest.fixture(scope="session")
def report_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the whole synthetic cohort."""
    return write_report(build_cohort(), tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="session")
def page(report_file: Path) -> Page:
    return Page(report_file.read_text(encoding="utf-8"))
