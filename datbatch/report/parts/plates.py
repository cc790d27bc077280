"""Pictures of several slices: the paper's Figures 3 to 5 and all transaxial slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from datbatch import schema
from datbatch.imaging.volume import Volume
from datbatch.report.cohort.averages import GroupImages
from datbatch.report.cohort.classification import OUTCOMES
from datbatch.report.parts.figures import GUIDE, PALETTES, TEXT, Kind, name_axis, outline, show_plane
from datbatch.report.parts.planes import (
    ANATOMICAL,
    AVERAGE,
    Convention,
    Marks,
    Plane,
    store_plane,
    store_volume,
    symmetric_limits,
    transaxial_plane,
    uptake_limits,
)

SCALE_LABELS: dict[Kind, str] = {
    "uptake": "Uptake (multiple of the reference region)",
    "relevance": "Relevance (a.u.; > 0: typical of positive studies)",
}
KINDS = tuple(SCALE_LABELS)
OUTCOME_STYLE = {"TN": ("#0072B2", ""), "TP": ("#D55E00", ""), "FN": ("#F0E442", "////"), "FP": ("#CC79A7", "....")}
"""Colours of Okabe and Ito, distinct for every kind of colour vision; hatches for print without colour."""
Floats = npt.NDArray[np.float64]
Masks = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Scales:
    """Colour scales shared by all pictures that are compared."""

    uptake: tuple[float, float]
    relevance: tuple[float, float]


def common_scales(images: GroupImages, height: int) -> Scales:
    """Find scales that hold for the misclassified studies and the means, in the slice of index `height`."""

    def planes(kind: Kind) -> list[Floats]:
        means = [getattr(group, kind)[:, :, height] for group in images.means().values()]
        return means + [getattr(case, kind) for case in images.cases]

    return Scales(uptake_limits(planes("uptake")), symmetric_limits(planes("relevance")))


def _absent(axes: Axes, words: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_box_aspect(schema.SHAPE[1] / schema.SHAPE[0])
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color="0.3")
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_edgecolor("0.8")


def _bar(figure: Figure, drawn: Any, axes: Sequence[Axes], label: str) -> None:
    """Draw one colour bar under all the pictures that share its scale."""
    bar = figure.colorbar(drawn, ax=list(axes), location="bottom", shrink=0.9 / len(axes), pad=0.02, aspect=26)
    bar.ax.tick_params(labelsize=8)
    bar.locator = MaxNLocator(5)
    bar.update_ticks()
    name_axis(bar.ax.xaxis, label, max(map(abs, drawn.get_clim())), 9)
    bar.outline.set_linewidth(0.6)  # type: ignore[operator]


def mean_plate(images: GroupImages, template: Volume, masks: Masks, height: int, convention: Convention) -> Figure:
    """Draw the paper's Figure 3: mean image, mean relevance, template and heat map in the slice of index `height`.

    The template is on the store's grid and scaled like the images; `masks` (region, x, y, z) are those of
    `schema.REGIONS`.
    """
    groups = (("true negative", images.true_negative), ("true positive", images.true_positive))
    brain = masks[schema.REGIONS.index(schema.WHOLE_BRAIN)][:, :, height]
    shown = images.means().values()
    fixed = transaxial_plane(template, float(schema.coordinates_mm(2)[height]), convention)
    uptake = uptake_limits([*(group.uptake[:, :, height] for group in shown), fixed.image])
    relevance = symmetric_limits([group.relevance[:, :, height] for group in shown])

    def relevant(axes: Axes, plane: Floats, limits: tuple[float, float]) -> Any:
        drawn = show_plane(axes, store_plane(plane, convention), AVERAGE, limits=limits, kind="relevance")
        outline(axes, brain, convention, colour="0.6", width=0.8)
        return drawn

    with rc_context(TEXT):
        figure = Figure(figsize=(8.4, 7.2), layout="constrained")
        upper, lower = figure.subplots(2, 3)
        maps = None
        for (name, group), above, below in zip(groups, upper, lower, strict=False):
            above.set_title(f"Mean {name} (n = {group.studies})")
            if group.studies:
                plane = store_plane(group.uptake[:, :, height], convention)
                show_plane(above, plane, AVERAGE, limits=uptake, kind="uptake")
                below.set_title(f"Mean relevance, {name}")
                maps = relevant(below, group.relevance[:, :, height], relevance)
            else:
                _absent(above, f"no {name}")
                _absent(below, f"no {name}")
        upper[2].set_title("Template")
        last = show_plane(upper[2], fixed, ANATOMICAL, limits=uptake, kind="uptake")
        _bar(figure, last, upper, SCALE_LABELS["uptake"])
        lower[2].set_title("Heat map (TP − TN)")
        heat = images.heat()
        if heat is not None:
            hot = relevant(lower[2], heat[:, :, height], symmetric_limits([heat[:, :, height]]))
            _bar(figure, hot, lower[2:], "Difference of relevance (a.u.)")
        else:
            _absent(lower[2], "needs both groups")
        if maps is not None:
            _bar(figure, maps, lower[:2], SCALE_LABELS["relevance"])
        return figure


def _sheet(volume: npt.NDArray[Any], convention: Convention, columns: int) -> tuple[Floats, Plane]:
    """Put all transaxial slices beside each other; give the first one, too."""
    planes = [transaxial_plane(store_volume(volume), z_mm, convention) for z_mm in schema.coordinates_mm(2)]
    height, width = planes[0].image.shape
    sheet = np.zeros((-(-len(planes) // columns) * height, columns * width))
    for position, plane in enumerate(planes):
        row, column = divmod(position, columns)
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = plane.image
    return sheet, planes[0]


def slice_limits(volumes: Sequence[npt.NDArray[Any]], kind: Kind) -> tuple[float, float]:
    """Find one scale for whole volumes of one kind."""
    return uptake_limits(volumes, 99.99) if kind == "uptake" else symmetric_limits(volumes, 99.99)


def all_slices(
    volume: npt.NDArray[Any], brain: Masks, kind: Kind, convention: Convention, limits: tuple[float, float]
) -> Figure:
    """Draw every transaxial slice of a mean volume, from the lowest to the highest (supplementary Figure 1).

    The outline of the brain, shape (x, y, z), is drawn over relevance; `limits` are those of `slice_limits`.
    """
    columns = 9
    width, height = schema.SHAPE[:2]
    sheet, plane = _sheet(volume, convention, columns)
    left, right = AVERAGE.on(plane)
    palette, ink = PALETTES[kind]
    with rc_context(TEXT):
        figure = Figure(figsize=(8.2, 8.3))
        axes = figure.add_axes((0.0, 0.08, 1.0, 0.92))
        drawn = axes.imshow(sheet, cmap=palette, vmin=limits[0], vmax=limits[1], interpolation="nearest")
        if kind == "relevance":
            outlines, _ = _sheet(brain, convention, columns)
            axes.contour(outlines, levels=[0.5], colors=["0.65"], linewidths=[0.6])
        axes.set_axis_off()
        for position, z_mm in enumerate(schema.coordinates_mm(2)):
            row, column = divmod(position, columns)
            x, y = column * width, row * height
            axes.text(x + width / 2, y + height - 2, f"z = {z_mm:g}", color=ink, size=7, ha="center", va="bottom")
            axes.text(x + 4, y + 4, left, color=ink, size=7, va="top", weight="bold")
            axes.text(x + width - 4, y + 4, right, color=ink, size=7, va="top", ha="right", weight="bold")
        scale = figure.add_axes((0.3, 0.055, 0.4, 0.014))
        bar = figure.colorbar(drawn, cax=scale, orientation="horizontal")
        bar.ax.tick_params(labelsize=7, pad=1, length=2)
        name_axis(bar.ax.xaxis, SCALE_LABELS[kind], limits[1], 8)
        bar.ax.xaxis.labelpad = 1
        bar.outline.set_linewidth(0.6)  # type: ignore[operator]
        return figure


@dataclass(frozen=True)
class Tile:
    """Uptake and relevance of one slice (x, y) of the store's grid, side by side below a title of at most two lines."""

    title: str
    uptake: Floats
    relevance: Floats
    marks: Marks


def tiles_plate(tiles: Sequence[Tile], brain: Masks, scales: Scales, convention: Convention) -> Figure:
    """Draw slices of several studies, three to a row, on common scales (the paper's Figure 4).

    The outline of the brain in the same slice, shape (x, y), is drawn over relevance.
    """
    columns, width, image_width, head, foot = 3, 8.4, 1.34, 0.42, 0.72
    image_height = image_width * schema.SHAPE[1] / schema.SHAPE[0]
    row_height = head + image_height + 0.06
    rows = -(-len(tiles) // columns)
    height = rows * row_height + foot
    with rc_context(TEXT):
        figure = Figure(figsize=(width, height))
        for position, tile in enumerate(tiles):
            row, column = divmod(position, columns)
            left = 0.03 + column * width / columns
            bottom = height - (row + 1) * row_height + 0.06
            for place, kind in enumerate(KINDS):
                x = left + place * (image_width + 0.02)
                axes = figure.add_axes((x / width, bottom / height, image_width / width, image_height / height))
                plane = store_plane(getattr(tile, kind), convention)
                show_plane(axes, plane, tile.marks, limits=getattr(scales, kind), kind=kind, size=8)
            outline(axes, brain, convention, colour="0.6", width=0.7)
            y = (bottom + image_height + 0.04) / height
            figure.text(left / width, y, tile.title, size=8, va="bottom", ha="left", linespacing=1.25)
        _tile_scales(figure, scales, foot / height)
        return figure


def _tile_scales(figure: Figure, scales: Scales, share: float) -> None:
    """Draw the two colour bars that all tiles share, in the lowest part of the figure."""
    for column, kind in enumerate(KINDS):
        low, high = getattr(scales, kind)
        axes = figure.add_axes((0.08 + 0.48 * column, 0.66 * share, 0.36, 0.17 * share))
        ramp = np.linspace(low, high, 256)[np.newaxis]
        axes.imshow(ramp, cmap=PALETTES[kind][0], aspect="auto", extent=(low, high, 0, 1))
        axes.set_yticks([])
        axes.tick_params(labelsize=8, length=2, pad=2)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        name_axis(axes.xaxis, SCALE_LABELS[kind], high, 8)
        axes.xaxis.labelpad = 1
        for spine in axes.spines.values():
            spine.set_visible(True)
            spine.set_linewidth(0.6)


def putamen_plate(
    images: GroupImages,
    region: Masks,
    height: int,
    *,
    relevance: Floats,
    outcomes: Sequence[str],
    threshold: float,
    convention: Convention,
) -> Figure:
    """Draw the paper's Figure 5: the putamen region on the mean true negative image, and the histogram.

    In `region` (x, y, z) the hottest voxels of the ipsilateral putamen are sought; `height` is the index of the slice.
    For the rest see `draw_outcome_histogram`.
    """
    mean = images.true_negative
    with rc_context(TEXT):
        figure = Figure(figsize=(8.4, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.75))
        left.set_title(f"Mean true negative (n = {mean.studies})")
        if mean.studies:
            plane = mean.uptake[:, :, height]
            show_plane(left, store_plane(plane, convention), AVERAGE, limits=uptake_limits([plane]), kind="uptake")
            outline(left, region[:, :, height], convention, colour="#56B4E9", width=2.0)
        else:
            _absent(left, "no true negative")
        draw_outcome_histogram(right, relevance, outcomes, threshold=threshold)
        return figure


def draw_outcome_histogram(axes: Axes, relevance: Floats, outcomes: Sequence[str], *, threshold: float) -> None:
    """Draw the stacked histogram of the putamen's oriented relevance by outcome (the paper's Figure 5).

    Each study has a relevance, or NaN, and TN, TP, FN, FP or empty text; the learned cut is drawn where it is finite.
    """
    marked = np.asarray(outcomes)
    groups = {name: relevance[(marked == name) & np.isfinite(relevance)] for name in OUTCOMES}
    values = np.concatenate(list(groups.values()))
    if len(values):
        # Zero is a border of bins, so that no bar mixes signs.
        width = max(float(np.ptp(np.append(values, 0.0))), 1e-12) / 24
        edges = width * np.arange(np.floor(min(values.min(), 0) / width), np.ceil(max(values.max(), 0) / width) + 1)
        if len(edges) < 2:
            edges = width * np.array([-1.0, 0.0, 1.0])
        base = np.zeros(len(edges) - 1)
        for name, group in groups.items():
            height, _ = np.histogram(group, edges)
            colour, hatch = OUTCOME_STYLE[name]
            axes.bar(
                edges[:-1], height, width=np.diff(edges), bottom=base, align="edge", color=colour, hatch=hatch,
                edgecolor="black", linewidth=0.5, label=f"{name} (n = {len(group)})",
            )  # fmt: skip
            base += height
        axes.set_ylim(0, 1.08 * base.max())
        axes.legend(
            fontsize=9, handlelength=1.2, columnspacing=1.0, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4
        )
    else:
        axes.text(0.5, 0.5, "no test study", transform=axes.transAxes, ha="center")
    axes.axvline(0.0, color="black", linewidth=1.0)
    if np.isfinite(threshold):
        axes.axvline(threshold, color=GUIDE, linewidth=1.2, linestyle="--")
    axes.set_ylabel("Number of studies")
    axes.xaxis.set_major_locator(MaxNLocator(7))
    top = float(np.abs(values).max()) if len(values) else 0.0
    name_axis(axes.xaxis, "Mean relevance in the ipsilateral putamen (a.u.)", top, 10)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
