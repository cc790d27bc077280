"""The seal of a store: what the files must hold whose bytes no row of the ledger records.

These are the metadata (kept as text, so that they can be put back), the chunks of tables, images and coordinates, and
the names of the objects of the ledger and of the records of commands. The driver takes out of the seal what it is about
to write, and seals it again once it stands: a kill leaves something unsealed, never something wrongly sealed, and what
another command leaves alone keeps its first digest, however often the store is sealed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Container, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import TypeVar

from datbatch import location, schema
from datbatch.cohort.envelope import bears_digest, unwrap, wrap
from datbatch.location import Location

LEDGER, RUNS = "ledger", "runs"
"""Folders of a store that hold no arrays."""
NAME = f"{LEDGER}/seal.json"
METADATA = "zarr.json"
CHUNK = re.compile(r"c([./]\d+)+")
ROOT = ""
"""Path of the root among those of groups and arrays."""
_OBJECT = re.compile(rf"({LEDGER}/.+|{RUNS})/(\d[^/]*\.json)")
_COPIES = "consolidated_metadata"
_READ_AHEAD = 16

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Seal:
    """What the files of a store must hold."""

    metadata: dict[str, str] = field(default_factory=dict)
    """Text of the metadata by path of the group or array; the root's without its copies of the others."""
    values: dict[str, dict[str, str]] = field(default_factory=dict)
    """SHA-256 by path of the array and name of the chunk; for the root, of its metadata with all copies."""
    objects: dict[str, dict[str, str]] = field(default_factory=dict)
    """Objects of the ledger and records of commands by folder and name: SHA-256 of one that does not bear its own."""


@dataclass(frozen=True)
class Difference:
    """A file that is not as it was sealed."""

    node: str
    """Path of the group or array; of an object or a record its folder."""
    file: str
    """Path of the file in the store."""
    kind: str
    """`missing`, `unreadable`, `changed`, or `unrecorded` (was not there)."""

    @property
    def is_metadata(self) -> bool:
        """Whether the file says what an array or a group is, so that nothing can be read without it."""
        return self.file.endswith(METADATA)


def holds_volumes(array: str) -> bool:
    """Tell whether an array holds one volume a study: the ledger records their bytes."""
    return array == schema.UPTAKE.name or array.endswith(f"/{schema.RELEVANCE_MAP.name}")


def node_of(name: str, nodes: Container[str]) -> str:
    """Give the innermost array or group that a file lies in; `.` for none of these."""
    return next((str(parent) for parent in PurePosixPath(name).parents if str(parent) in nodes), ".")


def read_seal(store: Location) -> Seal | None:
    """Read the seal; None where a store has none.

    Raises
    ------
    ValueError
        When it is damaged.
    """
    try:
        content = unwrap(NAME, location.read(store / NAME)[0])
    except FileNotFoundError:
        return None
    if not isinstance(content, dict) or content.keys() != asdict(Seal()).keys():
        raise ValueError("the seal is not what was written")
    return Seal(**content)


def unseal(store: Location, *, metadata: Collection[str] = (), values: Collection[str] = ()) -> None:
    """Take groups and arrays out of the seal before their metadata or their chunks are written."""
    seal = _read(store)
    if seal.metadata.keys() & set(metadata) or seal.values.keys() & set(values):
        write_seal(
            store,
            Seal(
                {path: text for path, text in seal.metadata.items() if path not in metadata},
                {path: chunks for path, chunks in seal.values.items() if path not in values},
                seal.objects,
            ),
        )


def unlist(store: Location, objects: Collection[str]) -> None:
    """Take objects of the ledger and records out of the seal, by their paths in the store, before they are removed."""
    if not objects:
        return
    seal = _read(store)
    left = {
        folder: {name: digest for name, digest in names.items() if f"{folder}/{name}" not in objects}
        for folder, names in seal.objects.items()
    }
    if left != seal.objects:
        write_seal(store, Seal(seal.metadata, seal.values, {folder: names for folder, names in left.items() if names}))


def renew(store: Location, *, metadata: Collection[str] = (), values: Collection[str] = ()) -> None:
    """Seal what is not sealed, and these groups and arrays again; everything else keeps what was sealed of it."""
    files, before = location.names(store), _read(store)
    chunks = _chunks(files)
    nodes = [path for path in chunks if path not in before.metadata or path in metadata]
    texts = _each(nodes, lambda path: _text(store, path))
    known = {path: text for path, text in before.metadata.items() if path not in metadata} | texts
    arrays = [
        path
        for path in chunks
        if path in known and _is_sealed_array(path, known[path]) and (path not in before.values or path in values)
    ]
    digests = _each([name for path in arrays for name in chunks[path]], lambda name: _sha256(store, name))
    sealed = {path: of for path, of in before.values.items() if path not in values and path != ROOT}
    sealed |= {path: {name: digests[name] for name in chunks[path]} for path in arrays}
    sealed[ROOT] = {METADATA: _sha256(store, METADATA)}
    write_seal(store, Seal(known, sealed, _listed(store, before, files)))


def _listed(store: Location, before: Seal, files: Iterable[str]) -> dict[str, dict[str, str]]:
    """Add to the listed objects those that are new."""
    objects = {folder: dict(names) for folder, names in before.objects.items()}
    found = [(match[1], match[2]) for match in filter(None, map(_OBJECT.fullmatch, files))]
    new = [(folder, name) for folder, name in found if name not in objects.get(folder, {})]
    digests = _each([f"{folder}/{name}" for folder, name in new], lambda name: _own_or_sha256(store, name))
    for folder, name in new:
        objects.setdefault(folder, {})[name] = digests[f"{folder}/{name}"]
    return objects


class Unsealed:
    """Takes out of a store's seal what is written, just before, and seals it again.

    Parameters
    ----------
    path : Path or S3Location
        The store.
    """

    def __init__(self, path: Location) -> None:
        self._path = path
        self._metadata: set[str] = set()
        self._values: set[str] = set()

    def metadata(self, *paths: str) -> None:
        """Name groups and arrays whose metadata are written next."""
        new = {path.strip("/") for path in paths} - self._metadata
        if new:
            # The root's own are sealed a second time, with their copies of all others.
            unseal(self._path, metadata=new, values=[ROOT])
            self._metadata |= new

    def values(self, *paths: str) -> None:
        """Name arrays whose chunks are written next."""
        new = {path.strip("/") for path in paths} - self._values
        if new:
            unseal(self._path, values=new)
            self._values |= new

    def seal(self) -> None:
        """Seal everything that was written."""
        renew(self._path, metadata=self._metadata, values=self._values)
        self._metadata, self._values = set(), set()


def differences(store: Location, seal: Seal) -> list[Difference]:
    """Compare metadata and chunks with the seal."""
    files = location.names(store)
    present, chunks = set(files), _chunks(files)
    nodes = [path for path in seal.metadata if path != ROOT and _metadata_of(path) in present]
    texts = _each(nodes, lambda path: _if_readable(_text, store, path))
    sealed = {name: digest for of in seal.values.values() for name, digest in of.items()}
    digests = _each(sealed.keys() & present, lambda name: _if_readable(_sha256, store, name))
    found = []
    for path, text in seal.metadata.items():
        name = _metadata_of(path)
        kind = "" if path == ROOT else _kind(text, texts.get(path, "")) if name in present else "missing"
        found += [Difference(path, name, kind)] if kind else []
    for path, of in seal.values.items():
        for name in sorted(of.keys() | set(chunks.get(path, ()))):
            kind = _kind(of[name], digests.get(name, "")) if name in of else "unrecorded"
            kind = kind if name in present else "missing"
            found += [Difference(path, name, kind)] if kind else []
    return found + _object_differences(store, seal, present)


def _object_differences(store: Location, seal: Seal, present: Container[str]) -> list[Difference]:
    """Compare objects and records that do not compare themselves, and miss those that are gone."""
    listed = {
        (folder, f"{folder}/{name}"): digest for folder, of in seal.objects.items() for name, digest in of.items()
    }
    told = [name for (_, name), digest in listed.items() if digest and name in present]
    digests = _each(told, lambda name: _if_readable(_own_or_sha256, store, name))
    found = []
    for (folder, name), digest in listed.items():
        # One that bears its digest now was written again since.
        kind = _kind(digest, digests.get(name)) if digest and digests.get(name) != "" else ""
        kind = kind if name in present else "missing"
        found += [Difference(folder, name, kind)] if kind else []
    return found


def put_back(store: Location, seal: Seal, found: Iterable[Difference]) -> None:
    """Write lost or changed metadata again, and remove chunks that were never written."""
    for one in found:
        if one.is_metadata:
            location.write(store / one.file, seal.metadata[one.node].encode())
        elif one.kind == "unrecorded":
            location.remove(store / one.file)


def _chunks(files: Iterable[str]) -> dict[str, list[str]]:
    """Give the chunks of every array and group, by its path; none for volumes and groups."""
    names = [name for name in files if name.split("/")[0] not in (LEDGER, RUNS)]
    nodes = {name.removesuffix(METADATA).rstrip("/") for name in names if PurePosixPath(name).name == METADATA}
    found: dict[str, list[str]] = {path: [] for path in sorted(nodes)}
    for name in names:
        path = node_of(name, nodes)
        if path in found and not holds_volumes(path) and CHUNK.fullmatch(name.removeprefix(f"{path}/")):
            found[path].append(name)
    return found


def _is_sealed_array(path: str, text: str) -> bool:
    return not holds_volumes(path) and '"node_type": "array"' in text


def _metadata_of(path: str) -> str:
    return f"{path}/{METADATA}".lstrip("/")


def _text(store: Location, path: str) -> str:
    text = location.read(store / _metadata_of(path))[0].decode("utf-8", "replace")
    if path != ROOT:
        return text
    return json.dumps({key: value for key, value in json.loads(text).items() if key != _COPIES}, indent=2)


def _if_readable(function: Callable[[Location, str], str], store: Location, name: str) -> str | None:
    try:
        return function(store, name)
    except OSError:
        return None


def _kind(sealed: str, found: str | None) -> str:
    if found is None:
        return "unreadable"
    return "" if found == sealed else "changed"


def _sha256(store: Location, name: str) -> str:
    return hashlib.sha256(location.read(store / name)[0]).hexdigest()


def _own_or_sha256(store: Location, name: str) -> str:
    content = location.read(store / name)[0]
    return "" if bears_digest(content) else hashlib.sha256(content).hexdigest()


def _each(names: Collection[str], function: Callable[[str], _Found]) -> dict[str, _Found]:
    """Apply a function to names, on several threads: on S3 each takes a while, whatever its size."""
    with ThreadPoolExecutor(_READ_AHEAD) as pool:
        return dict(zip(names, pool.map(function, names), strict=True))


def _read(store: Location) -> Seal:
    """Read the seal; a damaged one binds nobody who is about to write another."""
    try:
        return read_seal(store) or Seal()
    except ValueError:
        return Seal()


def write_seal(store: Location, seal: Seal) -> None:
    """Write a seal, whole or not at all."""
    location.write(store / NAME, wrap(NAME, asdict(seal)))
