"""The arrays of one cohort, on disk or on S3: plain Zarr v3 that xarray opens alone, without this package."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.storage import MemoryStore

from datbatch import location, schema
from datbatch.cohort import layout
from datbatch.cohort.envelope import wrap
from datbatch.cohort.facts import (
    ATTRIBUTES,
    LISTING,
    METADATA,
    ROOT,
    SHA256,
    VALUES,
    Facts,
    column_fact,
    column_values,
    fact_place,
    is_hashed,
    values_sha256,
    variable_of,
)
from datbatch.cohort.shard import Shard, VolumeReader, read_whole, zarr_store
from datbatch.config import canonical_json
from datbatch.errors import CorruptStoreError, GridMismatchError, StoreError
from datbatch.location import Location, beside


class Store:
    """A cohort store opened for reading and writing.

    Writers never share a chunk: volumes are written one granule (= one shard) at a time by the granule's one task,
    tables by the driver alone. What no row of the ledger says is written to the ledger as a fact, before it is shown.

    Parameters
    ----------
    path : Path or S3Location
        The store.

    Raises
    ------
    StoreError
        When there is no store of this layout at `path`.
    """

    def __init__(self, path: Location) -> None:
        self.path = path
        self.facts: Facts | None = Facts(path)
        self._written: set[str] = set()
        self._open(zarr_store(path))

    def _open(self, place: Any) -> None:
        try:
            self._root = zarr.open_group(place, mode="r+", zarr_format=3, use_consolidated=False)
        except (FileNotFoundError, ValueError, KeyError) as error:
            raise StoreError("there is no cohort store at the given path") from error
        self.layout = layout.check_layout(self._root.attrs.get(layout.LAYOUT))
        self.granule_studies = int(self._root.attrs["granule_studies"])  # type: ignore[arg-type]

    @classmethod
    def in_memory(cls, files: dict[str, Any], granule_studies: int) -> Store:
        """Make an empty store without facts, of the same path as no other, whose files are the values of a dict."""
        store = cls.__new__(cls)
        store.path, store.facts, store._written = Path(), None, set()
        layout.write_empty(MemoryStore(files), granule_studies)
        store._open(MemoryStore(files))
        return store

    @classmethod
    def create(cls, path: Location, *, granule_studies: int) -> Store:
        """Make an empty store; it appears at `path` whole or not at all."""
        files: dict[str, Any] = {}
        attributes = cls.in_memory(files, granule_studies).attributes
        content = {name: buffer.to_bytes() for name, buffer in files.items()}
        content[fact_place(ROOT)] = wrap(fact_place(ROOT), {ATTRIBUTES: attributes})
        content[LISTING] = wrap(LISTING, {"objects": [fact_place(ROOT)]})
        layout.create(path, content)
        return cls(path)

    @staticmethod
    def exists(path: Location) -> bool:
        """Tell whether anything stands in a folder's place, or a whole store on S3."""
        return path.exists() if isinstance(path, Path) else (path / METADATA).is_file()

    @property
    def attributes(self) -> dict[str, Any]:
        """The root's attributes."""
        return dict(self._root.attrs)

    def set_attributes(self, values: Mapping[str, Any], group: str = "") -> None:
        """Add or replace attributes of the root or of a group."""
        self._begin(group)
        found = self._group(group)
        before = self.told(group) or {ATTRIBUTES: dict(found.attrs)}
        attributes = json.loads(canonical_json({**before[ATTRIBUTES], **values}))
        self.tell(group, {ATTRIBUTES: attributes})
        found.attrs.put(attributes)

    @property
    def studies(self) -> list[str]:
        """Pseudonyms in the store's order."""
        return [study for study in self.read_table("study") if study]

    @property
    def models(self) -> list[str]:
        """Names of the models whose relevance is in the store."""
        if "relevance" not in self._root:
            return []
        return sorted(name for name, _ in self._group("relevance").groups())

    def model_attributes(self, model: str) -> dict[str, Any]:
        """Give the attributes of a model's group."""
        return self.group_attributes(f"relevance/{model}")

    def grow(self, studies: Sequence[str]) -> None:
        """Extend every array to the given studies; the present ones must come first and in the same order.

        A kill in the middle is harmless: names are written last, and growing again completes the rest.
        """
        known = self.studies
        if list(studies[: len(known)]) != known:
            raise StoreError("the order of the studies in the store can only be extended, never changed")
        for variable in schema.STUDY_TABLE:
            if variable.name not in self._root:
                # A store that was made before there was this column.
                layout.create_table(self._root, variable, len(known))
        arrays = [
            self._array(f"{group}/{one.name}") for group, variables in self._variables().items() for one in variables
        ]
        short = [array for array in arrays if array.shape[0] != len(studies)]
        self._begin(*(array.path for array in short))
        for array in short:
            array.resize((len(studies), *array.shape[1:]))
        if list(studies) != known:
            self.write_table({"study": np.asarray(studies, dtype=object)})

    def add_model(self, model: str, attributes: Mapping[str, Any]) -> None:
        """Make the group `relevance/<model>` where it is missing, sized like the root."""
        self._make_group(f"relevance/{model}", attributes)

    @property
    def has_normal_range(self) -> bool:
        """Whether the group `normal_range` stands, with all its arrays: the last one is made last."""
        return f"{schema.NORMAL_RANGE}/{schema.NORMAL_RANGE_TABLE[-1].name}" in self._root

    def add_normal_range(self, attributes: Mapping[str, Any]) -> None:
        """Make the group `normal_range` where it is missing or half made, sized like the root."""
        self._make_group(schema.NORMAL_RANGE, attributes)

    def _make_group(self, path: str, attributes: Mapping[str, Any]) -> None:
        of_model = path != schema.NORMAL_RANGE
        table, dimension = (schema.RELEVANCE_TABLE, "statistic") if of_model else (schema.NORMAL_RANGE_TABLE, "measure")
        names = [dimension, *([schema.RELEVANCE_MAP.name] if of_model else []), *(one.name for one in table)]
        missing = [name for name in names if f"{path}/{name}" not in self._root]
        if missing:
            self._begin(*(["relevance"] if of_model else []), path, *(f"{path}/{name}" for name in missing))
            attributes = {"coordinates": layout.coordinates(table), **attributes}
            if not self.told(path):
                self.tell(path, {ATTRIBUTES: attributes})
            group, studies = self._root.require_group(path), len(self.studies)
            if dimension in missing:
                layout.write_coordinate(group, dimension, layout.coordinate_values()[dimension], "")
            if schema.RELEVANCE_MAP.name in missing:
                layout.create_volumes(group, schema.RELEVANCE_MAP, studies, self.granule_studies)
            for variable in (one for one in table if one.name in missing):
                layout.create_table(group, variable, studies)
        self.set_attributes(attributes, path)

    def group_attributes(self, group: str) -> dict[str, Any]:
        """Give the attributes of a group."""
        return dict(self._group(group).attrs)

    def shard(self, name: str, granule: int, studies: int) -> Shard:
        """Begin to write the volumes of one granule, with one aligned shard write at the end.

        Parameters
        ----------
        name : str
            Path of the array: `uptake` or `relevance/<model>/map`.
        granule : int
            Number of the granule.
        studies : int
            How many the granule has, with those without result.

        Raises
        ------
        GridMismatchError
            When the granule of the store has another number.
        """
        array = self._array(name)
        expected = min(self.granule_studies, array.shape[0] - granule * self.granule_studies)
        if studies != expected:
            raise GridMismatchError(f"granule {granule} of {name} has {expected} studies, not {studies}")
        return Shard(array, self.path / name, granule)

    def write_volumes(self, name: str, granule: int, values: npt.NDArray[np.float32]) -> list[str]:
        """Write the volumes of one granule that are at hand all at once.

        Parameters
        ----------
        name, granule
            See `shard`.
        values : ndarray, shape (study, x, y, z), float32
            All studies of the granule; a study without result is NaN throughout.

        Returns
        -------
        list of str
            SHA-256 of each study's bytes, empty for a study without result.
        """
        shard = self.shard(name, granule, len(values))
        hashes = [shard.add(index, volume) for index, volume in enumerate(values)]
        shard.write()
        return hashes

    def volumes(self, name: str = "uptake") -> VolumeReader:
        """Give the reader of single volumes of an array."""
        return VolumeReader(self.path, name)

    def write_table(self, columns: Mapping[str, npt.NDArray[Any]], group: str = "") -> None:
        """Replace whole columns of the tables of the root or of a group."""
        nodes = {name: f"{group}/{name}".strip("/") for name in columns}
        self._begin(*nodes.values())
        for name, values in columns.items():
            array, variable = self._array(nodes[name]), variable_of(nodes[name])
            if array.shape != values.shape:
                raise GridMismatchError(f"column {name} has shape {array.shape}, not {values.shape}")
            if variable is not None and (fact := column_fact(variable, values)) is not None:
                self.tell(nodes[name], fact)
            array[...] = values

    def read_table(self, name: str, group: str = "") -> npt.NDArray[Any]:
        """Read one whole column; texts as an array of str objects."""
        return read_whole(self._array(f"{group}/{name}"))

    def has_table(self, name: str, group: str = "") -> bool:
        """Tell whether there is such a column: a store of an earlier version may lack one."""
        return f"{group}/{name}".strip("/") in self._root

    def write_image(
        self,
        variable: schema.Variable,
        values: npt.NDArray[Any],
        attributes: Mapping[str, Any],
        *,
        again: bool = False,
    ) -> None:
        """Write an image that belongs to the whole cohort; one with the same attribute `digest` is left as it is.

        Parameters
        ----------
        variable : Variable
            Of dimensions (x, y, z).
        values : ndarray, shape (x, y, z)
            The image.
        attributes : mapping
            Of the array; `digest` identifies the values.
        again : bool
            Whether to write it even then: its bytes may be damaged.
        """
        if variable.name in self._root:
            if not again and self._array(variable.name).attrs.get("digest") == attributes["digest"]:
                return
        else:
            layout.create_image(self._root, variable)
        array = self._array(variable.name)
        self._begin(variable.name)
        self.tell(
            variable.name,
            {ATTRIBUTES: dict(attributes), SHA256: values_sha256(np.asarray(values, dtype=variable.dtype))},
        )
        # The digest is written last: after a kill in the middle the image is written again.
        array.attrs.pop("digest", None)
        array[...] = values
        layout.describe(array, variable, attributes)

    def has_image(self, variable: schema.Variable) -> bool:
        """Tell whether an image that belongs to the whole cohort was written to its end."""
        return variable.name in self._root and "digest" in self._array(variable.name).attrs

    def read_image(self, variable: schema.Variable) -> npt.NDArray[Any]:
        """Read an image that belongs to the whole cohort.

        Raises
        ------
        StoreError
            When the store has none.
        CorruptStoreError
            When its bytes fail their checksum.
        """
        array = self._array(variable.name)
        try:
            return np.asarray(array[...])
        except (ValueError, RuntimeError, OSError) as error:
            raise CorruptStoreError(f"{variable.name} cannot be read: {type(error).__name__}") from error

    def show(self, node: str, fact: Mapping[str, Any]) -> None:
        """Let a group, a column or an image show a fact; values of which only a hash is kept are left as they are."""
        variable = variable_of(node)
        if variable in (schema.ATLAS, schema.TEMPLATE):
            if node not in self._root:
                layout.create_image(self._root, variable)
            layout.describe(self._array(node), variable, fact[ATTRIBUTES])
        elif node == ROOT:
            self.set_attributes(fact[ATTRIBUTES])
        elif variable is None:
            self._make_group(node, fact[ATTRIBUTES])
        elif VALUES in fact:
            array = self._array(node)
            array[...] = column_values(variable, fact, layout.empty_column(variable, array.shape[0]))

    def consolidate(self) -> None:
        """Copy all metadata into the root, so that opening a store takes one read, and list what stands now.

        What a killed command left between ledger and tables shows its fact. Tables that follow from rows, and values of
        which the ledger has only the hash, are left to the command that makes them.
        """
        if self.facts is not None:
            self._begin(ROOT)
            left = self.facts.unfinished() - self._written
            for node in filter(self._shows_fact, left):
                if (fact := self.facts.read(node)) is not None:
                    self.show(node, fact)
        layout.consolidate(self._root)
        if self.facts is not None:
            self.facts.list_objects(location.names(self.path))
            self.facts.finish([node for node in left if not self._shows_fact(node)])
        self._written = set()

    @staticmethod
    def _shows_fact(node: str) -> bool:
        variable = variable_of(node)
        return variable is None or not (variable.is_folded or is_hashed(variable))

    def begin(self, nodes: Iterable[str]) -> None:
        """Say which tables are about to be other than the ledger says, until they are written."""
        if self.facts is not None:
            self.facts.begin(nodes)

    def _begin(self, *nodes: str) -> None:
        new = {node.strip("/") for node in nodes} - self._written
        if new and self.facts is not None:
            # The root has copies of all metadata.
            self.facts.begin({ROOT, *new})
        self._written |= new

    def tell(self, node: str, fact: Mapping[str, Any]) -> None:
        """Write the fact of a group, a column or an image to the ledger."""
        if self.facts is not None:
            self.facts.write(node.strip("/"), fact)

    def told(self, node: str) -> dict[str, Any]:
        """Read a fact; empty where there is none, or it is damaged."""
        return (self.facts and self.facts.read(node)) or {}

    def _variables(self) -> dict[str, tuple[schema.Variable, ...]]:
        """List every array with a study axis by group; the root's names last: a study exists once its name stands."""
        groups: dict[str, tuple[schema.Variable, ...]] = {
            f"relevance/{model}": (*schema.RELEVANCE_TABLE, schema.RELEVANCE_MAP) for model in self.models
        }
        if self.has_normal_range:
            groups[schema.NORMAL_RANGE] = schema.NORMAL_RANGE_TABLE
        groups[""] = (schema.UPTAKE, *sorted(schema.STUDY_TABLE, key=lambda v: v.name == "study"))
        return groups

    def _group(self, path: str) -> zarr.Group:
        found = self._root if not path else self._root[path]
        if not isinstance(found, zarr.Group):
            raise StoreError(f"{path} is not a group of the store")
        return found

    def _array(self, path: str) -> Any:
        try:
            return self._root[path.strip("/")]
        except KeyError as error:
            raise StoreError(f"the store has no array {path.strip('/')}") from error


def check_layout_of(path: Location, *, write: bool) -> None:
    """Refuse a store of another layout before anything else is read; one without readable metadata is for others.

    Raises
    ------
    StoreNewerError, StoreOlderError, StoreError
        As `layout.check_layout`.
    """
    told = Facts(path).read(ROOT)
    with suppress(OSError, ValueError, KeyError, TypeError):
        shown = json.loads(location.read(path / METADATA)[0])[ATTRIBUTES][layout.LAYOUT]
        # A later one that the ledger does not know is damage; an earlier one may be a migration that was killed.
        layout.check_layout(shown if told is None else min(shown, told[ATTRIBUTES][layout.LAYOUT]), write=write)


def linkage_path(store: Location) -> Path:
    """Give the path of the table from pseudonym to files, beside the store."""
    return beside(store, "linkage.csv")


def key_path(store: Location) -> Path:
    """Give the path of the key that pseudonyms are made with, beside the store."""
    return beside(store, "key")


def models_path(store: Location) -> Path:
    """Give the folder of the trained models, beside the store."""
    return beside(store, "models")
