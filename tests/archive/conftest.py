"""Fixtures of the archive's tests."""

from collections.abc import Callable

import pytest

from datbatch.archive import Acquisition, read_study
from tests.archive.writer import Style, write


@pytest.fixture(scope="session")
def acquired(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Style], Acquisition]:
    """Write a header style once and read it: what several tests look at."""
    known: dict[str, Acquisition] = {}

    def read(style: Style) -> Acquisition:
        if style.name not in known:
            known[style.name] = read_study(write(tmp_path_factory.mktemp("style"), style))
        return known[style.name]

    return read
