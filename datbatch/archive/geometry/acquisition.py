"""What one study's raw projections are, once read: counts, angles and sizes, without identity."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class StudyFacts:
    """Facts of a study's header that identify nobody."""

    sex: str = ""
    """DICOM's F, M or O; empty when not given."""
    age_years: float | None = None
    """Age at the examination."""
    scanner: str = ""
    """Manufacturer and model name, from a list of known words; free text never passes."""
    detectors: int = 0
    """Heads of the system."""
    collimator: str = ""
    """DICOM's collimator type (PARA, FANB, ...); empty when not given."""
    window_kev: tuple[float, float] = (0.0, 0.0)
    """Limits of the energy window that was read."""
    flags: tuple[str, ...] = ()
    """Codes of what was unusual yet safe (for instance `rotations-summed`)."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further identity-free numbers: rows of the header that quality control wants."""


@dataclass(frozen=True)
class Acquisition:
    """Raw projections of one study, sorted by angle, oriented for the feet-side observer.

    Attributes
    ----------
    projections : ndarray, shape (view, row, bin), uint16 or float32
        Counts. Row 0 is the patient's head side. Bin index grows towards the detector image's right:
        for the detector at `angle` that is the patient direction (-cos angle, sin angle, 0) in LPS.
    angles_deg : ndarray, shape (view,), float64
        0 at the patient's back, growing counter-clockwise seen from the feet (back, left, front, right), in [0, 360).
    pixel_size_mm : float
        Size of a bin.
    row_size_mm : float
        Size of a row, along the axis of rotation.
    radius_mm : ndarray, shape (view,), float64
        Distance from the axis of rotation to the detector; NaN where the header has none.
    study : StudyFacts
        Identity-free facts.
    head : ndarray, shape (view,), int32, or None
        Number of the detector that took each view, from 0; None where frames were added or none is told.
    moment : ndarray, shape (view,), int32, or None
        Place in time of each view among those of its detector, from 0; None where frames were added or none is told.
    """

    projections: npt.NDArray[Any]
    angles_deg: npt.NDArray[np.float64]
    pixel_size_mm: float
    row_size_mm: float
    radius_mm: npt.NDArray[np.float64]
    study: StudyFacts = field(default_factory=StudyFacts)
    head: npt.NDArray[np.int32] | None = None
    moment: npt.NDArray[np.int32] | None = None

    @property
    def counts(self) -> float:
        """Sum of all projections."""
        return float(self.projections.sum(dtype=np.float64))
