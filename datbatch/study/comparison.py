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
from datbatch.imaging import Binding
from datbatch.norms import KeptRange, measures, reconstruction_class
from datbatch.norms.covariates import AGE
from datbatch.study.imaging import imaging_identities


@dataclass(frozen=True)
class Person:
    """What a study is compared by."""

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
    """None where the normal range was fitted without age, or is not at hand."""

    def of(self, measure: str) -> tuple[float, float, float, float, float]:
        """Give value, expected, lower, upper and z of one measure."""
        at = schema.MEASURES.index(measure)
        columns = (self.value, self.expected, self.lower, self.upper, self.z)
        value, expected, lower, upper, z = (float(column[at]) for column in columns)
        return value, expected, lower, upper, z

    def to_dict(self) -> dict[str, Any]:
        """Give it in JSON types."""
        names = ("value", "expected", "lower", "upper", "z")
        return {
            "age_years": self.person.age_years,
            "sex": self.person.sex,
            "site": self.person.site,
            "normals": self.normals,
            "warnings": list(self.warnings),
            "measures": {
                measure: {
                    name: value if np.isfinite(value) else None
                    for name, value in zip(names, self.of(measure), strict=True)
                }
                for measure in schema.MEASURES
            },
        }


def find_normal_range(model: Path) -> Path | None:
    """Look for the normal range in a model's folder, then beside it."""
    return next((place for place in ModelFolder(model).normal_range_files if place.is_file()), None)


def read_normal_range(path: Path, config: Config) -> KeptRange:
    """Read a kept normal range that holds for uptake made with these parameters.

    Raises
    ------
    NormalRangeError
        When it cannot be read, or was fitted to uptake that was made in another way.
    """
    try:
        kept = KeptRange.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise NormalRangeError(f"the kept normal range cannot be read ({type(error).__name__})") from error
    # A model that was handed on stays as it was when stores were migrated.
    if kept.imaging not in (imaging_identities(config, limits=one)["quantify"].digest for one in (False, True)):
        raise NormalRangeError(
            "the normal range was fitted to uptake that was made with other parameters than the model's",
            "Train a model on the present store, or call `datbatch norms` on the store that the model is of.",
        )
    return kept


def compare_study(kept: KeptRange, binding: Binding, person: Person, facts: StudyFacts, size_mm: float) -> Comparison:
    """Compare one study's binding with a normal range.

    Parameters
    ----------
    kept : KeptRange
        From `read_normal_range`.
    binding : Binding
        The study's ratios.
    person : Person
        Age, sex and site.
    facts : StudyFacts
        Of the header; its scanner counts.
    size_mm : float
        Size of a projection bin.
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
