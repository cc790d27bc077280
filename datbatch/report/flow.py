"""The diagram of the way of studies, as an SVG drawing inside the page."""

from __future__ import annotations

from dataclasses import dataclass

from datbatch.archive.inclusion import NOT_INDICATED, SYSTEM_NOT_ELIGIBLE
from datbatch.archive.labels import ATYPICAL
from datbatch.errors import NotProjectionsError
from datbatch.report.hypertext import Html, element, join
from datbatch.report.tables import SET_NAMES, SPLITS, Flow

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
    lines += [f"{SHORT.get(code, code)}: {n}" for code, n in counts.items()]
    return Box(tuple(lines), "side")


def levels(flow: Flow) -> list[tuple[Box, Box | None]]:
    """Give the boxes of the main column, each with what leaves after it."""
    found: list[tuple[Box, Box | None]] = []
    if flow.files_found is not None:
        skipped = _coded("Files skipped", flow.files_skipped) if flow.files_skipped else None
        found.append((Box(("Files in the archive", f"n = {flow.files_found}")), skipped))
    excluded = _coded("Excluded", flow.excluded) if flow.excluded else Box(("Excluded: 0",), "side")
    found.append((Box(("Studies found", f"n = {flow.studies}")), excluded))
    failed = _coded("Failed", flow.failed) if flow.failed else Box(("Failed: 0",), "side")
    found.append((Box(("Eligible studies", f"n = {flow.eligible}")), failed))
    if flow.pending:
        started = flow.eligible - sum(flow.failed.values())
        found.append((Box(("Not failed", f"n = {started}")), Box((f"Not processed yet: {flow.pending}",), "side")))
    aside = Box((f"In no set (no label, or added later): {flow.without_split}",), "side")
    found.append((Box(("Processed", f"n = {flow.done}")), aside if flow.without_split else None))
    return found


def _box(box: Box, x: float, y: float, width: float) -> Html:
    """Draw a box with its text: centred in the main column, flush left at the side."""
    centred = box.kind != "side"
    texts = [
        element(
            "text",
            line,
            x=f"{x + width / 2:g}" if centred else f"{x + PADDING:g}",
            y=f"{y + PADDING + LINE * (position + 0.75):g}",
            text_anchor="middle" if centred else "start",
            class_="heading" if position == 0 else None,
        )
        for position, line in enumerate(box.lines)
    ]
    frame = element("rect", x=f"{x:g}", y=f"{y:g}", width=f"{width:g}", height=box.height, rx=4, class_=box.kind)
    return element("g", frame, texts)


def _arrow(points: tuple[tuple[float, float], ...]) -> Html:
    """Draw a line through the points with a head at its end, which is reached straight."""
    (x0, y0), (x1, y1) = points[-2:]
    length = max(abs(x1 - x0), abs(y1 - y0), 1e-9)
    dx, dy = (x1 - x0) / length, (y1 - y0) / length
    line = "M" + " L".join(f"{x:g} {y:g}" for x, y in (*points[:-1], (x1 - 6 * dx, y1 - 6 * dy)))
    wings = [
        (x1, y1),
        (x1 - 9 * dx - 5 * dy, y1 - 9 * dy + 5 * dx),
        (x1 - 9 * dx + 5 * dy, y1 - 9 * dy - 5 * dx),
    ]
    head = "M" + " L".join(f"{x:g} {y:g}" for x, y in wings) + " Z"
    return join((element("path", d=line, class_="line"), element("path", d=head, class_="head")))


def _sets(flow: Flow, top: float, trunk_x: float) -> tuple[list[Html], float]:
    """Draw the three sets beside each other under the main column."""
    drawn: list[Html] = []
    boxes = [
        Box(
            (SET_NAMES[name], f"n = {negative + positive}", f"{negative} negative, {positive} positive"),
            "set",
        )
        for name, (negative, positive) in ((name, flow.split[name]) for name in SPLITS)
    ]
    y = top + 2 * GAP
    for position, box in enumerate(boxes):
        x = MAIN_X + position * (SET_WIDTH + SET_GAP)
        middle = x + SET_WIDTH / 2
        drawn.append(_arrow(((trunk_x, top), (trunk_x, top + GAP), (middle, top + GAP), (middle, y))))
        drawn.append(_box(box, x, y, SET_WIDTH))
    return drawn, y + boxes[0].height


def draw(flow: Flow) -> Html:
    """Draw the flow of studies.

    Parameters
    ----------
    flow : Flow
        The numbers.

    Returns
    -------
    Html
        An `svg` element without references to anything outside.
    """
    drawn: list[Html] = []
    trunk = MAIN_X + SET_WIDTH / 2
    y = float(MAIN_X)
    previous_bottom: float | None = None
    for main, side in levels(flow):
        if previous_bottom is not None:
            drawn.append(_arrow(((trunk, previous_bottom), (trunk, y))))
        drawn.append(_box(main, MAIN_X, y, SET_WIDTH))
        bottom = y + main.height
        previous_bottom = bottom
        if side is not None:
            # What leaves branches off beside its box, so that a long list pushes the next level down.
            drawn.append(_arrow(((MAIN_X + SET_WIDTH, y + main.height / 2), (SIDE_X, y + main.height / 2))))
            drawn.append(_box(side, SIDE_X, y, SIDE_WIDTH))
            bottom = max(bottom, y + side.height)
        y = max(previous_bottom + GAP, bottom + 12)
    assert previous_bottom is not None
    end = previous_bottom
    if any(sum(pair) for pair in flow.split.values()):
        # Lines to the right-hand sets must pass below a side box.
        start = max(previous_bottom, y - GAP)
        if start > previous_bottom:
            drawn.append(element("path", d=f"M{trunk:g} {previous_bottom:g} L{trunk:g} {start:g}", class_="line"))
        boxes, end = _sets(flow, start, trunk)
        drawn += boxes
    height = max(end, y - GAP) + MAIN_X
    words = (
        f"Of {flow.studies} studies found, {sum(flow.excluded.values())} were excluded, "
        f"{sum(flow.failed.values())} failed and {flow.done} were processed."
    )
    svg = element(
        "svg",
        element("title", "Flow of studies"),
        element("desc", words),
        drawn,
        viewBox=f"0 0 {WIDTH} {height:g}",
        role="img",
        aria_label=f"Flow of studies. {words}",
        class_="flow",
    )
    return element("div", svg, class_="scroll", tabindex=0, role="region", aria_label="diagram")
