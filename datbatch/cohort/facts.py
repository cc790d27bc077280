"""What no row of the ledger says: attributes, and columns that follow from the archive or from a command.

One object of the ledger each, replaced whole before the array or group that shows it is written. So arrays, groups and
attributes follow from the ledger alone, and can be made from it again (`datbatch.cohort.shadow`). Two more objects make
harm differ from a kill: the list of all objects, and the list of what is about to be written.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from datbatch import location, schema
from datbatch.cohort.envelope import bears_digest, unwrap, wrap
from datbatch.config import canonical_json
from datbatch.location import Location

LEDGER, RUNS = "ledger", "runs"
"""Folders of a store that hold no arrays."""
FACTS, LISTING, UNFINISHED = f"{LEDGER}/facts", f"{LEDGER}/listing.json", f"{LEDGER}/unfinished.json"
METADATA = "zarr.json"
CHUNK = re.compile(r"/c([./]\d+)+$")
ROOT = ""
"""Path of the root among those of groups and arrays."""
ATTRIBUTES, VALUES, SHA256 = "attributes", "values", "sha256"
"""Keys of a fact: the attributes of a group or an image, the values of a column, or the hash of values that are made
again rather than kept twice."""
_LISTED = re.compile(rf"({LEDGER}/.+|{RUNS})/(\d[^/]*\.json)|{FACTS}/.+\.json")
_READ_AHEAD = 16

_Found = TypeVar("_Found")


class Facts:
    """The facts of one store.

    Parameters
    ----------
    store : Path or S3Location
        The store.
    """

    def __init__(self, store: Location) -> None:
        self._store = store

    def write(self, node: str, fact: Mapping[str, Any]) -> None:
        """Write or replace the fact of a group or an array, whole or not at all."""
        _write(self._store, fact_place(node), fact)

    def read(self, node: str) -> dict[str, Any] | None:
        """Read a fact; None where there is none, or it is damaged."""
        return _read(self._store, fact_place(node))

    def read_all(self) -> dict[str, dict[str, Any] | None]:
        """Read all facts by the path of their group or array; None for a damaged one."""
        places = [f"{FACTS}/{name}" for name in location.names(self._store / FACTS) if name.endswith(".json")]
        return {node_of_fact(place): fact for place, fact in each(places, lambda p: _read(self._store, p)).items()}

    def listed(self) -> set[str] | None:
        """Give the paths of the objects and records that stood when the last command ended; None where damaged."""
        content = _read(self._store, LISTING)
        return None if content is None else set(content["objects"])

    def list_objects(self, names: Iterable[str]) -> None:
        """List what of these files of the store is an object of the ledger or a record."""
        _write(self._store, LISTING, {"objects": sorted(name for name in names if _LISTED.fullmatch(name))})

    def unlist(self, gone: Container[str]) -> None:
        """Take objects and records out of the list before they are removed: a kill in between leaves a true one."""
        listed = self.listed()
        if listed is not None and any(name in gone for name in listed):
            self.list_objects(name for name in listed if name not in gone)

    def unfinished(self) -> set[str]:
        """Give the groups and arrays that a command was writing, and none has finished since."""
        return set((_read(self._store, UNFINISHED) or {"nodes": ()})["nodes"])

    def begin(self, nodes: Iterable[str]) -> None:
        """Say which groups and arrays are written next."""
        before = self.unfinished()
        if (now := before.union(nodes)) != before:
            _write(self._store, UNFINISHED, {"nodes": sorted(now)})

    def finish(self, left: Collection[str]) -> None:
        """Say that only these are not finished."""
        if left:
            _write(self._store, UNFINISHED, {"nodes": sorted(left)})
        else:
            location.remove(self._store / UNFINISHED)


def fact_place(node: str) -> str:
    """Give the path of a fact in the store."""
    return f"{FACTS}/{node or 'root'}.json"


def node_of_fact(place: str) -> str:
    """Give the path of the group or array that a fact is of."""
    node = place.removeprefix(f"{FACTS}/").removesuffix(".json")
    return ROOT if node == "root" else node


def variable_of(node: str) -> schema.Variable | None:
    """Give the table column or image at a path; None for groups, coordinates and volumes."""
    group, _, name = node.rpartition("/")
    table: tuple[schema.Variable, ...]
    if group in (ROOT, schema.NORMAL_RANGE):
        table = schema.NORMAL_RANGE_TABLE if group else (*schema.STUDY_TABLE, schema.ATLAS, schema.TEMPLATE)
    else:
        table = schema.RELEVANCE_TABLE if group.startswith("relevance/") else ()
    return next((one for one in table if one.name == name), None)


def column_fact(variable: schema.Variable, values: npt.NDArray[Any]) -> dict[str, Any] | None:
    """Give the fact that a column is; None for a column that follows from rows of the ledger."""
    if variable.is_folded:
        return None
    if is_hashed(variable):
        return {SHA256: values_sha256(values)}
    texts: Any = values.tolist()
    # JSON has no NaN.
    return {VALUES: [None if v != v else v for v in texts] if values.dtype.kind == "f" else texts}


def is_hashed(variable: schema.Variable) -> bool:
    """Tell whether the ledger has only a hash of a column or an image: it is made again rather than kept twice."""
    return variable.writer in (schema.NORMS, schema.RUN) and variable.dtype != "str"


def column_values(variable: schema.Variable, fact: Mapping[str, Any], empty: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Give the values of a column from its fact; studies that came later keep those of the `empty` column."""
    told = np.asarray(fact[VALUES], dtype=empty.dtype).reshape(-1, *empty.shape[1:])
    return np.concatenate([told, empty[len(told) :]])


def values_sha256(values: npt.NDArray[Any]) -> str:
    """Give the hash of a column or an image."""
    texts = values.dtype.kind in "TOU"
    return hashlib.sha256(canonical_json(values.tolist()).encode() if texts else values.tobytes()).hexdigest()


def holds_volumes(array: str) -> bool:
    """Tell whether an array holds one volume a study: rows of the ledger record their bytes."""
    return array == schema.UPTAKE.name or array.endswith(f"/{schema.RELEVANCE_MAP.name}")


def metadata_of(node: str) -> str:
    """Give the path of a group's or an array's metadata."""
    return f"{node}/{METADATA}".lstrip("/")


def node_of(name: str, nodes: Container[str]) -> str:
    """Give the innermost array or group that a file lies in; `.` for none of these."""
    return next((str(parent) for parent in PurePosixPath(name).parents if str(parent) in nodes), ".")


def each(names: Collection[str], function: Callable[[str], _Found]) -> dict[str, _Found]:
    """Apply a function to names, on several threads: on S3 each takes a while, whatever its size."""
    with ThreadPoolExecutor(_READ_AHEAD) as pool:
        return dict(zip(names, pool.map(function, names), strict=True))


def _write(store: Location, place: str, content: Mapping[str, Any]) -> None:
    location.write(store / place, wrap(place, content))


def _read(store: Location, place: str) -> dict[str, Any] | None:
    try:
        data = location.read(store / place)[0]
        content = unwrap(place, data) if bears_digest(data) else None
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
