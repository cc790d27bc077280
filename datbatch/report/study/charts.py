"""Charts of a study's page as SVG: binding against what is normal over age, and relevance by region."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from datbatch import schema
from datbatch.report.parts.hypertext import Html, element
from datbatch.report.parts.wording import signed
from datbatch.report.study.pictures import point, region_words
from datbatch.study.comparison import AgeCurve, Comparison
from datbatch.study.explained import StudyExplanation

PANEL = (270, 156)
"""Width and height of a panel."""
LEFT, RIGHT, TOP, BOTTOM = 34, 8, 26, 22


def age_panels(study: StudyExplanation, definition: str) -> Html | None:
    """Draw the binding of each striatal region at the study's age, by a definition, over the normal range by age.

    None where age is not known or the normal range does not depend on it.
    """
    comparison = study.comparison
    if comparison is None or comparison.over_age is None or comparison.person.age_years is None:
        return None
    at = [schema.MEASURES.index(f"{definition} {region}") for region in schema.STRIATUM]
    curve = comparison.over_age
    known = np.concatenate([curve.lower[:, at].ravel(), curve.upper[:, at].ravel(), comparison.value[at]])
    known = known[np.isfinite(known)]
    if known.size == 0:
        return None
    limits = (min(0.0, float(known.min())), max(1.0, float(known.max())) * 1.05)
    # Radiological order: the patient's right side comes first, as in the pictures.
    order = sorted(
        schema.STRIATUM, key=lambda region: (region.split("_")[0] != "putamen", study.side(region) == "left")
    )
    panels = [
        _panel(region_words(study, region), comparison, curve, f"{definition} {region}", limits) for region in order
    ]
    return element("div", panels, class_="panels")


def _panel(words: str, comparison: Comparison, curve: AgeCurve, measure: str, limits: tuple[float, float]) -> Html:
    column = schema.MEASURES.index(measure)
    value, _, lower, upper, z = comparison.of(measure)
    ages = curve.age_years
    first, last = float(ages[0]) - 2.0, float(ages[-1]) + 2.0
    width, height = PANEL

    def x(age: float) -> float:
        return round(LEFT + (width - LEFT - RIGHT) * (age - first) / (last - first), 1)

    def y(ratio: float) -> float:
        return round(height - BOTTOM - (height - TOP - BOTTOM) * (ratio - limits[0]) / (limits[1] - limits[0]), 1)

    drawn: list[Html] = []
    for tick in range(int(np.ceil(limits[0])), int(np.floor(limits[1])) + 1):
        drawn.append(element("line", x1=LEFT, x2=width - RIGHT, y1=y(tick), y2=y(tick), class_="grid"))
        drawn.append(element("text", tick, x=LEFT - 6, y=y(tick) + 4, text_anchor="end"))
    if np.isfinite(curve.lower[:, column]).all():
        upper_edge, lower_edge, middle = (
            [f"{x(a)},{y(v)}" for a, v in zip(ages, one[:, column], strict=True)]
            for one in (curve.upper, curve.lower, curve.expected)
        )
        drawn.append(element("polygon", points=" ".join(upper_edge + lower_edge[::-1]), class_="normal"))
        drawn.append(element("polyline", points=" ".join(middle), class_="mean"))
    drawn.append(element("line", x1=LEFT, x2=width - RIGHT, y1=height - BOTTOM, y2=height - BOTTOM, class_="axis"))
    for decade in range(int(np.ceil(first / 10)) * 10, int(last) + 1, 10):
        drawn.append(element("text", decade, x=x(decade), y=height - 7, text_anchor="middle"))
    told = words[0].upper() + words[1:]
    if np.isfinite(value):
        age = comparison.person.age_years
        assert age is not None
        drawn.append(point(x(min(age, schema.AGE_CAP_YEARS)), y(value), value, lower, upper))
        told += f": {value:.2f}"
        if np.isfinite(z):
            told += f", z = {signed(z)}"
    drawn.append(element("text", told, x=4, y=15, class_="name"))
    return element("svg", drawn, class_="chart", viewBox=f"0 0 {width} {height}", role="img", aria_label=told)


ROW, NAME_WIDTH, BAR_END, WIDTH = 24, 150, 610, 720
BARS = tuple(name for name in schema.REGIONS if name != schema.WHOLE_BRAIN)
"""Regions with a bar: all but the whole brain, which contains the others."""


def relevance_chart(study: StudyExplanation) -> Html:
    """Draw each region's share of the brain's relevance: what speaks for reduced uptake to the right."""
    rows = list(_shares(study))
    reach = max([0.05, *(max(up, down) for _, up, down in rows)])
    middle = (NAME_WIDTH + BAR_END) / 2
    scale = (BAR_END - NAME_WIDTH) / 2 / reach
    drawn: list[Html] = []
    for place, (name, up, down) in enumerate(rows):
        y = TOP + ROW * place
        drawn.append(element("text", name, x=4, y=y + 16))
        for share, start, kind in ((up, middle, "reduced"), (down, middle - down * scale, "intact")):
            drawn.append(
                element("rect", x=round(start, 1), width=round(share * scale, 1), y=y + 4, height=ROW - 8, class_=kind)
            )
        drawn.append(element("text", f"{_percent(down)} | {_percent(up)}", x=WIDTH - 2, y=y + 16, text_anchor="end"))
    bottom = TOP + ROW * len(rows)
    drawn.append(element("line", x1=middle, x2=middle, y1=TOP, y2=bottom, class_="axis"))
    drawn.append(element("text", "← speaks for normal uptake", x=middle - 8, y=16, text_anchor="end"))
    drawn.append(element("text", "speaks for reduced uptake →", x=middle + 8, y=16))
    return element(
        "svg", drawn, class_="chart relevance", viewBox=f"0 0 {WIDTH} {bottom + 4}", role="img",
        aria_label="Share of the brain's relevance by region; the figures stand in the table below.",
    )  # fmt: skip


def _shares(study: StudyExplanation) -> Iterator[tuple[str, float, float]]:
    """Give each region's shares of the brain's magnitude: for reduced, and for normal uptake."""
    found = masses(study)
    total = float(found[schema.REGIONS.index(schema.WHOLE_BRAIN)].sum())
    for name in BARS:
        up, down = (found[schema.REGIONS.index(name)] / total).tolist() if total > 0 else (0.0, 0.0)
        words = "reference region" if name == schema.REFERENCE else region_words(study, name)
        yield words, float(np.nan_to_num(up)), float(np.nan_to_num(down))


def masses(study: StudyExplanation) -> npt.NDArray[np.float64]:
    """Give the magnitude of relevance for reduced and for normal uptake, shape (region, 2)."""
    signs = [schema.STATISTICS.index(name) for name in (schema.POSITIVE_MASS, schema.NEGATIVE_MASS)]
    return np.asarray(np.abs(study.regional[:, signs[:: study.orientation]]))


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.005 or share == 0 else "< 1 %"
