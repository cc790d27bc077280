"""The angle of each frame of one header."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datbatch.archive.dicom.elements import Elements
from datbatch.archive.dicom.frames import FrameIndex, Integers, declared_detectors
from datbatch.archive.geometry.coverage import Angles, is_even
from datbatch.archive.geometry.heads import (
    SAME_ANGLE_DEG,
    Detector,
    Rotation,
    Starts,
    apart_deg,
    head_starts,
    read_detectors,
    read_rotations,
    rotation_offset_deg,
)
from datbatch.archive.geometry.orientation import check_patient_pose, check_row_and_column
from datbatch.errors import ContradictoryGeometryError, MissingAnglesError, MissingViewsError

START_ASSUMED = "start-angle-from-rotation"
"""Flag of a study whose second head is assumed to stand opposite the first."""
_RADIUS_MM = (50.0, 800.0)
"""A radius outside this range is a placeholder."""


@dataclass(frozen=True)
class View:
    """One frame of the photopeak window."""

    file: int
    """Number of the file, from 0."""
    frame: int
    """Number of the frame in the file, from 0."""
    head: tuple[int, float]
    """Detector number and start angle: together they identify a head, also over several files."""
    rotation: int
    window: int
    """Number of the half where the photopeak is split into two windows, else 0."""
    number: int
    """Angular view, from 1."""
    angle_deg: float | None
    """Start angle plus steps; None where no step is stated."""
    start_deg: float
    """The start angle alone: the view's own angle where each file has one view."""
    radius_mm: float
    turned: bool
    """Whether the feet are at the top of the image."""


@dataclass(frozen=True)
class FileViews:
    """Views of one file and what its header declares about them."""

    views: tuple[View, ...]
    detectors: int
    """Heads of the system, as declared."""
    declared: dict[int, int]
    """Number of views that each rotation declares."""
    arcs_deg: tuple[float, ...]
    """Arcs that rotations declare, or that follow from their steps."""
    flags: tuple[str, ...]
    stated_starts_deg: tuple[float, ...]
    """Start angles of detector items."""
    rotation_start_deg: float | None
    """Start angle of the first rotation item."""


def file_views(file: int, elements: Elements, index: FrameIndex, frames: Integers) -> FileViews:
    """Give the angle of some frames of a file; refuse a header that states none for a frame, or two."""
    detectors, rotations = read_detectors(elements), read_rotations(elements)
    detector, rotation, number = index.detector[frames], index.rotation[frames], index.view[frames]
    present = tuple(map(int, np.unique(detector)))
    declared = declared_detectors(elements)
    starts = head_starts(detectors, rotations, present, declared, elements.items("DetectorInformationSequence"))
    flags = list(check_patient_pose(elements, starts.oriented))
    flags += [] if starts.stated_deg or len(present) == 1 else [START_ASSUMED]
    flags += ["view-order-from-frames"] if index.view_from_order else []
    views: list[View] = []
    arcs: list[float] = []
    for turn in np.unique(rotation):
        offset = rotation_offset_deg(rotations, int(turn))
        item = rotations[turn - 1]
        here = rotation == turn
        step, derived = _step(item, starts, detector[here], number[here], offset)
        flags += ["step-from-arc"] if derived else []
        arcs += _arcs(item, step, int(here.sum()))
        for head in present:
            mine = np.flatnonzero(here & (detector == head))
            if mine.size == 0:
                raise MissingViewsError(f"detector {head} has no views in rotation {turn}")
            start = starts.angles_deg[head] + offset
            angles = _angles(item, start, step, number[mine], int(number[here].min()), offset, rotations[0])
            radii = _radii(detectors[head - 1 : head], item, number[mine])
            views += [
                View(
                    file,
                    int(frames[k]),
                    (head, round(start % 360.0, 1) % 360.0),
                    int(turn),
                    0,
                    int(number[k]),
                    None if angles is None else float(angles[i]) % 360.0,
                    start % 360.0,
                    float(radii[i]),
                    starts.turned[head],
                )
                for i, k in enumerate(mine)
            ]
    earliest = min(views, key=lambda view: view.frame)
    angle = earliest.start_deg if earliest.angle_deg is None else earliest.angle_deg
    check_row_and_column(elements.texts("PatientOrientation"), angle, earliest.turned)
    counts = {int(turn): rotations[turn - 1].views or 0 for turn in np.unique(rotation)}
    return FileViews(
        tuple(views),
        max(declared, len(present)),
        counts,
        tuple(arcs),
        tuple(dict.fromkeys(flags)),
        starts.stated_deg,
        rotations[0].start_deg,
    )


def _arcs(item: Rotation, step: float | None, frames: int) -> list[float]:
    found = [item.arc_deg] if item.arc_deg else []
    return found + ([step * (item.views or frames)] if step else [])


def _step(
    item: Rotation, starts: Starts, detector: Integers, number: Integers, offset: float
) -> tuple[float | None, bool]:
    """Give the angle between views, and whether it was derived from the arc."""
    heads, counts = np.unique(detector, return_counts=True)
    per_head = int(counts.max())
    if item.step_deg is None:
        if item.arc_deg is None or per_head == 1:
            return None, False
        return _step_from_arc(item, starts, heads, per_head, offset), True
    step = item.step_deg
    if step * (per_head - 1) >= 360.0 - 0.01 * step:
        raise ContradictoryGeometryError(f"{per_head} views of a head, {step:g} degrees apart, exceed a full turn")
    if item.arc_deg is not None:
        _check_arc(item, step, per_head, len(heads))
    return step, False


def _check_arc(item: Rotation, step: float, per_head: int, heads: int) -> None:
    counts = {per_head, per_head * heads}
    if item.views:
        counts |= {item.views, item.views * heads, item.views // max(heads, 1)}
    possible = [step * (count - less) for count in counts for less in (0, 1)]
    arc = item.arc_deg or 0.0
    if per_head > 1 and not any(abs(arc - value) <= 0.5 * step + 0.5 for value in possible):
        if item.views is None and arc > step * per_head:
            raise MissingViewsError(f"ScanArc is {arc:g} degrees; {per_head} views {step:g} degrees apart cover less")
        raise ContradictoryGeometryError(
            f"ScanArc is {arc:g} degrees, but AngularStep {step:g} and {per_head} views of a head give another"
        )


def _step_from_arc(item: Rotation, starts: Starts, heads: Integers, per_head: int, offset: float) -> float:
    """Divide the arc by the views of one head or of all heads; only one of the two may cover the circle evenly."""
    arc = item.arc_deg or 0.0
    possible = []
    for step in {arc / per_head, arc / (per_head * len(heads))}:
        turn = step * np.arange(per_head) * (item.sense or 1)
        angles = np.concatenate([starts.angles_deg[int(head)] + offset + turn for head in heads])
        if is_even(angles):
            possible.append(step)
    if len(possible) == 2 and item.views in (per_head, per_head * len(heads)):
        return arc / item.views
    if len(possible) != 1:
        raise MissingAnglesError("AngularStep is missing, and ScanArc and the number of views do not determine it")
    return possible[0]


def _angles(
    item: Rotation,
    start: float,
    step: float | None,
    number: Integers,
    first_of_rotation: int,
    offset: float,
    first_rotation: Rotation,
) -> Angles | None:
    """Give start + sense * step * (view - 1); numbers that continue those of another head begin again at 1."""
    if number.size == 1 and number[0] == 1:
        return np.array([start])
    if step is None:
        if number.size > 1:
            raise MissingAnglesError("AngularStep and ScanArc are missing")
        return None
    if item.sense is None:
        raise MissingAnglesError("RotationDirection is neither CC nor CW")
    if first_of_rotation > 1 or number.min() <= number.size:
        return np.asarray(start + item.sense * step * (number - 1), dtype=np.float64)
    anew = start + item.sense * step * (number - number.min())
    if first_rotation.start_deg is not None:
        absolute = first_rotation.start_deg + offset + item.sense * step * (number - 1)
        if apart_deg(float(absolute[0]), float(anew[0])) > SAME_ANGLE_DEG:
            raise ContradictoryGeometryError(
                f"AngularViewVector continues to {number.max()} over all heads and contradicts their StartAngle"
            )
    return np.asarray(anew, dtype=np.float64)


def _radii(detectors: tuple[Detector, ...], item: Rotation, number: Integers) -> Angles:
    """Give the radius of each view of a head, NaN where the header has none; it lists radii in the order of numbers."""
    views = number.size
    for stated in (*(detector.radii_mm for detector in detectors), item.radii_mm):
        usable = [radius if _RADIUS_MM[0] <= radius <= _RADIUS_MM[1] else np.nan for radius in stated]
        if len(usable) in (1, views) and np.isfinite(usable).any():
            by_view = np.broadcast_to(np.array(usable, dtype=np.float64), (views,))
            return by_view[np.argsort(np.argsort(number))]
    return np.full(views, np.nan)
