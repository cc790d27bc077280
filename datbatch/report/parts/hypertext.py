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


def marked(text: str, tag: str = "code") -> list[Child]:
    """Put what stands between backticks, as commands do in messages, into elements."""
    return [element(tag, part) if index % 2 else part for index, part in enumerate(text.split("`"))]


def stacked(first: Child, *below: Child) -> Html:
    """Write a cell with what stands below it in small letters; None is left out."""
    return join((first, *(element("small", one) for one in below if one is not None)))


def _joined(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, (str, int)):
        return escape(child)
    return "".join(_joined(one) for one in child)


def element(tag: str, *children: Child, **attributes: object) -> Html:
    """Write one element: text among its children is escaped, `Html` passes as it is, None is left out.

    Of the attributes `class_` becomes class, other underscores become hyphens; None or False leaves one out, True gives
    it without a value.
    """
    opening = f"<{tag}"
    for key, value in attributes.items():
        if value is not None and value is not False:
            name = key.rstrip("_").replace("_", "-")
            opening += f" {name}" if value is True else f' {name}="{escape(value)}"'
    return Html(f"{opening}>" if tag in VOID else f"{opening}>{_joined(children)}</{tag}>")


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

    The first cell of each row is its heading. The first `text_columns` hold words; the others hold figures and are
    aligned right. `empty` stands in the place of rows where there are none; a screen reader reads `label`.
    """
    classes = ["text" if column < text_columns else None for column in range(len(header))]
    written = [
        element(
            "tr",
            element("th", row[0], scope="row"),
            (element("td", cell, class_=kind) for cell, kind in zip(row[1:], classes[1:], strict=True)),
        )
        for row in rows
    ]
    if not written:
        written.append(element("tr", element("td", empty, colspan=len(header), class_="text")))
    titles = (element("th", name, scope="col", class_=kind) for name, kind in zip(header, classes, strict=True))
    head = element("thead", element("tr", titles))
    whole = element("table", element("caption", caption), head, element("tbody", written))
    return element("div", whole, class_="scroll", tabindex=0, role="region", aria_label=label)
