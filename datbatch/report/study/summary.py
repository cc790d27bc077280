"""A study's results on one page as a picture: slices as acquired, binding by side, classification."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from datbatch import schema
from datbatch.cohort.results import LEFT, RIGHT, StudyResults
from datbatch.report.parts.figures import TEXT, show_plane
from datbatch.report.parts.planes import (
    Convention,
    patient_marks,
    store_volume,
    symmetric_limits,
    transaxial_plane,
    uptake_limits,
)
from datbatch.report.parts.wording import number, scientific

HEIGHTS_MM = (-4.0, 2.0, 8.0)
"""Slices through the putamen and the caudate nucleus."""
NOTICE = "RESEARCH SOFTWARE, NOT A MEDICAL DEVICE. Not for the diagnosis or treatment of a patient."
_WIDTH_INCHES, _ROW_INCHES, _TABLE_INCHES, _DOTS_PER_INCH = 8.2, 3.3, 2.8, 125
_CLASSES = {schema.NEGATIVE: "normal uptake", schema.POSITIVE: "reduced uptake"}


def draw_summary(results: StudyResults, *, convention: Convention = "radiological") -> npt.NDArray[np.uint8]:
    """Draw the page.

    Parameters
    ----------
    results : StudyResults
        The study; its pseudonym is left out where it is empty. Mirroring is undone: a reader of one study expects the
        patient's own sides.
    convention : {"radiological", "neurological"}
        Whether the patient's left is shown on the right or the left of the pictures.

    Returns
    -------
    ndarray, shape (row, column, 3), uint8
        Red, green, blue.
    """
    with rc_context(TEXT):
        rows = 1 if results.model is None else 2
        heights = [_ROW_INCHES] * rows + [_TABLE_INCHES]
        figure = Figure(figsize=(_WIDTH_INCHES, sum(heights)), dpi=_DOTS_PER_INCH, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        grid = figure.add_gridspec(rows + 1, 3, height_ratios=heights)
        figure.suptitle(_title(results), size=11)
        _slices(figure, grid, results, convention)
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


def _slices(figure: Figure, grid: object, results: StudyResults, convention: Convention) -> None:
    marks = patient_marks(results.mirrored)
    shown = [("uptake", "uptake / reference", results.as_acquired(results.uptake))]
    if results.model is not None:
        oriented = np.float32(results.model.sign) * results.as_acquired(results.model.relevance)
        shown.append(("relevance", "relevance (positive: reduced uptake)", oriented))
    for row, (kind, label, volume) in enumerate(shown):
        planes = [transaxial_plane(store_volume(volume), z_mm, convention) for z_mm in HEIGHTS_MM]
        images = [plane.image for plane in planes]
        limits = uptake_limits(images) if kind == "uptake" else symmetric_limits(images)
        drawn, places = None, []
        for column, (plane, z_mm) in enumerate(zip(planes, HEIGHTS_MM, strict=True)):
            axes = figure.add_subplot(grid[row, column])  # type: ignore[index]
            drawn = show_plane(axes, plane, marks, limits=limits, kind=kind)  # type: ignore[arg-type]
            axes.set_title(f"z = {z_mm:g} mm", size=9)
            places.append(axes)
        figure.colorbar(drawn, ax=places, label=label, shrink=0.8, aspect=18)  # type: ignore[arg-type]


def _table(axes: Axes, results: StudyResults) -> None:
    """Write binding, z-score and relevance, the patient's left and right beside each other."""
    axes.set_axis_off()
    lines = [["", "left", "right"]]
    for structure in ("putamen", "caudate"):
        by_side = {results.side(f"{structure}_{side}"): f"{structure}_{side}" for side in schema.SIDES}
        cells = [
            (results.binding(by_side[side]), results.z(f"hottest_voxels {by_side[side]}")) for side in (LEFT, RIGHT)
        ]
        lines.append([f"SBR {structure}", *(number(binding) for binding, _ in cells)])
        if any(math.isfinite(z) for _, z in cells):
            lines.append([f"z-score {structure}", *(number(z, 1) for _, z in cells)])
        if results.model is not None:
            hottest = schema.STATISTICS.index("hottest_mean")
            values = [
                results.model.sign * results.model.regional[schema.REGIONS.index(by_side[side]), hottest]
                for side in (LEFT, RIGHT)
            ]
            lines.append([f"relevance {structure}", *(scientific(float(value)) for value in values)])
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
