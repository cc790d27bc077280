"""Does the store hold what was written? Volumes against their hashes, tables against the ledger and the manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch.cohort import schema
from datbatch.cohort.fold import OUTCOME, Columns, pending_outcomes
from datbatch.cohort.ledger import FOLDER, GranuleKey, Ledger, Row
from datbatch.cohort.store import Store, VolumeReader, volume_sha256
from datbatch.errors import CorruptStoreError, StoreError
from datbatch.location import Location

FINAL_STAGE = "quantify"


@dataclass(frozen=True)
class Damage:
    """Something that is not as it was recorded."""

    array: str
    """Path of the array, or `ledger/<stage>`."""
    study: str
    """Pseudonym; empty where a whole table or a ledger object is concerned."""
    kind: str
    """`unreadable` (checksum or codec fails), `missing`, or `changed`."""
    key: GranuleKey | None
    """Ledger object to forget, so that the granule is computed again; None where writing the tables again mends it."""


def verify_store(
    path: Location,
    *,
    expected: Mapping[str, npt.NDArray[Any]] | None = None,
    tables: bool = True,
    progress: Callable[[int], None] | None = None,
) -> tuple[int, list[Damage]]:
    """Read everything and compare it with its record.

    Parameters
    ----------
    path : Path or S3Location
        The store.
    expected : mapping of str to ndarray, optional
        Columns that follow from the manifest.
    tables : bool
        Whether to compare the tables too: those of a run at work are behind its ledger.
    progress : callable, optional
        Is told how many volumes were read since the last call.

    Returns
    -------
    count : int
        Volumes read.
    damages : list of Damage
        In the order of stages and granules, then tables.

    Raises
    ------
    StoreError
        When the store cannot be opened at all.
    """
    store = Store(path)
    position = {study: index for index, study in enumerate(store.studies)}
    readers: dict[str, VolumeReader] = {}
    count, damages = 0, []
    for key, rows in _objects(path):
        if rows is None:
            damages.append(Damage(f"{FOLDER}/{key.stage}", "", "unreadable", key))
            continue
        for row in rows:
            for array, recorded in row.sha256.items():
                kind = _compare(store, readers, array, position.get(row.study), recorded)
                count += 1
                if kind:
                    damages.append(Damage(array, row.study, kind, key))
        if progress is not None:
            progress(sum(len(row.sha256) for row in rows))
    if tables:
        damages += _table_damages(store, expected or {})
    return count, damages


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
    if not found:
        return "missing"
    return "" if found == recorded else "changed"


def _objects(path: Location) -> Iterator[tuple[GranuleKey, list[Row] | None]]:
    ledger = Ledger(path)
    for stage, digest in ledger.stages():
        for key in ledger.keys(stage, digest):
            yield key, ledger.read(key)


def _table_damages(store: Store, expected: Mapping[str, npt.NDArray[Any]]) -> list[Damage]:
    damages = []
    for name, wanted in _wanted_columns(store):
        kind = _compare_column(store, name, expected.get(name, wanted))
        damages += [Damage(name, "", kind, None)] if kind else []
    for variable in (schema.ATLAS, schema.TEMPLATE):
        try:
            if store.has_table(variable.name) and not np.nan_to_num(store.read_image(variable)).any():
                damages.append(Damage(variable.name, "", "missing", None))
        except CorruptStoreError:
            damages.append(Damage(variable.name, "", "unreadable", None))
    return damages


def _wanted_columns(store: Store) -> Iterator[tuple[str, npt.NDArray[Any] | None]]:
    """Give the path of every column, and what the ledger says it must hold; None where the ledger does not say."""
    ledger, studies, known = Ledger(store.path), store.studies, set[str]()
    outcomes = pending_outcomes(studies)
    for stage, identity in store.attributes.get("stages", {}).items():
        columns = Columns([v for v in schema.STUDY_TABLE if v.source == stage], studies)
        for row in ledger.rows(ledger.keys(stage, identity["digest"])):
            columns.add_values(row)
            if stage == FINAL_STAGE:
                outcomes.add_outcome(row)
        yield from columns.arrays.items()
        known |= columns.arrays.keys()
    if known:
        yield from outcomes.arrays.items()
        known |= set(OUTCOME)
    yield from _unknown("", schema.STUDY_TABLE, known)
    for model in store.models:
        stage, digest = f"explain/{model}", store.model_attributes(model).get("digest")
        # Whether a map is inconsistent, and the split, follow from more than the ledger.
        told = [v for v in schema.RELEVANCE_TABLE if digest and v.name not in ("inconsistent", "split")]
        columns = Columns(told, studies)
        for row in ledger.rows(ledger.keys(stage, digest) if digest else ()):
            columns.add_values(row)
        yield from ((f"relevance/{model}/{name}", values) for name, values in columns.arrays.items())
        yield from _unknown(f"relevance/{model}/", schema.RELEVANCE_TABLE, columns.arrays.keys())
    if store.has_normal_range:
        yield from _unknown(f"{schema.NORMAL_RANGE}/", schema.NORMAL_RANGE_TABLE, ())


def _unknown(
    prefix: str, variables: Iterable[schema.Variable], known: Iterable[str]
) -> Iterator[tuple[str, npt.NDArray[Any] | None]]:
    yield from ((prefix + v.name, None) for v in variables if v.name not in set(known))


def _compare_column(store: Store, name: str, wanted: npt.NDArray[Any] | None) -> str:
    if not store.has_table(name):
        # A store of an earlier version lacks columns; the next run adds them.
        return ""
    try:
        found = store.read_table(name)
    except (ValueError, RuntimeError, OSError):
        return "unreadable"
    if wanted is None:
        return ""
    same = np.array_equal(found, wanted, equal_nan=found.dtype.kind == "f")
    return "" if same else "changed"
