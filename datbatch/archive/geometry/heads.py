"""Where each head starts and how it turns: the detector and rotation items of one header."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from datbatch.archive.dicom.elements import Elements
from datbatch.archive.geometry.orientation import MAX_TILT_DEG, check_view_names, image_is_turned
from datbatch.errors import ContradictoryGeometryError, MissingAnglesError, UnsupportedGeometryError

SAME_ANGLE_DEG = 0.5
"""Stated angles closer than this are equal (270.000009, 179.99)."""
_NO_PARALLEL = ("FANB", "CONE", "PINH", "SLNT", "DIVG", "CVGB", "ASTG", "NONE")
_NO_PARALLEL_NAMES = re.compile(r"FAN|CONE|PINH|SLANT|CONVERG|DIVERG", re.ASCII)
_UNKNOWN_START_DEG = -1.0
"""Some stations write this as the start angle of their only head, and the true angle into the rotation item."""

Angle = TypeVar("Angle", float, npt.NDArray[np.float64])


def apart_deg(one: Angle, other: float) -> Angle:
    """Give the distance of two angles on the circle, 0 to 180."""
    return abs((one - other + 180.0) % 360.0 - 180.0)


@dataclass(frozen=True)
class Detector:
    """One item of DetectorInformationSequence."""

    start_deg: float | None = None
    orientation: tuple[float, ...] = ()
    radii_mm: tuple[float, ...] = ()
    collimator: str = ""
    grid: str = ""
    """The vendor's name of the collimator."""
    focal_mm: float = 0.0
    tilt_deg: float = 0.0


@dataclass(frozen=True)
class Rotation:
    """One item of RotationInformationSequence; a zero that only fills a field is None."""

    start_deg: float | None
    sense: int | None
    """+1 where the angle grows (CC), -1 where it falls (CW)."""
    step_deg: float | None
    arc_deg: float | None
    views: int | None
    radii_mm: tuple[float, ...] = ()


def read_detectors(elements: Elements) -> tuple[Detector, ...]:
    """Read the detector items; an orientation outside of them counts only where there is one detector."""
    found = tuple(
        Detector(
            item.number("StartAngle"),
            item.numbers("ImageOrientationPatient"),
            item.numbers("RadialPosition"),
            item.text("CollimatorType").upper(),
            item.text("CollimatorGridName").upper(),
            item.number("FocalDistance") or 0.0,
            item.number("GantryDetectorTilt") or 0.0,
        )
        for item in elements.items("DetectorInformationSequence")
    )
    whole = elements.numbers("ImageOrientationPatient")
    if whole and not any(detector.orientation for detector in found):
        if len(found) > 1:
            raise ContradictoryGeometryError("one ImageOrientationPatient is stated for several detectors")
        return (replace(found[0] if found else Detector(), orientation=whole),)
    if whole and not any(
        np.allclose(whole, d.orientation, atol=0.02) for d in found if len(d.orientation) == len(whole)
    ):
        raise ContradictoryGeometryError(
            "ImageOrientationPatient of the object and of its detector items contradict each other"
        )
    return found


def refuse_oblique(detectors: tuple[Detector, ...]) -> None:
    """Refuse a tilted detector, and a collimator whose holes are not parallel: a fan beam enlarges 1.5 times."""
    for detector in detectors:
        if abs(detector.tilt_deg) > MAX_TILT_DEG:
            raise UnsupportedGeometryError(
                f"the detector is tilted by {detector.tilt_deg:g} degrees (GantryDetectorTilt)"
            )
        if detector.collimator != "PARA" and _NO_PARALLEL_NAMES.search(detector.grid):
            raise UnsupportedGeometryError("CollimatorGridName is not of a parallel-hole collimator")
        if detector.collimator != "PARA" and detector.focal_mm > 0.0:
            raise UnsupportedGeometryError(f"FocalDistance is {detector.focal_mm:g} mm: the holes are not parallel")
        if detector.collimator in _NO_PARALLEL:
            raise UnsupportedGeometryError(f"the collimator is {detector.collimator}, not parallel-hole")


def read_rotations(elements: Elements) -> tuple[Rotation, ...]:
    """Read the rotation items; refuse a header without any, and a negative step or arc beside RotationDirection."""
    found = []
    for item in elements.items("RotationInformationSequence"):
        step, arc, views = item.number("AngularStep"), item.number("ScanArc"), item.integer("NumberOfFramesInRotation")
        if (step or 0.0) < 0.0 or (arc or 0.0) < 0.0:
            raise ContradictoryGeometryError("AngularStep or ScanArc is negative, beside a RotationDirection")
        sense = {"CC": 1, "CW": -1}.get(item.text("RotationDirection"))
        views = views if views is not None and views > 1 else None
        radii = item.numbers("RadialPosition")
        found.append(Rotation(item.number("StartAngle"), sense, step or None, arc or None, views, radii))
    if not found:
        raise MissingAnglesError("RotationInformationSequence is missing")
    return tuple(found)


@dataclass(frozen=True)
class Starts:
    """Start angle of each detector in the first rotation."""

    angles_deg: dict[int, float]
    turned: dict[int, bool]
    """Whether the feet are at the top of the detector's image."""
    stated_deg: tuple[float, ...] = ()
    """Start angles that detector items state; empty where only the rotation item states one."""
    oriented: bool = False
    """Whether each detector's ImageOrientationPatient confirms its angle."""


def head_starts(
    detectors: tuple[Detector, ...],
    rotations: tuple[Rotation, ...],
    present: tuple[int, ...],
    declared: int,
    views: tuple[Elements, ...] = (),
) -> Starts:
    """Find where each detector that has frames starts.

    A detector's own StartAngle has priority over the rotation item's. Where no detector has one (or a single head has
    -1, which means "unknown" at some stations), the first detector starts at the angle of the rotation item and the
    second of two opposite to it; `check_second_head` compares that with the pixels.

    Parameters
    ----------
    detectors, rotations : tuple
        Items of the header.
    present : tuple of int
        Numbers of the detectors that have frames.
    declared : int
        Detectors that the header declares, 0 where it declares none.
    views : tuple of Elements, optional
        The detector items themselves, which may name the projection.

    Raises
    ------
    MissingAnglesError, ContradictoryGeometryError
        When a detector has no angle, or two different ones.
    """
    if max(present) > max(declared, 1) and declared:
        raise ContradictoryGeometryError(f"DetectorVector names detector {max(present)} of {declared}")
    items = {n: detectors[n - 1] if n <= len(detectors) else Detector() for n in present}
    rotation_start = rotations[0].start_deg
    own = {n: item.start_deg for n, item in items.items() if item.start_deg is not None}
    if max(declared, len(present)) == 1 and rotation_start is not None and _UNKNOWN_START_DEG in own.values():
        own = {}
    if own and len(own) < len(present):
        raise MissingAnglesError("StartAngle is stated for some detectors only")
    stated: tuple[float, ...] = ()
    if own:
        _refuse_same_place(own)
        # The views of all heads may be numbered as views of detector 1: then the start of that detector matters.
        through = present == (1,) and declared > 1
        if through and rotation_start is not None and apart_deg(own[1], rotation_start) >= SAME_ANGLE_DEG:
            raise ContradictoryGeometryError(
                f"all frames are of detector 1, which starts at {own[1]:g}, the rotation item at {rotation_start:g}"
            )
        stated = (*own.values(), *(d.start_deg for d in detectors if d.start_deg is not None))
    else:
        own = _starts_from_rotation(rotation_start, present, max(declared, len(present)))
    turned = {n: image_is_turned(own[n], item.orientation) for n, item in items.items() if item.orientation}
    oriented = len(turned) == len(items)
    if not oriented and any(turned.values()):
        raise ContradictoryGeometryError(
            "ImageOrientationPatient turns one detector's image and is missing for another"
        )
    for n in items:
        if n <= len(views):
            check_view_names(views[n - 1], own[n])
    return Starts(own, {n: turned.get(n, False) for n in items}, stated, oriented)


def _refuse_same_place(own: dict[int, float]) -> None:
    for first, second in itertools.combinations(own, 2):
        if apart_deg(own[first], own[second]) < SAME_ANGLE_DEG:
            raise ContradictoryGeometryError(
                f"detectors {first} and {second} state the same StartAngle ({own[first]:g})"
            )


def rotation_start_is_ignored(start_deg: float | None, stated_deg: Sequence[float], rotations: int) -> bool:
    """Tell whether the rotation item's start angle is a zero that only fills this required field.

    So it is in some headers whose detector items state their angles (`stated_deg`). Any other angle at which no
    detector starts is a contradiction and is refused.
    """
    if start_deg is None or not stated_deg or any(apart_deg(start_deg, a) < SAME_ANGLE_DEG for a in stated_deg):
        return False
    if start_deg == 0.0 and rotations == 1:
        return True
    stated = ", ".join(f"{angle:g}" for angle in sorted(set(stated_deg))[:4])
    raise ContradictoryGeometryError(
        f"StartAngle of the rotation item is {start_deg:g}, of the detector items {stated}: no head starts there"
    )


def _starts_from_rotation(start: float | None, present: tuple[int, ...], heads: int) -> dict[int, float]:
    if start is None:
        raise MissingAnglesError("StartAngle is missing in the detector items and in the rotation item")
    if present == (1,):
        return {1: start}
    if present != (1, 2) or heads > 2:
        raise MissingAnglesError("StartAngle is missing in detector items, and the rotation item's does not suffice")
    return {1: start, 2: start + 180.0}


def rotation_offset_deg(rotations: tuple[Rotation, ...], number: int) -> float:
    """Give the start angle of a rotation less that of the first; a missing item or angle is refused."""
    if number > len(rotations):
        raise MissingAnglesError(f"RotationVector names rotation {number} of {len(rotations)}")
    if number == 1:
        return 0.0
    first, this = rotations[0].start_deg, rotations[number - 1].start_deg
    if first is None or this is None:
        raise MissingAnglesError("StartAngle of one of several rotations is missing")
    return this - first
