"""What is counted from the rows of the studies: flow, demographics, sites, exclusions and failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from datbatch import schema

SPLITS = ("train", "validation", "test")
SET_NAMES = {"whole": "Whole sample", "train": "Training set", "validation": "Validation set", "test": "Test set"}
SUBGROUPS = tuple((label, sex) for label in schema.LABELS for sex in ("F", "M"))
"""The columns of the paper's Table 1."""

_EMPTY: Mapping[str, Any] = {"str": "", "bool": False, "int32": 0, "int64": 0}


def _texts(values: Any) -> list[str]:
    return ["" if value is None or value != value else str(value) for value in np.asarray(values).tolist()]


def read_studies(cohort: xr.DataTree) -> pd.DataFrame:
    """Read the store's tables of one row per study; pixel data is not touched.

    Parameters
    ----------
    cohort : DataTree
        The opened store.

    Returns
    -------
    DataFrame
        One row per study in the store's order: the columns of `schema.STUDY_TABLE`, the binding ratios as
        `sbr_<region>`, the reads by the names of `schema.READS`. What a stage has not written yet is empty
        or NaN.
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
        values = root[name].values if name in root.variables else None
        for position, one in enumerate(names):
            if values is None:
                columns[prefix + one] = [np.nan if prefix else ""] * n
            else:
                columns[prefix + one] = values[:, position] if prefix else _texts(values[:, position])
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
    split: dict[str, tuple[int, int]]
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

    Parameters
    ----------
    studies : DataFrame
        From `read_studies`.
    files : mapping
        The root attribute `files`: {"found": n, "skipped": {code: n}}.
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
            name: (
                int(((done["split"] == name) & (done["label"] == schema.NEGATIVE)).sum()),
                int(((done["split"] == name) & (done["label"] == schema.POSITIVE)).sum()),
            )
            for name in SPLITS
        },
        without_split=int((~done["split"].isin(SPLITS)).sum()),
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
    """Describe age and sex by label, as Table 1 of Nazari et al. 2022.

    The whole sample is every processed study with a label.
    """
    labelled = studies[(studies["status"] == schema.DONE) & studies["label"].isin(schema.LABELS)]
    rows = []
    for name in ("whole", *SPLITS):
        part = labelled if name == "whole" else labelled[labelled["split"] == name]
        cells = []
        for label, sex in SUBGROUPS:
            cell = part[(part["label"] == label) & (part["sex"] == sex)]
            ages = cell["age"].to_numpy(dtype=float)
            ages = ages[np.isfinite(ages)]
            cells.append(
                AgeCell(
                    len(cell),
                    len(ages),
                    float(ages.mean()) if len(ages) else np.nan,
                    float(ages.std(ddof=1)) if len(ages) > 1 else np.nan,
                )
            )
        rows.append(DemographicRow(name, len(part), tuple(cells)))
    return tuple(rows)


def mean_or_nan(values: Any) -> float:
    """Give the mean of what is finite; NaN for nothing."""
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    return float(finite.mean()) if len(finite) else np.nan


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
        putamen = {label: done.loc[done["label"] == label, "sbr_putamen_ipsilateral"] for label in schema.LABELS}
        counts = done["counts"].to_numpy(dtype=float)
        counts = counts[np.isfinite(counts)]
        rows.append(
            SiteRow(
                site=site,
                scanners=tuple(sorted(set(part["scanner"]) - {""})),
                studies=len(part),
                excluded=int((part["status"] == schema.EXCLUDED).sum()),
                failed=int((part["status"] == schema.FAILED).sum()),
                done=len(done),
                positive=int((done["label"] == schema.POSITIVE).sum()),
                sbr_negative=mean_or_nan(putamen[schema.NEGATIVE]),
                sbr_positive=mean_or_nan(putamen[schema.POSITIVE]),
                counts_median=float(np.median(counts)) if len(counts) else np.nan,
                correlation=mean_or_nan(done["quality_correlation"]),
                outline_dice=mean_or_nan(done["quality_outline_dice"]),
                coverage=mean_or_nan(done["quality_coverage"]),
            )
        )
    return tuple(rows)


def codes_by_site(studies: pd.DataFrame, columns: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count studies by code and site, the most frequent code first.

    Parameters
    ----------
    studies : DataFrame
        From `read_studies`, all or some of its rows.
    columns : sequence of str
        Columns of codes, several in one text separated by spaces.
    """
    found: dict[str, dict[str, int]] = {}
    for site, *texts in studies[["site", *columns]].to_numpy().tolist():
        for code in {code for text in texts for code in text.split()}:
            counts = found.setdefault(code, {})
            counts[site] = counts.get(site, 0) + 1
    return dict(sorted(found.items(), key=lambda entry: (-sum(entry[1].values()), entry[0])))
