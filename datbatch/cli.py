"""The command line: which commands there are, what they take, and how errors end."""

from __future__ import annotations

import argparse
import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from datbatch import __version__, commands, config_command
from datbatch.commands import EXIT_ERROR, NOTICE, SIMULATED_TEMPLATE_STUDIES, TEMPLATE_STUDIES, Answer
from datbatch.completion import SHELLS
from datbatch.errors import MAKE_ROOM, ConfigurationError, DatbatchError, StoreError, Terminated
from datbatch.location import Location, failure_of_storage, parse_location

EXIT_USAGE, EXIT_INTERRUPTED, EXIT_TERMINATED = 2, 130, 143
EPILOG = f"""exit codes: 0 all well; 1 error; 2 wrong usage; 3 finished, but studies failed (see `datbatch failures`);
130 interrupted, 143 told to end, as at a walltime (call again to resume). {NOTICE}"""

DEMO_STUDIES = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    options = build_parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        answer = _called(options)
    except DatbatchError as error:
        if options.json:
            print(json.dumps({"error": error.code, "reason": error.reason, "remedy": error.advice}))
        # Paths may hold names: they are shown here, on the operator's terminal, and nowhere else.
        paths = getattr(options, "dicom", ())[:1]
        if isinstance(error, StoreError) and getattr(options, "cohort", None) is not None:
            paths = [options.cohort]
        where = "".join(f"{path}: " for path in paths)
        print(f"datbatch: {where}{error.reason} [{error.code}]\n  What to do: {error.advice}", file=sys.stderr)
        return EXIT_USAGE if isinstance(error, ConfigurationError) else EXIT_ERROR
    except OSError as error:
        reason, remedy = error.strerror or type(error).__name__, _remedy(error)
        if options.json:
            print(json.dumps({"error": "system", "reason": reason, "remedy": remedy}))
        # A write that failed bears no name.
        where = error.filename or getattr(options, "cohort", "")
        print(f"datbatch: {where}: {reason} [system]\n  What to do: {remedy}", file=sys.stderr)
        return EXIT_ERROR
    except Terminated:
        print(
            "\ndatbatch: told to end; what was under way had some seconds to finish, and what is done is kept. "
            "Call the same command again to resume.",
            file=sys.stderr,
        )
        return EXIT_TERMINATED
    except KeyboardInterrupt:
        print(
            "\ndatbatch: interrupted; what is done is kept. Call the same command again to resume.",
            file=sys.stderr,
        )
        return EXIT_INTERRUPTED
    try:
        print(json.dumps(answer.values, indent=1, default=str) if options.json else answer.text, flush=True)
    except BrokenPipeError:
        # Who reads has seen enough, as `head` does; the interpreter must not try again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return answer.code


def build_parser() -> argparse.ArgumentParser:
    """Describe all commands."""
    parser = argparse.ArgumentParser(
        prog="datbatch",
        description="Reprocess archives of DAT-SPECT and explain a classifier's decision for each study.",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"datbatch {__version__}")
    parsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    demo = _command(parsers, "demo", commands.demo, "everything, on a small simulated archive", "datbatch demo demo")
    demo.add_argument("folder", type=_path, nargs="?", default=Path("demo"), help="where to put it (default: demo)")
    demo.add_argument("--studies", type=_positive, default=DEMO_STUDIES, help="studies to simulate (default: 64)")
    _cluster_options(demo)

    simulate = _command(
        parsers, "simulate", commands.simulate, "an archive of raw DICOM studies with known truth",
        "datbatch simulate archive --studies 64",
    )  # fmt: skip
    simulate.add_argument("archive", type=_path, help="folder to make")
    simulate.add_argument("--studies", type=_positive, required=True, help="how many")
    simulate.add_argument("--seed", type=int, default=0, help="seed; study k depends on it and k alone")
    simulate.add_argument("--no-defects", action="store_true", help="leave out the studies that are broken on purpose")
    simulate.add_argument("--workers", type=_positive, help="processes (default: one per core)")

    for name, function, words in (
        ("plan", commands.plan, "what `run` would do, and why"),
        ("run", commands.run, "read, reconstruct, normalise, quantify, store"),
    ):
        command = _command(parsers, name, function, words, f"datbatch {name} archive cohort.zarr")
        command.add_argument("archive", type=_location, help="folder of DICOM files, of any shape")
        command.add_argument("cohort", type=_location, help="store, made where there is none")
        command.add_argument(
            "--participants", type=_location, help="table of labels, sites, ages (default: in the archive)"
        )
        if name == "plan":
            command.add_argument("--no-cost", action="store_true", help="measure nothing: only what would run, and why")
        _config_option(command)
        _cluster_options(command)

    tomograms = _command(
        parsers, "import", commands.import_tomograms,
        "volumes that were reconstructed elsewhere (DICOM or NIfTI), where projections are lost",
        "datbatch import tomograms cohort.zarr --participants participants.csv",
    )  # fmt: skip
    tomograms.add_argument("archive", type=_location, metavar="FOLDER", help="of DICOM tomograms or NIfTI files")
    tomograms.add_argument("cohort", type=_location, help="store, of `run` or `import`; made where there is none")
    tomograms.add_argument(
        "--participants", type=_location, help="table of labels, sites, ages (default: in the folder)"
    )
    tomograms.add_argument(
        "--config", type=_path, metavar="TOML", help="parameter file (default: the parameters of the store)"
    )
    _cluster_options(tomograms)

    norms = _command(
        parsers,
        "norms",
        commands.norms,
        "normal range, corrected recovery, harmonised sites",
        "datbatch norms cohort.zarr",
    )
    norms.add_argument("cohort", type=_location)
    _config_option(norms)

    train = _command(
        parsers, "train", commands.train, "split the cohort and train the network", "datbatch train cohort.zarr"
    )
    train.add_argument("cohort", type=_location)
    train.add_argument("--preset", choices=("paper", "compact"), help="network (default: of the parameters)")
    train.add_argument("--epochs", type=int, help="passes over the training set")
    train.add_argument("--seed", type=int, help="seed of the initial weights: others make repeats of a model")
    _config_option(train)
    _cluster_options(train)

    explain = _command(
        parsers,
        "explain",
        commands.explain,
        "inference and relevance for every study",
        "datbatch explain cohort.zarr",
    )
    explain.add_argument("cohort", type=_location)
    explain.add_argument("--model", help="name of a trained model (default: the newest)")
    _config_option(explain)
    _cluster_options(explain)

    evaluate = _command(
        parsers,
        "evaluate",
        commands.evaluate,
        "figures of merit, comparators, calibration, repeats",
        "datbatch evaluate cohort.zarr",
    )
    evaluate.add_argument("cohort", type=_location)
    evaluate.add_argument("--model", help="name of a trained model (default: the newest)")
    evaluate.add_argument("--blur", action="store_true", help="also with extra blur of 0 to 8 mm")
    evaluate.add_argument(
        "--leave-one-site-out", action="store_true", help="also train a model for each site, without its studies"
    )
    _config_option(evaluate)
    _cluster_options(evaluate)

    trust = _command(
        parsers, "trust", commands.trust, "whether a model's relevance maps can be trusted",
        "datbatch trust cohort.zarr",
    )  # fmt: skip
    trust.add_argument("cohort", type=_location)
    trust.add_argument("--model", help="name of an explained model (default: the newest)")
    trust.add_argument("--studies", type=int, help="test studies at most (default: of the parameters, 20)")
    _config_option(trust)
    _cluster_options(trust)

    report = _command(
        parsers,
        "report",
        commands.report,
        "figures and tables: a page and a folder",
        "datbatch report cohort.zarr",
    )
    report.add_argument("cohort", type=_location)
    report.add_argument("--model", help="name of a model in the store (default: the newest)")
    report.add_argument("--output", type=_path, help="file to write (default: COHORT.report.html)")

    explore = _command(
        parsers, "explore", commands.explore, "the whole cohort in a browser, offline: a folder of static files",
        "datbatch explore cohort.zarr",
    )  # fmt: skip
    explore.add_argument("cohort", type=_location)
    explore.add_argument("--model", help="name of a model in the store (default: the newest)")
    explore.add_argument("--output", type=_path, metavar="FOLDER", help="folder to write (default: COHORT.explorer)")
    explore.add_argument(
        "--volumes", type=_volumes, metavar="all|none|N",
        help="studies whose planes can be looked at, those most worth a look first; about 0.1 MB each "
        "(default: up to 10000)",
    )  # fmt: skip

    study = _command(
        parsers, "study", commands.study, "one study, explained, without store or cluster",
        "datbatch study projections.dcm --model cohort.models/compact-1a2b3c4d",
    )  # fmt: skip
    study.add_argument("dicom", type=_path, nargs="+", help="the study's DICOM files")
    study.add_argument("--model", type=_path, required=True, help="folder of a trained model")
    study.add_argument(
        "--output", type=_path, metavar="FOLDER", help="write page, volumes and figures into a new folder"
    )
    study.add_argument("--age", type=_age, metavar="YEARS", help="for the normal range (default: the header's)")
    study.add_argument("--sex", choices=("F", "M"), help="for the normal range (default: the header's)")
    study.add_argument("--site", help="site of the cohort that the study comes from (default: another)")
    study.add_argument("--picture", type=_path, help="write uptake and relevance as a PNG picture")

    status = _command(parsers, "status", commands.status, "what is done", "datbatch status cohort.zarr")
    status.add_argument("cohort", type=_location)

    failures = _command(
        parsers, "failures", commands.failures, "what failed, where and why", "datbatch failures cohort.zarr"
    )
    failures.add_argument("cohort", type=_location)
    failures.add_argument(
        "--examples", type=_positive, default=5, metavar="N", help="studies to list for each code (default: 5)"
    )
    failures.add_argument("--files", action="store_true", help="name the files too (from the linkage table)")

    retry = _command(
        parsers, "retry", commands.retry, "run failed studies again", "datbatch retry cohort.zarr --code internal"
    )
    retry.add_argument("cohort", type=_location)
    retry.add_argument("--code", action="append", help="only this error code (can be given again)")
    _cluster_options(retry)

    verify = _command(
        parsers, "verify", commands.verify, "compare every byte with its record", "datbatch verify cohort.zarr"
    )
    verify.add_argument("cohort", type=_location)
    verify.add_argument("--repair", action="store_true", help="compute damaged granules again")
    _cluster_options(verify)

    migrate = _command(
        parsers, "migrate", commands.migrate, "bring a store of an earlier version to today's layout",
        "datbatch migrate cohort.zarr",
    )  # fmt: skip
    migrate.add_argument("cohort", type=_location)

    template = _command(
        parsers, "template", commands.template,
        "build a template from a cohort's normal studies, and normalise with it", "datbatch template cohort.zarr",
    )  # fmt: skip
    template.add_argument("cohort", type=_location, nargs="?", help="store, made by `run`")
    template.add_argument(
        "--simulated", type=_path, metavar="FILE", help="build from simulated studies, without a store"
    )
    template.add_argument("--output", type=_path, help="NIfTI file to write (default: COHORT.template.nii.gz)")
    template.add_argument("--rounds", type=_positive, default=3, help="times that all are registered (default: 3)")
    template.add_argument(
        "--studies",
        type=_positive,
        help=f"studies to average at most (default: {TEMPLATE_STUDIES}; simulated: {SIMULATED_TEMPLATE_STUDIES})",
    )
    template.add_argument("--no-run", action="store_true", help="only build it, and leave the store as it is")
    _cluster_options(template)

    atlas = _command(
        parsers, "atlas", commands.atlas, "write the atlas as an image of labels, and their names beside it",
        "datbatch atlas atlas.nii.gz",
    )  # fmt: skip
    atlas.add_argument("output", type=_path, help="NIfTI file to write; the names go to a .tsv of the same name")

    completion = _command(
        parsers, "completion", commands.completion, "a script that completes commands with the tabulator",
        "datbatch completion bash",
    )  # fmt: skip
    completion.add_argument("shell", choices=SHELLS, help='for your shell: eval "$(datbatch completion bash)"')
    completion.set_defaults(parser=parser)

    config_command.add_parser(parsers, _command, _config_option, _location)

    words = "results for people and other tools: pages, NIfTI, BIDS derivatives, tables, DICOM"
    export = parsers.add_parser(
        "export", help=words, description=f"{words[0].upper()}{words[1:]}.",
        epilog="example: datbatch export nifti cohort.zarr --output nifti",
    )  # fmt: skip
    _export_commands(export.add_subparsers(title="formats", metavar="FORMAT", required=True))
    return parser


def _export_commands(formats: Any) -> None:
    """Describe `export pages|nifti|bids|tables|dicom`; all but tables come as one or more files for each study."""
    for name, function, words in (
        ("pages", commands.export_pages, "a page for each study, to read on a screen or on one sheet of paper"),
        ("nifti", commands.export_images, "uptake and relevance as NIfTI images"),
        ("bids", commands.export_images, "the same in the layout of BIDS derivatives, with side files"),
        ("tables", commands.export_tables, "every figure of the store as CSV or Parquet, with a data dictionary"),
        ("dicom", commands.export_dicom, "parametric maps, structured report and summary picture, for PACS"),
    ):
        export = _command(formats, name, function, words, f"datbatch export {name} cohort.zarr --output {name}")
        export.set_defaults(format=name)
        export.add_argument("cohort", type=_location)
        export.add_argument("--output", type=_path, required=True, help="folder to write to; whole files are replaced")
        export.add_argument("--study", action="append", metavar="ID", help="only this pseudonym (can be given again)")
        export.add_argument("--model", help="name of a model in the store (default: the newest)")
        if name == "tables":
            export.add_argument("--kind", choices=("csv", "parquet"), default="csv", help="form (default: csv)")
            continue
        export.add_argument("--missing-only", action="store_true", help="keep the files that are there already")
        if name == "pages":
            continue
        frame = export.add_mutually_exclusive_group()
        # The default is the patient's own left and right: an image without its store must not mislead.
        frame.add_argument(
            "--as-acquired", dest="frame", action="store_const", const="as-acquired", default="as-acquired",
            help="in MNI space, the patient's left is left (default)",
        )  # fmt: skip
        frame.add_argument(
            "--own-space", dest="frame", action="store_const", const="own-space",
            help="in the study's own space before normalisation, interpolated",
        )  # fmt: skip
        if name != "dicom":
            frame.add_argument(
                "--mirrored", dest="frame", action="store_const", const="ipsilateral-left",
                help="in MNI space, the side of lower putamen binding is left, as in the store",
            )  # fmt: skip
        else:
            export.add_argument(
                "--dicom-source", type=_path, metavar="ARCHIVE",
                help="take patient and study from the original files (or one file): the objects then NAME THE PATIENT",
            )  # fmt: skip


def _command(
    parsers: Any, name: str, function: Callable[[Any], Answer], words: str, example: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = parsers.add_parser(
        name, help=words, description=f"{words[0].upper()}{words[1:]}.", epilog=f"example: {example}"
    )
    parser.set_defaults(command=function)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    return parser


def _config_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=_path, metavar="TOML", help="parameter file; what it leaves out keeps its default"
    )


def _cluster_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cluster", type=_path_or_address, metavar="FILE",
        help="cluster file (TOML), or a running Dask scheduler's address or scheduler file",
    )  # fmt: skip
    parser.add_argument("--workers", type=_positive, help="processes of the local cluster (default: one per core)")


def _called(options: argparse.Namespace) -> Answer:
    try:
        answer: Answer = options.command(options)
    except Exception as error:
        failure = failure_of_storage(error)
        if failure is None:
            raise
        raise failure from None
    return answer


def _remedy(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
        return MAKE_ROOM
    return "Mend it, then call again."


def _location(text: str) -> Location:
    try:
        return parse_location(text)
    except ConfigurationError as error:
        raise argparse.ArgumentTypeError(f"{error.reason}: {text!r}. {error.advice}") from None


def _path(text: str) -> Path:
    # Else an address would become a folder of its name on this machine.
    if "://" in text:
        raise argparse.ArgumentTypeError(f"must be a path, only archive and store may be on S3: {text!r}")
    return Path(text)


def _path_or_address(text: str) -> Path | str:
    return text if "://" in text else Path(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, not {text!r}")
    return int(text)


def _volumes(text: str) -> int:
    if text in ("all", "none"):
        return sys.maxsize if text == "all" else 0
    return _positive(text)


def _age(text: str) -> float:
    try:
        years = float(text)
    except ValueError:
        years = 0.0
    if not 0.0 < years <= 120.0:
        raise argparse.ArgumentTypeError(f"must be over 0 and at most 120 years, not {text!r}")
    return years


def _terminate(*_: object) -> None:
    raise Terminated
