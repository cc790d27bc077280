"""Make `build/docs`: every page as HTML, and the reference from the docstrings. Needs no network."""

from __future__ import annotations

import re
import shutil
import sys
from importlib import import_module
from pathlib import Path

import markdown2
import pdoc
import pdoc.render

ROOT = Path(__file__).parent.parent
MODULES = (
    "datbatch",
    "datbatch.accessor",
    "datbatch.archive",
    "datbatch.classifier",
    "datbatch.cohort.views.query",
    "datbatch.schema",
    "datbatch.cohort.views.arrays",
    "datbatch.config",
    "datbatch.errors",
    "datbatch.study.explain",
    "datbatch.export",
    "datbatch.imaging",
    "datbatch.norms",
    "datbatch.relevance",
)
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>body{{max-width:60rem;margin:2rem auto;padding:0 1rem;font:16px/1.5 sans-serif}}
table{{border-collapse:collapse;font-size:.9em}}td,th{{border:1px solid #ccc;padding:.2rem .5rem;text-align:left;
vertical-align:top}}pre{{background:#f4f5f7;padding:.6rem;overflow:auto}}</style>
<p><a href="README.html">datbatch, documentation</a> · <a href="reference/index.html">reference</a></p>
{body}</html>"""


def build(target: Path) -> None:
    """Write all pages to a folder, which is replaced."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in sorted((ROOT / "docs").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        body = markdown2.markdown(text, extras=["tables", "fenced-code-blocks", "header-ids"])
        # Pages link each other as files of the repository do.
        body = re.sub(r'href="([\w-]+)\.md(#[\w-]+)?"', r'href="\1.html\2"', body)
        page = PAGE.format(title=text.splitlines()[0].lstrip("# "), body=body)
        (target / f"{path.stem}.html").write_text(page, encoding="utf-8")
    for picture in (ROOT / "docs").glob("*.png"):
        shutil.copy(picture, target)
    for name in MODULES:
        module = import_module(name)
        # Public names load on first use: here all of them are wanted.
        for public in getattr(module, "__all__", ()):
            setattr(module, public, getattr(module, public))
    pdoc.render.configure(docformat="numpy", show_source=False)
    pdoc.pdoc(*MODULES, output_directory=target / "reference")


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "docs")
