"""The raw projections of one study as a film, and a few of them for paper."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from datbatch.archive import Acquisition
from datbatch.report.parts.hypertext import Html, element
from datbatch.report.parts.raster import GREY_COLOURS, colour, enlarge, to_png_bytes
from datbatch.report.study.viewer import data_block

VIEWS, PIXELS = 48, 400_000
"""Views of the film and all their pixels at most: the page must stay small."""
SHOWN_DEG = {"anterior": 180.0, "left lateral": 90.0, "posterior": 0.0, "right lateral": 270.0}
"""Where the detector stands for the views that are on paper too."""
BRIGHTEST = 99.8
"""Percentile of the counts that takes the darkest grey: few pixels, such as a marker, must not hide the head."""
LEVELS = 24
"""Greys of the film: fewer take less room, and noise hides their steps."""
MARGIN, EDGE = 4, 0.05
"""Pixels kept around the head, and the share of the brightest line that still counts as head."""


def film(acquisition: Acquisition) -> Iterator[Html]:
    """Write the film of the projections, each as the detector sees the patient, and four views that need no script."""
    projections = np.asarray(acquisition.projections, dtype=np.float64)
    projections = projections[(slice(None), *_head(projections.sum(axis=0)))]
    limits = (0.0, max(float(np.percentile(projections, BRIGHTEST)), 1.0))
    tall = acquisition.row_size_mm / acquisition.pixel_size_mm
    rows, columns = projections.shape[1:]
    most = max(min(VIEWS, PIXELS // (rows * columns), len(projections)), 1)
    chosen = np.linspace(0, len(projections), most, endpoint=False).astype(int)
    width, height = 2 * columns, round(2 * rows * tall)
    greys = _grey(np.concatenate(list(projections[chosen])), limits, LEVELS)
    words = [
        {"words": f"{angle:.0f}°", **dict(zip(("left", "right"), view_marks(angle), strict=True))}
        for angle in acquisition.angles_deg[chosen].tolist()
    ]
    still = [_still(projections, acquisition.angles_deg, name, limits, (width, height)) for name in SHOWN_DEG]
    strip = element("img", src=_data_uri(greys), id="film-strip", alt="all projections, one after the other",
                    width=width, height=height * len(chosen))  # fmt: skip
    window = element("div", strip, class_="window", style=f"width:{width}px;height:{height}px")
    marks = (element("span", id="film-left", class_="left"), element("span", id="film-right", class_="right"))
    buttons = element(
        "div",
        element("button", "Play", type="button", id="film-play"),
        element("label", element("input", type="range", id="film-place", min=0, max=len(chosen) - 1, value=0,
                                 aria_label="view of the film")),
        element("span", id="film-angle"),
        class_="controls",
    )  # fmt: skip
    live = element("div", element("div", window, marks, class_="view"), buttons, id="film-controls", hidden=True)
    yield element("div", live, still, data_block("film-settings", words), class_="film")


def view_marks(angle_deg: float) -> tuple[str, str]:
    """Name the patient's directions at the left and right edge of a projection, by the angle of the detector.

    It is 0 at the back and 90 at the patient's left; the right of its image is (-cos angle, sin angle, 0) in LPS.
    """
    to_left, to_back = -np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    low, high, along = ("R", "L", to_left) if abs(to_left) > abs(to_back) else ("A", "P", to_back)
    return (low, high) if along > 0 else (high, low)


def nearest_view(angles_deg: npt.NDArray[np.float64], wanted_deg: float) -> int:
    """Find the view whose detector stands closest to an angle, modulo 360 degrees."""
    return int(np.argmin(np.abs((np.asarray(angles_deg) - wanted_deg + 180.0) % 360.0 - 180.0)))


def _still(
    projections: npt.NDArray[np.float64],
    angles_deg: npt.NDArray[np.float64],
    name: str,
    limits: tuple[float, float],
    size: tuple[int, int],
) -> Html:
    index = nearest_view(angles_deg, SHOWN_DEG[name])
    angle = float(angles_deg[index])
    left, right = view_marks(angle)
    picture = element(
        "img", src=_data_uri(_grey(enlarge(projections[index], 2), limits, 64)),
        alt=f"projection, {name}; left of the picture: {left}, right: {right}", width=size[0], height=size[1],
    )  # fmt: skip
    marks = element("span", left, class_="left"), element("span", right, class_="right")
    return element("div", picture, marks, element("small", f"{name}, {angle:.0f}°"), class_="view")


def _head(summed: npt.NDArray[np.float64]) -> tuple[slice, slice]:
    """Find the rows and columns that the head takes up in all views together."""
    found = []
    for axis in (1, 0):
        line = summed.mean(axis=axis)
        inside = np.flatnonzero(line > EDGE * line.max()) if line.max() > 0 else np.arange(len(line))
        found.append(slice(max(int(inside[0]) - MARGIN, 0), int(inside[-1]) + MARGIN + 1))
    return found[0], found[1]


def _grey(counts: npt.NDArray[np.float64], limits: tuple[float, float], levels: int) -> bytes:
    """Draw counts dark on white, as planar scintigrams are."""
    share = np.clip(counts / limits[1], 0.0, 1.0)
    return to_png_bytes(1.0 - colour(np.rint(share * (levels - 1)) / (levels - 1), GREY_COLOURS, (0.0, 1.0)))


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
