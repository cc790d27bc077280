"""The frame of every page: one HTML file that needs nothing else."""

from __future__ import annotations

from datbatch.report.parts.hypertext import Html, element
from datbatch.report.parts.style import CSS

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Content security policy: the page loads nothing and runs no script."""


def document(title: str, body: Html, css: str = "", policy: str = POLICY) -> str:
    """Write a page around its body; `css` comes after the common style sheet."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", Html(CSS + css)),
    )
    return "<!DOCTYPE html>\n" + element("html", head, body, lang="en") + "\n"
