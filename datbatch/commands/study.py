"""`datbatch study`: one study, without store or cluster."""

from __future__ import annotations

import argparse
from typing import Any

from datbatch.commands.command import NOTICE, Answer, add_command, path


def add(parsers: Any) -> None:
    """Describe the command."""
    words = "explain one study, without store or cluster"
    example = "datbatch study projections.dcm --model cohort.models/compact-1a2b3c4d"
    made = add_command(parsers, "study", study, words, example)
    made.add_argument("dicom", type=path, nargs="+", help="the study's DICOM files")
    made.add_argument("--model", type=path, required=True, help="folder of a trained model")
    made.add_argument("--output", type=path, metavar="FOLDER", help="write page, volumes and figures into a new folder")
    made.add_argument("--age", type=_age, metavar="YEARS", help="for the normal range (default: the header's)")
    made.add_argument("--sex", choices=("F", "M"), help="for the normal range (default: the header's)")
    made.add_argument("--site", help="site of the cohort that the study comes from (default: another)")
    made.add_argument("--picture", type=path, help="write uptake and relevance as a PNG picture")


def _age(text: str) -> float:
    try:
        years = float(text)
    except ValueError:
        years = 0.0
    if not 0.0 < years <= 120.0:
        raise argparse.ArgumentTypeError(f"must be over 0 and at most 120 years, not {text!r}")
    return years


def study(options: argparse.Namespace) -> Answer:
    """Explain one study."""
    from datbatch.study.explain import explain_study

    if options.output is not None:
        from datbatch.report.study.folder import check_folder

        check_folder(options.output)
    explained = explain_study(
        options.dicom, options.model, age_years=options.age, sex=options.sex or "", site=options.site or ""
    )
    values, page = explained.summary(), ""
    if options.output is not None:
        from datbatch.report import write_study

        values["page"] = str(write_study(explained, options.output))
        page = f"{values['page']}\n"
    if options.picture is not None:
        from datbatch.report import write_study_picture

        write_study_picture(explained, options.picture, sign=explained.orientation)
    return Answer(f"{explained.text()}\n{page}{NOTICE}", values)
