"""Striatal binding by every definition, and against the normal range, by label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from datbatch import schema
from datbatch.cohort.attributes import json_attribute
from datbatch.cohort.views.query import normal_range
from datbatch.evaluation.discrimination import area_under_curve
from datbatch.evaluation.estimates import Estimate, Proportion, wilson
from datbatch.norms.measures import measures

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Band:
    """The normal range of one measure over age, at a site and for a sex in the middle of the fit."""

    age_range: tuple[float, float]
    """Youngest and oldest normal study of the fit, in years."""
    level: float
    """Expected value at `age_zero` years."""
    slope_per_year: float
    age_zero: float
    sd: float
    """Standard deviation of a new study, from the residual and the sites."""
    normals: int
    """Studies of the fit."""

    def expected(self, age_years: Floats) -> Floats:
        """Give the expected value at each age."""
        return self.level + self.slope_per_year * (age_years - self.age_zero)


@dataclass(frozen=True)
class BindingTable:
    """Measures of every study, with their z-scores where a normal range was fitted."""

    value: Floats
    """Shape (study, measure), in the order of `schema.MEASURES`; NaN where not known; the same for the next two."""
    z_score: Floats
    lower: Floats
    """Lower end of the 95 % normal range."""
    fitted: npt.NDArray[np.bool_]
    """Shape (study,): normal studies of the training split, which the normal range was fitted to."""
    warnings: npt.NDArray[np.str_]
    """Shape (study,): codes of what limits the comparison, separated by spaces."""
    attributes: dict[str, Any]
    """Of the group `normal_range`; empty where there is none."""

    @property
    def has_range(self) -> bool:
        """Whether any study was compared with a normal range."""
        return bool(np.isfinite(self.z_score).any())

    def band(self, measure: str) -> Band | None:
        """Give the normal range of a measure over age; None where it was not fitted, or does not depend on age."""
        fit = json_attribute(self.attributes, "fit")
        found = (fit.get("measures") or {}).get(measure)
        terms = fit.get("terms") or []
        if not found or not found["normals"] or "age_per_decade" not in terms or not fit.get("age_range"):
            return None
        coefficient = found["coefficient"]
        return Band(
            age_range=(fit["age_range"][0], min(fit["age_range"][1], schema.AGE_CAP_YEARS)),
            level=coefficient[terms.index("intercept")],
            slope_per_year=coefficient[terms.index("age_per_decade")] / 10,
            age_zero=fit["zero"]["age_per_decade"],
            sd=float(np.hypot(found["residual_sd"], found["site_sd"] or 0.0)),
            normals=int(found["normals"]),
        )


def read_binding(cohort: xr.DataTree, studies: pd.DataFrame) -> BindingTable | None:
    """Read the measures and the normal range; None where the store has no binding ratios by definition."""
    root = cohort.dataset
    names = ("binding_ratio", "asymmetry_index", "putamen_to_caudate_ratio")
    if not all(name in root.variables for name in names):
        return None
    value = measures(*(np.asarray(root[name].values, dtype=np.float64) for name in names))
    nothing = np.full_like(value, np.nan)
    group = normal_range(cohort)
    if group is None:
        return BindingTable(value, nothing, nothing, np.zeros(len(value), dtype=bool), np.full(len(value), ""), {})
    z_score, lower = (np.asarray(group[name].values, dtype=np.float64) for name in ("z_score", "lower"))
    split, warnings = (np.asarray(group[name].values.tolist(), dtype=str) for name in ("split", "warnings"))
    fitted = (split == schema.TRAINING) & (studies["label"].to_numpy() == schema.NEGATIVE)
    return BindingTable(value, z_score, lower, fitted, warnings, {str(name): one for name, one in group.attrs.items()})


@dataclass(frozen=True)
class DefinitionRow:
    """One region by one definition: `schema.STRIATAL` and `schema.DEFINITIONS`."""

    definition: str
    region: str
    negative: tuple[int, float, float]
    """Studies, mean and standard deviation of the binding ratio; the same in `positive`."""
    positive: tuple[int, float, float]
    area: Estimate | None
    """Under the ROC curve of the ratio alone against the label; None where a class is empty."""
    below_negative: Proportion
    """Share below the normal range, of the negative studies that it was not fitted to."""
    below_positive: Proportion
    """Share below the normal range, of all positive studies."""


def definition_rows(table: BindingTable, studies: pd.DataFrame) -> tuple[DefinitionRow, ...]:
    """Compare the definitions of binding; a region that a definition does not measure is left out."""
    done = (studies["status"] == schema.DONE).to_numpy()
    label = studies["label"].to_numpy()
    rows = []
    for definition in schema.DEFINITIONS:
        for region in schema.STRIATAL:
            column = schema.MEASURES.index(f"{definition} {region}")
            value, lower = table.value[:, column], table.lower[:, column]
            known = done & np.isfinite(value)
            if not known.any():
                continue
            negative, positive = known & (label == schema.NEGATIVE), known & (label == schema.POSITIVE)
            both, area = negative | positive, None
            if negative.any() and positive.any():
                area = area_under_curve(positive[both].astype(np.int64), -value[both])
            with np.errstate(invalid="ignore"):
                below = value < lower
            compared = (negative & ~table.fitted & np.isfinite(lower), positive & np.isfinite(lower))
            shares = (wilson(int(below[one].sum()), int(one.sum())) for one in compared)
            described = (_described(value[negative]), _described(value[positive]))
            rows.append(DefinitionRow(definition, region, *described, area, *shares))
    return tuple(rows)


def _described(values: Floats) -> tuple[int, float, float]:
    mean = float(values.mean()) if len(values) else np.nan
    return len(values), mean, float(values.std(ddof=1)) if len(values) > 1 else np.nan
