"""The report of a cohort: one self-contained HTML file with tables, figures and methods."""

from __future__ import annotations

from datbatch.report.pages import write_report
from datbatch.report.study import write_study_picture

__all__ = ["write_report", "write_study_picture"]
