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
from datbatch.evaluation.discrimination import area_under_curve
from datbatch.evaluation.estimates import Estimate, Proportion, wilson
from datbatch.norms.measures import measures

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Band:
    """The normal range of one measure over age, at a site and for a sex in the middle of the fit.

    Attributes
    ----------
    age_range : tuple of float
        Youngest and oldest normal study of the fit, in years.
    level, slope_per_year, age_zero : float
        Expected value at `age_zero` years, and its change.
    sd : float
        Of a new study, from the residual and the sites.
    normals : int
        Studies of the fit.
    """

    age_range: tuple[float, float]
    level: float
    slope_per_year: float
    age_zero: float
    sd: float
    normals: int

    def expected(self, age_years: Floats) -> Floats:
        """Give the expected value at each age."""
        return self.level + self.slope_per_year * (age_years - self.age_zero)


@dataclass(frozen=True)
class BindingTable:
    """Measures of every study, with their z-scores where a normal range was fitted.

    Attributes
    ----------
    value, z_score, lower : ndarray, shape (study, measure), float64
        In the order of `schema.MEASURES`; NaN where not known. `lower` is the lower end of the 95 % normal range.
    fitted : ndarray, shape (study,), bool
        Normal studies of the training split, which the normal range was fitted to.
    warnings : ndarray, shape (study,), str
        Codes of what limits the comparison, separated by spaces.
    attributes : dict
        Of the group `normal_range`; empty where there is none.
    """

    value: Floats
    z_score: Floats
    lower: Floats
    fitted: npt.NDArray[np.bool_]
    warnings: npt.NDArray[np.str_]
    attributes: dict[str, Any]

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
    """Read the measures and the normal range; None where the store has no binding ratios by definition.

    Parameters
    ----------
    cohort : DataTree
        The opened store.
    studies : DataFrame
        From `tables.read_studies`.
    """
    root = cohort.dataset
    names = ("binding_ratio", "asymmetry_index", "putamen_to_caudate_ratio")
    if not all(name in root.variables for name in names):
        return None
    value = measures(*(np.asarray(root[name].values, dtype=np.float64) for name in names))
    nothing = np.full_like(value, np.nan)
    if schema.NORMAL_RANGE not in cohort.children or cohort[schema.NORMAL_RANGE].attrs.get("stale"):
        return BindingTable(value, nothing, nothing, np.zeros(len(value), dtype=bool), np.full(len(value), ""), {})
    group = cohort[schema.NORMAL_RANGE].dataset  # type: ignore[union-attr]
    z_score, lower = (np.asarray(group[name].values, dtype=np.float64) for name in ("z_score", "lower"))
    fitted = (np.asarray(group["split"].values.tolist()) == "train") & (studies["label"].to_numpy() == schema.NEGATIVE)
    warnings = np.asarray(group["warnings"].values.tolist(), dtype=str)
    return BindingTable(value, z_score, lower, fitted, warnings, {str(name): one for name, one in group.attrs.items()})


@dataclass(frozen=True)
class DefinitionRow:
    """One region by one definition.

    Attributes
    ----------
    definition, region : str
        Of `schema.DEFINITIONS` and `schema.STRIATAL`.
    negative, positive : tuple of (int, float, float)
        Studies, mean and standard deviation of the binding ratio.
    area : Estimate or None
        Under the ROC curve of the ratio alone against the label; None where a class is empty.
    below_negative, below_positive : Proportion
        Shares below the normal range: negative studies that it was not fitted to, and all positive ones.
    """

    definition: str
    region: str
    negative: tuple[int, float, float]
    positive: tuple[int, float, float]
    area: Estimate | None
    below_negative: Proportion
    below_positive: Proportion


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
            both = negative | positive
            area = (
                area_under_curve(positive[both].astype(np.int64), -value[both])
                if negative.any() and positive.any()
                else None
            )
            compared = np.isfinite(lower)
            fresh = negative & compared & ~table.fitted
            ill = positive & compared
            with np.errstate(invalid="ignore"):
                below = value < lower
            rows.append(
                DefinitionRow(
                    definition,
                    region,
                    _described(value[negative]),
                    _described(value[positive]),
                    area,
                    wilson(int(below[fresh].sum()), int(fresh.sum())),
                    wilson(int(below[ill].sum()), int(ill.sum())),
                )
            )
    return tuple(rows)


def _described(values: Floats) -> tuple[int, float, float]:
    mean = float(values.mean()) if len(values) else np.nan
    return len(values), mean, float(values.std(ddof=1)) if len(values) > 1 else np.nan
