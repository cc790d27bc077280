"""Pictures of one study's page: slices in the patient's own frame, their scales, and binding against normal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch import schema
from datbatch.imaging import Volume
from datbatch.report.parts.hypertext import Html, element, inline_png, join
from datbatch.report.parts.planes import (
    Convention,
    Marks,
    Plane,
    coronal_plane,
    patient_marks,
    store_volume,
    symmetric_limits,
    transaxial_plane,
    uptake_limits,
)
from datbatch.report.parts.raster import (
    GREY_COLOURS,
    HOT_IRON_COLOURS,
    OVERLAY_COLOURS,
    Colours,
    Rgb,
    blend,
    border,
    colour,
    enlarge,
    to_png_bytes,
)
from datbatch.report.parts.wording import number, scientific, signed
from datbatch.study.explained import StudyExplanation

HEIGHTS_MM = (-8.0, -2.0, 4.0, 10.0, 16.0)
"""Transaxial slices through putamen and caudate nucleus."""
DEPTH_MM = 4.0
"""Coronal slice through both."""
ENLARGED = 3
BORDER = 3
"""Voxels around the brain in every picture."""
VISIBLE, OPAQUE = 0.06, 0.4
"""Shares of the scale from which relevance shows through, and from which it hides the uptake below."""
GREY_SHARE = 0.8
"""Brightness of the uptake under relevance."""


@dataclass(frozen=True)
class Slice:
    """One place in uptake, relevance and atlas."""

    name: str
    uptake: Plane
    relevance: Plane
    striatum: Plane


def slices(study: StudyExplanation, convention: Convention) -> list[Slice]:
    """Cut the study in the patient's own frame: mirroring is undone, relevance positive for reduced uptake."""
    # The grid is symmetric about x = 0, so that a flip is exact.
    step = -1 if study.mirrored else 1
    striatum = np.any([study.atlas.mask(name) for name in schema.STRIATUM], axis=0)
    volumes = [
        around_brain(study.atlas.labels[::step] > 0, data[::step])
        for data in (study.uptake, study.orientation * study.relevance, striatum)
    ]
    found = [
        Slice(f"z = {height:g} mm", *(transaxial_plane(volume, height, convention) for volume in volumes))
        for height in HEIGHTS_MM
    ]
    return [
        *found,
        Slice(f"coronal, y = {DEPTH_MM:g} mm", *(coronal_plane(volume, DEPTH_MM, convention) for volume in volumes)),
    ]


def around_brain(brain: npt.NDArray[np.bool_], data: npt.NDArray[Any]) -> Volume:
    """Cut a volume to the head: what lies far around the brain only makes the pictures smaller."""
    box = []
    for axis in range(3):
        inside = np.flatnonzero(brain.any(axis=tuple(other for other in range(3) if other != axis)))
        low, high = (int(inside[0]), int(inside[-1])) if inside.size else (0, brain.shape[axis] - 1)
        box.append(slice(max(low - BORDER, 0), high + BORDER + 1))
    whole = store_volume(data)
    affine = whole.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [float(side.start) for side in box]
    return Volume(whole.data[tuple(box)], affine)


def uptake_row(study: StudyExplanation, cuts: list[Slice], convention: Convention) -> Html:
    """Show uptake, with its scale."""
    limits = uptake_limits([cut.uptake.image for cut in cuts])
    pictures = [colour(enlarge(cut.uptake.image, ENLARGED), HOT_IRON_COLOURS, limits) for cut in cuts]
    scale = _scale(limits, HOT_IRON_COLOURS, (number(0.0, 0), number(limits[1], 1)))
    return _row(study, cuts, pictures, "uptake", (scale, "uptake over the reference region"), convention)


def relevance_row(study: StudyExplanation, cuts: list[Slice], convention: Convention) -> Html:
    """Show relevance over grey uptake with the outline of the atlas's striatum, and its scale."""
    grey = uptake_limits([cut.uptake.image for cut in cuts])
    limits = symmetric_limits([cut.relevance.image for cut in cuts])
    pictures = []
    for cut in cuts:
        below = GREY_SHARE * colour(enlarge(cut.uptake.image, ENLARGED), GREY_COLOURS, grey)
        relevance = enlarge(cut.relevance.image, ENLARGED)
        opacity = (np.abs(relevance) / limits[1] - VISIBLE) / (OPAQUE - VISIBLE)
        picture = blend(below, colour(relevance, OVERLAY_COLOURS, limits), opacity)
        picture[border(cut.striatum.image > 0.5, ENLARGED)] = 1.0
        pictures.append(picture)
    scale = _scale(limits, OVERLAY_COLOURS, (scientific(limits[0], 1), scientific(limits[1], 1)))
    label = "relevance: left speaks for normal, right for reduced uptake"
    return _row(study, cuts, pictures, "relevance over uptake", (scale, label), convention)


def _row(
    study: StudyExplanation,
    cuts: list[Slice],
    pictures: list[Rgb],
    words: str,
    scale: tuple[Html, str],
    convention: Convention,
) -> Html:
    marks = patient_marks(study.mirrored)
    shown = [_tile(cut, picture, marks, words) for cut, picture in zip(cuts, pictures, strict=True)]
    caption = f"{words.capitalize()}, {convention} convention. L, R: the patient's sides."
    return element(
        "figure",
        element("div", shown, class_="slices"),
        element("div", scale[0], element("span", scale[1]), class_="scale"),
        element("figcaption", caption, class_="screen"),
    )


def _tile(cut: Slice, picture: Rgb, marks: Marks, words: str) -> Html:
    left, right = marks.on(cut.uptake)
    return element(
        "div",
        inline_png(to_png_bytes(picture), f"{words}, {cut.name}; left of the picture: {left}, right: {right}"),
        element("span", left[0], class_="left"),
        element("span", right[0], class_="right"),
        element("small", cut.name),
        class_="slice",
    )


def _scale(limits: tuple[float, float], colours: Colours, ends: tuple[str, str]) -> Html:
    bar = to_png_bytes(np.repeat(colour(np.linspace(*limits, 256)[np.newaxis], colours, limits), 12, axis=0))
    return join((element("span", ends[0]), inline_png(bar, "colour scale"), element("span", ends[1])))


LABEL_X, CHART_X, CHART_END, TEXT_X, WIDTH = 4, 210, 600, 614, 800
ROW_HEIGHT, TOP = 34, 12


def binding_chart(study: StudyExplanation, definition: str) -> Html:
    """Draw the binding ratios of one definition against their normal ranges, as SVG."""
    ratios = study.binding.binding_ratio[schema.DEFINITIONS.index(definition), 0]
    rows = list(_chart_rows(study, definition, ratios))
    known = [value for _, value, *normal in rows for value in (value, *normal[:3]) if np.isfinite(value)]
    low, high = min([0.0, *known]), max([1.0, *known]) * 1.05

    def x(value: float) -> float:
        return round(CHART_X + (CHART_END - CHART_X) * (value - low) / (high - low), 1)

    bottom = TOP + ROW_HEIGHT * len(rows)
    drawn: list[Html] = []
    for tick in range(int(np.ceil(low)), int(np.floor(high)) + 1):
        drawn.append(element("line", x1=x(tick), x2=x(tick), y1=TOP, y2=bottom, class_="grid"))
        drawn.append(element("text", tick, x=x(tick), y=bottom + 18, text_anchor="middle"))
    for place, (name, value, expected, lower, upper, z) in enumerate(rows):
        middle = TOP + ROW_HEIGHT * (place + 0.5)
        drawn.append(element("text", name, x=LABEL_X, y=middle + 5))
        if np.isfinite([expected, lower, upper]).all():
            size = {"x": x(lower), "width": round(x(upper) - x(lower), 1), "y": middle - 9, "height": 18}
            drawn.append(element("rect", **size, class_="normal"))
            drawn.append(element("line", x1=x(expected), x2=x(expected), y1=middle - 9, y2=middle + 9, class_="mean"))
        words = number(value)
        if np.isfinite(value):
            drawn.append(point(x(value), middle, value, lower, upper))
        if np.isfinite(z):
            words += f", z = {signed(z)}"
        drawn.append(element("text", words, x=TEXT_X, y=middle + 5))
    drawn.append(element("text", "specific binding ratio", x=CHART_END, y=bottom + 36, text_anchor="end"))
    return element(
        "svg", drawn, class_="binding", viewBox=f"0 0 {WIDTH} {bottom + 42}", role="img",
        aria_label="Binding ratios against the normal range; the figures stand in the table below.",
    )  # fmt: skip


def point(x: float, y: float, value: float, lower: float, upper: float) -> Html:
    """Draw a value; where it lies outside the normal range, in another colour."""
    outside = np.isfinite(lower) and not lower <= value <= upper
    return element("circle", cx=x, cy=y, r=6, class_="outside" if outside else "inside")


def _chart_rows(
    study: StudyExplanation, definition: str, ratios: npt.NDArray[np.float64]
) -> Iterator[tuple[str, float, float, float, float, float]]:
    for index, name in enumerate(schema.STRIATAL):
        nothing = (np.nan, np.nan, np.nan, np.nan)
        normal = nothing if study.comparison is None else study.comparison.of(f"{definition} {name}")[1:]
        yield (region_words(study, name), float(ratios[index]), *normal)


def region_words(study: StudyExplanation, region: str) -> str:
    """Name a region by the patient's side: "left putamen"."""
    structure = region.removesuffix("_ipsilateral").removesuffix("_contralateral").replace("_", " ")
    return f"{study.side(region)} {structure}".strip()
