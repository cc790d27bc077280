"""The quality of a study's raw projections: counts, sampling, motion, centre of rotation, cut heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from datbatch.arrays import Floats, Floats32, Ints
from datbatch.config import QualityConfig
from datbatch.errors import InvalidProjectionsError
from datbatch.imaging.projections.head_extent import HeadExtent, head_extent
from datbatch.imaging.projections.motion import (
    SIGMA_PER_MEDIAN,
    Course,
    across_course,
    across_positions,
    axial_course,
    axial_positions,
    largest_distance_mm,
)
from datbatch.imaging.quality_limits import beyond_limits, in_order
from datbatch.imaging.reconstruction.reconstruct import Projections
from datbatch.schema import ANGLE_SECTOR_DEG, ANGLES_DEG

IntArray = npt.NDArray[np.int32]

_DEFAULT = QualityConfig()
MIN_VIEWS = 16
"""Fewer views of the head tell nothing about movement."""
ARC_GAP_DEG = 75.0
"""A single gap at least this wide is the open side of an arc (270 degrees or less), not missing views."""
JUMP_SIGMAS = 4.5
"""Smaller steps, in standard deviations, are counting noise: some 120 are looked at."""
NEIGHBOURS = 4
"""Steps on either side whose median is the smooth course."""


class StudyHeader(Protocol):
    """What the quality needs of a study's header."""

    @property
    def extra(self) -> Mapping[str, Any]:
        """Numbers by name: `injected_mbq`, `delay_min`, `frame_duration_ms`, where stated."""


class RecordedProjections(Projections, Protocol):
    """What the quality needs of an acquisition (`datbatch.archive.Acquisition` has it)."""

    @property
    def radius_mm(self) -> Floats:
        """Radius of rotation, shape (view,); NaN where not known."""

    @property
    def head(self) -> IntArray | None:
        """Detector of each view from 0, shape (view,); None where not known."""

    @property
    def moment(self) -> IntArray | None:
        """Place in time of each view among those of its detector from 0, shape (view,); None where not known."""

    @property
    def study(self) -> StudyHeader:
        """Facts of the header."""


@dataclass(frozen=True)
class ProjectionQuality:
    """Quality of one study's projections; NaN where something is not known."""

    counts_by_angle: Floats32
    """Shape (angle,). Mean counts of a view in each sector of `schema.ANGLES_DEG`; NaN where there is no view."""
    count_jump: float
    """Largest step of the counts between neighbouring views of one detector, as a fraction, that neither counting noise
    nor the smooth course explains; 0 where there is none."""
    missing_views: int
    """Directions that the regular sampling lacks, and views without counts."""
    repeated_views: int
    """Views whose pixels another view has bit by bit, and directions that were taken more often than the others."""
    motion_mm: float
    """Largest distance between two positions of the head; 0 where no movement is found, NaN where the order of the
    views in time is not known."""
    motion_axial_mm: float
    motion_transaxial_mm: float
    """The same along and across the axis of rotation. A slow drift across, towards where the detectors started, looks
    like attenuation and is not found."""
    centre_of_rotation_mm: float
    """Where the axis of rotation projects to, towards the image's right, from the middle of the matrix; the largest
    over the detectors. NaN for less than a full circle."""
    radius_mm: float
    """Mean radius of rotation."""
    injected_activity_mbq: float
    injection_delay_min: float
    seconds_per_view: float
    """Injected activity, minutes from injection to acquisition, and duration of a view, from the header."""
    flags: tuple[str, ...]
    """Codes of what is beyond the limits of `QualityConfig`."""


def assess_projections(acquisition: RecordedProjections, config: QualityConfig = _DEFAULT) -> ProjectionQuality:
    """Assess a study's raw projections (view, row, bin), in any order of the views.

    `config` holds the limits of the flags. An `InvalidProjectionsError` refuses projections that hold negative
    values or such that are not finite, or no counts.
    """
    projections = acquisition.projections
    axial = projections.sum(axis=2, dtype=np.float64)
    _check(projections, axial)
    counts = axial.sum(axis=1)
    missing, repeated = sampling_faults(projections, acquisition.angles_deg, counts)
    extent = head_extent(projections, axial, acquisition.row_size_mm)
    motion_axial, motion_across, motion, centre = _motion(acquisition, axial, extent)
    head = np.zeros(counts.size, dtype=np.int32) if acquisition.head is None else acquisition.head
    moment = np.argsort(np.argsort(acquisition.angles_deg)) if acquisition.moment is None else acquisition.moment
    stated = acquisition.study.extra
    quality = ProjectionQuality(
        counts_by_angle=counts_by_angle(counts, acquisition.angles_deg),
        count_jump=count_jump(counts, head, moment),
        missing_views=missing,
        repeated_views=repeated,
        motion_mm=motion,
        motion_axial_mm=motion_axial,
        motion_transaxial_mm=motion_across,
        centre_of_rotation_mm=centre,
        radius_mm=_mean_known(acquisition.radius_mm),
        injected_activity_mbq=float(stated.get("injected_mbq", np.nan)),
        injection_delay_min=float(stated.get("delay_min", np.nan)),
        seconds_per_view=float(stated.get("frame_duration_ms", np.nan)) / 1000.0,
        flags=(),
    )
    return replace(quality, flags=_flags(quality, float(counts.sum()), extent, config))


def counts_by_angle(counts: Floats, angles_deg: Floats) -> Floats32:
    """Give the mean counts of a view, shape (view,), in each sector of `schema.ANGLES_DEG`; NaN where no view is."""
    sectors = len(ANGLES_DEG)
    # Angles such as 5.9999997 belong to the next sector.
    sector = np.floor_divide(np.mod(np.round(angles_deg, 3), 360.0), ANGLE_SECTOR_DEG).astype(np.int64) % sectors
    views = np.bincount(sector, minlength=sectors)
    with np.errstate(invalid="ignore"):
        return (np.bincount(sector, weights=counts, minlength=sectors) / views).astype(np.float32)


def count_jump(counts: Floats, head: IntArray, moment: npt.NDArray[Any]) -> float:
    """Give the largest step of the counts between neighbouring views of one detector that noise does not explain.

    The step is d = ln(N_next / N) less its running median over nine steps; under Poisson statistics its variance is
    1/N + 1/N_next. Where the steps spread wider than that (scaled counts), their own robust spread is taken. The
    result is a fraction, exp(|d|) - 1; 0 where no step is significant. Views without counts are left out; `moment`
    is the place in time among the views of a detector.
    """
    largest = 0.0
    for detector in np.unique(head):
        mine = np.flatnonzero((head == detector) & (counts > 0))
        mine = mine[np.argsort(moment[mine], kind="stable")]
        if mine.size < 2 * NEIGHBOURS + 2:
            continue
        step = np.diff(np.log(counts[mine]))
        padded = np.pad(step, NEIGHBOURS, mode="reflect")
        excess = step - np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * NEIGHBOURS + 1), axis=1)
        sigma = np.sqrt(1.0 / counts[mine][1:] + 1.0 / counts[mine][:-1])
        sigma *= max(1.0, SIGMA_PER_MEDIAN * float(np.median(np.abs(excess / sigma))))
        believed = np.abs(excess)[np.abs(excess) > JUMP_SIGMAS * sigma]
        largest = max(largest, float(np.expm1(believed.max())) if believed.size else 0.0)
    return largest


def sampling_faults(projections: npt.NDArray[Any], angles_deg: Floats, counts: Floats) -> tuple[int, int]:
    """Count missing and repeated views.

    Missing are directions in gaps of the regular sampling, directions that were taken less often than usual, and
    views without counts. Repeated are bitwise copies and directions that were taken more often than usual.
    """
    directions, times = _directions(angles_deg)
    gaps = np.diff(directions, append=directions[0] + 360.0)
    step = float(np.median(gaps))
    lacking = np.maximum(np.round(gaps / step) - 1, 0).astype(np.int64)
    if (lacking > 0).sum() == 1 and gaps.max() >= ARC_GAP_DEG:
        lacking[:] = 0
    usual = int(np.median(times))
    empty = int((counts == 0).sum())
    missing = int(lacking.sum()) + int(np.maximum(usual - times, 0).sum()) + empty
    kinds = {np.ascontiguousarray(projections[view]).tobytes() for view in np.flatnonzero(counts > 0)}
    copies = counts.size - empty - len(kinds)
    return missing, max(copies, int(np.maximum(times - usual, 0).sum()))


def _check(projections: npt.NDArray[Any], axial: Floats) -> None:
    if not np.isfinite(axial).all():
        raise InvalidProjectionsError("the projections hold values that are not finite")
    if projections.dtype.kind != "u" and projections.min() < 0:
        raise InvalidProjectionsError("the projections hold negative counts")
    if not axial.any():
        raise InvalidProjectionsError("the projections hold no counts")


def _directions(angles_deg: Floats) -> tuple[Floats, Ints]:
    """Give the different angles in growing order, and how often each was taken."""
    wrapped = np.sort(np.mod(angles_deg, 360.0))
    gaps = np.diff(wrapped, append=wrapped[0] + 360.0)
    wide = gaps > 0.01
    near = 0.1 * float(np.median(gaps[wide])) if wide.any() else 360.0
    starts = np.concatenate([[gaps[-1] > near], gaps[:-1] > near])
    if not starts.any():
        return wrapped[:1], np.array([wrapped.size])
    number = (np.cumsum(starts) - 1) % int(starts.sum())
    return wrapped[starts], np.bincount(number)


def _motion(acquisition: RecordedProjections, axial: Floats, extent: HeadExtent) -> tuple[float, float, float, float]:
    """Give the movement along the axis, across it and in all, and the offset of the centre of rotation."""
    angles, head, moment = acquisition.angles_deg, acquisition.head, acquisition.moment
    if angles.size < MIN_VIEWS or extent.rows.stop - extent.rows.start < 4:
        return np.nan, np.nan, np.nan, np.nan
    profiles = acquisition.projections[:, extent.rows].sum(axis=1, dtype=np.float64)
    across = across_positions(profiles, acquisition.pixel_size_mm)
    if head is None or moment is None:
        still = np.zeros(angles.size, dtype=np.int32)
        return np.nan, np.nan, np.nan, _centre(across_course(across, angles, still, still), angles)
    course = across_course(across, angles, head, moment)
    along = axial_course(axial_positions(axial[:, extent.rows], acquisition.row_size_mm), angles, head, moment)
    places = (along.displacement_mm, course.displacement_mm)
    found = [largest_distance_mm(place) for place in (*places, np.hstack(places))]
    return found[0], found[1], found[2], _centre(course, angles)


def _centre(course: Course, angles_deg: Floats) -> float:
    """Give the largest offset over the detectors; an arc does not tell it from where the head lies."""
    directions, _ = _directions(angles_deg)
    if np.diff(directions, append=directions[0] + 360.0).max() >= ARC_GAP_DEG:
        return np.nan
    return float(course.offset_mm[np.argmax(np.abs(course.offset_mm))])


def _mean_known(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else np.nan


def _flags(quality: ProjectionQuality, counts: float, extent: HeadExtent, config: QualityConfig) -> tuple[str, ...]:
    """Name what is unusual about the projections themselves and beyond the limits."""
    unusual = {
        "views-missing": quality.missing_views > 0,
        "views-repeated": quality.repeated_views > 0,
        "cut-top": extent.top_share > config.edge_limit,
        "cut-base": extent.base_share > config.edge_limit and extent.seen_mm < config.head_length_mm,
        "cut-side": extent.side_share > config.side_limit,
    }
    beyond = beyond_limits({**vars(quality), "counts": counts}, config)
    return in_order([*(code for code, is_so in unusual.items() if is_so), *beyond])
