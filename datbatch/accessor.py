"""`cohort.datbatch`: what xarray cannot know of a cohort, as an accessor of its trees.

Importing this module registers it; `datbatch.open_cohort` does so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray

from datbatch import schema
from datbatch.cohort.views import arrays
from datbatch.cohort.views.query import choose_model, open_cohort

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["CohortAccessor", "open_cohort"]


@xarray.register_datatree_accessor("datbatch")  # type: ignore[no-untyped-call]
class CohortAccessor:
    """Views and pictures of a cohort; everything with volumes is lazy, one study a Dask chunk.

    Parameters
    ----------
    cohort : DataTree
        As `datbatch.open_cohort` gives it, or `xarray.open_datatree(path, engine="zarr")`.
    """

    def __init__(self, cohort: xarray.DataTree) -> None:
        self._cohort = cohort

    @property
    def models(self) -> list[str]:
        """Names of the models whose relevance is in the store."""
        found = self._cohort.children.get(schema.RELEVANCE)
        return [] if found is None else sorted(found.children)

    @property
    def newest_model(self) -> str | None:
        """The model that is taken where none is named: the one made last for the uptake that is there."""
        return choose_model(self._cohort, None)

    def uptake(self, frame: str = "ipsilateral-left") -> xarray.DataArray:
        """Give uptake (study, x, y, z), lazily.

        Parameters
        ----------
        frame : {"ipsilateral-left", "as-acquired"}
            As in the store, or with the patient's own left at x < 0.
        """
        return arrays.volumes(self._cohort.dataset["uptake"], self._cohort.dataset["mirrored"], frame)

    def relevance(self, model: str | None = None, frame: str = "ipsilateral-left") -> xarray.DataArray:
        """Give relevance (study, x, y, z), lazily, oriented so that positive values speak for reduced uptake.

        That holds as far as the studies that it was learned from could tell: see `orientation`.

        Parameters
        ----------
        model : str, optional
            Name of a model; the newest by default.
        frame : {"ipsilateral-left", "as-acquired"}
            As in the store, or with the patient's own left at x < 0.

        Raises
        ------
        ModelError
            When the store has no such model, or none at all.
        """
        group = arrays.model_group(self._cohort, model)
        maps, mirrored = group[schema.RELEVANCE_MAP.name], self._cohort.dataset["mirrored"]
        oriented = arrays.volumes(maps, mirrored, frame) * arrays.orientation(group)["sign"]
        # The root's columns too, so that `groupby("label")` works as it does for uptake.
        columns = {name: column for name, column in mirrored.coords.items() if name not in oriented.dims}
        return oriented.astype(maps.dtype).assign_attrs(maps.attrs).rename("relevance").assign_coords(columns)

    def orientation(self, model: str | None = None) -> dict[str, float]:
        """Give `sign`, `auc` and `threshold` of a model's relevance; at an `auc` of 0.5 no sign was learned."""
        return arrays.orientation(arrays.model_group(self._cohort, model))

    def as_acquired(self, model: str | None = None) -> xarray.Dataset:
        """Give uptake, and relevance where a model is there, with the patient's own left at x < 0."""
        found = self.uptake("as-acquired").to_dataset(name="uptake")
        if model is not None or self.newest_model is not None:
            found["relevance"] = self.relevance(model, "as-acquired")
        return found

    def by_side(self, table: str | xarray.DataArray = "specific_binding_ratio", own: bool = False) -> xarray.DataArray:
        """Split the regions of a table into structure and side.

        Parameters
        ----------
        table : str or DataArray
            A variable of the root with a dimension `region` or `striatal`, or such a table, as of a model.
        own : bool
            Whether sides are the patient's left and right instead of ipsilateral and contralateral.

        Returns
        -------
        DataArray
            With the dimensions `structure` and `side` in the place of the region's.
        """
        values = self._cohort.dataset[table] if isinstance(table, str) else table
        return arrays.by_side(values, self._cohort.dataset["mirrored"] if own else None)

    def by_region(self, model: str | None = None) -> xarray.Dataset:
        """Give binding and all statistics of a model's relevance (study, region), joined.

        Relevance is as the model gave it: multiply by the sign of its card's orientation to compare models.
        """
        there = model is not None or self.newest_model is not None
        return arrays.by_region(self._cohort.to_dataset(), arrays.model_group(self._cohort, model) if there else None)

    def joined(self, model: str | None = None) -> xarray.Dataset:
        """Give the root, one model's results and the normal range as one Dataset.

        Raises
        ------
        ModelError
            When the store has no such model, or none at all.
        """
        return arrays.joined(self._cohort, model)

    def plot(
        self, study: str | int, *, model: str | None = None, frame: str = "as-acquired", **options: Any
    ) -> npt.NDArray[np.object_]:
        """Draw one study: uptake, and below it relevance where a model is there, with its sides marked.

        Parameters
        ----------
        study : str or int
            Pseudonym, or place in the store.
        model : str, optional
            Name of a model; the newest by default.
        frame : {"as-acquired", "ipsilateral-left"}
            The patient's own left at x < 0, or as in the store.
        **options
            `z_mm`, `convention` and `figure` of `datbatch.report.study.figure.draw`.

        Returns
        -------
        ndarray of Axes, shape (kind, slice)
            With L and R, the patient's sides, and I (ipsilateral, lower binding) and C (contralateral).
        """
        from datbatch.report.study.figure import draw

        one = {"study": study}
        root = self._cohort.dataset
        mirrored = root["mirrored"].isel(one) if isinstance(study, int) else root["mirrored"].sel(one)
        rows = {"uptake": self.uptake(frame)}
        if model is not None or self.newest_model is not None:
            rows["relevance"] = self.relevance(model, frame)
        shown = {kind: rows[kind].isel(one) if isinstance(study, int) else rows[kind].sel(one) for kind in rows}
        title = str(mirrored["study"].values)
        return draw(shown, mirrored=bool(mirrored), acquired=frame == "as-acquired", title=title, **options)
