"""The arrays of one cohort, on disk or on S3: plain Zarr v3 that xarray opens alone, without this package."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.storage import MemoryStore, ObjectStore

from datbatch import location, schema
from datbatch.cohort import layout, seal
from datbatch.cohort.shard import Shard
from datbatch.errors import CorruptStoreError, GridMismatchError, StoreError
from datbatch.location import Location, beside

_ROOT = seal.METADATA
SEALED = "sealed"
"""Attribute of the root: whether the store has a seal."""


class Store:
    """A cohort store opened for reading and writing.

    Writers never share a chunk: volumes are written one granule (= one shard) at a time by the granule's one task,
    tables by the driver alone.

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
        self._unsealed = seal.Unsealed(path)
        try:
            self._root = zarr.open_group(zarr_store(path), mode="r+", zarr_format=3, use_consolidated=False)
        except (FileNotFoundError, ValueError, KeyError) as error:
            raise StoreError("there is no cohort store at the given path") from error
        self.layout = layout.check_layout(self._root.attrs.get(layout.LAYOUT))
        self.granule_studies = int(self._root.attrs["granule_studies"])  # type: ignore[arg-type]

    @classmethod
    def create(cls, path: Location, *, granule_studies: int) -> Store:
        """Make an empty store; it appears at `path` whole or not at all."""
        if isinstance(path, Path):
            _create_in_folder(path, granule_studies)
        else:
            _create_on_s3(path, granule_studies)
        return cls(path)

    @staticmethod
    def exists(path: Location) -> bool:
        """Tell whether anything stands in a folder's place, or a whole store on S3."""
        return path.exists() if isinstance(path, Path) else (path / _ROOT).is_file()

    @property
    def attributes(self) -> dict[str, Any]:
        """The root's attributes."""
        return dict(self._root.attrs)

    def set_attributes(self, values: Mapping[str, Any], group: str = "") -> None:
        """Add or replace attributes of the root or of a group."""
        self._unsealed.metadata(group)
        self._group(group).update_attributes(dict(values))

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
        self._unsealed.metadata(*(array.path for array in short))
        for array in short:
            array.resize((len(studies), *array.shape[1:]))
        if list(studies) != known:
            self.write_table({"study": np.asarray(studies, dtype=object)})

    def add_model(self, model: str, attributes: Mapping[str, Any]) -> None:
        """Make the group `relevance/<model>` where it is missing, sized like the root."""
        path = f"relevance/{model}"
        if path not in self._root:
            group = self._root.create_group(
                path, attributes={"coordinates": layout.coordinates(schema.RELEVANCE_TABLE)}
            )
            for variable in schema.RELEVANCE_TABLE:
                layout.create_table(group, variable, len(self.studies))
            layout.create_volumes(group, schema.RELEVANCE_MAP, len(self.studies), self.granule_studies)
            layout.write_coordinate(group, "statistic", layout.coordinate_values()["statistic"], "")
        self.set_attributes(attributes, path)

    @property
    def has_normal_range(self) -> bool:
        """Whether the group `normal_range` stands, with all its arrays: the last one is made last."""
        return f"{schema.NORMAL_RANGE}/{schema.NORMAL_RANGE_TABLE[-1].name}" in self._root

    def add_normal_range(self) -> None:
        """Make the group `normal_range` where it is missing or half made, sized like the root."""
        if not self.has_normal_range:
            names = ["measure", *(variable.name for variable in schema.NORMAL_RANGE_TABLE)]
            whole = [schema.NORMAL_RANGE, *(f"{schema.NORMAL_RANGE}/{name}" for name in names)]
            self._unsealed.metadata(*whole)
            self._unsealed.values(*whole)
            group = self._root.create_group(
                schema.NORMAL_RANGE,
                attributes={"coordinates": layout.coordinates(schema.NORMAL_RANGE_TABLE)},
                overwrite=True,
            )
            layout.write_coordinate(group, "measure", layout.coordinate_values()["measure"], "")
            for variable in schema.NORMAL_RANGE_TABLE:
                layout.create_table(group, variable, len(self.studies))

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
        self._unsealed.values(*(f"{group}/{name}" for name in columns))
        for name, values in columns.items():
            array = self._array(f"{group}/{name}")
            if array.shape != values.shape:
                raise GridMismatchError(f"column {name} has shape {array.shape}, not {values.shape}")
            array[...] = values

    def read_table(self, name: str, group: str = "") -> npt.NDArray[Any]:
        """Read one whole column; texts as an array of str objects."""
        values = np.asarray(self._array(f"{group}/{name}")[...])
        return values.astype(object) if values.dtype.kind in "TO" else values

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
        self._unsealed.metadata(variable.name)
        self._unsealed.values(variable.name)
        # The digest is written last: after a kill in the middle the image is written again.
        array.attrs.pop("digest", None)
        array[...] = values
        array.update_attributes(dict(attributes))

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

    def write_coordinate(self, path: str) -> bool:
        """Write the values of a dimension's coordinate again; False where `path` is none."""
        group, _, name = path.rpartition("/")
        values = layout.coordinate_values().get(name)
        if values is None:
            return False
        self.write_table({name: values}, group)
        return True

    def consolidate(self) -> None:
        """Copy all metadata into the root, so that opening a store takes one read, and seal what stands now."""
        if not self._root.attrs.get(SEALED):
            # So that a seal that was lost is missed.
            self.set_attributes({SEALED: True})
        self._unsealed.metadata(seal.ROOT)
        layout.consolidate(self._root)
        self._unsealed.seal()

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


class VolumeReader:
    """Reads one study's volume at a time, by basic indexing (fancy indexing of shards is eight times slower).

    Can be pickled and used from several threads.

    Parameters
    ----------
    path : Path or S3Location
        The store.
    name : str
        Path of an array of dimensions (study, x, y, z).
    """

    def __init__(self, path: Location, name: str) -> None:
        self._path, self._name = path, name
        try:
            self._array: Any = zarr.open_array(zarr_store(path), path=name, mode="r", zarr_format=3)
        except (FileNotFoundError, ValueError, KeyError) as error:
            raise StoreError(f"the store has no array {name}") from error
        self.shape: tuple[int, ...] = tuple(self._array.shape[1:])

    def __reduce__(self) -> tuple[type[VolumeReader], tuple[Location, str]]:
        return type(self), (self._path, self._name)

    def __len__(self) -> int:
        return int(self._array.shape[0])

    def __getitem__(self, index: int) -> npt.NDArray[np.float32]:
        """Read study `index`, shape (x, y, z); NaN throughout where there is no result.

        Raises
        ------
        CorruptStoreError
            When the stored bytes fail their checksum.
        """
        try:
            return np.asarray(self._array[index], dtype=np.float32)
        except IndexError:
            raise
        except (ValueError, RuntimeError, OSError) as error:
            raise CorruptStoreError(f"study {index} of {self._name} cannot be read: {type(error).__name__}") from error


def zarr_store(path: Location, *, read_only: bool = False) -> Any:
    """Give what zarr and xarray open as a store."""
    return path if isinstance(path, Path) else ObjectStore(location.object_store(path), read_only=read_only)


def _create_in_folder(path: Path, granule_studies: int) -> None:
    if path.exists():
        raise StoreError("something else stands at the path of the new store")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.parent / f".{path.name}.{uuid.uuid4().hex}.partial"
    try:
        layout.write_empty(unfinished, granule_studies)
        unfinished.rename(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _create_on_s3(path: location.S3Location, granule_studies: int) -> None:
    """Upload a store made in memory, the root's metadata last: without them there is no store."""
    content: dict[str, Any] = {}
    layout.write_empty(MemoryStore(content), granule_studies)
    # What a killed call left is made again; anything else is not ours.
    if set(location.names(path)) - (content.keys() - {_ROOT}):
        raise StoreError("something else stands at the address of the new store")
    for name in sorted(content.keys() - {_ROOT}):
        location.write(path / name, content[name].to_bytes())
    if not location.create(path / _ROOT, content[_ROOT].to_bytes()):
        raise StoreError("something else stands at the address of the new store")


def check_layout_of(path: Location, *, write: bool) -> None:
    """Refuse a store of another layout before anything else is read; one without readable metadata is for others.

    Raises
    ------
    StoreNewerError, StoreOlderError, StoreError
        As `layout.check_layout`.
    """
    with suppress(OSError, ValueError, KeyError, TypeError):
        layout.check_layout(json.loads(location.read(path / _ROOT)[0])["attributes"][layout.LAYOUT], write=write)


def linkage_path(store: Location) -> Path:
    """Give the path of the table from pseudonym to files, beside the store."""
    return beside(store, "linkage.csv")


def key_path(store: Location) -> Path:
    """Give the path of the key that pseudonyms are made with, beside the store."""
    return beside(store, "key")


def models_path(store: Location) -> Path:
    """Give the folder of the trained models, beside the store."""
    return beside(store, "models")
