"""One explained study made up of nothing, for tests of what is written of it."""

from dataclasses import replace
from typing import Any

import numpy as np

from datbatch import schema
from datbatch.imaging import Binding, analytic_atlas
from datbatch.study.comparison import AgeCurve, Comparison, Person
from datbatch.study.explained import StudyExplanation

HOT = (-24.0, 2.0, 0.0)
"""Where the patient's left putamen alone is hot, and relevant, in MNI mm."""


def comparison(z: float = -3.0) -> Comparison:
    """Every measure at the same distance from normal."""
    size = len(schema.MEASURES)
    expected, value = np.full(size, 2.5), np.full(size, 2.5 + 0.3 * z)
    person = Person(67.0, "F", "A")
    return Comparison(
        person, value, expected, expected - 0.6, expected + 0.6, np.full(size, z), 40, ("site-few-normals",)
    )


def with_ages(found: Comparison) -> Comparison:
    """Add a normal range that is the same at every age."""
    ages = np.linspace(40.0, 90.0, 11)
    flat = [np.tile(values, (11, 1)) for values in (found.expected, found.lower, found.upper)]
    return replace(found, over_age=AgeCurve(ages, *flat))


def explained_study(**changes: Any) -> StudyExplanation:
    """A positive study; in the store's frame a mirrored one has the patient's left at x > 0."""
    mirrored = bool(changes.get("mirrored", False))
    x, y, z = np.meshgrid(*(schema.coordinates_mm(axis) for axis in range(3)), indexing="ij")
    side = -HOT[0] if mirrored else HOT[0]
    blob = np.exp(-((x - side) ** 2 + (y - HOT[1]) ** 2 + (z - HOT[2]) ** 2) / 100.0).astype(np.float32)
    shape = [len(schema.DEFINITIONS), len(schema.BACKGROUNDS), len(schema.STRIATAL)]
    binding = Binding(np.full(shape, 1.6), np.full((3, 3), 12.0), np.full((3, 2), 0.8))
    study = StudyExplanation(
        relevance=-1e-3 * blob, regional=np.full((len(schema.REGIONS), len(schema.STATISTICS)), 0.5),
        probability=0.9, log_odds=2.2, predicted=schema.POSITIVE, inconsistent=False, orientation=-1,
        uptake=blob, mirrored=False, lower_side="left",
        specific_binding_ratio=np.full(len(schema.REGIONS), 1.6), binding=binding,
        quantification_flags=(schema.REFERENCE_UNUSUAL,), template_to_study=np.eye(4), quality={"correlation": 0.97},
        counts=2.5e6, motion_mm=np.nan, flags=("motion",), comparison=comparison(), not_compared="",
        calibrated_probability=0.8, certain=True, not_judged="", uncertain_share=0.05, model="compact-12345678",
        weights_sha256="ab" * 32, atlas=analytic_atlas(), seconds={"read": 0.1},
    )  # fmt: skip
    return replace(study, **changes)
