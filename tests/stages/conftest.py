"""A cohort that a test may change, and tasks that run where the test runs."""

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datbatch.workers import driver


@pytest.fixture
def own_cohort(tmp_path: Path, cohort: Path) -> Path:
    """A copy of the cohort, with all that stands beside it."""
    shutil.copytree(cohort.parent, tmp_path / "own")
    return tmp_path / "own" / cohort.name


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run the tasks in this process and give the names of their functions: no cluster has to start."""
    ran: list[str] = []

    def run_tasks(_: None, function: Callable[[Any], Any], tasks: Any, *, on_record: Any, **__: Any) -> None:
        for task in tasks:
            on_record(function(task))
            ran.append(function.__qualname__)

    monkeypatch.setattr(driver, "connect", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(driver, "run_tasks", run_tasks)
    return ran
