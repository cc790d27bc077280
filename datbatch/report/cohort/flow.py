"""The diagram of the way of studies (STARD 2015): laid out once, drawn inside the page and for print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon

from datbatch import schema
from datbatch.archive.inclusion import NOT_INDICATED, SYSTEM_NOT_ELIGIBLE
from datbatch.archive.labels import ATYPICAL
from datbatch.errors import NotProjectionsError
from datbatch.report.cohort.classification import OUTCOME_NAMES
from datbatch.report.cohort.tables import SET_NAMES, Flow
from datbatch.report.parts.figures import TEXT
from datbatch.report.parts.hypertext import Html, element, join

WIDTH = 640
MAIN_X = 10
SET_GAP = 14
SET_WIDTH = (WIDTH - 2 * MAIN_X - 2 * SET_GAP) / 3
SIDE_X = MAIN_X + SET_WIDTH + 40
SIDE_WIDTH = WIDTH - MAIN_X - SIDE_X
LINE, PADDING, GAP = 20, 12, 26
SHORT = {
    NOT_INDICATED: "I1 other indication",
    SYSTEM_NOT_ELIGIBLE: "I2 system not eligible",
    ATYPICAL: "atypical reduction",
    NotProjectionsError.code: "I3 no raw projections",
}
"""Words that the diagram uses for codes that belong to the paper's inclusion criteria."""


@dataclass(frozen=True)
class Box:
    """A box with its text; the first line is its heading."""

    lines: tuple[str, ...]
    kind: str = "main"

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return 2 * PADDING + LINE * len(self.lines)


def _coded(heading: str, counts: dict[str, int]) -> Box:
    lines = [f"{heading}: {sum(counts.values())}"]
    lines += [f"{SHORT.get(code, code.replace('-', ' '))}: {n}" for code, n in counts.items()]
    return Box(tuple(lines), "side")


def levels(flow: Flow) -> list[tuple[Box, Box | None]]:
    """Give the boxes of the main column, each with what leaves after it."""
    found: list[tuple[Box, Box | None]] = []
    if flow.files_found is not None:
        skipped = _coded("Files skipped", flow.files_skipped) if flow.files_skipped else None
        found.append((Box(("Files in the archive", f"n = {flow.files_found}")), skipped))
    excluded = _coded("Excluded", flow.excluded) if flow.excluded else Box(("Excluded: 0",), "side")
    elsewhere = (f"{flow.imported} imported",) if flow.imported else ()
    found.append((Box(("Studies found", f"n = {flow.studies}", *elsewhere)), excluded))
    failed = _coded("Failed", flow.failed) if flow.failed else Box(("Failed: 0",), "side")
    found.append((Box(("Eligible studies", f"n = {flow.eligible}")), failed))
    if flow.pending:
        started = flow.eligible - sum(flow.failed.values())
        found.append((Box(("Not failed", f"n = {started}")), Box((f"Not processed yet: {flow.pending}",), "side")))
    aside = Box((f"In no set (no label, or added later): {flow.without_split}",), "side")
    found.append((Box(("Processed", f"n = {flow.done}")), aside if flow.without_split else None))
    return found


@dataclass(frozen=True)
class Rectangle:
    """A frame; `kind` says how it looks."""

    x: float
    y: float
    width: float
    height: float
    kind: str


@dataclass(frozen=True)
class Words:
    """A line of text, in the middle of `x` or from it on."""

    x: float
    y: float
    text: str
    centred: bool
    heading: bool


@dataclass(frozen=True)
class Line:
    """A line through points, with a head at its end or without."""

    points: tuple[tuple[float, float], ...]
    head: bool = True

    @property
    def wings(self) -> tuple[tuple[float, float], ...]:
        """The head: a triangle whose first corner is the line's end, which is reached straight."""
        (x0, y0), (x1, y1) = self.points[-2:]
        length = max(abs(x1 - x0), abs(y1 - y0), 1e-9)
        dx, dy = (x1 - x0) / length, (y1 - y0) / length
        return ((x1, y1), (x1 - 9 * dx - 5 * dy, y1 - 9 * dy + 5 * dx), (x1 - 9 * dx + 5 * dy, y1 - 9 * dy - 5 * dx))

    @property
    def shaft(self) -> tuple[tuple[float, float], ...]:
        """The points of the line alone: it ends inside the head."""
        if not self.head:
            return self.points
        (x1, y1), one, other = self.wings
        back = ((one[0] + other[0]) / 2 - x1, (one[1] + other[1]) / 2 - y1)
        return (*self.points[:-1], (x1 + 6 / 9 * back[0], y1 + 6 / 9 * back[1]))


Shape: TypeAlias = "Rectangle | Words | Line"


@dataclass(frozen=True)
class Diagram:
    """All shapes, from the top left, in pixels."""

    shapes: tuple[Shape, ...]
    height: float
    words: str
    """The same in a sentence."""


def _box(box: Box, x: float, y: float, width: float) -> list[Shape]:
    """Draw a box with its text: centred in the main column, flush left at the side."""
    centred = box.kind != "side"
    at = x + width / 2 if centred else x + PADDING
    texts = [
        Words(at, y + PADDING + LINE * (position + 0.75), line, centred, position == 0)
        for position, line in enumerate(box.lines)
    ]
    return [Rectangle(x, y, width, box.height, box.kind), *texts]


def _sets(flow: Flow, outcomes: Sequence[str], top: float, trunk_x: float) -> tuple[list[Shape], float]:
    """Draw the three sets beside each other under the main column, and what the network said of the test set."""
    drawn: list[Shape] = []
    boxes = [
        Box((SET_NAMES[name], f"n = {negative + positive}", f"{negative} negative, {positive} positive"), "set")
        for name, (negative, positive) in ((name, flow.split[name]) for name in schema.SPLITS)
    ]
    y = top + 2 * GAP
    bottom = y + boxes[0].height
    for position, box in enumerate(boxes):
        x = MAIN_X + position * (SET_WIDTH + SET_GAP)
        middle = x + SET_WIDTH / 2
        drawn.append(Line(((trunk_x, top), (trunk_x, top + GAP), (middle, top + GAP), (middle, y))))
        drawn += _box(box, x, y, SET_WIDTH)
    if not any(outcomes):
        return drawn, bottom
    # As STARD asks: what the index test said, and of these what the standard of truth is.
    calls = []
    for call, pair in (("negative", ("TN", "FN")), ("positive", ("TP", "FP"))):
        numbers = [list(outcomes).count(one) for one in pair]
        named = [f"{n} {OUTCOME_NAMES[one]}" for n, one in zip(numbers, pair, strict=True)]
        calls.append(Box((f"Network: {call}", f"n = {sum(numbers)}", *named), "set"))
    trunk = MAIN_X + 2 * (SET_WIDTH + SET_GAP) + SET_WIDTH / 2
    top, y = bottom, bottom + 2 * GAP
    for position, box in enumerate(calls):
        x = MAIN_X + (position + 1) * (SET_WIDTH + SET_GAP)
        middle = x + SET_WIDTH / 2
        bend = () if middle == trunk else ((trunk, top + GAP), (middle, top + GAP))
        drawn.append(Line(((trunk, top), *bend, (middle, y))))
        drawn += _box(box, x, y, SET_WIDTH)
    return drawn, y + calls[0].height


def counts(flow: Flow, outcomes: Sequence[str] = ()) -> pd.DataFrame:
    """Give the diagram's numbers as a table: step, what it counts, studies or files."""
    rows: list[tuple[str, str, int]] = []
    if flow.files_found is not None:
        rows.append(("files", "found", flow.files_found))
    rows += [("files skipped", code, n) for code, n in flow.files_skipped.items()]
    rows.append(("studies", "found", flow.studies))
    rows += [("studies", "reconstructed elsewhere", flow.imported)] if flow.imported else []
    rows += [("excluded", code, n) for code, n in flow.excluded.items()]
    rows.append(("studies", "eligible", flow.eligible))
    rows += [("failed", code, n) for code, n in flow.failed.items()]
    rows += [("studies", "not processed yet", flow.pending), ("studies", "processed", flow.done)]
    rows.append(("studies", "in no set", flow.without_split))
    for name in schema.SPLITS:
        rows += [(f"{name} set", label, n) for label, n in zip(schema.LABELS, flow.split[name], strict=True)]
    if any(outcomes):
        rows += [("test set by the network", name, list(outcomes).count(name)) for name in ("TN", "FN", "FP", "TP")]
    return pd.DataFrame(rows, columns=["step", "what", "n"])


def diagram(flow: Flow, outcomes: Sequence[str] = ()) -> Diagram:
    """Lay out the flow of studies.

    Parameters
    ----------
    flow : Flow
        The numbers.
    outcomes : sequence of str
        TN, TP, FN, FP or empty for each study; none without a model.
    """
    drawn: list[Shape] = []
    trunk = MAIN_X + SET_WIDTH / 2
    y = float(MAIN_X)
    previous_bottom: float | None = None
    for main, side in levels(flow):
        if previous_bottom is not None:
            drawn.append(Line(((trunk, previous_bottom), (trunk, y))))
        drawn += _box(main, MAIN_X, y, SET_WIDTH)
        bottom = y + main.height
        previous_bottom = bottom
        if side is not None:
            # What leaves branches off beside its box, so that a long list pushes the next level down.
            drawn.append(Line(((MAIN_X + SET_WIDTH, y + main.height / 2), (SIDE_X, y + main.height / 2))))
            drawn += _box(side, SIDE_X, y, SIDE_WIDTH)
            bottom = max(bottom, y + side.height)
        y = max(previous_bottom + GAP, bottom + 12)
    assert previous_bottom is not None
    end = previous_bottom
    if any(sum(pair) for pair in flow.split.values()):
        # Lines to the right-hand sets must pass below a side box.
        start = max(previous_bottom, y - GAP)
        if start > previous_bottom:
            drawn.append(Line(((trunk, previous_bottom), (trunk, start)), head=False))
        boxes, end = _sets(flow, outcomes, start, trunk)
        drawn += boxes
    words = (
        f"Of {flow.studies} studies found, {sum(flow.excluded.values())} were excluded, "
        f"{sum(flow.failed.values())} failed and {flow.done} were processed."
    )
    return Diagram(tuple(drawn), max(end, y - GAP) + MAIN_X, words)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + " L".join(f"{x:g} {y:g}" for x, y in points)


def _element(shape: Shape) -> Html:
    if isinstance(shape, Rectangle):
        return element(
            "rect", x=f"{shape.x:g}", y=f"{shape.y:g}", width=f"{shape.width:g}", height=f"{shape.height:g}", rx=4,
            class_=shape.kind,
        )  # fmt: skip
    if isinstance(shape, Words):
        return element(
            "text", shape.text, x=f"{shape.x:g}", y=f"{shape.y:g}", text_anchor="middle" if shape.centred else "start",
            class_="heading" if shape.heading else None,
        )  # fmt: skip
    head = element("path", d=_path(shape.wings) + " Z", class_="head") if shape.head else None
    return join((element("path", d=_path(shape.shaft), class_="line"), head))


def inline_svg(found: Diagram) -> Html:
    """Write the diagram as a drawing whose words are words, without references to anything outside."""
    svg = element(
        "svg",
        element("title", "Flow of studies"),
        element("desc", found.words),
        map(_element, found.shapes),
        viewBox=f"0 0 {WIDTH} {found.height:g}",
        role="img",
        aria_label=f"Flow of studies. {found.words}",
        class_="flow",
    )
    return element("div", svg, class_="scroll", tabindex=0, role="region", aria_label="diagram")


def draw(found: Diagram) -> Figure:
    """Draw the same for print."""
    looks = {"main": ("white", "#3c4147"), "side": ("#f4f5f7", "#8a8f96"), "set": ("#eaf3fa", "#00558c")}
    # 96 pixels of the page to the inch.
    with rc_context(TEXT):
        figure = Figure(figsize=(WIDTH / 96, found.height / 96))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, WIDTH)
        axes.set_ylim(found.height, 0)
        for shape in found.shapes:
            if isinstance(shape, Rectangle):
                face, edge = looks[shape.kind]
                axes.add_patch(
                    FancyBboxPatch(
                        (shape.x, shape.y), shape.width, shape.height, boxstyle="round,pad=0,rounding_size=4",
                        facecolor=face, edgecolor=edge, linewidth=0.9,
                    )
                )  # fmt: skip
            elif isinstance(shape, Words):
                axes.text(
                    shape.x, shape.y, shape.text, size=8.5, ha="center" if shape.centred else "left", va="baseline",
                    weight="bold" if shape.heading else "normal",
                )  # fmt: skip
            else:
                axes.plot(*zip(*shape.shaft, strict=True), color="#3c4147", linewidth=1.0, solid_capstyle="butt")
                if shape.head:
                    axes.add_patch(Polygon(shape.wings, closed=True, color="#3c4147", linewidth=0))
        return figure
