"""Faults that are no matter of the arithmetic are injected into runs whose imaging is a cheap stand-in."""

import os
import shutil
from pathlib import Path

import pytest

from datbatch.cohort.store import key_path
from tests.pipeline import made_once, run_command

STAND_IN = Path(__file__).parent / "stand_in"


@pytest.fixture
def cheap_imaging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands started from now on image by the stand-in."""
    monkeypatch.setenv("DATBATCH_STAND_IN", "cheap")
    monkeypatch.setenv("PYTHONPATH", str(STAND_IN))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A parameter file: one study a granule."""
    path = tmp_path / "config.toml"
    path.write_text("[store]\ngranule_studies = 1\n")
    return path


@pytest.fixture
def cheap_whole(cheap_imaging: None, shared_folder: Path, archive: Path) -> Path:
    """The store of an uninterrupted run with cheap imaging. Read-only."""
    folder = shared_folder / "cheap-whole"

    def make() -> None:
        (folder / "config.toml").write_text("[store]\ngranule_studies = 1\n")
        assert os.environ["DATBATCH_STAND_IN"] == "cheap"
        run_command("run", archive, folder / "cohort.zarr", "--config", folder / "config.toml", expect=3)

    return made_once(folder, make) / "cohort.zarr"


def with_key_of(whole: Path, own: Path) -> Path:
    """Give a new store the key of another one: the same studies get the same pseudonyms."""
    own.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(key_path(whole), key_path(own))
    return own
