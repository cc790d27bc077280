"""The command line: which commands there are, and how errors end."""

from __future__ import annotations

import argparse
import errno
import json
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from datbatch import __version__
from datbatch.commands.command import EXIT_ERROR, NOTICE, Answer
from datbatch.errors import MAKE_ROOM, ConfigurationError, DatbatchError, StoreError, Terminated
from datbatch.location import failure_of_storage

EXIT_USAGE, EXIT_INTERRUPTED, EXIT_TERMINATED = 2, 130, 143
EPILOG = f"""exit codes: 0 all well; 1 error; 2 wrong usage; 3 finished, but studies failed (see `datbatch failures`);
130 interrupted, 143 terminated, as at a walltime (call again to resume). {NOTICE}"""
SUBJECTS = (
    "demo", "run", "norms", "model", "evaluate", "report", "study", "store", "template", "completion", "config",
    "export",
)  # fmt: skip
"""Modules of `datbatch.commands`, in the order of the help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    options = build_parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        answer = _called(options)
    except DatbatchError as error:
        # Paths may hold names: they are shown here, on the operator's terminal, and nowhere else.
        paths = getattr(options, "dicom", ())[:1]
        if isinstance(error, StoreError) and getattr(options, "cohort", None) is not None:
            paths = [options.cohort]
        _tell(options, "".join(f"{path}: " for path in paths), error.code, error.reason, error.advice)
        return EXIT_USAGE if isinstance(error, ConfigurationError) else EXIT_ERROR
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
        remedy = MAKE_ROOM if full else "Mend it, then call again."
        # The error of a failed write has no file name.
        where = error.filename or getattr(options, "cohort", "")
        _tell(options, f"{where}: ", "system", error.strerror or type(error).__name__, remedy)
        return EXIT_ERROR
    except (Terminated, KeyboardInterrupt) as end:
        told = isinstance(end, Terminated)
        what = "terminated; the running tasks had some seconds to finish, and" if told else "interrupted;"
        print(f"\ndatbatch: {what} what is done is kept. Call the same command again to resume.", file=sys.stderr)
        return EXIT_TERMINATED if told else EXIT_INTERRUPTED
    try:
        print(json.dumps(answer.values, indent=1, default=str) if options.json else answer.text, flush=True)
    except BrokenPipeError:
        # The reader has closed the pipe, as `head` does; the interpreter must not write again when it ends.
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
    # `completion` describes all commands.
    parser.set_defaults(parser=parser)
    for subject in SUBJECTS:
        import_module(f"datbatch.commands.{subject}").add(parsers)
    return parser


def _called(options: argparse.Namespace) -> Answer:
    try:
        answer: Answer = options.command(options)
    except Exception as error:
        failure = failure_of_storage(error)
        if failure is None:
            raise
        raise failure from None
    return answer


def _tell(options: argparse.Namespace, where: str, code: str, reason: str, remedy: str) -> None:
    if options.json:
        print(json.dumps({"error": code, "reason": reason, "remedy": remedy}))
    print(f"datbatch: {where}{reason} [{code}]\n  What to do: {remedy}", file=sys.stderr)


def _terminate(*_: object) -> None:
    raise Terminated
