"""Does the store hold what was written? Volumes and tables against the ledger, all other files against the seal.

And what lies in it that belongs to nothing: left by writers that were killed, or put there by somebody.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch import location, schema
from datbatch.cohort import seal
from datbatch.cohort.attributes import stored_card
from datbatch.cohort.fold import (
    FINAL_STAGE,
    OUTCOME,
    explained_columns,
    fold_stage,
    limits_of,
    pending_outcomes,
    value_columns,
)
from datbatch.cohort.ledger import FOLDER, GranuleKey, Ledger, Row, Runs
from datbatch.cohort.seal import METADATA, RUNS
from datbatch.cohort.shard import volume_sha256
from datbatch.cohort.store import SEALED, Store, VolumeReader
from datbatch.errors import CorruptStoreError, StoreError
from datbatch.location import Location

TRUST = "trust/"
"""Begins the stages of `datbatch trust`, whose objects are of one study each."""
_TEMPORARY = re.compile(r".*\.partial|\.ledger-[0-9a-f]+|\.[\w-]+\.json\.\w+")


@dataclass(frozen=True)
class Damage:
    """Something that is not as it was recorded."""

    array: str
    """Path of the array, of its metadata (`.../zarr.json`), of a command's record, or `ledger/<stage>`."""
    study: str
    """Pseudonym; empty where more than one study is concerned."""
    kind: str
    """`unreadable` (checksum or codec fails), `missing`, `changed`, or `unrecorded` (nobody wrote it)."""
    key: GranuleKey | None
    """Ledger object to forget, so that the granule is computed again; None where none is concerned."""

    @property
    def is_metadata(self) -> bool:
        """Whether it says what an array or group is, so that nothing is read before it is put back."""
        return self.array.endswith(METADATA)

    @property
    def granule(self) -> int | None:
        """Number of the granule; None where more than one is concerned."""
        return None if self.key is None or self.key.stage.startswith(TRUST) else self.key.granule


def verify_store(
    path: Location,
    *,
    expected: Mapping[str, npt.NDArray[Any]] | None = None,
    tables: bool = True,
    sealed: Sequence[Damage] = (),
    progress: Callable[[int], None] | None = None,
) -> tuple[int, list[Damage]]:
    """Read everything and compare it with its record; nothing is written.

    Parameters
    ----------
    path : Path or S3Location
        The store.
    expected : mapping of str to ndarray, optional
        Columns that follow from the manifest.
    tables : bool
        Whether to compare the tables too: those of a run at work are behind its ledger.
    sealed : sequence of Damage
        What `sealed_damages` found, nothing that keeps the store from being read: it is not read again.
    progress : callable, optional
        Is told how many volumes were read since the last call.

    Returns
    -------
    count : int
        Volumes read.
    damages : list of Damage
        The sealed ones, then in the order of stages and granules, then tables.

    Raises
    ------
    StoreError
        When the store cannot be opened at all.
    """
    store = Store(path)
    try:
        position = {study: index for index, study in enumerate(store.studies)}
    except (ValueError, RuntimeError, OSError):
        return 0, [*sealed, Damage("study", "", "unreadable", None)]
    readers: dict[str, VolumeReader] = {}
    count, damages, current, lost = 0, list(sealed), _volumes_by_stage(store), _lost(store, sealed)
    doubted = {damage.key for damage in sealed}
    for key, rows in _objects(path):
        if key in doubted:
            continue
        if rows is None:
            study = store.studies[key.granule] if key.stage.startswith(TRUST) else ""
            damages.append(Damage(f"{FOLDER}/{key.stage}", study, "unreadable", key))
            lost.setdefault(key.stage, set()).update(_members(store, key))
            continue
        wanted = {current[key.stage]: ""} if key.stage in current else {}
        for row in rows:
            count += len(row.sha256)
            for array, recorded in {**wanted, **row.sha256}.items():
                kind = _compare(store, readers, array, position.get(row.study), recorded)
                if kind:
                    damages.append(Damage(array, row.study, kind, key))
        if progress is not None:
            progress(sum(len(row.sha256) for row in rows))
    if tables:
        damages += _table_damages(store, expected or {}, lost, named={damage.array for damage in sealed})
    return count, damages


def sealed_damages(path: Location) -> list[Damage]:
    """Compare with the seal what it covers, and every command's record with itself; no array is opened.

    Where metadata or the names of the studies are damaged, nothing else can be read before they are put back.
    """
    records = [Damage(place, "", "unreadable", None) for place in Runs(path).damaged()]
    try:
        sealed = seal.read_seal(path)
    except (OSError, ValueError):
        return [Damage(seal.NAME, "", "unreadable", None), *records]
    if sealed is None:
        return [Damage(seal.NAME, "", "missing", None), *records] if _had_seal(path) else records
    damages = [damage_of(one) for one in seal.differences(path, sealed)]
    named = {damage.array for damage in damages}
    return damages + [damage for damage in records if damage.array not in named]


def _had_seal(path: Location) -> bool:
    try:
        return bool(Store(path).attributes.get(SEALED))
    except StoreError:
        return False


def damage_of(found: seal.Difference) -> Damage:
    """Name what a file that is not as it was sealed belongs to."""
    if found.is_metadata or found.node == RUNS:
        return Damage(found.file, "", found.kind, None)
    if not found.node.startswith(f"{FOLDER}/"):
        return Damage(found.node, "", found.kind, None)
    stage, _, digest = found.node.removeprefix(f"{FOLDER}/").rpartition("/")
    granule, _, members = found.file.rpartition("/")[2].removesuffix(".json").partition("-")
    return Damage(f"{FOLDER}/{stage}", "", found.kind, GranuleKey(stage, digest, int(granule), members))


def _members(store: Store, key: GranuleKey) -> range:
    """Give the positions of a granule's studies."""
    first = key.granule * store.granule_studies
    return range(first, min(first + store.granule_studies, len(store.studies)))


def _lost(store: Store, damages: Iterable[Damage]) -> dict[str, set[int]]:
    """Give, by stage, the positions of studies of which the ledger cannot tell any more."""
    lost: dict[str, set[int]] = {}
    for damage in damages:
        if damage.key is not None:
            lost.setdefault(damage.key.stage, set()).update(_members(store, damage.key))
    return lost


def _volumes_by_stage(store: Store) -> dict[str, str]:
    """Give the array that a stage fills: a study without record has no volume in it."""
    explained = {f"explain/{model}": f"relevance/{model}/{schema.RELEVANCE_MAP.name}" for model in store.models}
    return {FINAL_STAGE: schema.UPTAKE.name, **explained}


def recorded_volumes(path: Location) -> int:
    """Count the volumes that the ledger should record, one for each study of a granule, without reading it."""
    store, ledger = Store(path), Ledger(path)
    stages = [(FINAL_STAGE, store.attributes.get("stages", {}).get(FINAL_STAGE, {}).get("digest", ""))]
    stages += [(f"explain/{model}", store.model_attributes(model).get("digest", "")) for model in store.models]
    studies, size = len(store.studies), store.granule_studies
    granules = [key.granule for stage, digest in stages if digest for key in ledger.keys(stage, digest)]
    return sum(max(0, min(size, studies - size * granule)) for granule in granules)


def _compare(store: Store, readers: dict[str, VolumeReader], array: str, index: int | None, recorded: str) -> str:
    try:
        if array not in readers:
            readers[array] = store.volumes(array)
        if index is None:
            return "missing"
        found = volume_sha256(readers[array][index])
    except (CorruptStoreError, StoreError, IndexError):
        return "unreadable"
    if found == recorded:
        return ""
    return "changed" if found and recorded else "missing" if recorded else "unrecorded"


def _objects(path: Location) -> Iterator[tuple[GranuleKey, list[Row] | None]]:
    ledger = Ledger(path)
    for stage, digest in ledger.stages():
        for key in ledger.keys(stage, digest):
            yield key, ledger.read(key)


def _table_damages(
    store: Store, expected: Mapping[str, npt.NDArray[Any]], lost: Mapping[str, set[int]], named: Container[str]
) -> list[Damage]:
    """Compare the columns that are not `named` yet; `lost` are positions, by stage, that the ledger cannot tell of."""
    damages = []
    explained = {model: _explained(store, model) for model in store.models if "digest" in store.model_attributes(model)}
    for name, wanted, stage in _wanted_columns(store, {model: columns for model, (columns, _) in explained.items()}):
        if name in named:
            continue
        unknown = np.fromiter(lost.get(stage, ()), dtype=np.intp)
        kind = _compare_column(store, name, expected.get(name, wanted), unknown)
        damages += [Damage(name, "", kind, None)] if kind else []
    if not lost and not damages:
        for model, (_, learned) in explained.items():
            if learned and learned != stored_card(store.model_attributes(model)).get("orientation"):
                damages.append(Damage(f"relevance/{model}", "", "changed", None))
    for variable in (schema.ATLAS, schema.TEMPLATE):
        if variable.name in named or not store.has_image(variable):
            continue
        try:
            if not np.nan_to_num(store.read_image(variable)).any():
                damages.append(Damage(variable.name, "", "missing", None))
        except CorruptStoreError:
            damages.append(Damage(variable.name, "", "unreadable", None))
    return damages


def _wanted_columns(
    store: Store, explained: Mapping[str, Mapping[str, npt.NDArray[Any]]]
) -> Iterator[tuple[str, npt.NDArray[Any] | None, str]]:
    """Give the path of every column, what the ledger says it must hold (None where it does not say), and its stage."""
    ledger, studies, known = Ledger(store.path), store.studies, set[str]()
    outcomes, limits = pending_outcomes(studies), limits_of(store.attributes)
    for stage, identity in store.attributes.get("stages", {}).items():
        rows = ledger.rows(ledger.keys(stage, identity["digest"]))
        folded = fold_stage(stage, rows, studies, limits, outcomes)
        yield from ((name, values, stage) for name, values in folded.items())
        known |= folded.keys()
    if known:
        yield from ((name, values, FINAL_STAGE) for name, values in outcomes.arrays.items())
        known |= set(OUTCOME)
    yield from _unknown("", schema.STUDY_TABLE, known)
    for model in store.models:
        told = explained.get(model, {})
        yield from ((f"relevance/{model}/{name}", values, f"explain/{model}") for name, values in told.items())
        yield from _unknown(f"relevance/{model}/", schema.RELEVANCE_TABLE, told)
    if store.has_normal_range:
        yield from _unknown(f"{schema.NORMAL_RANGE}/", schema.NORMAL_RANGE_TABLE, ())


def _explained(store: Store, model: str) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Give a model's columns and orientation as they follow from the ledger, and from split and labels."""
    attributes, ledger = store.model_attributes(model), Ledger(store.path)
    rows = list(ledger.rows(ledger.keys(f"explain/{model}", attributes["digest"])))
    try:
        split, labels = store.read_table("split", f"relevance/{model}"), store.read_table("label")
    except (ValueError, RuntimeError, OSError):
        told = [v for v in schema.RELEVANCE_TABLE if v.name not in ("inconsistent", "split")]
        return value_columns(told, store.studies, rows), {}
    return explained_columns(store.studies, rows, split, labels, stored_card(attributes).get("orientation"))


def _unknown(
    prefix: str, variables: Iterable[schema.Variable], known: Iterable[str]
) -> Iterator[tuple[str, npt.NDArray[Any] | None, str]]:
    yield from ((prefix + v.name, None, "") for v in variables if v.name not in set(known))


def _compare_column(store: Store, name: str, wanted: npt.NDArray[Any] | None, unknown: npt.NDArray[np.intp]) -> str:
    if not store.has_table(name):
        # A store of an earlier version lacks columns; the next run adds them.
        return ""
    try:
        found = store.read_table(name)
    except (ValueError, RuntimeError, OSError):
        return "unreadable"
    if wanted is None:
        return ""
    if found.shape != wanted.shape:
        return "changed"
    known = np.delete(np.arange(len(found)), unknown)
    same = np.array_equal(found[known], wanted[known], equal_nan=found.dtype.kind == "f")
    return "" if same else "changed"


@dataclass(frozen=True)
class Orphan:
    """A file of the store that nothing refers to."""

    name: str
    """Path in the store."""
    kind: str
    """`unfinished` (a writer was killed), `superseded` (of no study or stage of today), or `unknown` (not ours)."""

    @property
    def ours(self) -> bool:
        """Whether datbatch wrote it, so that it may be removed."""
        return self.kind != "unknown"


def find_orphans(path: Location) -> list[Orphan]:
    """List what belongs to nothing; only while no writer is at work, whose unfinished files these may be."""
    store = Store(path)
    stages = {stage: identity["digest"] for stage, identity in store.attributes.get("stages", {}).items()}
    models = store.models
    stages |= {f"explain/{m}": store.model_attributes(m).get("digest", "") for m in models}
    granules = -(-len(store.studies) // store.granule_studies)
    found = []
    names = location.names(path)
    arrays = {name.removesuffix(f"/{METADATA}") for name in names if name.endswith(f"/{METADATA}")}
    for name in names:
        kind = _kind(name, arrays, stages, models, granules)
        found += [Orphan(name, kind)] if kind else []
    return found


def remove_orphans(path: Location, orphans: list[Orphan]) -> int:
    """Remove what datbatch itself left; gives how many files that were."""
    ours = [orphan for orphan in orphans if orphan.ours]
    for orphan in ours:
        location.remove(path / orphan.name)
    return len(ours)


def _kind(name: str, arrays: set[str], stages: dict[str, str], models: list[str], granules: int) -> str:
    folder, _, file = name.rpartition("/")
    if _TEMPORARY.fullmatch(file) or "/.retired-" in name or ".partial/" in name:
        return "unfinished"
    top = name.split("/")[0]
    if name == seal.NAME:
        return ""
    if top == FOLDER:
        return _ledger_kind(folder.removeprefix(f"{FOLDER}/"), file, stages, models, granules)
    if top == RUNS:
        return "" if re.fullmatch(r"runs/\d{8}T\d{6}Z-[0-9a-f]{6}\.json", name) else "unknown"
    if file == METADATA:
        return ""
    array = seal.node_of(name, arrays)
    chunk = name.removeprefix(f"{array}/")
    if not seal.CHUNK.fullmatch(chunk):
        return "unknown"
    return "superseded" if seal.holds_volumes(array) and int(re.split(r"[./]", chunk)[1]) >= granules else ""


def _ledger_kind(folder: str, file: str, stages: dict[str, str], models: list[str], granules: int) -> str:
    stage, _, digest = folder.rpartition("/")
    number = re.fullmatch(r"(\d+)-[0-9a-f]+\.json", file)
    if number is None:
        return "unknown"
    if stage.startswith("trust/"):
        # One object for each study that was tried; which ones is the command's matter.
        return "" if stage.removeprefix("trust/") in models else "superseded"
    return "" if stages.get(stage) == digest and int(number[1]) < granules else "superseded"
