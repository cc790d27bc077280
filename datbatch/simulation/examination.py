"""One simulated study: a subject in front of a camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datbatch.simulation.acquisition import expected_projections, noisy_counts, object_grid
from datbatch.simulation.phantom import Anatomy, Phantom, Side, StriatalBinding, build_phantom
from datbatch.simulation.population import (
    NOISE,
    Pose,
    Subject,
    anatomy,
    draw_subject,
    stream,
    striatal_binding,
    template_to_study,
    true_label,
)
from datbatch.simulation.sites import Site, site_named, view_angles

HEAD_LOW_MM, HEAD_HIGH_MM = -165.0, 135.0
"""Part of the body that is painted, along the axis, from the middle of the head."""


@dataclass(frozen=True)
class Truth:
    """The known truth about a simulated study; severity, asymmetry and cut are those of its `Subject`."""

    label: str
    """negative, positive or atypical: the label of a reader who makes no errors."""
    severity: float
    asymmetry: float
    side: Side
    """Side with the lower mean putaminal binding."""
    binding: dict[Side, StriatalBinding]
    """True binding ratios by side."""
    template_to_study: npt.NDArray[np.float64]
    """Matrix (4, 4) from MNI mm to study mm, RAS."""
    expected_counts: float
    """Mean total of the photopeak projections."""
    cut: str


@dataclass(frozen=True)
class SimulatedStudy:
    """Counts of one study, and the truth about it."""

    subject: Subject
    site: Site
    projections: npt.NDArray[np.uint16]
    """Counts in the photopeak window, (view, row, bin), detector after detector; row 0 is at the patient's head."""
    scatter_window: npt.NDArray[np.uint16] | None
    """Counts in the lower window, (view, row, bin), where the site has one."""
    angles_deg: npt.NDArray[np.float64]
    """DICOM angle of the detector, (view,), in [0, 360)."""
    pixel_size_mm: float
    """Size of a bin."""
    row_size_mm: float
    radius_mm: float
    """Radius of rotation."""
    truth: Truth


def truth_of(subject: Subject) -> Truth:
    """Give the truth about a subject's study; no imaging is needed."""
    binding = striatal_binding(subject)
    lower: Side = "left" if binding["left"].putamen("left") <= binding["right"].putamen("right") else "right"
    return Truth(
        label=true_label(subject),
        severity=subject.severity,
        asymmetry=subject.asymmetry,
        side=lower,
        binding=binding,
        template_to_study=template_to_study(subject),
        expected_counts=subject.expected_counts,
        cut=subject.cut,
    )


def subject_phantom(subject: Subject, displacement_mm: npt.ArrayLike = (0.0, 0.0, 0.0)) -> Phantom:
    """Give the object that the camera of the subject's site sees; the displacement is in RAS mm."""
    matrix = template_to_study(subject)
    matrix[:3, 3] += np.asarray(displacement_mm)
    middle = subject.pose.centre_mm[2] + matrix[2, 3] - subject.pose.matrix()[2, 3]
    grid = object_grid(site_named(subject.site).camera, middle + HEAD_LOW_MM, middle + HEAD_HIGH_MM)
    return build_phantom(anatomy(subject), matrix, grid)


def acquire(
    subject: Subject, site: Site | None = None, path_mm: npt.NDArray[np.float64] | None = None
) -> SimulatedStudy:
    """Take the subject's projections; the same subject always gives the same counts.

    Parameters
    ----------
    subject : Subject
        From `draw_subject`, or a variant of it.
    site : Site, optional
        A variant (of convention or camera) of the subject's site; by default that site.
    path_mm : ndarray, shape (moment, 3), float64, optional
        Displacement of the subject, RAS, during the first, second ... view of each detector; by default none.
    """
    site = site or site_named(subject.site)
    angles = view_angles(site.convention)
    path = np.zeros((site.convention.views_per_head, 3)) if path_mm is None else path_mm
    primary, blurred = _expected_along(subject, site, angles, path)
    expected = primary + site.camera.scatter_ratio * blurred
    scale = subject.expected_counts / expected.sum()
    rng = stream(subject.seed, subject.index, NOISE)
    projections = noisy_counts(scale * expected, rng)
    has_lower = "scatter" in site.convention.windows
    lower = noisy_counts(scale * (0.08 * primary + 0.45 * blurred), rng) if has_lower else None
    return SimulatedStudy(
        subject=subject,
        site=site,
        projections=projections,
        scatter_window=lower,
        angles_deg=angles,
        pixel_size_mm=site.camera.pixel_size_mm,
        row_size_mm=site.camera.row_size_mm,
        radius_mm=subject.radius_mm,
        truth=truth_of(subject),
    )


def _expected_along(
    subject: Subject, site: Site, angles_deg: npt.NDArray[np.float64], path_mm: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Give the mean counts, unscattered and scattered, of a subject who moves along a path."""
    camera = site.camera
    images = np.empty((2, len(angles_deg), camera.rows, camera.bins))
    places, place = np.unique(path_mm, axis=0, return_inverse=True)
    of_view = np.tile(place.reshape(-1), site.convention.heads)
    for number, displacement in enumerate(places):
        seen = of_view == number
        phantom = subject_phantom(subject, displacement)
        images[:, seen] = expected_projections(phantom, angles_deg[seen], subject.radius_mm, camera)
    return images[0], images[1]


def simulate_study(index: int, *, seed: int = 0) -> SimulatedStudy:
    """Simulate study number `index` of the archive with that seed."""
    return acquire(draw_subject(index, seed))


def canonical_subject() -> Subject:
    """Give a healthy woman of 65 with the mean anatomy, exactly in MNI space (the affine is the identity)."""
    template = Anatomy({})
    return Subject(
        index=0,
        seed=0,
        site="A",
        sex="F",
        age_years=65.0,
        severity=0.0,
        asymmetry=0.0,
        side="left",
        atypical="none",
        gain={"left": 1.0, "right": 1.0},
        caudate_ratio=1.04,
        pose=Pose(),
        cut="none",
        cut_height_mm=0.0,
        putamen=template.putamen,
        caudate=template.caudate,
        ventricle_size=1.0,
        uptake=template.uptake,
        expected_counts=40e6,
        radius_mm=140.0,
    )


def canonical_normal() -> SimulatedStudy:
    """Simulate `canonical_subject`, with so many counts that noise is small."""
    return acquire(canonical_subject())
