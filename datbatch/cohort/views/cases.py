"""Read from the tables of a store what an evaluation looks at, whether by zarr or by xarray."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch import schema
from datbatch.classifier.split import encode_labels
from datbatch.cohort.attributes import stored_card
from datbatch.config import digest
from datbatch.evaluation.cases import Cases
from datbatch.norms.measures import measures

EVALUATE_VERSION = 1
Column = Callable[[str, str], "npt.NDArray[Any] | None"]
"""Gives a column by its name and group (empty: the root), None where the store has none."""

PUTAMEN = schema.REGIONS.index(schema.PUTAMEN)
HOTTEST = schema.STATISTICS.index(schema.HOTTEST_MEAN)
HEADLINE = schema.MEASURES.index(schema.MAIN_MEASURE)
REGIONAL = tuple(index for index, name in enumerate(schema.MEASURES) if schema.HOTTEST_VOXELS in name.split())
"""Measures that the tree may use: the paper's definition."""


def read_cases(column: Column, model: str, attributes: Mapping[str, Any]) -> Cases:
    """Arrange the tables of a store and of one of its models; `attributes` are those of the model's group."""
    group = schema.relevance_group(model)
    pseudonyms = column("study", "")
    assert pseudonyms is not None
    studies = len(pseudonyms)

    def texts(name: str, of: str = "") -> npt.NDArray[np.str_]:
        found = column(name, of)
        return np.full(studies, "", dtype=np.str_) if found is None else _texts(found)

    def numbers(name: str, of: str = "") -> npt.NDArray[np.float64] | None:
        found = column(name, of)
        return None if found is None else np.asarray(found, dtype=np.float64)

    def one(name: str, of: str, *at: int) -> npt.NDArray[np.float64]:
        found: Any = numbers(name, of)
        return np.full(studies, np.nan) if found is None else np.asarray(found[(slice(None), *at)])

    orientation = stored_card(attributes).get("orientation") or {}
    cut = orientation.get("threshold")
    tables = [numbers(name) for name in ("binding_ratio", "asymmetry_index", "putamen_to_caudate_ratio")]
    regional = np.empty((studies, 0))
    if tables[0] is not None and tables[1] is not None and tables[2] is not None:
        regional = measures(tables[0], tables[1], tables[2])[:, REGIONAL]
    flags, reads, done = column("inconsistent", group), column("reads", ""), texts("status") == schema.DONE
    return Cases(
        study=texts("study"),
        # A study without image counts in no figure.
        label=np.where(done, encode_labels(texts("label")), -1),
        split=texts("split", group),
        site=texts("site"),
        sex=texts("sex"),
        age_years=one("age", ""),
        counts=one("counts", ""),
        binding_ratio=one("specific_binding_ratio", "", PUTAMEN),
        regional=regional,
        regional_names=tuple(schema.MEASURES[index] for index in REGIONAL) if regional.shape[1] else (),
        z_score=one("z_score", schema.NORMAL_RANGE, HEADLINE),
        normal_split=texts("split", schema.NORMAL_RANGE),
        reads=np.full((studies, len(schema.READS)), "") if reads is None else _texts(reads),
        log_odds=one("log_odds", group),
        putamen_relevance=float(orientation.get("sign", 1.0)) * one("regional", group, PUTAMEN, HOTTEST),
        relevance_cut=float("nan") if cut is None else float(cut),
        inconsistent=np.zeros(studies, dtype=bool) if flags is None else np.asarray(flags, dtype=bool),
    )


def read_evaluation(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Give what `datbatch evaluate` stored in the attributes of a model's group; empty where it was not called."""
    return dict(json.loads(attributes["evaluation"])) if "evaluation" in attributes else {}


def evaluation_digest(cases: Cases, weights: Mapping[str, str]) -> str:
    """Give a digest of what an evaluation depends on: the tables, the model and its repeats."""
    return digest([EVALUATE_VERSION, cases.digest(), dict(weights)])


def _texts(values: npt.NDArray[Any]) -> npt.NDArray[np.str_]:
    # Through objects: NumPy cannot convert its texts of variable length directly.
    return values.astype(object).astype(np.str_)
