"""Pictures of one study, with its sides marked: slices as acquired, slices on axes for notebooks, a page of results."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from datbatch import schema
from datbatch.cohort.views.results import LEFT, RIGHT, StudyResults
from datbatch.files import write_whole
from datbatch.report.parts.figures import TEXT, Kind, show_plane, to_png
from datbatch.report.parts.planes import (
    Convention,
    Marks,
    patient_marks,
    store_volume,
    study_marks,
    symmetric_limits,
    transaxial_plane,
    uptake_limits,
)
from datbatch.report.parts.wording import number, scientific

if TYPE_CHECKING:
    import xarray

    from datbatch.study.explained import StudyExplanation

HEIGHTS_MM = (-4.0, 2.0, 8.0)
"""Slices through the putamen and the caudate nucleus."""
LABELS = {"uptake": "uptake / reference", "relevance": "relevance (oriented)"}
NOTICE = "RESEARCH SOFTWARE, NOT A MEDICAL DEVICE. Not for the diagnosis or treatment of a patient."
_WIDTH_INCHES, _ROW_INCHES, _TABLE_INCHES, _DOTS_PER_INCH = 8.2, 3.3, 2.8, 125
_CLASSES = {schema.NEGATIVE: "normal uptake", schema.POSITIVE: "reduced uptake"}


def _draw_row(
    row: Iterable[Axes],
    volume: npt.NDArray[Any],
    kind: Kind,
    marks: Marks,
    convention: Convention,
    heights_mm: Sequence[float] = HEIGHTS_MM,
    label: str = "",
) -> None:
    """Draw slices of a volume of the store's grid, one on each of the axes, on one scale with its colour bar."""
    planes = [transaxial_plane(store_volume(volume), z_mm, convention) for z_mm in heights_mm]
    limits = (uptake_limits if kind == "uptake" else symmetric_limits)([plane.image for plane in planes])
    places = list(row)
    for axes, plane, z_mm in zip(places, planes, heights_mm, strict=True):
        drawn = show_plane(axes, plane, marks, limits=limits, kind=kind)
        axes.set_title(f"z = {z_mm:g} mm", size=9)
    places[0].figure.colorbar(drawn, ax=places, label=label or LABELS[kind], shrink=0.8, aspect=18)


def draw_study(study: StudyExplanation, *, sign: float, convention: Convention) -> bytes:
    """Draw uptake above relevance (times `sign`) in three transaxial slices, as PNG; mirroring is undone."""
    # The grid is symmetric about x = 0, so that a flip is exact.
    step = -1 if study.mirrored else 1
    doubt = ", relevance map inconsistent" if study.inconsistent else ""
    with rc_context(TEXT):
        figure = Figure(figsize=(8.2, 6.6), layout="constrained")
        figure.suptitle(f"{study.predicted} (probability of positive {study.probability:.2f}){doubt}")
        upper, lower = figure.subplots(2, 3)
        marks = patient_marks(study.mirrored)
        _draw_row(upper, study.uptake[::step], "uptake", marks, convention)
        _draw_row(lower, sign * study.relevance[::step], "relevance", marks, convention)
        figure.supxlabel(
            f"{convention} convention; L, R: the patient's sides; I: ipsilateral (lower binding), C: "
            "contralateral. Research software, not a medical device.",
            size=8,
        )
        return to_png(figure)


def write_study_picture(
    study: StudyExplanation, path: Path, *, sign: float = 1.0, convention: Convention = "radiological"
) -> Path:
    """Write the picture of one explained study as PNG.

    Parameters
    ----------
    study : StudyExplanation
        As `study.explain.explain_study` gives it.
    path : Path
        File to write; replaced as a whole or not at all.
    sign : float
        Orientation of the model's relevance, from its card: +1 or -1.
    convention : {"radiological", "neurological"}
        Side on which the patient's left is shown: right or left.
    """
    return write_whole(path, draw_study(study, sign=sign, convention=convention))


def draw(
    volumes: Mapping[str, xarray.DataArray],
    *,
    mirrored: bool,
    acquired: bool,
    title: str = "",
    z_mm: Sequence[float] = HEIGHTS_MM,
    convention: Convention = "radiological",
    figure: Figure | None = None,
) -> npt.NDArray[np.object_]:
    """Draw one row of transaxial slices for each volume.

    Parameters
    ----------
    volumes : mapping of str to DataArray, dimensions (x, y, z)
        `uptake`, `relevance` or both, on the store's grid. Only now are they read.
    mirrored : bool
        Whether left and right were exchanged when the study was stored.
    acquired : bool
        Whether the volumes are in the patient's own frame, or in the store's.
    title : str
        Above all.
    z_mm : sequence of float
        Heights of the slices, MNI.
    convention : {"radiological", "neurological"}
        Whether x < 0 is shown on the right or the left.
    figure : Figure, optional
        Drawn into; a new one of pyplot by default.

    Returns
    -------
    ndarray of Axes, shape (kind, slice)
        In the order of `volumes` and `z_mm`.
    """
    marks = patient_marks(mirrored) if acquired else study_marks(mirrored)
    with rc_context(TEXT):
        if figure is None:
            # Here, since pyplot chooses a backend for the whole process.
            import matplotlib.pyplot as plt

            figure = plt.figure(figsize=(2.4 * len(z_mm) + 1.0, 2.9 * len(volumes) + 0.6), layout="constrained")
        grid = figure.subplots(len(volumes), len(z_mm), squeeze=False)
        for row, (kind, values) in zip(grid, volumes.items(), strict=True):
            _draw_row(row, values.transpose("x", "y", "z").to_numpy(), cast(Kind, kind), marks, convention, z_mm)
        figure.suptitle(title, size=10)
        figure.supxlabel("Research software, not a medical device.", size=7)
    return cast("npt.NDArray[np.object_]", grid)


def draw_summary(results: StudyResults, *, convention: Convention = "radiological") -> npt.NDArray[np.uint8]:
    """Draw a page of one study's results, in the patient's own sides; an empty pseudonym is left out.

    Returns
    -------
    ndarray, shape (row, column, 3), uint8
        Red, green, blue.
    """
    model, marks = results.model, patient_marks(results.mirrored)
    with rc_context(TEXT):
        rows = 1 if model is None else 2
        heights = [_ROW_INCHES] * rows + [_TABLE_INCHES]
        figure = Figure(figsize=(_WIDTH_INCHES, sum(heights)), dpi=_DOTS_PER_INCH, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        grid = figure.add_gridspec(rows + 1, 3, height_ratios=heights)
        figure.suptitle(_title(results), size=11)

        def axes(row: int) -> list[Axes]:
            return [figure.add_subplot(grid[row, column]) for column in range(3)]

        _draw_row(axes(0), results.as_acquired(results.uptake), "uptake", marks, convention)
        if model is not None:
            oriented = np.float32(model.sign) * results.as_acquired(model.relevance)
            words = "relevance (positive: reduced uptake)"
            _draw_row(axes(1), oriented, "relevance", marks, convention, label=words)
        _table(figure.add_subplot(grid[rows, :]), results)
        figure.supxlabel(
            f"{convention} convention; L, R: the patient's sides; I: ipsilateral (lower binding), C: contralateral\n"
            + NOTICE,
            size=9,
            weight="bold",
        )
        canvas.draw()  # type: ignore[no-untyped-call]
        return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])  # type: ignore[no-untyped-call]


def _title(results: StudyResults) -> str:
    model = results.model
    named = f", study {results.study}" if results.study else ""
    study = "Dopamine-transporter SPECT" + named + ", SIMULATED" * results.simulated
    if model is None:
        return study
    doubt = "\nrelevance map typical of the other class" if model.inconsistent else ""
    said = f"{_CLASSES[model.predicted]}, probability of reduced uptake {model.probability:.2f}"
    return f"{study}\n{model.name}: {said}{doubt}"


def _table(axes: Axes, results: StudyResults) -> None:
    """Write binding, z-score and relevance, the patient's left and right beside each other."""
    axes.set_axis_off()
    lines = [["", "left", "right"]]
    for structure in schema.STRUCTURES[:2]:
        by_side = {results.side(f"{structure}_{side}"): f"{structure}_{side}" for side in schema.SIDES}
        regions = [by_side[side] for side in (LEFT, RIGHT)]
        scores = [results.z(f"{schema.HOTTEST_VOXELS} {region}") for region in regions]
        lines.append([f"SBR {structure}", *(number(results.binding(region)) for region in regions)])
        if any(map(math.isfinite, scores)):
            lines.append([f"z-score {structure}", *(number(z, 1) for z in scores)])
        if results.model is not None:
            hottest = results.model.regional[:, schema.STATISTICS.index(schema.HOTTEST_MEAN)]
            values = [results.model.sign * float(hottest[schema.REGIONS.index(region)]) for region in regions]
            lines.append([f"relevance {structure}", *map(scientific, values)])
    table = axes.table(cellText=lines, loc="center", cellLoc="center", edges="horizontal", colWidths=[0.3, 0.2, 0.2])
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    table.scale(1.0, 1.15)
    for (_, column), cell in table.get_celld().items():
        cell.set_linewidth(0.4)
        if column == 0:
            cell.set_text_props(ha="left")
    if results.flags:
        axes.set_title("flags: " + ", ".join(results.flags), size=8, wrap=True, y=-0.08)
