"""The ledger: one small object per granule and stage, created exclusively, the only truth of what is done.

A missing chunk reads as fill value without an error, so that the arrays cannot tell what is done. The object holds
each study's outcome, its values for the tables, and the SHA-256 of its bytes in the arrays.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import uuid
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from datbatch import location
from datbatch.config import canonical_json
from datbatch.location import Location, S3Location

FOLDER = "ledger"
_OBJECT = re.compile(r"\d[^/]*\.json")
_READ_AHEAD = 16
"""Objects that are read from S3 at a time: each takes a while, whatever its size."""


@dataclass(frozen=True)
class Row:
    """Outcome of one stage for one study."""

    study: str
    """Pseudonym."""
    status: str
    """`done`, `failed` in this or an earlier stage, or `excluded` by the manifest."""
    code: str = ""
    """Code of the error."""
    stage: str = ""
    """Stage in which it failed."""
    reason: str = ""
    """What was found, without identity."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Table values by variable name, JSON types (NaN as null)."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Hash of the study's bytes by array path."""


@dataclass(frozen=True)
class GranuleKey:
    """What identifies a granule's result: equal keys mean equal bytes."""

    stage: str
    digest: str
    """Digest of the stage: its parameters, its code version, and the digests upstream."""
    granule: int
    members: str
    """Digest of the granule's studies and their files."""

    @property
    def name(self) -> str:
        """File name of the ledger object."""
        return f"{self.granule:06d}-{self.members}.json"


class Ledger:
    """The ledger of one store.

    Parameters
    ----------
    store : Path or S3Location
        The store.
    """

    def __init__(self, store: Location) -> None:
        self._root: Location = store / FOLDER

    def commit(self, key: GranuleKey, rows: Sequence[Row]) -> bool:
        """Record a granule as done, once.

        The object appears whole or not at all (written aside, flushed to disk, then linked; on S3 by a conditional
        PUT). Returns whether this call created it; a duplicate task finds it there and leaves it.
        """
        folder, content = self._folder(key.stage, key.digest), canonical_json([asdict(row) for row in rows])
        if isinstance(folder, S3Location):
            return location.create(folder / key.name, content.encode())
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f".ledger-{uuid.uuid4().hex}"
        try:
            with aside.open("x", encoding="utf-8") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            try:
                os.link(aside, folder / key.name)
            except FileExistsError:
                return False
            return True
        finally:
            aside.unlink(missing_ok=True)

    def read(self, key: GranuleKey) -> list[Row] | None:
        """Read a granule's rows; None when it is not done or its object is damaged."""
        return _read(self._folder(key.stage, key.digest) / key.name)

    def rows(self, keys: Iterable[GranuleKey]) -> Iterator[Row]:
        """Give the rows of those granules that are done."""
        if isinstance(self._root, Path):
            for key in keys:
                yield from self.read(key) or ()
            return
        waiting = iter(keys)
        with ThreadPoolExecutor(_READ_AHEAD) as pool:
            while some := list(itertools.islice(waiting, _READ_AHEAD)):
                for rows in pool.map(self.read, some):
                    yield from rows or ()

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
        parts = [name.removesuffix(".json").split("-") for name in sorted(self.names(stage, digest))]
        return [GranuleKey(stage, digest, int(granule), members) for granule, members in parts]

    def remove(self, keys: Iterable[GranuleKey]) -> None:
        """Forget granules, so that they are computed again."""
        for key in keys:
            location.remove(self._folder(key.stage, key.digest) / key.name)

    def retire(self, stage: str, digest: str, names: Container[str]) -> None:
        """Forget a stage's results other than `names` under `digest`: their arrays are about to be replaced."""
        folder = self._root / stage
        if isinstance(folder, S3Location):
            # There is no renaming. A kill in the middle leaves objects that are still true: no array is replaced
            # before all are gone, and the next call removes the rest.
            for path in location.names(folder):
                made_with, _, name = path.partition("/")
                if made_with != digest or name not in names:
                    location.remove(folder / path)
            return
        for other in folder.iterdir() if folder.is_dir() else ():
            if other.name != digest:
                # Renamed first: a kill in the middle must not leave half a ledger under a valid name.
                gone = other.with_name(f".retired-{uuid.uuid4().hex}")
                other.rename(gone)
                shutil.rmtree(gone)
        for name in self.names(stage, digest):
            if name not in names:
                (folder / digest / name).unlink()

    def _folder(self, stage: str, digest: str) -> Location:
        return self._root / stage / digest


def _read(place: Location) -> list[Row] | None:
    try:
        return [Row(**row) for row in json.loads(location.read(place)[0])]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError):
        # A damaged object proves nothing: the granule is computed again, to the same bytes.
        location.remove(place)
        return None
