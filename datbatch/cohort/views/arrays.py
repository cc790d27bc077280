"""Views of a cohort for researchers: volumes of one study a chunk, tables by side and by region."""

from __future__ import annotations

import numpy as np
import xarray

from datbatch import schema
from datbatch.cohort.attributes import stored_card
from datbatch.cohort.views.query import as_acquired, choose_model
from datbatch.errors import ModelError

PATIENT_SIDES = ("left", "right")
FRAMES = ("ipsilateral-left", "as-acquired")


def lazy(values: xarray.DataArray) -> xarray.DataArray:
    """Give an array of the store as Dask chunks of one study, which is how the store keeps volumes.

    Nothing is read. A chunk is read as one range of bytes of its shard, whatever lies beside it there.
    """
    return values if values.chunks is not None else values.chunk({"study": 1})


def volumes(values: xarray.DataArray, mirrored: xarray.DataArray, frame: str) -> xarray.DataArray:
    """Give volumes (study, x, y, z) in one of `FRAMES`, lazily: as in the store, or the patient's left at x < 0."""
    if frame not in FRAMES:
        raise ValueError(f"frame is {frame!r}; it must be one of {', '.join(FRAMES)}")
    return lazy(values) if frame == "ipsilateral-left" else as_acquired(lazy(values), mirrored)


def model_group(cohort: xarray.DataTree, model: str | None) -> xarray.Dataset:
    """Give the group of a model by name, or of the newest; ModelError where there is none."""
    name = choose_model(cohort, model)
    if name is None:
        raise ModelError("the store has no explained model", "Call `datbatch train` and `datbatch explain` first.")
    return cohort.children[schema.RELEVANCE].children[name].to_dataset(inherit=True)


def orientation(group: xarray.Dataset) -> dict[str, float]:
    """Give what the sign of a model's relevance means; see `relevance.orienting_studies`.

    `sign` is +1 or -1: positive relevance times it speaks for reduced uptake. `auc` says how well it then tells apart
    the studies that it was learned from (0.5: not at all). `threshold` is the cut between the classes. Without a card
    the sign is +1, and nothing else is known.
    """
    card = stored_card(group.attrs)
    return {"sign": 1.0, **{name: float(value) for name, value in (card.get("orientation") or {}).items()}}


def by_side(table: xarray.DataArray, mirrored: xarray.DataArray | None = None) -> xarray.DataArray:
    """Put structure and side in the place of the dimension `region` or `striatal`; regions without sides are left out.

    With the store's `mirrored` the sides are the patient's left and right, else ipsilateral and contralateral.
    """
    along = next((dim for dim in ("region", "striatal") if dim in table.dims), None)
    if along is None:
        raise ValueError("the table has no dimension `region` or `striatal`")
    names = [str(name) for name in table[along].values]
    ends = tuple(f"_{side}" for side in schema.SIDES)
    structures = [name.removesuffix(ends[0]) for name in names if name.endswith(ends[0])]
    parts = [
        table.sel({along: [structure + end for structure in structures]})
        .drop_vars(along)
        .rename({along: "structure"})
        .assign_coords(structure=structures)
        for end in ends
    ]
    sides = schema.SIDES
    if mirrored is not None:
        ipsilateral, contralateral = parts
        # In the store the ipsilateral side lies left; where left and right were exchanged it was the patient's right.
        parts = [ipsilateral.where(~mirrored, contralateral), contralateral.where(~mirrored, ipsilateral)]
        sides = PATIENT_SIDES
    found = xarray.concat(parts, xarray.DataArray(list(sides), dims="side", name="side"))
    return found.transpose(*(d for d in found.dims if d not in ("structure", "side")), "structure", "side")


def by_region(root: xarray.Dataset, group: xarray.Dataset | None) -> xarray.Dataset:
    """Join what is known of each region: binding, and of a model's group each statistic as `relevance_<statistic>`.

    Its dimensions are (study, region): `to_dataframe()` gives a row for each study and region.
    """
    wanted = [name for name, array in root.coords.items() if array.dims == ("study",)]
    found = root[["specific_binding_ratio"]].reset_coords(drop=True).assign_coords({n: root[n] for n in wanted})
    if group is not None:
        columns = {
            f"relevance_{name}": group["regional"].sel(statistic=name).reset_coords(drop=True)
            for name in map(str, np.asarray(group["statistic"]))
        }
        found = found.assign(columns).assign_coords(predicted=group["predicted"].reset_coords(drop=True))
    return found


def joined(cohort: xarray.DataTree, model: str | None) -> xarray.Dataset:
    """Put the root, one model's results and the normal range side by side in one Dataset.

    It has all of the root; of the model `relevance (study, x, y, z)`, `regional`, `probability`, `log_odds`,
    `predicted` and `inconsistent`; of the normal range, where there is one, `z_score (study, measure)` and its
    neighbours. The split that the model or the normal range was made with is `split_of_model` or `split_of_norms`.
    Volumes are Dask arrays of one study a chunk.
    """
    group = model_group(cohort, model)
    root = cohort.to_dataset()
    root[schema.UPTAKE.name] = lazy(root[schema.UPTAKE.name])
    maps = lazy(group[schema.RELEVANCE_MAP.name])
    own = group[[variable.name for variable in schema.RELEVANCE_TABLE]].assign(relevance=maps)
    parts = [root, own.drop_vars(set(own.coords) & set(root.coords) - {"split"}).rename(split="split_of_model")]
    if schema.NORMAL_RANGE in cohort.children:
        norms = cohort.children[schema.NORMAL_RANGE].to_dataset(inherit=False)
        parts.append(norms.rename(split="split_of_norms", warnings="normal_range_warnings"))
    return xarray.merge(parts, compat="override", join="exact", combine_attrs="override")
