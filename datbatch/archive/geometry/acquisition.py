"""The raw projections of one study: counts, angles and sizes, without identity."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class StudyFacts:
    """Facts of a study's header that identify nobody."""

    sex: str = ""
    """DICOM's F, M or O; empty where the header gives none."""
    age_years: float | None = None
    """Age at the examination."""
    scanner: str = ""
    """Manufacturer and model name: only words of a fixed list, and short type numbers."""
    detectors: int = 0
    """Heads of the system."""
    collimator: str = ""
    """DICOM's collimator type (PARA, FANB, ...); empty where the header gives none."""
    window_kev: tuple[float, float] = (0.0, 0.0)
    """Limits of the energy window that was read."""
    flags: tuple[str, ...] = ()
    """Codes of what was unusual but safe, such as `rotations-summed`."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further numbers for quality control; see `archive.dicom.facts.dose_facts`."""


@dataclass(frozen=True)
class Acquisition:
    """Raw projections of one study, sorted by angle; an image shows what the detector sees."""

    projections: npt.NDArray[Any]
    """Counts, shape (view, row, bin), uint16 or float32; row 0 is at the patient's head. The bins of the detector at
    angle a run in the patient direction (-cos a, sin a, 0), LPS."""
    angles_deg: npt.NDArray[np.float64]
    """Shape (view,), in [0, 360): 0 at the patient's back, counter-clockwise seen from the feet (back, left, front,
    right)."""
    pixel_size_mm: float
    """Size of a bin."""
    row_size_mm: float
    """Size of a row, along the axis of rotation."""
    radius_mm: npt.NDArray[np.float64]
    """Distance from the axis of rotation to the detector, shape (view,); NaN where the header has none."""
    study: StudyFacts = field(default_factory=StudyFacts)
    head: npt.NDArray[np.int32] | None = None
    """Number of the detector that took each view, from 0, shape (view,); None where frames were added or the header
    does not tell."""
    moment: npt.NDArray[np.int32] | None = None
    """Place in time of each view among the views of its detector, from 0, shape (view,); None as for `head`."""

    @property
    def counts(self) -> float:
        """Sum of all projections."""
        return float(self.projections.sum(dtype=np.float64))
