"""What is counted from the rows of the studies: flow, demographics, sites, exclusions and failures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from datbatch import schema

SET_NAMES = {"whole": "Whole sample"}
SET_NAMES |= dict(zip(schema.SPLITS, ("Training set", "Validation set", "Test set"), strict=True))
PUTAMEN_SBR = f"sbr_{schema.PUTAMEN}"
SUBGROUPS = tuple((label, sex) for label in schema.LABELS for sex in ("F", "M"))
"""The columns of the paper's Table 1."""

_EMPTY: Mapping[str, Any] = {"str": "", "bool": False, "int32": 0, "int64": 0}


def _texts(values: Any) -> list[str]:
    return ["" if value is None or value != value else str(value) for value in np.asarray(values).tolist()]


def read_studies(cohort: xr.DataTree) -> pd.DataFrame:
    """Read the store's tables of one row per study, in the store's order; pixel data is not touched.

    The columns are those of `schema.STUDY_TABLE`, the binding ratios as `sbr_<region>`, and the reads by the names of
    `schema.READS`. What a stage has not written yet is empty or NaN.
    """
    root = cohort.dataset
    n = root.sizes.get("study", 0)
    columns: dict[str, Any] = {}
    for variable in schema.STUDY_TABLE:
        if variable.dims != ("study",):
            continue
        if variable.name not in root.variables:
            columns[variable.name] = [_EMPTY.get(variable.dtype, np.nan)] * n
        elif variable.dtype == "str":
            columns[variable.name] = _texts(root[variable.name].values)
        else:
            columns[variable.name] = np.asarray(root[variable.name].values)
    for name, prefix, names in (("specific_binding_ratio", "sbr_", schema.REGIONS), ("reads", "", schema.READS)):
        missing = np.full((n, len(names)), np.nan if prefix else "")
        values = root[name].values if name in root.variables else missing
        for one, column in zip(names, values.T, strict=True):
            columns[prefix + one] = column if prefix else _texts(column)
    return pd.DataFrame(columns, index=pd.RangeIndex(n))


@dataclass(frozen=True)
class Flow:
    """How many files and studies went which way."""

    files_found: int | None
    """Files in the archive; None when the store does not say."""
    files_skipped: dict[str, int]
    """Files left out while scanning, by code."""
    studies: int
    """Studies in the store."""
    excluded: dict[str, int]
    """Studies left out by decision, by code."""
    failed: dict[str, int]
    """Studies that could not be processed, by code."""
    pending: int
    """Studies not processed yet."""
    done: int
    """Studies processed to the end."""
    split: dict[str, tuple[int, ...]]
    """Negative and positive studies of each set, among the processed ones."""
    without_split: int
    """Processed studies that belong to no set."""
    imported: int = 0
    """Studies that were reconstructed elsewhere."""

    @property
    def eligible(self) -> int:
        """Studies that were not excluded."""
        return self.studies - sum(self.excluded.values())


def _by_code(codes: pd.Series) -> dict[str, int]:
    counts = codes.replace("", "unnamed").value_counts()
    return {str(code): int(counts[code]) for code in sorted(counts.index, key=lambda c: (-counts[c], c))}


def count_flow(studies: pd.DataFrame, files: Mapping[str, Any]) -> Flow:
    """Count the way of studies from the archive to the sets.

    `files` is the root's attribute: {"found": n, "skipped": {code: n}}.
    """
    done = studies[studies["status"] == schema.DONE]
    found = files.get("found")
    skipped = files.get("skipped") or {}
    return Flow(
        files_found=None if found is None else int(found),
        files_skipped={str(code): int(skipped[code]) for code in sorted(skipped) if skipped[code]},
        studies=len(studies),
        excluded=_by_code(studies.loc[studies["status"] == schema.EXCLUDED, "error_code"]),
        failed=_by_code(studies.loc[studies["status"] == schema.FAILED, "error_code"]),
        pending=int((studies["status"] == schema.PENDING).sum()),
        done=len(done),
        imported=int((studies["source"] == schema.TOMOGRAM).sum()),
        split={
            name: tuple(int(((done["split"] == name) & (done["label"] == label)).sum()) for label in schema.LABELS)
            for name in schema.SPLITS
        },
        without_split=int((~done["split"].isin(schema.SPLITS)).sum()),
    )


@dataclass(frozen=True)
class AgeCell:
    """One cell of Table 1."""

    n: int
    """Studies."""
    known: int
    """Studies whose age is known."""
    mean_years: float
    """Mean age of those; NaN for none."""
    sd_years: float
    """Standard deviation (n - 1) of those; NaN for fewer than two."""


@dataclass(frozen=True)
class DemographicRow:
    """One row of Table 1: a set of studies."""

    name: str
    n: int
    cells: tuple[AgeCell, ...]
    """In the order of `SUBGROUPS`."""


def demographics(studies: pd.DataFrame) -> tuple[DemographicRow, ...]:
    """Describe age and sex of the processed studies with a label, by label, as Table 1 of Nazari et al. 2022."""
    labelled = studies[(studies["status"] == schema.DONE) & studies["label"].isin(schema.LABELS)]
    rows = []
    for name in SET_NAMES:
        part = labelled if name == "whole" else labelled[labelled["split"] == name]
        cells = []
        for label, sex in SUBGROUPS:
            cell = part[(part["label"] == label) & (part["sex"] == sex)]
            ages = cell["age"].dropna()
            spread = float(ages.std(ddof=1)) if len(ages) > 1 else np.nan
            cells.append(AgeCell(len(cell), len(ages), mean_or_nan(ages), spread))
        rows.append(DemographicRow(name, len(part), tuple(cells)))
    return tuple(rows)


def mean_or_nan(values: Any) -> float:
    """Give the mean of what is finite; NaN for nothing."""
    finite = _finite(values)
    return float(finite.mean()) if len(finite) else np.nan


def _finite(values: Any) -> npt.NDArray[np.float64]:
    numbers = np.asarray(values, dtype=np.float64)
    return numbers[np.isfinite(numbers)]


@dataclass(frozen=True)
class SiteRow:
    """What came from one site."""

    site: str
    scanners: tuple[str, ...]
    studies: int
    excluded: int
    failed: int
    done: int
    positive: int
    """Positive studies among the processed ones."""
    sbr_negative: float
    """Mean binding ratio of the ipsilateral putamen in negative studies."""
    sbr_positive: float
    """The same in positive studies."""
    counts_median: float
    """Median of the sum of all projections."""
    correlation: float
    """Mean correlation with the template."""
    outline_dice: float
    """Mean overlap of outlines with the template."""
    coverage: float
    """Mean share of the brain inside the field of view."""


def by_site(studies: pd.DataFrame) -> tuple[SiteRow, ...]:
    """Summarise each site, by name; studies without a site come last."""
    rows = []
    for site in sorted(set(studies["site"]), key=lambda name: (name == "", name)):
        part = studies[studies["site"] == site]
        done = part[part["status"] == schema.DONE]
        sbr = done[PUTAMEN_SBR]
        counts = _finite(done["counts"])
        rows.append(
            SiteRow(
                site=site,
                scanners=tuple(sorted(set(part["scanner"]) - {""})),
                studies=len(part),
                excluded=int((part["status"] == schema.EXCLUDED).sum()),
                failed=int((part["status"] == schema.FAILED).sum()),
                done=len(done),
                positive=int((done["label"] == schema.POSITIVE).sum()),
                sbr_negative=mean_or_nan(sbr[done["label"] == schema.NEGATIVE]),
                sbr_positive=mean_or_nan(sbr[done["label"] == schema.POSITIVE]),
                counts_median=float(np.median(counts)) if len(counts) else np.nan,
                **{name: mean_or_nan(done[f"quality_{name}"]) for name in ("correlation", "outline_dice", "coverage")},
            )
        )
    return tuple(rows)


def codes_by_site(studies: pd.DataFrame, columns: Sequence[str]) -> dict[str, Counter[str]]:
    """Count studies by code and site, the most frequent code first; the columns hold codes, separated by spaces."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for site, *texts in studies[["site", *columns]].to_numpy().tolist():
        for code in {code for text in texts for code in text.split()}:
            found[code][site] += 1
    return dict(sorted(found.items(), key=lambda entry: (-entry[1].total(), entry[0])))
