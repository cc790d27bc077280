"""HTML as values: every text is escaped unless it is markup already."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from typing import TypeAlias

PICTURE_DPI = 150
"""Pixels per inch of every picture; shown at 96 to the inch, so that its letters are as tall as the page's."""
VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})


class Html(str):
    """Text that is markup already and is not escaped again."""

    __slots__ = ()


Child: TypeAlias = "str | int | Iterable[Child] | None"


def escape(text: object) -> Html:
    """Give the text with the five characters that mean something in HTML replaced."""
    return text if isinstance(text, Html) else Html(html.escape(str(text), quote=True))


def with_code(text: str) -> list[Child]:
    """Mark what stands between backticks, as commands do in messages, as code."""
    return [element("code", part) if index % 2 else part for index, part in enumerate(text.split("`"))]


def _joined(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, (str, int)):
        return escape(child)
    return "".join(_joined(one) for one in child)


def element(tag: str, *children: Child, **attributes: object) -> Html:
    """Write one element.

    Parameters
    ----------
    tag : str
        Its name.
    *children : str, Html, int, None or iterables of these
        Text is escaped, `Html` passes, None vanishes.
    **attributes : object
        `class_` becomes class, other underscores become hyphens; None leaves the attribute out, True gives it
        without a value.
    """
    given = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        written = key.rstrip("_").replace("_", "-")
        given.append(f" {written}" if value is True else f' {written}="{escape(value)}"')
    opening = f"<{tag}{''.join(given)}>"
    if tag in VOID:
        return Html(opening)
    return Html(f"{opening}{_joined(children)}</{tag}>")


def join(parts: Iterable[Child]) -> Html:
    """Put parts after each other."""
    return Html(_joined(parts))


def picture(png: bytes, alternative: str, caption: Child, **attributes: object) -> Html:
    """Write a figure whose picture travels inside the page as a data URI."""
    # It scrolls sideways on a narrow screen: with the focus, by keyboard too.
    given = {"tabindex": 0, **attributes}
    return element("figure", inline_png(png, alternative), element("figcaption", caption), **given)


def inline_png(png: bytes, alternative: str) -> Html:
    """Write a picture alone as a data URI, `PICTURE_DPI` of its pixels to the inch."""
    # A PNG file says its width and height in bytes 16 to 24.
    width, height = (int.from_bytes(png[at : at + 4], "big") * 96 // PICTURE_DPI for at in (16, 20))
    source = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
    return element("img", src=source, alt=alternative, width=width, height=height)


def table(
    caption: Child,
    header: Sequence[Child],
    rows: Iterable[Sequence[Child]],
    *,
    text_columns: int = 1,
    empty: str = "None.",
    label: str = "table",
) -> Html:
    """Write a table that scrolls sideways on a narrow screen.

    Parameters
    ----------
    caption : str or Html
        Stands above the table.
    header : sequence
        One entry per column.
    rows : iterable of sequences
        The first cell of each row is its heading.
    text_columns : int
        Columns from the left that hold words; the others hold figures and are aligned right.
    empty : str
        What stands there when there is no row.
    label : str
        What a screen reader calls the region that scrolls.
    """
    written = []
    for row in rows:
        cells = [element("th", row[0], scope="row")]
        cells += [
            element("td", cell, class_="text" if column < text_columns else None)
            for column, cell in enumerate(row[1:], start=1)
        ]
        written.append(element("tr", cells))
    if not written:
        written.append(element("tr", element("td", empty, colspan=len(header), class_="text")))
    head = element(
        "tr",
        (
            element("th", name, scope="col", class_="text" if column < text_columns else None)
            for column, name in enumerate(header)
        ),
    )
    whole = element("table", element("caption", caption), element("thead", head), element("tbody", written))
    return element("div", whole, class_="scroll", tabindex=0, role="region", aria_label=label)
