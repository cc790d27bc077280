"""`datbatch report` and `explore`: a cohort as pages."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import Any

from datbatch.commands.command import (
    EXIT_FAILED_STUDIES,
    EXIT_OK,
    NOTICE,
    Answer,
    cohort_command,
    model_option,
    path,
    positive,
)  # fmt: skip
from datbatch.location import output_beside


def add(parsers: Any) -> None:
    """Describe the commands."""
    made = cohort_command(parsers, report, "write figures and tables: a page and a folder")
    model_option(made)
    made.add_argument("--output", type=path, help="file to write (default: COHORT.report.html)")

    made = cohort_command(parsers, explore, "show the whole cohort in a browser, offline: a folder of static files")
    model_option(made)
    made.add_argument("--output", type=path, metavar="FOLDER", help="folder to write (default: COHORT.explorer)")
    words = "studies whose planes can be looked at, most worth a look first; about 0.1 MB each (default: up to 10000)"
    made.add_argument("--volumes", type=_volumes, metavar="all|none|N", help=words)


def _volumes(text: str) -> int:
    if text in ("all", "none"):
        return sys.maxsize if text == "all" else 0
    return positive(text)


def report(options: argparse.Namespace) -> Answer:
    """Write the report."""
    from datbatch.cohort.views.query import open_cohort
    from datbatch.report import write_report
    from datbatch.report.cohort.pages import report_folder

    output = options.output or output_beside(options.cohort, "report.html")
    page = write_report(open_cohort(options.cohort), output, model=options.model, quiet=options.quiet)
    folder = report_folder(page)
    text = f"{page}\n{folder}  figures (SVG, PNG, CSV), tables, volumes, methods.md, references.bib\n{NOTICE}"
    return Answer(text, {"report": str(page), "folder": str(folder)})


def explore(options: argparse.Namespace) -> Answer:
    """Write the explorer."""
    from datbatch.cohort.views.query import open_cohort
    from datbatch.report.explorer import size_beforehand, write_explorer

    cohort = open_cohort(options.cohort)
    if not options.quiet:
        print(f"datbatch: {size_beforehand(cohort, options.volumes)}", file=sys.stderr)
    output = options.output or output_beside(options.cohort, "explorer")
    written = write_explorer(cohort, output, model=options.model, volumes=options.volumes, quiet=options.quiet)
    lines = [f"{written.studies} studies, {written.volumes} with planes, {written.size_bytes / 1e6:.1f} MB"]
    lines += [f"  {study}  {code}" for study, code in sorted(written.failed.items())]
    lines += [str(written.page), f"Open it in a browser; it needs no server and no network. {NOTICE}"]
    return Answer("\n".join(lines), asdict(written), EXIT_FAILED_STUDIES if written.failed else EXIT_OK)
