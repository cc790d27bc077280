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
from datbatch.cohort.views.query import choose_model, cohort_atlas, cohort_template, group_of, normal_range
from datbatch.evaluation.estimates import Proportion
from datbatch.imaging import scale_to_reference
from datbatch.imaging.volume import Volume
from datbatch.report.cohort.averages import GroupImages, scan_test_set, striatal_slice
from datbatch.report.cohort.binding_tables import BindingTable, read_binding
from datbatch.report.cohort.classification import Model, outcomes, peaks_near_striatum, read_model
from datbatch.report.cohort.tables import Flow, count_flow, read_studies
from datbatch.report.parts.planes import Convention, store_volume

SHOWN_CASES = 39
"""Misclassified studies that get a picture; more would make the page too long and too heavy."""


@dataclass(frozen=True)
class Explained:
    """What a report shows of one model."""

    model: Model
    outcomes: tuple[str, ...]
    """For each study TN, TP, FN, FP, or empty outside the test set."""
    images: GroupImages
    template: Volume
    """Template of the normalisation on the store's grid, scaled like the images."""
    masks: npt.NDArray[np.bool_]
    """Regions, shape (region, x, y, z)."""
    putamen_region: npt.NDArray[np.bool_]
    """Where the hottest voxels of the ipsilateral putamen are sought, shape (x, y, z)."""
    height: int
    """Index of the striatal slice."""
    evaluation: dict[str, Any]
    """What `datbatch evaluate` stored; empty where it was not called."""
    evaluation_stale: bool
    """Whether the tables or the model have changed since."""

    @property
    def tested(self) -> npt.NDArray[np.bool_]:
        """For each study whether it is in the test set, with label and prediction."""
        return np.array([bool(outcome) for outcome in self.outcomes], dtype=bool)

    def peaks_near_striatum(self) -> tuple[Proportion, Proportion]:
        """Give the shares of test studies whose most relevant voxel lies in the striatum, and in or next to it."""
        return peaks_near_striatum(self.images.peak_distance_mm, int(self.tested.sum()) - self.images.unreadable)


@dataclass(frozen=True)
class Contents:
    """What a report shows."""

    studies: pd.DataFrame
    """One row per study, from `tables.read_studies`."""
    flow: Flow
    attributes: dict[str, Any]
    """Of the store's root."""
    config: dict[str, Any]
    """Recorded parameters of the run."""
    simulated: bool
    explained: Explained | None
    """The chosen model's results; None when the store has no model."""
    binding: BindingTable | None
    """Binding by every definition, and z-scores; None where the store has no such tables."""
    convention: Convention


def is_simulated(attributes: Mapping[Any, Any]) -> bool:
    """Tell whether the store says that its archive was simulated."""
    told = attributes.get("simulated")
    return told is True or str(told).lower() in ("true", "1") or attributes.get("archive_kind") == "simulated"


def gather(cohort: xr.DataTree, model: str | None, convention: Convention) -> Contents:
    """Read what a report shows of the named model, or the one made last; see `choose_model` for its error.

    Volumes of the test set are read one by one.
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
    atlas, evaluation = cohort_atlas(cohort), read_evaluation(read.attributes)
    masks, found = atlas.masks, outcomes(studies, read)
    maps = group_of(cohort, schema.relevance_group(name))[schema.RELEVANCE_MAP.name]
    uptake = cohort.dataset[schema.UPTAKE.name]
    images = scan_test_set(uptake, maps, found, sign=read.sign, masks=masks, cases=SHOWN_CASES)
    return Explained(
        model=read,
        outcomes=tuple(found),
        images=images,
        template=store_volume(scale_to_reference(cohort_template(cohort).data, atlas.mask(schema.REFERENCE))),
        masks=masks,
        putamen_region=atlas.hottest[schema.PUTAMEN],
        height=striatal_slice(masks),
        evaluation=evaluation,
        evaluation_stale=bool(evaluation) and _is_stale(cohort, read, evaluation),
    )


def _is_stale(cohort: xr.DataTree, model: Model, evaluation: Mapping[str, Any]) -> bool:
    """Tell whether an evaluation is of other tables or another model than those that are there."""

    def column(name: str, group: str) -> npt.NDArray[Any] | None:
        if group == schema.NORMAL_RANGE:
            dataset = normal_range(cohort) or xr.Dataset()
        else:
            dataset = group_of(cohort, group) if group else cohort.dataset
        return np.asarray(dataset[name].values) if name in dataset.variables else None

    weights = dict(evaluation["weights"]) | {model.name: model.card["weights_sha256"]}
    return bool(evaluation_digest(read_cases(column, model.name, model.attributes), weights) != evaluation["digest"])
