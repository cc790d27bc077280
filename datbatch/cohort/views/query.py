"""The store as xarray shows it, and views of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray

from datbatch import schema
from datbatch.errors import ModelError, StoreError
from datbatch.location import Location, parse_location

if TYPE_CHECKING:
    from datbatch.imaging import Atlas, Volume


def open_cohort(path: str | Location) -> xarray.DataTree:
    """Open a cohort store, lazily.

    The same as `xarray.open_datatree(path, engine="zarr")`, also on S3, with a clear error where there is no store.

    Parameters
    ----------
    path : str, Path or S3Location
        Folder of the store, or `s3://bucket/prefix`.

    Returns
    -------
    xarray.DataTree
        Root: `uptake (study, x, y, z)` with coordinates in MNI mm, and the tables with one row per study. Groups
        `relevance/<model>`: `map (study, x, y, z)` and `regional (study, region, statistic)`. Group
        `normal_range`: `z_score (study, measure)` and what belongs to it.

    Raises
    ------
    StoreError, StoreNewerError
        When there is no store at `path`, or one of a later layout.
    """
    try:
        # Loads zarr, as xarray does to open it.
        from datbatch.cohort.layout import LAYOUT, check_layout
        from datbatch.cohort.shard import zarr_store

        place = parse_location(path) if isinstance(path, str) else path
        cohort = xarray.open_datatree(zarr_store(place, read_only=True), engine="zarr")
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise StoreError("there is no cohort store at the given path") from error
    check_layout(cohort.attrs.get(LAYOUT))
    return cohort


def choose_model(cohort: xarray.DataTree, name: str | None) -> str | None:
    """Give the named model, else the newest one for the present uptake; None when the store has none.

    Raises
    ------
    ModelError
        When the named model is not in the store.
    """
    children = cohort[schema.RELEVANCE].children if schema.RELEVANCE in cohort.children else {}
    if name is not None:
        if name not in children:
            raise ModelError(f"the store has no model {name!r}", "Name one of the models that `datbatch status` lists.")
        return name
    current = [
        child for child in children if not children[child].attrs.get("stale") and "part_of" not in children[child].attrs
    ]
    # Of models of the same age the last by name, so that the choice is always the same.
    return max(current, key=lambda child: (str(children[child].attrs.get("created", "")), child), default=None)


def group_of(cohort: xarray.DataTree, path: str) -> xarray.Dataset:
    """Give the variables of a group that is there."""
    found = cohort[path]
    assert isinstance(found, xarray.DataTree)
    return found.dataset


def normal_range(cohort: xarray.DataTree) -> xarray.Dataset | None:
    """Give the normal range; None where there is none, or one of earlier tables."""
    found = cohort.children.get(schema.NORMAL_RANGE)
    return None if found is None or found.attrs.get("stale") else found.dataset


def cohort_atlas(cohort: xarray.DataTree) -> Atlas:
    """Give the atlas that a cohort's studies were quantified with, from its `labels`."""
    # Loads numba: opening a cohort must not wait for it.
    from datbatch.imaging import analytic_atlas, atlas_from_labels

    if schema.ATLAS.name not in cohort.dataset:
        return analytic_atlas()
    return atlas_from_labels(np.asarray(cohort.dataset[schema.ATLAS.name], dtype=np.uint8))


def cohort_template(cohort: xarray.DataTree) -> Volume:
    """Give the template that a cohort's studies were normalised to, on the store's grid."""
    from datbatch.imaging import Volume, load_template

    if schema.TEMPLATE.name not in cohort.dataset:
        return load_template()
    return Volume(np.asarray(cohort.dataset[schema.TEMPLATE.name], dtype=np.float32), schema.grid_affine())


def as_acquired(volumes: xarray.DataArray, mirrored: xarray.DataArray) -> xarray.DataArray:
    """Undo the mirroring of volumes of the store, (study, x, y, z) or (x, y, z): x < 0 becomes the patient's own left.

    `mirrored` is the store's; shape and coordinates stay.
    """
    if volumes.chunks is not None and "study" in volumes.dims:
        mirrored = mirrored.compute().chunk({"study": volumes.chunksizes["study"]})
    # Block by block: `where` over the whole arrays takes twice the time.
    own: xarray.DataArray = xarray.apply_ufunc(
        _unmirrored, volumes, mirrored,
        input_core_dims=[["x"], []], output_core_dims=[["x"]], dask="parallelized", output_dtypes=[volumes.dtype],
    )  # fmt: skip
    return own.transpose(*volumes.dims).assign_attrs(volumes.attrs)


def _unmirrored(values: npt.NDArray[Any], mirrored: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """Flip the last axis where studies were mirrored (exact: the grid is symmetric)."""
    return np.where(np.asarray(mirrored)[..., np.newaxis], values[..., ::-1], values)
