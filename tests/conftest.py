"""Fixtures that every test may use."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent.parent))

# Shared machines stall: a deadline would make property tests a timing test.
settings.register_profile("datbatch", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("datbatch")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of real files by others, which are not part of the project."""
    folder = os.environ.get("DATBATCH_TEST_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("DATBATCH_TEST_DATA does not name the folder of real test files")
    return Path(folder)
