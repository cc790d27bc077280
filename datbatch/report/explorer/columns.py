"""The columns of the explorer: which figures of the store it offers for each study, and what they are called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from datbatch import schema
from datbatch.cohort.views.query import group_of, normal_range
from datbatch.report.cohort.classification import Model, outcomes
from datbatch.report.cohort.tables import read_studies

Kind = Literal["number", "category", "tags", "text"]
"""A tag is one of several words that a study may have at once; a text is (nearly) different for each study."""


@dataclass(frozen=True)
class Column:
    """One figure or word of every study."""

    name: str
    """Letters, digits and underscores: it names a file."""
    title: str
    group: str
    kind: Kind
    """How it is filtered and drawn."""
    values: npt.NDArray[Any]
    """For each study float64, NaN for missing, or str, empty for missing."""
    description: str = ""
    units: str = ""

    @property
    def empty(self) -> bool:
        """Whether no study has a value."""
        if self.kind == "number":
            return not np.isfinite(self.values).any()
        return not any(self.values)


@dataclass(frozen=True)
class Region:
    """One row of the profile that is drawn for each study: names of the columns that hold its figures."""

    title: str
    ratio: str
    z: str
    relevance: str


PROFILE = tuple(
    Region(
        region.replace("_", " ").capitalize(), f"sbr_{region}", f"z_hottest_voxels_{region}", f"relevance_peak_{region}"
    )
    for region in schema.STRIATUM
)
FIRST_SHOWN = (
    "study", "label", "predicted", "outcome", "probability", PROFILE[0].ratio, PROFILE[0].z, PROFILE[0].relevance,
    "age", "site", "status",
)  # fmt: skip
"""Columns of the table at first, as far as they are there; the reader chooses others."""
FIRST_AXES = ((PROFILE[0].ratio, "counts", "age"), (PROFILE[0].relevance, PROFILE[0].z, "quality_correlation", "age"))
"""Horizontal and vertical axis at first: of each, the first that is there."""
FIRST_COLOURS = ("label", "status")

_GROUPS = {
    "Study": ("study", "person", "source", "site", "scanner", "sex", "age", "label", "split"),
    "Result": ("status", "error_code", "error_stage", "error_reason", "flags", "quantification_flags"),
    "Binding": ("lower_side",),
}
_TITLES = {
    "study": "Study",
    "error_code": "Why it failed",
    "error_stage": "Stage that failed",
    "error_reason": "What was found",
    "quantification_flags": "Binding flags",
    "label": "Label",
    "views": "Projections",
    "injected_activity_mbq": "Injected activity",
    "injection_delay_min": "Injection delay",
}
_TEXTS, _TAGS = frozenset({"study", "person"}), frozenset({"flags", "quantification_flags", "warnings"})


def cohort_columns(cohort: xr.DataTree, model: Model | None) -> tuple[Column, ...]:
    """Read all columns that hold a value for at least one study, the pseudonym first; no volume is touched."""
    studies = read_studies(cohort)
    found = [
        *_study_columns(studies),
        *_model_columns(cohort, studies, model),
        *_binding_columns(cohort, studies),
        *_range_columns(cohort),
    ]
    ranked = sorted(found, key=lambda column: _ORDER.index(column.group))
    return tuple(column for column in ranked if column.name == "study" or not column.empty)


_ORDER = ("Study", "Result", "Binding", "Normal range", "Relevance", "Quality", "Acquisition", "Reads")


def _study_columns(studies: pd.DataFrame) -> Iterator[Column]:
    """Give the variables of one row per study, as the registry of the store describes them."""
    # Integers have no value for missing: without a view nothing was read.
    read = studies["views"].to_numpy() > 0
    for variable in schema.STUDY_TABLE:
        if variable.dims != ("study",) or variable.dtype == "bool":
            continue
        name, values = variable.name, studies[variable.name].to_numpy()
        group = next((group for group, names in _GROUPS.items() if name in names), "Acquisition")
        group = "Quality" if name.startswith("quality_") or name == "reference_value" else group
        kind: Kind = "text" if name in _TEXTS else "tags" if name in _TAGS else "category"
        if variable.dtype != "str":
            kind, values = "number", values.astype(np.float64)
            values = np.where(read, values, np.nan) if variable.dtype.startswith("int") else values
            values = np.minimum(values, schema.AGE_CAP_YEARS) if name == "age" else values
        description = "pseudonym: keyed hash" if name == "study" else variable.description
        yield Column(name, _title(name), group, kind, values, description, variable.units.replace("1", ""))
    for name in schema.READS:
        yield Column(name, _title(name), "Reads", "category", studies[name].to_numpy(), "read of a human reader")


def _model_columns(cohort: xr.DataTree, studies: pd.DataFrame, model: Model | None) -> Iterator[Column]:
    if model is None:
        return
    known = model.predicted != ""
    yield Column("predicted", "Predicted", "Result", "category", model.predicted, f"class that {model.name} predicts")
    yield Column(
        "outcome", "Outcome", "Result", "category", np.array(outcomes(studies, model), dtype=str),
        "T or F: true or false; N or P: called negative or positive; test set alone",
    )  # fmt: skip
    for name, words in (
        ("probability", "probability of reduced uptake (positive)"),
        ("log_odds", "logit of positive less logit of negative"),
    ):
        yield Column(name, _title(name), "Result", "number", np.where(known, getattr(model, name), np.nan), words)
    yield Column(
        "inconsistent", "Map inconsistent", "Result", "category",
        np.where(known, np.where(model.inconsistent, "yes", "no"), ""),
        "whether the map is typical of the class that was not predicted",
    )  # fmt: skip
    regional = model.sign * np.asarray(group_of(cohort, schema.relevance_group(model.name))["regional"], np.float64)
    for statistic, word, told in ((schema.HOTTEST_MEAN, "peak", "the hottest voxels"), ("mean", "mean", "the region")):
        for place, region in enumerate(schema.REGIONS):
            yield Column(
                f"relevance_{word}_{region}", f"Relevance {_words(region)} ({word})", "Relevance", "number",
                regional[:, place, schema.STATISTICS.index(statistic)],
                f"positive speaks for reduced uptake; mean of {told}",
            )  # fmt: skip


def _binding_columns(cohort: xr.DataTree, studies: pd.DataFrame) -> Iterator[Column]:
    for region in schema.REGIONS[:-1]:
        yield Column(
            f"sbr_{region}", f"SBR {_words(region)}", "Binding", "number",
            studies[f"sbr_{region}"].to_numpy(dtype=np.float64), "specific binding ratio",
        )  # fmt: skip
    reference = schema.BACKGROUNDS.index(schema.REFERENCE)
    names = ("binding_ratio", "asymmetry_index", "putamen_to_caudate_ratio")
    ratios, asymmetry, quotient = (_array(cohort.dataset, name) for name in names)
    for place, definition in enumerate(schema.DEFINITIONS):
        words = _words(definition)
        # A title without further words means the paper's definition.
        told = f" ({words})" if place else ""
        if ratios is not None:
            for at, name in enumerate(schema.STRIATAL):
                if place == 0 and name in schema.REGIONS:
                    continue
                yield Column(
                    f"ratio_{definition}_{name}", f"SBR {_words(name)}{told}", "Binding", "number",
                    ratios[:, place, reference, at], f"specific binding ratio by the definition {words}",
                )  # fmt: skip
        if asymmetry is not None:
            for at, name in enumerate(schema.STRUCTURES):
                yield Column(
                    f"asymmetry_{definition}_{name}", f"Asymmetry {name}{told}", "Binding", "number",
                    asymmetry[:, place, at], "contralateral less ipsilateral ratio over their mean", "%",
                )  # fmt: skip
        if quotient is not None:
            for at, name in enumerate(schema.SIDES):
                yield Column(
                    f"putamen_to_caudate_{definition}_{name}", f"Putamen/caudate {name}{told}", "Binding", "number",
                    quotient[:, place, at], "ratio of the putamen over that of the caudate",
                )  # fmt: skip


def _range_columns(cohort: xr.DataTree) -> Iterator[Column]:
    group = normal_range(cohort)
    if group is None:
        return
    scores = _array(group, "z_score")
    if scores is not None:
        for place, measure in enumerate(schema.MEASURES):
            words = _words(measure.replace(f"{schema.HOTTEST_VOXELS} ", ""))
            yield Column(
                f"z_{measure.replace(' ', '_')}", f"z {words}", "Normal range", "number", scores[:, place],
                "distance from the value expected at this age, sex and site, in prediction standard deviations", "SD",
            )  # fmt: skip
    if "warnings" in group.variables:
        values = np.array(["" if one is None else str(one) for one in group["warnings"].values], dtype=object)
        yield Column("warnings", "Limits of the comparison", "Normal range", "tags", values, "codes")


def _array(group: xr.Dataset, name: str) -> npt.NDArray[np.float64] | None:
    return np.asarray(group[name].values, dtype=np.float64) if name in group.variables else None


def _words(name: str) -> str:
    return name.replace("_", " ")


def _title(name: str) -> str:
    words = _words(name).removesuffix(" mm")
    return _TITLES.get(name, words[:1].upper() + words[1:])


def first_there(wanted: Sequence[str], columns: Sequence[Column]) -> str:
    """Give the first wanted column that is there, else the first column of numbers."""
    names = {column.name for column in columns}
    numbers = [column.name for column in columns if column.kind == "number"]
    return next((name for name in wanted if name in names), (numbers or ["study"])[0])


def worth_a_look(columns: Mapping[str, Column]) -> npt.NDArray[np.intp]:
    """Give the rows of the studies, those whose volumes are most worth a look first; equal ones in the store's order.

    Misclassified and inconsistent ones come first, then those with most flags, then the worst normalised.
    """
    size = len(columns["study"].values)

    def of(name: str, missing: Any) -> npt.NDArray[Any]:
        return columns[name].values if name in columns else np.full(size, missing)

    doubtful = np.isin(of("outcome", ""), ("FN", "FP")).astype(int) + (of("inconsistent", "") == "yes")
    flags = np.array([len(str(one).split()) for one in of("flags", "")], dtype=int)
    quality = np.nan_to_num(of("quality_correlation", 0.0).astype(np.float64), nan=-1.0)
    return np.lexsort((quality, -flags, -doubtful))
