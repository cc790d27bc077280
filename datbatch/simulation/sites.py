"""The simulated sites: four cameras whose headers say the same things in different ways.

Vendors, models and hospitals are invented; the differences are those of real nuclear medicine headers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from datbatch.simulation.acquisition import Camera

Window = Literal["photopeak", "scatter"]


@dataclass(frozen=True)
class Convention:
    """How a site's acquisition station writes its headers."""

    manufacturer: str
    model: str
    direction: Literal["CC", "CW"] = "CC"
    """Whether the angle of successive views grows (CC) or falls (CW)."""
    start_angles_deg: tuple[float, ...] = (0.0, 180.0)
    """Angle of each head's first view."""
    views_per_head: int = 60
    arc_deg: float = 180.0
    """Arc that each head covers."""
    start_per_detector: bool = True
    """Whether each detector item has its start angle. The rotation item always has that of the first head."""
    interleaved: bool = False
    """Whether frames alternate between the heads; otherwise they come head after head."""
    windows: tuple[Window, ...] = ("photopeak",)
    """Energy windows in the order of their numbers."""
    photopeak_kev: tuple[float, float] = (143.1, 174.9)
    scatter_kev: tuple[float, float] = (110.0, 134.0)
    energy_unit_kev: float = 1.0
    """Unit of the window limits."""
    radius_in: Literal["detector", "rotation", "zero"] = "detector"
    """Place of the radius of rotation: each detector item, a list with a value per view in the rotation item, or
    nowhere (0)."""
    orientation: bool = False
    """Whether detector items have ImageOrientationPatient."""
    collimator_type: str = "PARA"
    """DICOM's defined term."""
    collimator_name: str = "LEHR"

    @property
    def step_deg(self) -> float:
        """Angle between two views of a head."""
        return self.arc_deg / self.views_per_head

    @property
    def heads(self) -> int:
        """Detectors of the system."""
        return len(self.start_angles_deg)


def view_angles(convention: Convention) -> npt.NDArray[np.float64]:
    """Give the DICOM angle of each view in degrees [0, 360), head after head, shape (heads * views_per_head,)."""
    sign = 1.0 if convention.direction == "CC" else -1.0
    turn = sign * convention.step_deg * np.arange(convention.views_per_head)
    starts = np.array(convention.start_angles_deg)
    return np.asarray(np.mod(starts[:, None] + turn, 360.0).ravel())


@dataclass(frozen=True)
class Site:
    """One hospital with one camera."""

    name: str
    institution: str
    camera: Camera
    convention: Convention
    sensitivity: float
    """Counts relative to the first site."""
    share: float
    """Of all studies."""


SITES = (
    Site(
        "A",
        "Klinikum Nordquell",
        Camera(128, 128, 3.30, 3.30, 3.8, 1.7, 0.042, 0.42),
        Convention("Helioscan", "Duo 2", "CC", (0.0, 180.0), radius_in="detector"),
        1.0,
        0.34,
    ),
    Site(
        "B",
        "Hospital Santa Ysolde",
        Camera(128, 128, 2.46, 2.46, 3.6, 1.5, 0.038, 0.36),
        Convention(
            *("Orbitron Medical", "Gemina", "CW", (180.0, 0.0)),
            interleaved=True,
            windows=("scatter", "photopeak"),
            radius_in="rotation",
        ),
        0.95,
        0.28,
    ),
    Site(
        "C",
        "Rivermoor Infirmary",
        Camera(64, 64, 4.80, 4.80, 4.2, 1.8, 0.048, 0.50),
        Convention(
            "Kestrel Imaging",
            "K-200",
            "CC",
            (90.0, 270.0),
            start_per_detector=False,
            energy_unit_kev=0.01,
            radius_in="zero",
        ),
        1.2,
        0.22,
    ),
    Site(
        "D",
        "Centre Belvigne",
        Camera(128, 128, 3.90, 3.90, 3.8, 1.6, 0.044, 0.45),
        Convention("Lumenor", "Axis 16", "CW", (44.93, 224.93), windows=("photopeak", "scatter"), orientation=True),
        0.9,
        0.16,
    ),
)


def site_named(name: str) -> Site:
    """Give the site of that name, or raise KeyError."""
    return {site.name: site for site in SITES}[name]
