"""Pictures of brain slices: oriented, marked, in the field's conventional colours."""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from datbatch import schema
from datbatch.report.parts.hypertext import PICTURE_DPI
from datbatch.report.parts.planes import Convention, Marks, Plane, store_plane
from datbatch.report.parts.raster import DIVERGING_COLOURS, HOT_IRON_COLOURS

HOT_IRON = LinearSegmentedColormap.from_list("hot iron", HOT_IRON_COLOURS, N=256)
DIVERGING = LinearSegmentedColormap.from_list("diverging", DIVERGING_COLOURS, N=256)

Kind = Literal["uptake", "relevance"]
PALETTES = {"uptake": (HOT_IRON, "white"), "relevance": (DIVERGING, "black")}
"""Colours of each kind of picture, and of letters on it."""

GUIDE = "0.35"
"""Grey of guiding lines and small print in charts."""
PRINT_DPI = 300
"""Pixels per inch of the files for print, as journals ask for."""

TEXT: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "axes.titlesize": 10.0,
    "axes.labelsize": 10.0,
    # Relevance is often near 1e-4: a common power of ten keeps the ticks short.
    "axes.formatter.limits": (-2, 4),
    "axes.formatter.use_mathtext": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
}


def show_plane(
    axes: Axes,
    plane: Plane,
    marks: Marks,
    *,
    limits: tuple[float, float],
    kind: Kind,
    size: float = 10,
) -> Any:
    """Draw a slice with its side marks (of `size` points) in the upper corners; give the image for a colour bar.

    Uptake is drawn in hot iron on black, relevance in diverging colours on white, between the values `limits`.
    """
    palette, ink = PALETTES[kind]
    drawn = axes.imshow(
        plane.image, extent=plane.extent_mm, origin="upper", cmap=palette, vmin=limits[0], vmax=limits[1],
        interpolation="bicubic", interpolation_stage="data",
    )  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(kind == "relevance")
        spine.set_edgecolor("0.7")
    for text, x, align in zip(marks.on(plane), (0.03, 0.97), ("left", "right"), strict=True):
        axes.text(x, 0.97, text, transform=axes.transAxes, ha=align, va="top", color=ink, weight="bold", size=size)
    return drawn


def outline(
    axes: Axes, mask: npt.NDArray[np.bool_], convention: Convention, *, colour: str, width: float = 1.0
) -> None:
    """Draw the border of a region, shape (x, y), over the same slice of the store's grid in the same convention."""
    if not mask.any():
        return
    # Coordinates in mm, not pixels, place the line: in a radiological picture x falls from left to right.
    axes.contour(
        schema.coordinates_mm(0), schema.coordinates_mm(1), mask.T.astype(float), levels=[0.5], colors=[colour],
        linewidths=[width],
    )  # fmt: skip
    extent = store_plane(mask.astype(np.float64), convention).extent_mm
    axes.set_xlim(extent[0], extent[1])
    axes.set_ylim(extent[2], extent[3])


def name_axis(axis: Axis, label: str, top: float, size: float) -> None:
    """Name an axis, in letters of `size` points; `top` is the greatest magnitude on it.

    Where all values are small or great, a common power of ten stands in the brackets of the name, as in
    "Relevance (10⁻⁴ a.u.)", and not at a tick.
    """
    exponent = int(np.floor(np.log10(top))) if np.isfinite(top) and top > 0 else 0
    if not -2 <= exponent <= 3:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 10.0**exponent:g}".replace("-", "−")))
        label = label.replace("(", f"($10^{{{exponent}}}$ ", 1)
    axis.set_label_text(label, fontsize=size)


def to_png(figure: Figure) -> bytes:
    """Write a figure as PNG for the page; equal figures give equal bytes (no date, no version)."""
    return _saved(figure, "png", PICTURE_DPI, {"Software": None})


def to_print_png(figure: Figure) -> bytes:
    """Write a figure as PNG for print."""
    return _saved(figure, "png", PRINT_DPI, {"Software": None})


def to_svg(figure: Figure) -> bytes:
    """Write a figure as SVG with its letters as outlines, so that it looks the same on every machine."""
    return _saved(figure, "svg", PRINT_DPI, {"Date": None, "Creator": None})


def _saved(figure: Figure, kind: str, dpi: int, metadata: dict[str, Any]) -> bytes:
    target = io.BytesIO()
    # The salt makes the names inside an SVG file the same every time.
    with rc_context({**TEXT, "svg.hashsalt": "datbatch", "svg.fonttype": "path"}):
        figure.savefig(target, format=kind, dpi=dpi, metadata=metadata)
    return target.getvalue()
