"""Everything that a report shows, read from the store once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from datbatch import schema
from datbatch.cohort.attributes import json_attribute
from datbatch.cohort.views.cases import evaluation_digest, read_cases, read_evaluation
from datbatch.cohort.views.query import choose_model, cohort_atlas, cohort_template
from datbatch.imaging import scale_to_reference
from datbatch.imaging.volume import Volume
from datbatch.report.cohort.averages import GroupImages, scan_test_set, striatal_slice
from datbatch.report.cohort.binding_tables import BindingTable, read_binding
from datbatch.report.cohort.classification import Model, outcomes, read_model
from datbatch.report.cohort.tables import Flow, count_flow, read_studies
from datbatch.report.parts.planes import Convention, store_volume

SHOWN_CASES = 39
"""Misclassified studies that get a picture; more would make the page too long and too heavy."""


@dataclass(frozen=True)
class Explained:
    """What a report shows of one model.

    Attributes
    ----------
    model : Model
        Tables and card.
    outcomes : tuple of str, shape (study,)
        TN, TP, FN, FP, or empty outside the test set.
    images : GroupImages
        Means, misclassified slices and distances.
    template : Volume
        Template of the normalisation on the store's grid, scaled like the images.
    masks : ndarray, shape (region, x, y, z), bool
        Regions.
    putamen_region : ndarray, shape (x, y, z), bool
        Where the hottest voxels of the ipsilateral putamen are sought.
    height : int
        Index of the striatal slice.
    evaluation : dict
        What `datbatch evaluate` stored; empty where it was not called.
    evaluation_stale : bool
        Whether the tables or the model have changed since.
    """

    model: Model
    outcomes: tuple[str, ...]
    images: GroupImages
    template: Volume
    masks: npt.NDArray[np.bool_]
    putamen_region: npt.NDArray[np.bool_]
    height: int
    evaluation: dict[str, Any]
    evaluation_stale: bool


@dataclass(frozen=True)
class Contents:
    """What a report shows.

    Attributes
    ----------
    studies : DataFrame
        One row per study, from `tables.read_studies`.
    flow : Flow
        Counted studies.
    attributes : dict
        Of the store's root.
    config : dict
        Recorded parameters of the run.
    simulated : bool
        Whether the archive was simulated.
    explained : Explained or None
        The chosen model's results; None when the store has no model.
    binding : BindingTable or None
        Binding by every definition, and z-scores; None where the store has no such tables.
    convention : {"radiological", "neurological"}
        Side on which x < 0 is shown.
    """

    studies: pd.DataFrame
    flow: Flow
    attributes: dict[str, Any]
    config: dict[str, Any]
    simulated: bool
    explained: Explained | None
    binding: BindingTable | None
    convention: Convention


def is_simulated(attributes: Mapping[Any, Any]) -> bool:
    """Tell whether the store says that its archive was simulated."""
    told = attributes.get("simulated")
    return told is True or str(told).lower() in ("true", "1") or attributes.get("archive_kind") == "simulated"


def gather(cohort: xr.DataTree, model: str | None, convention: Convention) -> Contents:
    """Read what a report shows; volumes of the test set are read one by one.

    Parameters
    ----------
    cohort : DataTree
        The opened store.
    model : str or None
        Name of the model; the one made last when None.
    convention : {"radiological", "neurological"}
        Side on which x < 0 is shown.

    Raises
    ------
    ModelError
        When the named model is not in the store.
    """
    studies = read_studies(cohort)
    attributes = {str(name): value for name, value in cohort.attrs.items()}
    chosen = choose_model(cohort, model)
    return Contents(
        studies=studies,
        flow=count_flow(studies, json_attribute(attributes, "files")),
        attributes=attributes,
        config=json_attribute(attributes, "config"),
        simulated=is_simulated(attributes),
        explained=None if chosen is None else _explained(cohort, chosen, studies),
        binding=read_binding(cohort, studies),
        convention=convention,
    )


def _explained(cohort: xr.DataTree, name: str, studies: pd.DataFrame) -> Explained:
    read = read_model(cohort, name)
    atlas = cohort_atlas(cohort)
    masks = atlas.masks
    found = outcomes(studies, read)
    evaluation = read_evaluation(read.attributes)
    images = scan_test_set(
        cohort.dataset["uptake"],
        cohort[f"relevance/{name}"].dataset["map"],  # type: ignore[union-attr]
        found,
        sign=read.sign,
        masks=masks,
        cases=SHOWN_CASES,
    )
    return Explained(
        model=read,
        outcomes=tuple(found),
        images=images,
        template=store_volume(scale_to_reference(cohort_template(cohort).data, atlas.mask("reference"))),
        masks=masks,
        putamen_region=atlas.hottest["putamen_ipsilateral"],
        height=striatal_slice(masks),
        evaluation=evaluation,
        evaluation_stale=bool(evaluation) and _is_stale(cohort, read, evaluation),
    )


def _is_stale(cohort: xr.DataTree, model: Model, evaluation: Mapping[str, Any]) -> bool:
    """Tell whether an evaluation is of other tables or another model than those that are there."""

    def column(name: str, group: str) -> npt.NDArray[Any] | None:
        try:
            node = cohort[group] if group else cohort
        except KeyError:
            return None
        if group == schema.NORMAL_RANGE and node.attrs.get("stale"):
            return None
        dataset = node.dataset  # type: ignore[union-attr]
        return np.asarray(dataset[name].values) if name in dataset.variables else None

    weights = dict(evaluation["weights"]) | {model.name: model.card["weights_sha256"]}
    return bool(evaluation_digest(read_cases(column, model.name, model.attributes), weights) != evaluation["digest"])
