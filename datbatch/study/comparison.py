"""One study against the normal range that `datbatch norms` kept beside the models; no store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datbatch import schema
from datbatch.archive import StudyFacts
from datbatch.arrays import Floats
from datbatch.classifier.folder import ModelFolder
from datbatch.config import Config
from datbatch.errors import NormalRangeError
from datbatch.evaluation.estimates import as_json
from datbatch.imaging import Binding
from datbatch.norms import KeptRange, measures, reconstruction_class
from datbatch.norms.covariates import AGE
from datbatch.study.imaging import imaging_identities

_FIGURES = ("value", "expected", "lower", "upper", "z")


@dataclass(frozen=True)
class Person:
    """What of a person counts in the comparison."""

    age_years: float | None
    sex: str
    """F, M or empty."""
    site: str
    """As in the cohort's table; empty where unknown."""


@dataclass(frozen=True)
class AgeCurve:
    """What is normal over age for one person's sex and site, each array (age, measure), float64."""

    age_years: Floats
    """Shape (age,): the ages of the normal studies, and the person's, capped at `schema.AGE_CAP_YEARS`."""
    expected: Floats
    lower: Floats
    upper: Floats


@dataclass(frozen=True)
class Comparison:
    """A study's measures beside what is normal, each array (measure,) in the order of `schema.MEASURES`, float64."""

    person: Person
    value: Floats
    expected: Floats
    lower: Floats
    upper: Floats
    """Ends of the 95 % prediction interval."""
    z: Floats
    normals: int
    """Normal studies of the fit, at most."""
    warnings: tuple[str, ...]
    """Codes of `norms.WARNINGS`."""
    over_age: AgeCurve | None = None
    """None where the normal range was fitted without age, or is not known."""

    def of(self, measure: str) -> tuple[float, float, float, float, float]:
        """Give value, expected, lower, upper and z of one measure."""
        at = schema.MEASURES.index(measure)
        value, expected, lower, upper, z = (float(getattr(self, name)[at]) for name in _FIGURES)
        return value, expected, lower, upper, z

    def to_dict(self) -> dict[str, Any]:
        """Give it in JSON types."""
        measures = {name: dict(zip(_FIGURES, self.of(name), strict=True)) for name in schema.MEASURES}
        found: dict[str, Any] = as_json({"normals": self.normals, "warnings": self.warnings, "measures": measures})
        return vars(self.person) | found


def find_normal_range(model: Path) -> Path | None:
    """Look for the normal range in a model's folder, then beside it."""
    return next((place for place in ModelFolder(model).normal_range_files if place.is_file()), None)


def read_normal_range(path: Path, config: Config) -> KeptRange:
    """Read a kept normal range that holds for uptake made with these parameters.

    A `NormalRangeError` says that it cannot be read, or was fitted to uptake that was made in another way.
    """
    try:
        kept = KeptRange.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise NormalRangeError(f"the kept normal range cannot be read ({type(error).__name__})") from error
    # The folder of a model that was passed on is not changed when a store is migrated.
    if kept.imaging not in (imaging_identities(config, limits=one)[schema.QUANTIFY].digest for one in (False, True)):
        raise NormalRangeError(
            "the normal range was fitted to uptake that was made with other parameters than the model's",
            "Train a model on the present store, or call `datbatch norms` on the store that the model is of.",
        )
    return kept


def compare_study(kept: KeptRange, binding: Binding, person: Person, facts: StudyFacts, size_mm: float) -> Comparison:
    """Compare one study's binding ratios with a normal range.

    The header's facts tell the scanner; `size_mm` is the size of a projection bin.
    """
    tables = (binding.binding_ratio, binding.asymmetry_index, binding.putamen_to_caudate_ratio)
    value = measures(*(table[None] for table in tables))[0]
    kind = str(reconstruction_class(np.array([facts.scanner]), np.array([size_mm]))[0])
    found, warnings = kept.compare(value, age_years=person.age_years, sex=person.sex, site=person.site, kind=kind)
    return Comparison(
        person=person,
        value=value,
        expected=found.expected[0],
        lower=found.lower[0],
        upper=found.upper[0],
        z=found.z[0],
        normals=int(kept.fitted.normals.max()),
        warnings=warnings,
        over_age=age_curve(kept, person),
    )


def age_curve(kept: KeptRange, person: Person) -> AgeCurve | None:
    """Give what is normal at each age of the normal studies, for one person's sex and site."""
    own = [] if person.age_years is None else [min(person.age_years, schema.AGE_CAP_YEARS)]
    ends = [*kept.fitted.age_range, *own]
    if AGE not in kept.fitted.covariates.terms or not np.isfinite(ends).all():
        return None
    ages = np.linspace(min(ends), max(ends), 41)
    nothing = np.full((len(ages), len(schema.MEASURES)), np.nan)
    found = kept.fitted.predict(nothing, ages, np.full(len(ages), person.sex), np.full(len(ages), person.site))
    return AgeCurve(ages, found.expected, found.lower, found.upper)
