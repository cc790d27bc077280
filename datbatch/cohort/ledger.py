"""The ledger: one small object per granule and stage, created exclusively, the only truth of what is done.

A missing chunk reads as fill value without an error, so that the arrays cannot tell what is done. The object holds
each study's outcome, its values for the tables, and the SHA-256 of its bytes in the arrays.

Beside them, one small object for each command that wrote to the store: on what it ran, with which parameters and
versions, and how far it is. None of these names a person, path or machine.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import uuid
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datbatch import location
from datbatch.cohort.envelope import unwrap, wrap
from datbatch.cohort.facts import LEDGER, RUNS, Facts
from datbatch.errors import Outcome
from datbatch.location import Location, S3Location

_OBJECT = re.compile(r"\d[^/]*\.json")
_READ_AHEAD = 16
"""Objects that are read from S3 at a time: each takes a while, whatever its size."""


@dataclass(frozen=True)
class Row:
    """What one stage left of one study."""

    study: str
    """Pseudonym."""
    outcome: Outcome
    values: Mapping[str, Any] = field(default_factory=dict)
    """Table values by variable name, JSON types (NaN as null)."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Hash of the study's bytes by array path."""

    def to_dict(self) -> dict[str, Any]:
        """Give what the ledger's object says of the study."""
        return {"study": self.study, **self.outcome._asdict(), "values": self.values, "sha256": self.sha256}

    @classmethod
    def from_dict(cls, study: str, values: Mapping[str, Any], sha256: Mapping[str, str], **outcome: str) -> Row:
        """Build a row from what `to_dict` gave."""
        return cls(study, Outcome(**outcome), values, sha256)


@dataclass(frozen=True)
class GranuleKey:
    """What identifies a granule's result: equal keys mean equal bytes."""

    stage: str
    digest: str
    """Digest of the stage: its parameters, its code version, and the digests upstream."""
    granule: int
    members: str
    """Digest of the granule's studies and their files."""

    @classmethod
    def of(cls, stage: str, digest: str, name: str) -> GranuleKey:
        """Give the key of an object of a stage by its file name."""
        granule, _, members = name.removesuffix(".json").partition("-")
        return cls(stage, digest, int(granule), members)

    @property
    def name(self) -> str:
        """File name of the ledger object."""
        return f"{self.granule:06d}-{self.members}.json"

    @property
    def folder(self) -> str:
        """Folder of the object in the ledger."""
        return f"{self.stage}/{self.digest}"


class Ledger:
    """The ledger of one store.

    Parameters
    ----------
    store : Path or S3Location
        The store.
    """

    def __init__(self, store: Location) -> None:
        self._store = store
        self._root: Location = store / LEDGER

    def commit(self, key: GranuleKey, rows: Sequence[Row]) -> bool:
        """Record a granule as done, once.

        The object appears whole or not at all (written aside, flushed to disk, then linked; on S3 by a conditional
        PUT). Returns whether this call created it; a duplicate task finds it there and leaves it, unless it is damaged.
        """
        place = self._place(key)
        content = wrap(_name(key), {"rows": [row.to_dict() for row in rows]})
        created = location.create(place, content) if isinstance(place, S3Location) else _link(place, content)
        if not created and self.read(key) is None:
            location.write(place, content)
            return True
        return created

    def read(self, key: GranuleKey) -> list[Row] | None:
        """Read a granule's rows; None when it is not done or its object is damaged, which proves nothing."""
        try:
            content = unwrap(_name(key), location.read(self._place(key))[0])
            # A list is an object of the time before it bore its digest.
            return [Row.from_dict(**row) for row in (content if isinstance(content, list) else content["rows"])]
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def rows(self, keys: Iterable[GranuleKey], *, discard: bool = False) -> Iterator[Row]:
        """Give the rows of those granules that are done; `discard` removes damaged objects after that."""
        unread = []
        for key, rows in self._read_each(keys):
            yield from rows or ()
            unread += [key] if rows is None else []
        if discard:
            self.remove(self._standing(unread))

    def damaged(self, keys: Iterable[GranuleKey]) -> list[GranuleKey]:
        """List those granules whose objects stand there and cannot be read."""
        return self._standing([key for key, rows in self._read_each(keys) if rows is None])

    def _read_each(self, keys: Iterable[GranuleKey]) -> Iterator[tuple[GranuleKey, list[Row] | None]]:
        if isinstance(self._root, Path):
            yield from ((key, self.read(key)) for key in keys)
            return
        waiting = iter(keys)
        with ThreadPoolExecutor(_READ_AHEAD) as pool:
            while some := list(itertools.islice(waiting, _READ_AHEAD)):
                yield from zip(some, pool.map(self.read, some), strict=True)

    def _standing(self, keys: Sequence[GranuleKey]) -> list[GranuleKey]:
        names = {folder: self.names(*folder) for folder in {(key.stage, key.digest) for key in keys}}
        return [key for key in keys if key.name in names[key.stage, key.digest]]

    def names(self, stage: str, digest: str) -> set[str]:
        """List the names of the objects of a stage."""
        folder = self._folder(stage, digest)
        if isinstance(folder, Path):
            return {p.name for p in folder.glob("[0-9]*.json")} if folder.is_dir() else set()
        return {name for name in location.names(folder) if _OBJECT.fullmatch(name)}

    def stages(self) -> list[tuple[str, str]]:
        """List the stages that the ledger holds objects of, each with its digest."""
        found = {name.rpartition("/")[0] for name in location.names(self._root) if _OBJECT.fullmatch(Path(name).name)}
        parts = (folder.rpartition("/") for folder in sorted(found))
        return [(stage, digest) for stage, _, digest in parts if stage and not digest.startswith(".")]

    def keys(self, stage: str, digest: str) -> list[GranuleKey]:
        """List the keys of a stage's objects."""
        return [GranuleKey.of(stage, digest, name) for name in sorted(self.names(stage, digest))]

    def recorded_studies(self, stage: str, digest: str, *, granule_studies: int, studies: int) -> int:
        """Count the studies that a stage's objects hold, by their names alone: they may be many."""
        granules = {key.granule for key in self.keys(stage, digest)}
        return sum(max(0, min(granule_studies, studies - granule_studies * granule)) for granule in granules)

    def remove(self, keys: Iterable[GranuleKey]) -> None:
        """Forget granules, so that they are computed again."""
        gone = list(keys)
        Facts(self._store).unlist({_name(key) for key in gone})
        for key in gone:
            location.remove(self._place(key))

    def retire(self, stage: str, digest: str, names: Container[str]) -> None:
        """Forget a stage's results other than `names` under `digest`: their arrays are about to be replaced."""
        folder = self._root / stage
        gone = [path for path in location.names(folder) if not _is_kept(path, digest, names)]
        Facts(self._store).unlist({f"{LEDGER}/{stage}/{path}" for path in gone})
        if isinstance(folder, S3Location):
            # There is no renaming. A kill in the middle leaves objects that are still true: no array is replaced
            # before all are gone, and the next call removes the rest.
            for path in gone:
                location.remove(folder / path)
            return
        for other in folder.iterdir() if folder.is_dir() else ():
            if other.name != digest:
                # Renamed first: a kill in the middle must not leave half a ledger under a valid name.
                retired = other.with_name(f".retired-{uuid.uuid4().hex}")
                other.rename(retired)
                shutil.rmtree(retired)
        for name in self.names(stage, digest):
            if name not in names:
                (folder / digest / name).unlink()

    def _folder(self, stage: str, digest: str) -> Location:
        return self._root / stage / digest

    def _place(self, key: GranuleKey) -> Location:
        return self._folder(key.stage, key.digest) / key.name


def _is_kept(path: str, digest: str, names: Container[str]) -> bool:
    made_with, _, name = path.partition("/")
    return made_with == digest and name in names


def _name(key: GranuleKey) -> str:
    return f"{LEDGER}/{key.folder}/{key.name}"


def _link(place: Path, content: bytes) -> bool:
    place.parent.mkdir(parents=True, exist_ok=True)
    aside = place.with_name(f".ledger-{uuid.uuid4().hex}")
    try:
        with aside.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(aside, place)
        except FileExistsError:
            return False
        return True
    finally:
        aside.unlink(missing_ok=True)


class Runs:
    """The records of the commands that wrote to a store.

    Parameters
    ----------
    store : Path or S3Location
        The store.
    """

    def __init__(self, store: Location) -> None:
        self._store = store

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write or replace a record, whole or not at all."""
        location.write(self._store / self._place(name), wrap(self._place(name), content))

    def read(self) -> list[dict[str, Any]]:
        """Read all records, the oldest first; what is no record is left out."""
        return [content for content in self._contents().values() if content is not None]

    def damaged(self) -> list[str]:
        """List the paths, in the store, of records that are not as they were written."""
        return [place for place, content in self._contents().items() if content is None]

    def remove(self, places: Collection[str]) -> None:
        """Remove records that cannot be read any more."""
        Facts(self._store).unlist(places)
        for place in places:
            location.remove(self._store / place)

    def _contents(self) -> dict[str, dict[str, Any] | None]:
        names = location.names(self._store / RUNS)
        places = [f"{RUNS}/{name}" for name in names if _OBJECT.fullmatch(name)]
        return {place: self._content(place) for place in places}

    def _content(self, place: str) -> dict[str, Any] | None:
        try:
            content = unwrap(place, location.read(self._store / place)[0])
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    @staticmethod
    def _place(name: str) -> str:
        return f"{RUNS}/{name}.json"
