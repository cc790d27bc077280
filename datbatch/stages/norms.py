"""`datbatch norms`: normal range, recovery and harmonisation of a cohort, from the store's tables into the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch import schema
from datbatch.cohort.cohort import Cohort
from datbatch.cohort.facts import ATTRIBUTES
from datbatch.cohort.lock import writes
from datbatch.cohort.record import CommandRecord
from datbatch.cohort.store import Store
from datbatch.cohort.training_set import training_set
from datbatch.config import Config, canonical_json, digest
from datbatch.files import write_whole
from datbatch.location import Location
from datbatch.norms import (
    FAMILIES,
    KeptRange,
    NormalRange,
    Prediction,
    RecoveryTable,
    fit_covariates,
    fit_harmonisation,
    fit_normal_range,
    join_warnings,
    measures,
    read_recovery,
    reconstruction_class,
    recover,
)
from datbatch.progress import Progress
from datbatch.stages.stage import Whole, settle

NORMS_VERSION = 1
_PARTS = ("tables read", "range fitted", "tables written")


@dataclass(frozen=True)
class NormsSummary:
    """What the normal range of a cohort says."""

    fitted: bool
    """False when it stood there already, of the same tables and parameters."""
    studies: int
    """Studies compared with it."""
    normals: int
    """Normal studies of the training split."""
    normals_by_site: Mapping[str, int]
    """Of them, those that took part in the fit; empty where the model has no sites."""
    headline: Mapping[str, Any]
    """The fit of the measure `schema.MAIN_MEASURE`, as in `NormalRange.to_dict`."""
    terms: tuple[str, ...]
    zero: Mapping[str, float]
    """Where the covariates are zero: mean age, share of men."""
    outside: Mapping[str, tuple[int, int]]
    """By label, of studies that did not train: how many lie outside the interval of the main measure, of how many."""
    warnings: Mapping[str, int]
    """Studies by code."""
    without_range: tuple[str, ...]
    """Measures with too few values among the normals."""


@dataclass(frozen=True)
class _Tables:
    """What the store's tables say of each study; values are NaN where it has no result."""

    values: npt.NDArray[np.float64]
    age: npt.NDArray[np.float64]
    sex: npt.NDArray[np.str_]
    site: npt.NDArray[np.str_]
    scanner: npt.NDArray[np.str_]
    pixel_size_mm: npt.NDArray[np.float64]
    source: npt.NDArray[np.str_]
    label: npt.NDArray[np.str_]
    done: npt.NDArray[np.bool_]

    @property
    def kind(self) -> npt.NDArray[np.str_]:
        """Class of each study's reconstruction."""
        return reconstruction_class(self.scanner, self.pixel_size_mm, self.source)

    def normals(self, split: npt.NDArray[np.str_]) -> npt.NDArray[np.bool_]:
        """Tell which studies the normal range is fitted to: normal ones of the training split, of one source.

        Binding depends on the reconstruction. The source that has more of them counts, projections before tomograms.
        """
        found = (split == "train") & self.done & (self.label == schema.NEGATIVE)
        imported = self.source == schema.TOMOGRAM
        most = imported if (found & imported).sum() > (found & ~imported).sum() else ~imported
        return np.asarray(found & most)

    def digest(self) -> str:
        """Cover every value that the normal range rests on."""
        hashed = hashlib.sha256()
        for column in (self.values, self.age, self.pixel_size_mm, self.done):
            hashed.update(np.ascontiguousarray(column).tobytes())
        hashed.update(canonical_json([self.sex.tolist(), self.site.tolist(), self.label.tolist()]).encode())
        hashed.update(canonical_json([self.scanner.tolist(), self.source.tolist()]).encode())
        return hashed.hexdigest()[:16]


@writes
def fit_norms(cohort: Location, config: Config, *, again: bool = False, quiet: bool = False) -> NormsSummary:
    """Fit normal range and harmonisation on the training split and compare every study with them, in the store.

    Nothing is computed where the tables and parameters are those of the last call. The fit is kept beside the models,
    where `datbatch study` finds it.

    Parameters
    ----------
    cohort : Path
        Folder of the store.
    config : Config
        Parameters; of them `norms` and `split`.
    again : bool
        Whether to fit and write even where tables and parameters are those of the last call.
    quiet : bool
        Whether to show no progress.

    Raises
    ------
    NormalRangeError
        When the normal studies of the training split do not suffice.
    RecoveryTableError
        When the table of recovery factors cannot be used.
    TrainingDataError
        When the labelled studies do not suffice for a training split.
    """
    return settle(Norms(Cohort(cohort), config, quiet=quiet), again=again)


class Norms(Whole[NormsSummary]):
    """The normal range of a cohort.

    Parameters
    ----------
    cohort : Cohort
        With the tables of a run.
    config : Config
        Parameters; of them `norms` and `split`.
    quiet : bool
        Whether to show no progress.
    """

    command = "norms"

    def __init__(self, cohort: Cohort, config: Config, *, quiet: bool) -> None:
        super().__init__(cohort, config)
        self._progress = Progress(self.command, len(_PARTS), "parts", quiet=quiet)
        self._recovery = read_recovery(Path(config.norms.recovery)) if config.norms.recovery else None
        self._tables, self._split = _read(cohort.store), training_set(cohort, config.split).split
        self._parameters = {
            "norms": config.to_stored_dict()["norms"] | {"recovery": self._recovery.digest if self._recovery else ""},
            "split": asdict(config.split),
        }
        self._inputs = self._tables.digest()
        self._digest = digest([NORMS_VERSION, self._parameters, self._inputs, self._split.tolist()])
        self._progress.advance(note=_PARTS[0])

    def standing(self) -> NormsSummary | None:
        """Give the summary of the range that was fitted to the same tables with the same parameters."""
        store, told = self.cohort.store, self.cohort.store.told(schema.NORMAL_RANGE).get(ATTRIBUTES, {})
        if told.get("digest") != self._digest or not self.cohort.normal_range_file.exists():
            return None
        # The tables may have left and come back since.
        store.set_attributes({"stale": False}, schema.NORMAL_RANGE)
        store.consolidate()
        self._progress.close()
        return _earlier(told["summary"])

    def make(self, record: CommandRecord) -> NormsSummary:
        """Fit the range, and write it into the store and beside the models."""
        store, progress = self.cohort.store, record.watch(self._progress)
        columns, model, summary = compare(self._tables, self._split, self.config, self._recovery)
        progress.advance(note=_PARTS[1])
        # A kill in the middle must not leave new rows under an old digest.
        store.add_normal_range({"digest": "", "stale": True})
        store.write_table(columns, schema.NORMAL_RANGE)
        classes = frozenset(map(str, self._tables.kind[self._tables.normals(self._split)]))
        kept = KeptRange(model, self.cohort.digest_of(schema.QUANTIFY), classes)
        write_whole(self.cohort.normal_range_file, kept.to_json().encode())
        attributes = {
            "inputs": self._inputs,
            "parameters": self._parameters,
            "fit": canonical_json(model.to_dict(schema.MEASURES)),
            "summary": canonical_json(asdict(summary)),
            "stale": False,
            "digest": self._digest,
        }
        store.set_attributes(attributes, schema.NORMAL_RANGE)
        store.consolidate()
        progress.advance(note=_PARTS[2])
        progress.close()
        return summary


def _earlier(recorded: str) -> NormsSummary:
    values = json.loads(recorded)
    values["outside"] = {label: tuple(counts) for label, counts in values["outside"].items()}
    values["terms"], values["without_range"] = tuple(values["terms"]), tuple(values["without_range"])
    return NormsSummary(**values | {"fitted": False})


def mark_norms(store: Store) -> None:
    """Mark the normal range as stale where the tables are no longer those that it was fitted to."""
    if store.has_normal_range:
        stale = store.group_attributes(schema.NORMAL_RANGE).get("inputs") != _read(store).digest()
        store.set_attributes({"stale": stale}, schema.NORMAL_RANGE)


def compare(
    tables: _Tables, split: npt.NDArray[np.str_], config: Config, recovery: RecoveryTable | None
) -> tuple[dict[str, npt.NDArray[Any]], NormalRange, NormsSummary]:
    """Give the group's columns, what was fitted, and the summary."""
    train = (split == "train") & tables.done
    normal = tables.normals(split)
    model = fit_normal_range(
        tables.values[normal], tables.age[normal], tables.sex[normal], tables.site[normal],
        use_age=config.norms.use_age, use_sex=config.norms.use_sex, use_site=config.norms.use_site,
    )  # fmt: skip
    found = model.predict(tables.values, tables.age, tables.sex, tables.site)
    harmonised, unharmonised = _harmonise(tables, train, config)
    camera = tables.site if recovery is not None and recovery.key == "site" else tables.scanner
    recovered = recover(tables.values, camera, recovery)
    kind = tables.kind
    warnings = {
        **found.warnings,
        "class-without-normals": ~np.isin(kind, np.unique(kind[normal])),
        "site-not-harmonised": unharmonised,
        "recovery-missing": recovered.missing,
    }
    warnings = {code: mask & tables.done for code, mask in warnings.items()}
    done = tables.done[:, None]
    columns = {
        "z_score": found.z,
        "expected": np.where(done, found.expected, np.nan),
        "lower": np.where(done, found.lower, np.nan),
        "upper": np.where(done, found.upper, np.nan),
        "harmonised": harmonised,
        "recovered": recovered.values,
        "recovered_sd": recovered.sd,
        "split": split.astype(object),
        "warnings": join_warnings(warnings, len(tables.done)),
    }
    fit = model.to_dict(schema.MEASURES)
    summary = NormsSummary(
        fitted=True,
        studies=int(tables.done.sum()),
        normals=int(normal.sum()),
        normals_by_site=model.normals_by_site,
        headline=fit["measures"][schema.MAIN_MEASURE],
        terms=model.terms,
        zero=fit["zero"],
        outside=_outside(found, tables, ~train),
        warnings={code: int(mask.sum()) for code, mask in warnings.items() if mask.any()},
        without_range=tuple(name for name, n in zip(schema.MEASURES, model.normals, strict=True) if not n),
    )
    return columns, model, summary


def _harmonise(
    tables: _Tables, train: npt.NDArray[np.bool_], config: Config
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Give harmonised values, and the studies whose site could not be fitted."""
    covariates, _ = fit_covariates(
        tables.age[train], tables.sex[train], use_age=config.norms.use_age, use_sex=config.norms.use_sex
    )
    columns, _ = covariates.columns(tables.age, tables.sex)
    positive = tables.label == schema.POSITIVE
    values, left_out = tables.values.copy(), np.zeros(len(train), dtype=bool)
    for family in FAMILIES:
        fitted = fit_harmonisation(tables.values[train, family], columns[train], tables.site[train], positive[train])
        values[:, family] = fitted.apply(tables.values[:, family], columns, tables.site)
        left_out |= ~fitted.fitted(tables.site)
    # The studies of an archive with one site have nothing to be brought in line with.
    return values, left_out & (np.unique(tables.site[tables.done]).size > 1)


def _outside(found: Prediction, tables: _Tables, chosen: npt.NDArray[np.bool_]) -> dict[str, tuple[int, int]]:
    at = schema.MEASURES.index(schema.MAIN_MEASURE)
    value, lower, upper = tables.values[:, at], found.lower[:, at], found.upper[:, at]
    compared = chosen & np.isfinite(value) & np.isfinite(lower)
    out = compared & ((value < lower) | (value > upper))
    return {
        label: (int((out & (tables.label == label)).sum()), int((compared & (tables.label == label)).sum()))
        for label in schema.LABELS
    }


def _read(store: Store) -> _Tables:
    def texts(name: str) -> npt.NDArray[np.str_]:
        return store.read_table(name).astype(str)

    done = texts("status") == schema.DONE
    values = measures(
        *(store.read_table(name) for name in ("binding_ratio", "asymmetry_index", "putamen_to_caudate_ratio"))
    )
    values[~done] = np.nan
    return _Tables(
        values=values,
        age=store.read_table("age"),
        sex=texts("sex"),
        site=texts("site"),
        scanner=texts("scanner"),
        pixel_size_mm=store.read_table("pixel_size_mm"),
        source=texts("source") if store.has_table("source") else np.full(len(done), schema.PROJECTIONS),
        label=texts("label"),
        done=np.asarray(done),
    )
