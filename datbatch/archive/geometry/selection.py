"""The frames of a study's files that are its projections, selected by the headers alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter

import numpy as np

from datbatch.archive.dicom.elements import Elements
from datbatch.archive.dicom.frames import FrameIndex, Integers, read_frame_index, refuse_gated
from datbatch.archive.dicom.header import Header
from datbatch.archive.dicom.kinds import refusal
from datbatch.archive.dicom.pixels import PixelFormat, pixel_format
from datbatch.archive.geometry.coverage import check_coverage, directions
from datbatch.archive.geometry.heads import apart_deg, read_detectors, refuse_oblique, rotation_start_is_ignored
from datbatch.archive.geometry.views import FileViews, View, file_views
from datbatch.archive.geometry.windows import Limits, photopeak_limits, read_windows
from datbatch.errors import (
    ContradictoryGeometryError,
    DatbatchError,
    MissingAnglesError,
    MissingViewsError,
    UnsupportedGeometryError,
)

_SAME_SIZE = 0.01


@dataclass(frozen=True)
class Direction:
    """The frames that were taken at one angle; their counts are added."""

    angle_deg: float
    views: tuple[View, ...]


@dataclass(frozen=True)
class Selection:
    """What to read of a study's files."""

    directions: tuple[Direction, ...]
    """In growing order of angle."""
    headers: tuple[Header, ...] = field(repr=False)
    formats: tuple[PixelFormat, ...]
    window_kev: Limits
    detectors: int
    """Heads of the system, 0 where they are not known."""
    collimator: str
    flags: tuple[str, ...]


def select_frames(headers: Sequence[Header], photopeak_kev: float) -> Selection:
    """Select the frames to read and give each its angle, from the headers alone.

    Parameters
    ----------
    headers : sequence of Header
        One study's files in any order: all views in one, or one file per view, window or head.
    photopeak_kev : float
        Energy that the chosen window must cover.

    Raises
    ------
    DatbatchError
        Its kind says why the files cannot be read safely.
    """
    for header in headers:
        refused = refusal(header)
        if refused is not None:
            raise refused
        refuse_gated(header.elements)
        refuse_oblique(read_detectors(header.elements))
    chosen, flags = _originals(_without_copies(headers))
    formats = tuple(pixel_format(header) for header in chosen)
    _check_together(chosen, formats)
    limits = photopeak_limits(tuple(w for h in chosen for w in read_windows(h.elements)), photopeak_kev)
    files = _photopeak_files(chosen, limits)
    stated = [angle for file in files for angle in file.stated_starts_deg]
    turns = max(view.rotation for file in files for view in file.views)
    ignored = {rotation_start_is_ignored(file.rotation_start_deg, stated, turns) for file in files}
    if True in ignored:
        flags.append("rotation-start-ignored")
    views, more = _settle([view for file in files for view in file.views], files)
    flags += [flag for file in files for flag in file.flags] + more + _unusual(chosen)
    flags += ["windows-summed"] if len(limits) > 1 else []
    return Selection(
        views,
        tuple(chosen),
        formats,
        (min(low for low, _ in limits), max(high for _, high in limits)),
        _count_heads(views, files),
        next((d.collimator for h in chosen for d in read_detectors(h.elements) if d.collimator), ""),
        tuple(dict.fromkeys(flags)),
    )


def _without_copies(headers: Sequence[Header]) -> list[Header]:
    found: dict[str, Header] = {}
    for number, header in enumerate(headers):
        uid = header.elements.text("SOPInstanceUID") or f"file {number}"
        known = found.setdefault(uid, header)
        if known is not header and known.data != header.data:
            raise ContradictoryGeometryError("two files have the same SOPInstanceUID and different contents")
    return list(found.values())


def _originals(headers: list[Header]) -> tuple[list[Header], list[str]]:
    """Leave derived objects out where there are original ones: they show the same counts again."""
    original = [h for h in headers if h.elements.texts("ImageType")[:1] != ("DERIVED",)]
    if not original:
        return headers, ["derived"]
    return original, ["derived-left-out"] if len(original) < len(headers) else []


def _check_together(headers: list[Header], formats: tuple[PixelFormat, ...]) -> None:
    if len({header.elements.text("StudyInstanceUID") for header in headers}) > 1:
        raise ContradictoryGeometryError("the files belong to several studies", "Give the files of one study.")
    first = formats[0]
    for other in formats[1:]:
        same_size = np.allclose(
            (first.row_size_mm, first.pixel_size_mm), (other.row_size_mm, other.pixel_size_mm), rtol=_SAME_SIZE
        )
        if (first.rows, first.columns) != (other.rows, other.columns) or not same_size:
            raise ContradictoryGeometryError("Rows, Columns or PixelSpacing differ between the study's files")


def _photopeak_files(headers: list[Header], limits: tuple[Limits, ...]) -> list[FileViews]:
    found = []
    for file, h in enumerate(headers):
        windows = {w.number: limits.index(w.limits_kev) for w in read_windows(h.elements) if w.limits_kev in limits}
        index = read_frame_index(h.elements)
        half = np.array([windows.get(int(number), -1) for number in index.window])
        if (half >= 0).any():
            found.append(_views_by_half(file, h.elements, index, half))
    if not found:
        raise MissingViewsError("no frame belongs to the photopeak window")
    return found


def _views_by_half(file: int, elements: Elements, index: FrameIndex, half: Integers) -> FileViews:
    parts = []
    for number in np.unique(half[half >= 0]):
        part = file_views(file, elements, index, np.flatnonzero(half == number))
        parts.append(replace(part, views=tuple(replace(view, window=int(number)) for view in part.views)))
    return replace(parts[0], views=tuple(view for part in parts for view in part.views))


def _count_heads(directions: tuple[Direction, ...], files: list[FileViews]) -> int:
    """Count the heads of the system; 0 where every view states its own angle, so that heads cannot be told apart."""
    views = Counter(view.head for direction in directions for view in direction.views)
    seen = sum(count > 1 for count in views.values())
    declared = max(file.detectors for file in files)
    return max(seen, declared) if seen or declared > 1 else 0


def _settle(views: list[View], files: list[FileViews]) -> tuple[tuple[Direction, ...], list[str]]:
    """Arrange the views; where each file has one view, its angle follows from its number or is its own start angle."""
    numbered, own_angle = attrgetter("angle_deg"), attrgetter("start_deg")
    if len(files) == 1 or any(len({v.number for v in file.views}) > 1 for file in files):
        _check_numbers(views)
        return _arrange(views, files, numbered)
    good: list[tuple[tuple[Direction, ...], list[str]]] = []
    problems: list[DatbatchError] = []
    own = [replace(view, head=(view.head[0], 0.0)) for view in views]
    for candidates, angle in ((views, numbered), (own, own_angle)):
        try:
            good.append(_arrange(candidates, files, angle))
        except DatbatchError as problem:
            problems.append(problem)
    if not good:
        raise problems[0]
    if len(good) == 2 and not _equal(good[0][0], good[1][0]):
        raise ContradictoryGeometryError("StartAngle of each file and its AngularViewVector give different angles")
    return good[0]


def _equal(one: tuple[Direction, ...], other: tuple[Direction, ...]) -> bool:
    first, second = (
        {(view.file, view.frame): direction.angle_deg for direction in found for view in direction.views}
        for found in (one, other)
    )
    return all(apart_deg(first[key], second[key]) < 0.1 for key in first)


def _arrange(
    views: list[View], files: list[FileViews], angle_of: Callable[[View], float | None]
) -> tuple[tuple[Direction, ...], list[str]]:
    """Sort views by angle, put views of equal angle together, and refuse gaps and repetitions."""
    known = [angle_of(view) for view in views]
    if any(angle is None for angle in known):
        raise MissingAnglesError("AngularStep and ScanArc are missing")
    angles = np.mod(np.array(known, dtype=np.float64), 360.0)
    number = directions(angles)
    groups = [tuple(views[k] for k in np.flatnonzero(number == n)) for n in range(number.max() + 1)]
    for group in groups:
        if len({(view.head, view.rotation, view.window) for view in group}) < len(group):
            raise ContradictoryGeometryError("two frames of one head, rotation and window have the same angle")
    heads = {view.head for view in views}
    _check_count(views, files, heads)
    sizes = {len(group) for group in groups}
    firsts = np.array([angles[np.flatnonzero(number == n)[0]] for n in range(len(groups))])
    order = np.argsort(firsts, kind="stable")
    missing_head = max(file.detectors for file in files) > len({detector for detector, _ in heads})
    arcs = [arc * times for file in files for arc in file.arcs_deg for times in range(1, len(heads) + 1)]
    flags = list(check_coverage(firsts[order], arcs, head_missing=missing_head))
    if len(sizes) > 1:
        raise UnsupportedGeometryError(
            "heads or rotations overlap in part: some directions have more views than others"
        )
    if any(len({view.rotation for view in group}) > 1 for group in groups):
        flags.append("rotations-summed")
    if any(len({view.head for view in group}) > 1 for group in groups):
        flags.append("heads-summed")
    return tuple(Direction(float(firsts[k]), groups[k]) for k in order), flags


def _check_numbers(views: list[View]) -> None:
    """Refuse gaps in the numbers of the angular views."""
    numbers: dict[tuple[object, ...], list[int]] = {}
    for view in views:
        numbers.setdefault((view.head, view.rotation, view.window), []).append(view.number)
    for each in numbers.values():
        if max(each) - min(each) + 1 > len(each):
            raise MissingViewsError(f"AngularViewVector goes to {max(each)}, and {len(each)} views are there")


def _check_count(views: list[View], files: list[FileViews], heads: set[tuple[int, float]]) -> None:
    """Compare the number of views with what the rotations declare, per head or over all heads."""
    declared: dict[int, int] = {}
    for file in files:
        for rotation, count in file.declared.items():
            declared[rotation] = max(declared.get(rotation, 0), count)
    for rotation, count in declared.items():
        if count == 0:
            continue
        found = [view for view in views if view.rotation == rotation and view.window == views[0].window]
        numbers: dict[tuple[int, float], set[int]] = {}
        for view in found:
            numbers.setdefault(view.head, set()).add(view.number)
        times = {1, len(heads), max(file.detectors for file in files)}
        if len(found) not in {count * n for n in times}:
            most = count * max(times)
            kind = MissingViewsError if len(found) < most else ContradictoryGeometryError
            raise kind(f"{len(found)} views are there, {count} are declared for each rotation and {max(times)} heads")
        if len({len(each) for each in numbers.values()}) > 1:
            raise MissingViewsError("the heads do not have equally many views")


def _unusual(headers: list[Header]) -> list[str]:
    found = []
    if any(header.elements.text("Modality") != "NM" for header in headers):
        found.append("modality-not-nm")
    if not any(d.collimator not in ("", "UNKN") for h in headers for d in read_detectors(h.elements)):
        found.append("collimator-unknown")
    if any(header.elements.text("TypeOfDetectorMotion") == "CONTINUOUS" for header in headers):
        found.append("continuous-motion")
    return found
