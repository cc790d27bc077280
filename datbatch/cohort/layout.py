"""How each kind of array lies in the store: chunks, shards, codecs, names of dimensions. Imports zarr for the store."""

from __future__ import annotations

import shutil
import uuid
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numcodecs
import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.errors import ZarrUserWarning

from datbatch import __version__, location, schema
from datbatch.cohort.facts import METADATA
from datbatch.config import digest
from datbatch.errors import StoreError, StoreNewerError, StoreOlderError
from datbatch.location import Location, S3Location

LAYOUT = "layout_version"
"""Attribute of the root, changed last of all by `datbatch migrate`."""

MADE_WITH = "made_with"
"""Attribute of the root: what the text of its metadata follows from, besides the ledger."""

TABLE_CHUNK_ROWS = 65_536
_FILL: dict[str, Any] = {
    "float32": np.nan,
    "float64": np.nan,
    "bool": False,
    "uint8": 0,
    "int32": 0,
    "int64": 0,
    "str": "",
}
_FIXED_SIZES = {
    "x": schema.SHAPE[0],
    "y": schema.SHAPE[1],
    "z": schema.SHAPE[2],
    "region": len(schema.REGIONS),
    "statistic": len(schema.STATISTICS),
    "read": len(schema.READS),
    **{name: len(labels) for name, labels in schema.BINDING_LABELS.items()},
    "measure": len(schema.MEASURES),
    "angle": len(schema.ANGLES_DEG),
    "to": 4,
    "from": 4,
}
_COORDINATES_OF_GROUPS = {"statistic": schema.STATISTICS, "measure": schema.MEASURES}


def check_layout(found: Any, *, write: bool = False) -> int:
    """Give the layout of a store, its attribute `layout_version`, where this version reads it, or writes it.

    Raises
    ------
    StoreNewerError, StoreOlderError, StoreError
        When the layout is a later one, one that must be migrated first, or none.
    """
    if not isinstance(found, int) or found < schema.OLDEST_LAYOUT:
        raise StoreError(
            "the store has another layout than this version of datbatch reads",
            "Use the version of datbatch named in the store's attributes, or make a new store.",
        )
    if found > schema.LAYOUT_VERSION:
        raise StoreNewerError(f"the store has layout {found}, this version reads none after {schema.LAYOUT_VERSION}")
    if write and found < schema.LAYOUT_VERSION:
        raise StoreOlderError(f"the store has layout {found}, this version writes layout {schema.LAYOUT_VERSION}")
    return found


def made_with() -> str:
    """Give a digest of the descriptions of all arrays and of the versions that write them."""
    tables = (schema.STUDY_TABLE, schema.RELEVANCE_TABLE, schema.NORMAL_RANGE_TABLE)
    volumes = (schema.UPTAKE, schema.RELEVANCE_MAP, schema.ATLAS, schema.TEMPLATE)
    return digest([repr(tables), repr(volumes), zarr.__version__, numcodecs.__version__])


def empty_column(variable: schema.Variable, studies: int) -> npt.NDArray[Any]:
    """Make the column of a table variable, filled with its fill value."""
    shape = (studies, *(_FIXED_SIZES[dim] for dim in variable.dims[1:]))
    dtype = object if variable.dtype == "str" else variable.dtype
    return np.full(shape, _FILL[variable.dtype], dtype=dtype)


def coordinates(variables: Sequence[schema.Variable]) -> str:
    """List the coordinates of a group in the form that xarray looks for (a dimension's own name needs no listing)."""
    return " ".join(v.name for v in variables if v.coordinate and v.dims != (v.name,))


def _codecs(compressor: Literal["lz4", "zstd"] = "zstd") -> list[Any]:
    return [BloscCodec(cname=compressor, clevel=1, shuffle="bitshuffle"), Crc32cCodec()]


def volume_codecs(variable: schema.Variable) -> list[Any]:
    """Give the codecs of an array of volumes.

    Noise fills the uptake, and no codec makes it much smaller: lz4 takes a quarter of zstd's time for 1 % more bytes.
    Maps of relevance, most of them nearly empty, would take 40 % more.
    """
    return _codecs("lz4" if variable is schema.UPTAKE else "zstd")


def create_volumes(group: zarr.Group, variable: schema.Variable, studies: int, granule: int) -> None:
    """Make an array of one volume a study: one chunk a study, one shard a granule."""
    group.create_array(
        variable.name,
        shape=(studies, *schema.SHAPE),
        dtype=variable.dtype,
        chunks=(1, *schema.SHAPE),
        shards=(granule, *schema.SHAPE),
        compressors=volume_codecs(variable),
        fill_value=np.nan,
        dimension_names=variable.dims,
        chunk_key_encoding={"name": "default", "separator": "."},
        attributes=attributes_of(variable),
    )


def create_image(group: zarr.Group, variable: schema.Variable) -> None:
    """Make an array of one image for the whole cohort."""
    group.create_array(
        variable.name,
        shape=schema.SHAPE,
        dtype=variable.dtype,
        chunks=schema.SHAPE,
        compressors=_codecs(),
        fill_value=_FILL[variable.dtype],
        dimension_names=variable.dims,
        chunk_key_encoding={"name": "default", "separator": "."},
        attributes=attributes_of(variable),
    )


def create_table(group: zarr.Group, variable: schema.Variable, studies: int) -> None:
    """Make a table column, of one row a study."""
    rest = tuple(_FIXED_SIZES[dim] for dim in variable.dims[1:])
    group.create_array(
        variable.name,
        shape=(studies, *rest),
        dtype=str if variable.dtype == "str" else variable.dtype,
        chunks=(max(1, TABLE_CHUNK_ROWS // max(1, int(np.prod(rest)))), *rest),
        compressors=_codecs(),
        fill_value=_FILL[variable.dtype],
        dimension_names=variable.dims,
        chunk_key_encoding={"name": "default", "separator": "."},
        attributes=attributes_of(variable),
    )


def write_labels(root: zarr.Group) -> None:
    """Make the coordinates of the root's dimensions."""
    directions = dict(zip("xyz", ("right", "anterior", "superior"), strict=True))
    described = {axis: (f"MNI, growing to {direction}", "mm") for axis, direction in directions.items()}
    described["angle"] = ("of the detector, 0 at the back, growing to the left", "degrees")
    for name, values in coordinate_values().items():
        if name not in _COORDINATES_OF_GROUPS:
            write_coordinate(root, name, values, *described.get(name, ("", "")))


def coordinate_values() -> dict[str, npt.NDArray[Any]]:
    """Give the values along every dimension that has a coordinate, the root's and those of groups."""
    axes = {name: schema.coordinates_mm(axis) for axis, name in enumerate("xyz")}
    labels = {"region": schema.REGIONS, "read": schema.READS, **schema.BINDING_LABELS, **_COORDINATES_OF_GROUPS}
    texts = {name: np.asarray(values, dtype=object) for name, values in labels.items()}
    return {**axes, **texts, "angle": np.asarray(schema.ANGLES_DEG)}


def write_coordinate(group: zarr.Group, name: str, values: npt.NDArray[Any], description: str, units: str = "") -> None:
    """Make the coordinate of a dimension."""
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=str if values.dtype == object else values.dtype,
        chunks=values.shape,
        compressors=_codecs(),
        dimension_names=(name,),
        attributes={k: v for k, v in (("long_name", description), ("units", units)) if v},
    )
    array[...] = values


def describe(array: Any, variable: schema.Variable, attributes: Mapping[str, Any]) -> None:
    """Give an image the attributes of its kind and its own."""
    array.attrs.put({**attributes_of(variable), **dict(sorted(attributes.items()))})


def attributes_of(variable: schema.Variable) -> dict[str, Any]:
    """Give the attributes that every array of a kind has."""
    described = {"long_name": variable.description}
    return described | ({"units": variable.units} if variable.units else {})


def consolidate(root: zarr.Group) -> None:
    """Copy all metadata into the root."""
    with warnings.catch_warnings():
        # xarray reads consolidated metadata of format 3; its missing specification concerns no reader that we name.
        warnings.simplefilter("ignore", ZarrUserWarning)
        zarr.consolidate_metadata(root.store)


def write_empty(place: Any, granule_studies: int) -> None:
    """Write a store without studies."""
    root = zarr.create_group(place, zarr_format=3)
    attributes = {
        "title": "DAT-SPECT cohort: research software, not a medical device",
        "datbatch_version": __version__,
        LAYOUT: schema.LAYOUT_VERSION,
        "granule_studies": granule_studies,
        MADE_WITH: made_with(),
        "coordinates": coordinates(schema.STUDY_TABLE),
    }
    root.update_attributes(dict(sorted(attributes.items())))
    write_labels(root)
    for variable in schema.STUDY_TABLE:
        create_table(root, variable, 0)
    create_volumes(root, schema.UPTAKE, 0, granule_studies)
    consolidate(root)


def create(path: Location, content: Mapping[str, bytes]) -> None:
    """Write the files of a new store: it appears whole or not at all.

    Raises
    ------
    StoreError
        When something else stands there.
    """
    if isinstance(path, Path):
        _create_in_folder(path, content)
    else:
        _create_on_s3(path, content)


def _create_in_folder(path: Path, content: Mapping[str, bytes]) -> None:
    if path.exists():
        raise StoreError("something else stands at the path of the new store")
    unfinished = path.parent / f".{path.name}.{uuid.uuid4().hex}.partial"
    try:
        for name, data in content.items():
            (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
            (unfinished / name).write_bytes(data)
        unfinished.rename(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _create_on_s3(path: S3Location, content: Mapping[str, bytes]) -> None:
    """Upload a store, the root's metadata last: without them there is no store."""
    # What a killed call left is made again; anything else is not ours.
    if set(location.names(path)) - (content.keys() - {METADATA}):
        raise StoreError("something else stands at the address of the new store")
    for name in sorted(content.keys() - {METADATA}):
        location.write(path / name, content[name])
    if not location.create(path / METADATA, content[METADATA]):
        raise StoreError("something else stands at the address of the new store")
