"""Read one study's raw projections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch.archive.dicom.facts import age_years, dose_facts, scanner_name, sex
from datbatch.archive.dicom.header import read_header
from datbatch.archive.dicom.pixels import read_frames
from datbatch.archive.geometry.acquisition import Acquisition, StudyFacts
from datbatch.archive.geometry.opposition import check_second_head
from datbatch.archive.geometry.selection import Direction, Selection, select_frames
from datbatch.archive.geometry.views import START_ASSUMED
from datbatch.config import ArchiveConfig
from datbatch.errors import ArchiveError, NoCountsError
from datbatch.location import Location, S3Location, parse_location

_DEFAULT = ArchiveConfig()
_HOT_TIMES = 8.0
"""Above this ratio of the greatest to the 99th percentile of the counts, something else than a head is in view: a
marker on the head gives 15 to 45 times the counts of brain."""


def read_study(paths: Sequence[str | Location] | str | Location, *, config: ArchiveConfig = _DEFAULT) -> Acquisition:
    """Read the raw projections of one study.

    Only the frames of the energy window that covers the photopeak are read. The header's vectors give the angle of
    each frame; frames of equal angle (two heads on a full circle, several rotations) are added.

    Parameters
    ----------
    paths : sequence of path, or one path
        The study's files: all views in one, or one file per view, window or head.
    config : ArchiveConfig
        Which energy the window must cover.

    Returns
    -------
    Acquisition
        Sorted by angle, row 0 at the head.

    Raises
    ------
    DatbatchError
        Its kind says why the files cannot be read safely as projections.
    """
    given = [paths] if isinstance(paths, (str, Path, S3Location)) else paths
    files = [parse_location(path) if isinstance(path, str) else path for path in given]
    if not files:
        raise ArchiveError("no files are given for the study", "Give the study's DICOM files.")
    chosen = select_frames([read_header(file) for file in files], config.photopeak_kev)
    projections, flags = _projections(chosen)
    elements, form = chosen.headers[0].elements, chosen.formats[0]
    dose, doubts = dose_facts([header.elements for header in chosen.headers])
    facts = StudyFacts(
        sex=sex(elements),
        age_years=age_years(elements),
        scanner=scanner_name(elements),
        detectors=chosen.detectors,
        collimator=chosen.collimator,
        window_kev=chosen.window_kev,
        flags=(*chosen.flags, *flags, *doubts),
        extra=dict(dose),
    )
    return Acquisition(
        projections=projections,
        angles_deg=np.array([direction.angle_deg for direction in chosen.directions]),
        pixel_size_mm=form.pixel_size_mm,
        row_size_mm=form.row_size_mm,
        radius_mm=np.array([np.mean([view.radius_mm for view in each.views]) for each in chosen.directions]),
        study=facts,
        **_times(chosen.directions),
    )


def _times(directions: Sequence[Direction]) -> dict[str, npt.NDArray[np.int32]]:
    """Tell which detector took each view and when, unless heads or rotations were added in one direction."""
    firsts = [direction.views[0] for direction in directions]
    added = any(len({(v.head, v.rotation) for v in direction.views}) > 1 for direction in directions)
    places = [(view.head, view.rotation, view.number) for view in firsts]
    heads = sorted({view.head for view in firsts})
    # Where each view states its own angle, each looks like a view of another detector.
    single = any(sum(view.head == head for view in firsts) == 1 for head in heads)
    if added or single or len(set(places)) < len(places):
        return {}
    order = {place: n for head in heads for n, place in enumerate(sorted(p for p in places if p[0] == head))}
    return {
        "head": np.array([heads.index(view.head) for view in firsts], dtype=np.int32),
        "moment": np.array([order[place] for place in places], dtype=np.int32),
    }


def _projections(chosen: Selection) -> tuple[npt.NDArray[Any], list[str]]:
    """Read and add the selected frames; shape (view, row, bin), uint16 where the counts fit, else float32."""
    form = chosen.formats[0]
    rescaled = any(each.rescaled for each in chosen.formats)
    shape = (len(chosen.directions), form.rows, form.columns)
    total = np.zeros(shape, dtype=np.float64 if rescaled else np.int64)
    saturated = False
    heads: dict[int, list[tuple[float, npt.NDArray[Any]]]] = {}
    views = [(place, view) for place, direction in enumerate(chosen.directions) for view in direction.views]
    for file, (header, each) in enumerate(zip(chosen.headers, chosen.formats, strict=True)):
        wanted = [(place, view) for place, view in views if view.file == file]
        if not wanted:
            continue
        frames = read_frames(header, each, np.array([view.frame for _, view in wanted]))
        saturated |= not each.rescaled and bool(frames.max() == (1 << each.bits_stored) - 1)
        for frame, (place, view) in zip(frames, wanted, strict=True):
            upright = frame[::-1, ::-1] if view.turned else frame
            total[place] += upright
            if START_ASSUMED in chosen.flags:
                heads.setdefault(view.head[0], []).append((chosen.directions[place].angle_deg, upright))
    if not total.any():
        raise NoCountsError("the photopeak frames hold no counts")
    if heads:
        check_second_head(*(heads[head] for head in sorted(heads)))
    flags = ["pixels-saturated"] if saturated else []
    if total.max() > _HOT_TIMES * max(float(np.percentile(total[::4], 99.0)), 1.0):
        flags.append("hot-spot")
    fits = not rescaled and total.max() <= np.iinfo(np.uint16).max
    return total.astype(np.uint16 if fits else np.float32), flags
