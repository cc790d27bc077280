"""Whatever happens to whichever file of a store, `verify` finds and names it, and `--repair` undoes it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datbatch import schema
from datbatch.archive import load_or_create_key
from datbatch.cohort.facts import FACTS, LISTING, holds_volumes
from datbatch.cohort.ledger import GranuleKey, Ledger, Row
from datbatch.cohort.store import Store, key_path
from datbatch.cohort.verify import Damage, Verified
from datbatch.config import Config
from datbatch.errors import DONE, StoreError
from datbatch.stages.beside import damages_beside
from datbatch.stages.imaging import prepare
from datbatch.stages.repair import forget_failures, repair_cohort, verify_cohort
from tests.pipeline import flip, run_command


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cohort: Path) -> Path:
    """A store that every command has written to; the group of `norms` and an object of `trust` are stand-ins."""
    folder = tmp_path_factory.mktemp("whole") / "own"
    shutil.copytree(cohort.parent, folder)
    store = Store(folder / cohort.name)
    (model,) = store.models
    Ledger(store.path).commit(GranuleKey(f"trust/{model}", "d1", 3, "0a"), [Row(store.studies[3], DONE)])
    store.add_normal_range({"stale": False})
    shape = (len(store.studies), len(schema.MEASURES))
    columns = {v.name: np.ones(shape) for v in schema.NORMAL_RANGE_TABLE if v.dtype == "float64"}
    store.write_table(columns, schema.NORMAL_RANGE)
    store.write_table({"warnings": np.full(shape[0], "one", dtype=object)}, schema.NORMAL_RANGE)
    store.consolidate()
    return store.path


def files_of(store: Path) -> dict[str, bytes]:
    return {p.relative_to(store).as_posix(): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file()}


def kind_of(file: str) -> str:
    """Group files by what may be damaged at once without hiding the others."""
    if file == LISTING:
        return "listing"
    if file.startswith(FACTS):
        return "facts"
    folder = file.split("/")[0]
    if folder in ("ledger", "runs"):
        return folder
    if file.endswith("zarr.json"):
        return "metadata"
    return "volumes" if holds_volumes(file.rpartition("/")[0]) else "tables"


HARMS: dict[str, Callable[[bytes, bytes], bytes | None]] = {
    "flipped": lambda content, _: content[: (at := len(content) // 2)] + bytes([content[at] ^ 16]) + content[at + 1 :],
    "cut": lambda content, _: content[:-1],
    "lengthened": lambda content, _: content + b" ",
    "exchanged": lambda content, other: other if other != content else content[::-1],
    "deleted": lambda *_: None,
    "emptied": lambda *_: b"",
}
"""What becomes of a file's content, by this and that of another file; None: there is no file."""


def harm(file: Path, kind: str, content: bytes, other: bytes) -> None:
    harmed = HARMS[kind](content, other)
    file.unlink(missing_ok=True) if harmed is None else file.write_bytes(harmed)


def named(found: Verified, store: Path) -> set[str]:
    """Give the files that damages name: of a column all chunks, of a volume or a granule its one file."""
    assert found.shadow is not None
    position = {study: at for at, study in enumerate(found.shadow.studies)}
    granule_studies = found.shadow.facts[""]["attributes"]["granule_studies"]

    def files(damage: Damage) -> str:
        if damage.array.startswith("ledger/") and damage.key is not None:
            return f"{damage.array}/{damage.key.digest}/{damage.key.name}"
        if holds_volumes(damage.array):
            return f"{damage.array}/c.{position[damage.study] // granule_studies}.0.0.0"
        return damage.array

    return {files(damage) for damage in found.damages}


@pytest.mark.parametrize("harmful", sorted(HARMS.keys() - {"emptied"}))
@pytest.mark.parametrize("kind", ["metadata", "tables", "volumes", "ledger", "facts", "runs", "listing"])
def test_every_file_that_was_harmed_is_named_and_none_that_was_not(whole, kind, harmful) -> None:
    before = files_of(whole)
    victims = [file for file in before if kind_of(file) == kind]
    assert victims, "the store has no such file: nothing was tried"
    others = victims[1:] + victims[:1]
    try:
        for victim, other in zip(victims, others, strict=True):
            harm(whole / victim, harmful, before[victim], before[other])
        harmed = files_of(whole)
        found = named(verify_cohort(whole, quiet=True), whole)
        assert files_of(whole) == harmed, "verify wrote something"
    finally:
        for victim in victims:
            (whole / victim).write_bytes(before[victim])
    wanted = {re.sub(r"/c[./][\d./]+$", "", victim) if kind == "tables" else victim for victim in victims}
    assert found == wanted


def test_a_whole_store_is_found_whole_and_a_chunk_that_nobody_wrote_is_found(whole) -> None:
    untouched = verify_cohort(whole, quiet=True)
    assert (untouched.damages, untouched.orphans) == ([], [])
    for array in ("missing_views", "uptake"):
        chunks = sorted((whole / array).glob("c*"))
        volume = array == "uptake"
        place = chunks[-1] if volume else whole / array / "c.0"
        before = place.read_bytes() if place.exists() else None
        shutil.copy(chunks[0] if volume else next((whole / "views").glob("c*")), place)
        try:
            found = verify_cohort(whole, quiet=True).damages
        finally:
            place.unlink() if before is None else place.write_bytes(before)
        assert {damage.array for damage in found} == {array}
        assert volume or [damage.kind for damage in found] == ["unrecorded"]


def test_one_file_of_each_kind_is_mended_to_the_same_bytes(own_cohort) -> None:
    own = own_cohort
    (model,) = Store(own).models
    before = files_of(own)
    registered, explained = (sorted(f for f in before if f.startswith(f"ledger/{s}/")) for s in ("register", "explain"))
    record = next(file for file in before if file.startswith("runs/"))
    harmed = {
        "zarr.json": "flipped",
        "age/zarr.json": "deleted",
        f"relevance/{model}/zarr.json": "cut",
        f"relevance/{model}/map/zarr.json": "exchanged",
        "study/c.0": "deleted",
        "x/c/0": "flipped",
        "split/c.0": "flipped",
        "site/c.0": "emptied",
        "specific_binding_ratio/c.0.0": "deleted",
        f"relevance/{model}/inconsistent/c.0": "flipped",
        f"relevance/{model}/statistic/c/0": "cut",
        "labels/c.0.0.0": "flipped",
        "template/c.0.0.0": "deleted",
        "uptake/c.0.0.0.0": "flipped",
        f"relevance/{model}/map/c.2.0.0.0": "deleted",
        f"{FACTS}/root.json": "flipped",
        f"{FACTS}/sex.json": "deleted",
        f"{FACTS}/relevance/{model}/split.json": "emptied",
        f"{FACTS}/template.json": "cut",
        f"{FACTS}/archive_outcomes.json": "exchanged",
        registered[0]: "lengthened",
        explained[1]: "deleted",
        record: "cut",
    }
    for file, harmful in harmed.items():
        harm(own / file, harmful, before.get(file, b""), before["zarr.json"])
    (own / "uptake" / "c.0.0.0.0.abc.partial").write_bytes(b"half")
    (own / "note.txt").write_text("mine")
    mended = run_command("verify", own, "--repair")
    assert (mended["left"], mended["removed"], mended["unmended"], mended["lost"]) == (0, 1, {}, [record])
    after = files_of(own)
    assert after.pop("note.txt") == b"mine", "what is not datbatch's is named, not removed"
    # New records of commands are listed, too.
    same = {file for file in before if not file.startswith("runs/") and file != LISTING}
    assert {file for file in same if after.get(file) != before[file]} == set()
    assert {file for file in after.keys() - same if not file.startswith("runs/")} == {LISTING}
    assert verify_cohort(own, quiet=True).damages == []


def test_what_one_command_writes_hides_no_harm_that_it_left_alone(tmp_path, whole) -> None:
    own = tmp_path / "cohort.zarr"
    shutil.copytree(whole, own)
    flip(own / "age" / "c.0")
    store = Store(own)
    store.write_table({"split": store.read_table("split")})
    store.set_attributes({"trust": "{}"}, f"relevance/{store.models[0]}")
    store.grow(store.studies)
    store.consolidate()
    assert [damage.array for damage in verify_cohort(own, quiet=True).damages] == ["age"]


def test_a_command_that_was_killed_leaves_no_false_alarm(tmp_path, whole) -> None:
    own = tmp_path / "cohort.zarr"
    shutil.copytree(whole, own)
    store = Store(own)
    store.set_attributes({"simulated": True, "title": "other"})
    store.write_table({"warnings": np.full(len(store.studies), "two", dtype=object)}, schema.NORMAL_RANGE)
    # Killed here: not consolidated.
    assert verify_cohort(own, quiet=True).damages == []


def test_tables_that_tell_of_a_forgotten_granule_are_no_damage(tmp_path, whole) -> None:
    own = tmp_path / "cohort.zarr"
    shutil.copytree(whole, own)
    place = next((own / "ledger" / "register").rglob("0*.json"))
    place.write_bytes(b"")
    forget_failures(own)
    assert not place.exists()
    assert verify_cohort(own, quiet=True).damages == []


BESIDE = ["cohort.key", "cohort.linkage.csv", "cohort.manifest.json", "cohort.origin.json"]
OF_MODEL = ["model.safetensors", "card.json", "split.json"]


@pytest.mark.parametrize("file", [*BESIDE, *OF_MODEL])
def test_a_character_changed_or_added_in_a_file_beside_the_store_is_named(whole, file) -> None:
    (model,) = Store(whole).models
    name = file if file in BESIDE else f"cohort.models/{model}/{file}"
    path, before = whole.parent / name, (whole.parent / name).read_bytes()
    at = next(i for i in range(len(before) // 2, len(before)) if before[i : i + 1].isalnum())
    other = b"0" if before[at : at + 1] != b"0" else b"1"
    harmed = b"not JSON" if file == "cohort.origin.json" else before[:at] + other + before[at + 1 :]
    try:
        for longer in (before + b" ", before + b"\n"):
            path.write_bytes(longer)
            assert [damage.array for damage in damages_beside(Store(whole))] == [name]
        path.write_bytes(harmed)
        found = [damage.array for damage in verify_cohort(whole, quiet=True).damages]
    finally:
        path.write_bytes(before)
    assert found == [name] or (file == "cohort.manifest.json" and found == [name, "cohort.linkage.csv"])


def test_what_stands_beside_a_store_is_mended_from_it(tmp_path, whole) -> None:
    shutil.copytree(whole.parent, tmp_path / "own")
    own = tmp_path / "own" / whole.name
    (model,) = Store(own).models
    split = own.parent / f"cohort.models/{model}/split.json"
    before = json.loads(split.read_text())
    split.write_text(split.read_text().replace("train", "test"))
    assert repair_cohort(own, quiet=True).unmended == {}
    assert json.loads(split.read_text()) == {study: part for study, part in before.items() if part}
    assert verify_cohort(own, quiet=True).damages == []


def test_another_key_is_refused_before_every_study_gets_a_second_name(tmp_path, whole, archive) -> None:
    shutil.copytree(whole.parent, tmp_path / "own")
    own = tmp_path / "own" / whole.name
    key_path(own).unlink()
    load_or_create_key(key_path(own))
    with pytest.raises(StoreError, match="not the one"):
        prepare(archive, own, Config(), participants=None, quiet=True)
    assert "backup" in next(iter(repair_cohort(own, quiet=True).unmended.values()))
