"""The energy window, detector, rotation and angular view of each frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
_VECTORS = ("EnergyWindowVector", "DetectorVector", "RotationVector", "AngularViewVector")
_GATED = {"RRIntervalVector", "TimeSlotVector", "PhaseVector", "TimeSliceVector"}

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FrameIndex:
    """Numbers of each frame, from 1; each array has shape (frame,)."""

    window: Integers
    detector: Integers
    rotation: Integers
    view: Integers
    view_from_order: bool = False
    """Whether the angular view follows from the order of frames, because the header has no vector of views."""


def frame_count(elements: Elements) -> int:
    """Give the number of frames; refuse one that is not positive, or too large for projections."""
    stated = elements.integer("NumberOfFrames")
    if stated is None:
        return 1
    if stated < 1:
        raise MissingViewsError(f"NumberOfFrames is {stated}")
    if stated > MAX_FRAMES:
        raise NotProjectionsError(f"NumberOfFrames is {stated}; projections have at most {MAX_FRAMES}")
    return stated


def read_frame_index(elements: Elements) -> FrameIndex:
    """Read the vectors that say what each frame is; no usual order of frames is assumed.

    Raises
    ------
    MissingViewsError
        When vectors name more frames than there are.
    ContradictoryGeometryError
        When they name fewer, count from 0, or name a frame twice.
    MissingAnglesError
        When the angular view is missing and the order of frames does not determine it.
    NoPhotopeakError
        When the header declares several energy windows and does not say which frames belong to which.
    """
    count = frame_count(elements)
    vectors = [_vector(elements, keyword, count) for keyword in _VECTORS]
    window, detector, rotation, view = (np.ones(count, dtype=np.int64) if one is None else one for one in vectors)
    index = FrameIndex(window, detector, rotation, view)
    if vectors[0] is None and _declared(elements, "NumberOfEnergyWindows", "EnergyWindowInformationSequence") > 1:
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
    """Take the order of frames as the order of each head's views; all other vectors must be complete."""
    declared = (
        _declared(elements, "NumberOfEnergyWindows", "EnergyWindowInformationSequence"),
        declared_detectors(elements),
        _declared(elements, "NumberOfRotations", "RotationInformationSequence"),
    )
    groups = np.stack([index.window, index.detector, index.rotation])
    for name, vector, count in zip(_VECTORS, groups, declared, strict=False):
        if np.unique(vector).size < count:
            raise MissingAnglesError(f"AngularViewVector is missing, and {name} does not name all {count}")
    view = np.zeros_like(index.view)
    for group in np.unique(groups, axis=1).T:
        mine = (groups == group[:, None]).all(axis=0)
        view[mine] = np.arange(1, mine.sum() + 1)
    return replace(index, view=view, view_from_order=True)


def refuse_gated(elements: Elements) -> None:
    """Refuse frames that also depend on time or on a gate (FrameIncrementPointer)."""
    other = _GATED & set(elements.pointers("FrameIncrementPointer"))
    if other:
        raise NotProjectionsError(f"frames also depend on {', '.join(sorted(other))}")
