"""Which energy window, detector, rotation and angular view each frame belongs to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datbatch.archive.dicom.elements import Elements
from datbatch.errors import (
    ContradictoryGeometryError,
    MissingAnglesError,
    MissingViewsError,
    NoPhotopeakError,
    NotProjectionsError,
)

MAX_FRAMES = 20_000
_GATED = {"RRIntervalVector", "TimeSlotVector", "PhaseVector", "TimeSliceVector"}

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FrameIndex:
    """Numbers of each frame, all counted from 1 and of shape (frame,)."""

    window: Integers
    detector: Integers
    rotation: Integers
    view: Integers
    view_from_order: bool = False
    """Whether the angular view is the frame's place in the file, for want of a vector."""


def frame_count(elements: Elements) -> int:
    """Give the number of frames.

    Raises
    ------
    MissingViewsError
        When it is not positive.
    NotProjectionsError
        When it is absurd.
    """
    stated = elements.integer("NumberOfFrames")
    if stated is None:
        return 1
    if stated < 1:
        raise MissingViewsError(f"NumberOfFrames is {stated}")
    if stated > MAX_FRAMES:
        raise NotProjectionsError(f"NumberOfFrames is {stated}; projections have at most {MAX_FRAMES}")
    return stated


def read_frame_index(elements: Elements) -> FrameIndex:
    """Read the vectors that say what each frame is; the order of frames is what they say, not what is usual.

    Raises
    ------
    MissingViewsError
        When vectors name more frames than there are.
    ContradictoryGeometryError
        When they name fewer, count from 0, or name a frame twice.
    MissingAnglesError
        When the angular view is missing and the order of frames does not give it away.
    """
    count = frame_count(elements)
    window = _vector(elements, "EnergyWindowVector", count)
    detector = _vector(elements, "DetectorVector", count)
    rotation = _vector(elements, "RotationVector", count)
    view = _vector(elements, "AngularViewVector", count)
    one = np.ones(count, dtype=np.int64)
    index = FrameIndex(
        window=one if window is None else window,
        detector=one if detector is None else detector,
        rotation=one if rotation is None else rotation,
        view=one if view is None else view,
    )
    if window is None and _declared(elements, "NumberOfEnergyWindows", "EnergyWindowInformationSequence") > 1:
        raise NoPhotopeakError("EnergyWindowVector is missing: which frames are of which window is not known")
    groups = np.stack([index.window, index.detector, index.rotation])
    if count > 1 and (index.view == index.view[0]).all() and np.unique(groups, axis=1).shape[1] < count:
        return _view_from_order(elements, index)
    _, repeats = np.unique(np.concatenate([groups, index.view[None]]), axis=1, return_counts=True)
    if repeats.max() > 1:
        raise ContradictoryGeometryError("two frames have the same window, detector, rotation and angular view")
    return index


def _vector(elements: Elements, keyword: str, count: int) -> Integers | None:
    values = elements.integers(keyword)
    if not values:
        return None
    if len(values) > count:
        raise MissingViewsError(f"{keyword} names {len(values)} frames, NumberOfFrames is {count}")
    if len(values) < count:
        raise ContradictoryGeometryError(f"{keyword} names {len(values)} frames, NumberOfFrames is {count}")
    if min(values) < 1:
        raise ContradictoryGeometryError(f"{keyword} does not count from 1")
    return np.array(values, dtype=np.int64)


def _declared(elements: Elements, number: str, sequence: str) -> int:
    return max(elements.integer(number) or 0, len(elements.items(sequence)))


def declared_detectors(elements: Elements) -> int:
    """Give the number of detectors that the header declares, 0 where it does not."""
    return _declared(elements, "NumberOfDetectors", "DetectorInformationSequence")


def _view_from_order(elements: Elements, index: FrameIndex) -> FrameIndex:
    """Take the order of frames for the views of each head, where nothing but the view itself is left open."""
    windows = _declared(elements, "NumberOfEnergyWindows", "EnergyWindowInformationSequence")
    for name, vector, declared in (
        ("EnergyWindowVector", index.window, windows),
        ("DetectorVector", index.detector, declared_detectors(elements)),
        ("RotationVector", index.rotation, _declared(elements, "NumberOfRotations", "RotationInformationSequence")),
    ):
        if np.unique(vector).size < declared:
            raise MissingAnglesError(f"AngularViewVector is missing, and {name} does not name all {declared}")
    view = np.zeros_like(index.view)
    groups = np.unique(np.stack([index.window, index.detector, index.rotation]), axis=1)
    for window, detector, rotation in groups.T:
        mine = (index.window == window) & (index.detector == detector) & (index.rotation == rotation)
        view[mine] = np.arange(1, mine.sum() + 1)
    return FrameIndex(index.window, index.detector, index.rotation, view, view_from_order=True)


def refuse_gated(elements: Elements) -> None:
    """Refuse frames that depend on more than window, detector, rotation and view.

    Raises
    ------
    NotProjectionsError
        When FrameIncrementPointer names time or gate vectors.
    """
    other = _GATED & set(elements.pointers("FrameIncrementPointer"))
    if other:
        raise NotProjectionsError(f"frames also depend on {', '.join(sorted(other))}")
