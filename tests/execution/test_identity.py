"""Patient identity of a test archive is found nowhere in what the program leaves or says."""

from __future__ import annotations

from pathlib import Path

import pytest
import zarr

from datbatch.archive import read_linkage
from datbatch.cohort.store import key_path, linkage_path
from datbatch.execution.origin import manifest_path, origin_path
from datbatch.simulation import identity_canaries
from tests.pipeline import STUDIES


@pytest.fixture(scope="module")
def canaries(archive: Path) -> set[str]:
    """Every name, identifier, date, institution and folder of the archive, from the simulator's own list."""
    return {canary.lower() for canary in identity_canaries(archive) if len(canary) >= 4}


def test_the_archive_is_full_of_identity(canaries: set[str]) -> None:
    assert len(canaries) > 40


def test_no_file_or_file_name_holds_identity(cohort: Path, canaries: set[str]) -> None:
    private = {key_path(cohort), linkage_path(cohort), origin_path(cohort), manifest_path(cohort)}
    private |= {cohort.parent / name for name in (".lock", ".made")}
    files = [p for p in cohort.parent.rglob("*") if p.is_file() and p not in private]
    assert any(p.name == "card.json" for p in files)
    assert any(p.name == "said.txt" for p in files)
    for path in files:
        content = path.read_bytes().lower()
        name = str(path.relative_to(cohort.parent)).lower()
        leaked = {c for c in canaries if c in name or c.encode() in content}
        assert not leaked, f"{name} holds {leaked}"


def test_no_stored_value_holds_identity(cohort: Path, canaries: set[str]) -> None:
    root = zarr.open_group(cohort, mode="r")
    texts = []
    for _, array in root.members(max_depth=None):
        if isinstance(array, zarr.Array) and array.dtype.kind in "TOU":
            texts += [str(value) for value in array[...].ravel()]
    assert texts
    together = "\n".join(texts).lower()
    assert not {c for c in canaries if c in together}


def test_the_linkage_table_alone_leads_back_to_the_files(cohort: Path, archive: Path) -> None:
    linkage = read_linkage(linkage_path(cohort))
    assert len(linkage) >= STUDIES - 1
    assert all((archive / name).is_file() for files in linkage.values() for name in files)
