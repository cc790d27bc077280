"""The frame of every page: one HTML file that needs nothing else."""

from __future__ import annotations

import importlib.resources

from datbatch.report.parts.hypertext import Html, element

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Content security policy: the page loads nothing and runs no script."""


def document(title: str, body: Html, *sheets: str, policy: str = POLICY) -> str:
    """Write a page around its body; the style sheets named come after `page.css`.

    Their text sizes are in rem, so that a reader's own settings count; the contrast of every text is at least 4.5 to 1.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", Html("".join(f"\n{shipped(name).decode()}" for name in ("page.css", *sheets)))),
    )
    return "<!DOCTYPE html>\n" + element("html", head, body, lang="en") + "\n"


def shipped(name: str) -> bytes:
    """Read a style sheet or a script that is shipped with datbatch and travels inside the pages."""
    return (importlib.resources.files("datbatch.report") / "viewer" / name).read_bytes()
