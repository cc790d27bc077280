"""Pictures of brain slices: oriented, marked, in the field's conventional colours."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from datbatch.cohort import schema
from datbatch.imaging.volume import Volume
from datbatch.report.hypertext import PICTURE_DPI

Floats = npt.NDArray[np.float64]
Convention = Literal["radiological", "neurological"]

HOT_IRON = LinearSegmentedColormap(
    "hot iron",
    {
        "red": [(0, 0, 0), (0.5, 1, 1), (1, 1, 1)],
        "green": [(0, 0, 0), (0.5, 0, 0), (1, 1, 1)],
        "blue": [(0, 0, 0), (0.75, 0, 0), (1, 1, 1)],
    },
    N=256,
)
"""The "Hot Iron" palette of nuclear medicine, DICOM PS3.6 Annex B.1.1."""

DIVERGING = matplotlib.colormaps["RdBu_r"]
"""Blue below zero, white at zero, red above: distinct for every kind of colour vision."""

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
}


@dataclass(frozen=True)
class Plane:
    """A transaxial slice ready for the screen.

    Attributes
    ----------
    image : ndarray, shape (row, column), float64
        Row 0 is anterior.
    extent_mm : tuple of float
        x at the picture's left and right edge, y at its bottom and top edge (matplotlib's `extent`).
    """

    image: Floats
    extent_mm: tuple[float, float, float, float]


def transaxial_plane(volume: Volume, z_mm: float, convention: Convention = "radiological") -> Plane:
    """Cut a volume across the body axis and turn the slice for display.

    Parameters
    ----------
    volume : Volume
        Any grid whose axes run along x, y and z in any order and direction.
    z_mm : float
        Height of the slice; the nearest one is taken.
    convention : {"radiological", "neurological"}
        Whether x < 0 (left) is shown on the picture's right or left.

    Returns
    -------
    Plane
        Anterior at the top.

    Raises
    ------
    ValueError
        When the volume's grid is oblique.
    """
    linear = np.asarray(volume.affine[:3, :3], dtype=np.float64)
    order = [int(axis) for axis in np.argmax(np.abs(linear), axis=1)]
    spacing = linear[[0, 1, 2], order]
    rest = linear.copy()
    rest[[0, 1, 2], order] = 0.0
    if sorted(order) != [0, 1, 2] or np.abs(rest).max() > 1e-3 * np.abs(spacing).min():
        raise ValueError("only grids along the body's axes can be shown as transaxial slices")
    data = np.transpose(np.asarray(volume.data), order)
    origin = np.asarray(volume.affine[:3, 3], dtype=np.float64)
    heights = origin[2] + spacing[2] * np.arange(data.shape[2])
    plane = data[:, :, int(np.argmin(np.abs(heights - z_mm)))].astype(np.float64)
    low, high = [], []
    for axis in (0, 1):
        ends = origin[axis] + spacing[axis] * np.array([-0.5, plane.shape[axis] - 0.5])
        if spacing[axis] < 0:
            plane = np.flip(plane, axis=axis)
        low.append(float(ends.min()))
        high.append(float(ends.max()))
    # Here plane[i, j] is at rising x, y; a picture has rows from the top, so y must fall.
    image = plane.T[::-1]
    if convention == "radiological":
        return Plane(image[:, ::-1].copy(), (high[0], low[0], low[1], high[1]))
    return Plane(image.copy(), (low[0], high[0], low[1], high[1]))


def store_plane(plane: Floats, convention: Convention = "radiological") -> Plane:
    """Turn one (x, y) slice of the store's grid for display."""
    return transaxial_plane(store_volume(plane[:, :, np.newaxis]), schema.ORIGIN_MM[2], convention)


def store_volume(data: npt.NDArray[Any]) -> Volume:
    """Give an array on the store's grid its place in space."""
    return Volume(np.asarray(data, dtype=np.float32), schema.grid_affine())


@dataclass(frozen=True)
class Marks:
    """What is written beside the low-x and the high-x side of a picture.

    Attributes
    ----------
    low_x, high_x : str
        For x < 0 (left of MNI space) and x > 0.
    """

    low_x: str
    high_x: str


ANATOMICAL = Marks("L", "R")
"""A volume in MNI space that was not mirrored, such as the template."""
AVERAGE = Marks("I", "C")
"""A mean over mirrored studies: ipsilateral and contralateral; the patients' own sides are mixed."""


def study_marks(mirrored: bool) -> Marks:
    """Mark one study in the store's frame: ipsilateral at x < 0, equal to which of the patient's own sides.

    Parameters
    ----------
    mirrored : bool
        Whether left and right were exchanged when it was stored, so that x < 0 shows the patient's right.
    """
    return Marks("I = R", "C = L") if mirrored else Marks("I = L", "C = R")


def patient_marks(mirrored: bool) -> Marks:
    """Mark one study in the patient's own frame, as acquired: left at x < 0.

    Parameters
    ----------
    mirrored : bool
        Whether left and right are exchanged in the store, so that the patient's right is the ipsilateral side.
    """
    return Marks("L (C)", "R (I)") if mirrored else Marks("L (I)", "R (C)")


def show_plane(
    axes: Axes,
    plane: Plane,
    marks: Marks,
    *,
    limits: tuple[float, float],
    kind: Literal["uptake", "relevance"],
) -> Any:
    """Draw a slice with its side marks.

    Parameters
    ----------
    axes : Axes
        Where.
    plane : Plane
        From `transaxial_plane`.
    marks : Marks
        Written into the upper corners, on the sides where low and high x are shown.
    limits : tuple of float
        Values of the first and last colour.
    kind : {"uptake", "relevance"}
        Palette: hot iron on black, or diverging on white.

    Returns
    -------
    AxesImage
        For the colour bar.
    """
    palette, ink = (HOT_IRON, "white") if kind == "uptake" else (DIVERGING, "black")
    drawn = axes.imshow(
        plane.image,
        extent=plane.extent_mm,
        origin="upper",
        cmap=palette,
        vmin=limits[0],
        vmax=limits[1],
        interpolation="bicubic",
        interpolation_stage="data",
    )
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(kind == "relevance")
        spine.set_edgecolor("0.7")
    left, right = (
        (marks.low_x, marks.high_x) if plane.extent_mm[0] < plane.extent_mm[1] else (marks.high_x, marks.low_x)
    )
    for text, x, align in ((left, 0.03, "left"), (right, 0.97, "right")):
        axes.text(x, 0.97, text, transform=axes.transAxes, ha=align, va="top", color=ink, weight="bold", size=10)
    return drawn


def outline(
    axes: Axes, mask: npt.NDArray[np.bool_], convention: Convention, *, colour: str, width: float = 1.0
) -> None:
    """Draw the border of a region's slice over a picture of the store's grid.

    Parameters
    ----------
    axes : Axes
        Holds a slice of the store's grid.
    mask : ndarray, shape (x, y), bool
        The region in the same slice.
    convention : {"radiological", "neurological"}
        As the slice was drawn.
    colour, width : str, float
        Of the line.
    """
    if not mask.any():
        return
    # Coordinates in mm, not pixels, place the line: the axes of a radiological picture fall from left to
    # right.
    axes.contour(
        schema.coordinates_mm(0),
        schema.coordinates_mm(1),
        mask.T.astype(float),
        levels=[0.5],
        colors=[colour],
        linewidths=[width],
    )
    extent = store_plane(mask.astype(np.float64), convention).extent_mm
    axes.set_xlim(extent[0], extent[1])
    axes.set_ylim(extent[2], extent[3])


def symmetric_limits(arrays: Sequence[npt.NDArray[Any]], percentile: float = 99.9) -> tuple[float, float]:
    """Give one scale for all arrays, centred at zero.

    Parameters
    ----------
    arrays : sequence of ndarrays
        What is compared; NaN is passed over.
    percentile : float
        Of the absolute values that are not zero; greater ones take the last colour.
    """
    return (lambda top: (-top, top))(_upper(arrays, percentile))


def uptake_limits(arrays: Sequence[npt.NDArray[Any]], percentile: float = 99.9) -> tuple[float, float]:
    """Give one scale from zero for all arrays; see `symmetric_limits`."""
    return 0.0, _upper(arrays, percentile)


def _upper(arrays: Sequence[npt.NDArray[Any]], percentile: float) -> float:
    values = np.concatenate([np.abs(np.asarray(a, dtype=np.float64)).ravel() for a in arrays] or [np.empty(0)])
    values = values[np.isfinite(values) & (values > 0)]
    return float(np.percentile(values, percentile)) if len(values) else 1.0


def to_png(figure: Figure) -> bytes:
    """Write a figure as PNG; equal figures give equal bytes (no date, no version)."""
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=PICTURE_DPI, metadata={"Software": None})
    return target.getvalue()
