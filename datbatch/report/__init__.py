"""The report of a cohort and the page of one study: self-contained HTML files with tables, figures and methods.

Public names load on first use, so that the page of one study need not wait for what a cohort's report draws with.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {"write_report": "cohort.pages", "write_study": "study.folder", "write_study_picture": "study.figure"}
__all__ = ["write_report", "write_study", "write_study_picture"]

if TYPE_CHECKING:
    from datbatch.report.cohort.pages import write_report
    from datbatch.report.study.figure import write_study_picture
    from datbatch.report.study.folder import write_study


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
