"""One study of a store with everything that its page shows, as if it had just been explained."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray

from datbatch import schema
from datbatch.archive import Acquisition, read_linkage, read_study
from datbatch.cohort.attributes import json_attribute, stored_card
from datbatch.cohort.store import linkage_path, models_path
from datbatch.cohort.views.query import choose_model, cohort_atlas, normal_range
from datbatch.cohort.views.results import StudyResults, tables
from datbatch.config import ArchiveConfig
from datbatch.errors import DatbatchError, ModelError
from datbatch.imaging import Binding
from datbatch.location import Location
from datbatch.norms import KeptRange, measures
from datbatch.study.certainty import read_certainty
from datbatch.study.comparison import Comparison, Person, age_curve, find_normal_range
from datbatch.study.explained import StudyExplanation

_NO_RANGE = "the store has no normal range, or one of earlier tables. Call `datbatch norms COHORT`."


class StoredStudies:
    """Gives studies of a store as `StudyExplanation`; tables, atlas and calibration are read once.

    Parameters
    ----------
    cohort : DataTree
        The opened store.
    path : Path or S3Location
        Its folder: models and the linkage table stand beside it.
    model : str, optional
        Name of the model; the one made last by default.
    archive : Path or S3Location, optional
        Where the projections come from. Without it, or where a study's files have gone, there are none.

    Raises
    ------
    ModelError
        When the named model is not in the store, or none is.
    """

    def __init__(
        self, cohort: xarray.DataTree, path: Location, *, model: str | None = None, archive: Location | None = None
    ) -> None:
        chosen = choose_model(cohort, model)
        if chosen is None:
            raise ModelError("no model has explained the studies of the store", "Call `datbatch explain COHORT`.")
        group = cohort[schema.relevance_group(chosen)]
        self._cohort, self._folder = cohort, models_path(path) / chosen
        self._rows = {str(name): row for row, name in enumerate(cohort.dataset["study"].values)}
        self._log_odds = np.asarray(group["log_odds"].values, dtype=np.float64)
        self._tables = tables(cohort.dataset, schema.STUDY_TABLE)
        weights = str(stored_card(group.attrs).get("weights_sha256", ""))
        self._certainty, self._not_judged = read_certainty(self._folder, weights)
        made = {"digest": str(group.attrs.get("digest", "")), "parameters": json_attribute(group.attrs, "parameters")}
        self._stages = json_attribute(cohort.attrs, "stages") | {schema.EXPLAIN: made}
        self._archive_config = ArchiveConfig(**json_attribute(cohort.attrs, "config").get("archive", {}))
        self._atlas = cohort_atlas(cohort)
        norms = normal_range(cohort)
        self._range = {} if norms is None else tables(norms, schema.NORMAL_RANGE_TABLE)
        fit = {} if norms is None else json_attribute(norms.attrs, "fit")
        self._normals = max((int(one.get("normals", 0)) for one in fit.get("measures", {}).values()), default=0)
        self._kept = self._kept_range()
        self._archive = archive
        self._linkage = read_linkage(linkage_path(path)) if archive is not None else {}

    def explained(self, results: StudyResults) -> StudyExplanation:
        """Give everything about one study that a `ResultsReader` of the same model read; ModelError where it has none.

        Its `seconds` are empty.
        """
        model = results.model
        if model is None:
            raise ModelError("the model did not explain this study", "Call `datbatch explain COHORT`.")
        row = self._rows[results.study]
        acquired = {
            one.name: self._tables[one.name][row]
            for one in schema.STUDY_TABLE
            if one.writer == schema.RECONSTRUCT and one.name in self._tables
        }
        imported = self._value("source", row, "") == schema.TOMOGRAM
        log_odds = float(self._log_odds[row])
        certainty = self._certainty
        call, calibrated = None, np.nan
        if certainty is not None:
            call = certainty.call([log_odds])
            calibrated = np.nan if certainty.members[0].temperature is None else float(call.probability[0])
        comparison = self._compare(row)
        return StudyExplanation(
            relevance=model.relevance,
            regional=model.regional,
            probability=model.probability,
            log_odds=log_odds,
            predicted=model.predicted,
            inconsistent=model.inconsistent,
            orientation=int(model.sign),
            uptake=results.uptake,
            mirrored=results.mirrored,
            lower_side=str(self._value("lower_side", row, "")),
            specific_binding_ratio=results.specific_binding_ratio,
            binding=self._binding(row),
            quantification_flags=tuple(str(self._value("quantification_flags", row, "")).split()),
            template_to_study=results.template_to_study,
            quality={
                name.removeprefix("quality_"): float(values[row])
                for name, values in self._tables.items()
                if name.startswith("quality_")
            },
            counts=float(self._value("counts", row, np.nan)),
            motion_mm=float(self._value("motion_mm", row, np.nan)),
            flags=tuple(str(self._value("flags", row, "")).split()),
            comparison=comparison,
            not_compared="" if comparison is not None else _NO_RANGE,
            calibrated_probability=calibrated,
            certain=None if call is None else bool(call.certain[0]),
            not_judged=self._not_judged,
            uncertain_share=np.nan if certainty is None else certainty.uncertain_share,
            model=model.name,
            weights_sha256=model.weights_sha256,
            atlas=self._atlas,
            seconds={},
            acquired=acquired,
            stages={n: one for n, one in self._stages.items() if not (imported and n == schema.RECONSTRUCT)},
            projections=self._projections(results.study),
            study=results.study,
            simulated=results.simulated,
            source=schema.TOMOGRAM if imported else schema.PROJECTIONS,
        )

    def _value(self, name: str, row: int, missing: Any) -> Any:
        return self._tables[name][row] if name in self._tables else missing

    def _binding(self, row: int) -> Binding:
        sizes = {
            "binding_ratio": (len(schema.DEFINITIONS), len(schema.BACKGROUNDS), len(schema.STRIATAL)),
            "asymmetry_index": (len(schema.DEFINITIONS), len(schema.STRUCTURES)),
            "putamen_to_caudate_ratio": (len(schema.DEFINITIONS), len(schema.SIDES)),
        }
        return Binding(*(np.asarray(self._value(name, row, np.full(size, np.nan))) for name, size in sizes.items()))

    def _kept_range(self) -> KeptRange | None:
        """Give the fit, for the normal range over age; None where it is missing or of other images."""
        path = find_normal_range(self._folder)
        if not self._range or path is None:
            return None
        try:
            kept = KeptRange.from_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, DatbatchError):
            return None
        return kept if kept.imaging == self._stages.get(schema.QUANTIFY, {}).get("digest") else None

    def _compare(self, row: int) -> Comparison | None:
        if not self._range:
            return None
        age, binding = float(self._value("age", row, np.nan)), self._binding(row)
        sex, site = (str(self._value(name, row, "")) for name in ("sex", "site"))
        person = Person(age_years=age if np.isfinite(age) else None, sex=sex, site=site)
        return Comparison(
            person=person,
            value=measures(*(table[None] for table in vars(binding).values()))[0],
            **{name: self._range[name][row] for name in ("expected", "lower", "upper")},
            z=self._range["z_score"][row],
            normals=self._normals,
            warnings=tuple(str(self._range["warnings"][row]).split()),
            over_age=None if self._kept is None else age_curve(self._kept, person),
        )

    def _projections(self, study: str) -> Acquisition | None:
        files = self._linkage.get(study, ())
        if self._archive is None or not files:
            return None
        try:
            return read_study([self._archive / name for name in files], config=self._archive_config)
        except DatbatchError:
            return None
