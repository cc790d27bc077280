"""`datbatch export`: results for people and for other tools."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from datbatch.commands.command import (
    EXIT_FAILED_STUDIES,
    EXIT_OK,
    Answer,
    add_command,
    describe,
    location,
    model_option,
    path,
)

if TYPE_CHECKING:
    from datbatch.cohort.views.results import StudyResults
    from datbatch.export import Exported
    from datbatch.export.run import Which

# The default is the patient's own left and right: an image without its store must not mislead.
FRAMES = (
    ("--as-acquired", "as-acquired", "in MNI space, the patient's left is left (default)"),
    ("--own-space", "own-space", "in the study's own space before normalisation, interpolated"),
    ("--mirrored", "ipsilateral-left", "in MNI space, the side of lower putamen binding is left, as in the store"),
)


def add(parsers: Any) -> None:
    """Describe `export pages|nifti|bids|tables|dicom`; all but tables come as one or more files for each study."""
    words = "write results for people and other tools: pages, NIfTI, BIDS derivatives, tables, DICOM"
    made = describe(parsers, "export", words, "datbatch export nifti cohort.zarr --output nifti")
    formats = made.add_subparsers(title="formats", metavar="FORMAT", required=True)
    for name, function, words in (
        ("pages", export_pages, "a page for each study, to read on a screen or on one sheet of paper"),
        ("nifti", export_images, "uptake and relevance as NIfTI images"),
        ("bids", export_images, "the same in the layout of BIDS derivatives, with side files"),
        ("tables", export_tables, "every figure of the store as CSV or Parquet, with a data dictionary"),
        ("dicom", export_dicom, "parametric maps, structured report and summary picture, for PACS"),
    ):
        made = add_command(formats, name, function, words, f"datbatch export {name} cohort.zarr --output {name}")
        made.set_defaults(format=name)
        made.add_argument("cohort", type=location)
        made.add_argument("--output", type=path, required=True, help="folder to write to; whole files are replaced")
        made.add_argument("--study", action="append", metavar="ID", help="only this pseudonym (can be given again)")
        model_option(made)
        if name == "tables":
            made.add_argument("--kind", choices=("csv", "parquet"), default="csv", help="form (default: csv)")
            continue
        made.add_argument("--missing-only", action="store_true", help="keep the files that are there already")
        if name == "pages":
            continue
        frame = made.add_mutually_exclusive_group()
        for option, kept, words in FRAMES[: 2 if name == "dicom" else 3]:
            frame.add_argument(option, dest="frame", action="store_const", const=kept, default=FRAMES[0][1], help=words)
        if name == "dicom":
            words = "take patient and study from the original files (or one file): the objects then NAME THE PATIENT"
            made.add_argument("--dicom-source", type=path, metavar="ARCHIVE", help=words)


def export_images(options: argparse.Namespace) -> Answer:
    """Export NIfTI or a BIDS data set."""
    from datbatch.export import export_bids, export_nifti

    export = {"nifti": export_nifti, "bids": export_bids}[options.format]
    return export_answer(export(options.cohort, options.output, frame=options.frame, **_which(options)))


def export_tables(options: argparse.Namespace) -> Answer:
    """Export the tables."""
    from datbatch.cohort.views.query import open_cohort
    from datbatch.export import write_tables

    files = write_tables(
        open_cohort(options.cohort), options.output, kind=options.kind, model=options.model, studies=options.study
    )
    return Answer("\n".join(map(str, files)), {"files": [str(file) for file in files]})


def export_pages(options: argparse.Namespace) -> Answer:
    """Export a page for each study."""
    from datbatch.archive.origin import read_origin
    from datbatch.cohort.views.query import open_cohort
    from datbatch.errors import StoreError
    from datbatch.export import export_pages
    from datbatch.report.study.page import study_page
    from datbatch.report.study.stored import StoredStudies

    try:
        archive = read_origin(options.cohort).archive
    except StoreError:
        # A store without its companion files: its pages have no projections.
        archive = None
    stored = StoredStudies(open_cohort(options.cohort), options.cohort, model=options.model, archive=archive)

    def page(results: StudyResults) -> str:
        return study_page(stored.explained(results))

    return export_answer(export_pages(options.cohort, options.output, page, **_which(options)))


def export_dicom(options: argparse.Namespace) -> Answer:
    """Export DICOM objects."""
    from datbatch.export import export_dicom
    from datbatch.report.study.figure import draw_summary

    if options.dicom_source is not None:
        words = "these files NAME THE PATIENTS, as the originals do. Keep them where identified data may be."
        print(f"datbatch: {words}", file=sys.stderr)
    made = export_dicom(
        options.cohort, options.output, draw_summary, frame=options.frame, source=options.dicom_source,
        **_which(options),
    )  # fmt: skip
    return export_answer(made)


def _which(options: argparse.Namespace) -> Which:
    """Give the arguments of every export of single studies."""
    given = {"studies": options.study, "model": options.model, "missing_only": options.missing_only}
    return {**given, "quiet": options.quiet}  # type: ignore[typeddict-item]


def export_answer(done: Exported) -> Answer:
    """Say what an export did."""
    lines = [
        f"{done.studies} studies: {done.written} written now, {done.kept} kept, {len(done.failed)} failed",
        *(f"  {study}  {code}" for study, code in sorted(done.failed.items())),
        str(done.folder),
    ]
    return Answer("\n".join(lines), asdict(done), EXIT_FAILED_STUDIES if done.failed else EXIT_OK)
