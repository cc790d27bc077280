"""Does the store hold the bytes that were written? Every volume against the hash in its ledger row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from datbatch.cohort.ledger import FOLDER, GranuleKey, Ledger, Row
from datbatch.cohort.store import Store, VolumeReader, volume_sha256
from datbatch.errors import CorruptStoreError, StoreError


@dataclass(frozen=True)
class Damage:
    """A volume whose bytes are not the recorded ones."""

    array: str
    study: str
    kind: str
    """`unreadable` (checksum or codec fails), `missing`, or `changed`."""
    key: GranuleKey
    """Ledger object to forget, so that the granule is computed again."""


def verify_store(path: Path, *, progress: Callable[[int], None] | None = None) -> tuple[int, list[Damage]]:
    """Read every recorded volume and compare it with its hash.

    Parameters
    ----------
    path : Path
        Folder of the store.
    progress : callable, optional
        Is told how many volumes were read since the last call.

    Returns
    -------
    count : int
        Volumes read.
    damages : list of Damage
        In the order of stages and granules.

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
        for row in rows:
            for array, recorded in row.sha256.items():
                kind = _compare(store, readers, array, position.get(row.study), recorded)
                count += 1
                if kind:
                    damages.append(Damage(array, row.study, kind, key))
        if progress is not None:
            progress(sum(len(row.sha256) for row in rows))
    return count, damages


def recorded_volumes(path: Path) -> int:
    """Count the volumes that the ledger records."""
    return sum(len(row.sha256) for _, rows in _objects(path) for row in rows)


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


def _objects(path: Path) -> Iterator[tuple[GranuleKey, list[Row]]]:
    root, ledger = path / FOLDER, Ledger(path)
    for folder in sorted({file.parent for file in root.rglob("[0-9]*.json")}):
        for key in ledger.keys(folder.parent.relative_to(root).as_posix(), folder.name):
            rows = ledger.read(key)
            if rows is not None:
                yield key, rows
