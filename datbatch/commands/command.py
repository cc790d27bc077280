"""What all commands share: how they are described, options, parameters, and the form of an answer."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datbatch.config import Config
from datbatch.errors import ConfigurationError
from datbatch.location import Location, parse_location

EXIT_OK, EXIT_ERROR, EXIT_FAILED_STUDIES = 0, 1, 3
NOTICE = "Research software, not a medical device."


@dataclass(frozen=True)
class Answer:
    """What a command says: text for people, values for `--json`, and its exit code."""

    text: str
    values: Mapping[str, Any]
    code: int = EXIT_OK


Command = Callable[[argparse.Namespace], Answer]


def describe(parsers: Any, name: str, words: str, example: str) -> argparse.ArgumentParser:
    """Add a command, or the name of a group of commands, to the help."""
    parser: argparse.ArgumentParser = parsers.add_parser(
        name, help=words, description=f"{words[0].upper()}{words[1:]}.", epilog=f"example: {example}"
    )
    return parser


def add_command(parsers: Any, name: str, function: Command, words: str, example: str) -> argparse.ArgumentParser:
    """Add a command whose answer a function gives."""
    parser = describe(parsers, name, words, example)
    parser.set_defaults(command=function)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    return parser


def cohort_command(parsers: Any, function: Command, words: str, rest: str = "") -> argparse.ArgumentParser:
    """Add a command named like its function, whose first argument is a store; `rest` ends its example."""
    name = function.__name__
    parser = add_command(parsers, name, function, words, f"datbatch {name} cohort.zarr{rest}")
    parser.add_argument("cohort", type=location)
    return parser


def model_option(parser: argparse.ArgumentParser, what: str = "a model in the store") -> None:
    """Let a command take a model."""
    parser.add_argument("--model", help=f"name of {what} (default: the newest)")


def config_option(parser: argparse.ArgumentParser) -> None:
    """Let a command take a parameter file."""
    words = "parameter file; what it leaves out keeps its default"
    parser.add_argument("--config", type=path, metavar="TOML", help=words)


def cluster_options(parser: argparse.ArgumentParser, *, config: bool = False) -> None:
    """Let a command take a cluster and a number of workers, after a parameter file where it takes one."""
    if config:
        config_option(parser)
    words = "cluster file (TOML), or a running Dask scheduler's address or scheduler file"
    parser.add_argument("--cluster", type=path_or_address, metavar="FILE", help=words)
    parser.add_argument("--workers", type=positive, help="processes of the local cluster (default: one per core)")


def config_of(options: argparse.Namespace, section: str = "", keys: Sequence[str] = ()) -> Config:
    """Read the parameters; options of the command replace those keys of a section."""
    config = Config() if options.config is None else Config.from_toml(options.config)
    changes = {key: value for key in keys if (value := getattr(options, key)) is not None}
    given = config.to_dict()
    return Config.from_dict(given | {section: given[section] | changes} if changes else given)


def where(options: argparse.Namespace) -> dict[str, Any]:
    """Give the arguments of every function that runs on a cluster."""
    cluster = None if options.cluster is None else str(options.cluster)
    return {"cluster": cluster, "workers": options.workers, "quiet": options.quiet}


def location(text: str) -> Location:
    """Read an archive or a store, on this machine or on S3."""
    try:
        return parse_location(text)
    except ConfigurationError as error:
        raise argparse.ArgumentTypeError(f"{error.reason}: {text!r}. {error.advice}") from None


def path(text: str) -> Path:
    """Read a path on this machine."""
    # Else an address would become a folder with its name on this machine.
    if "://" in text:
        raise argparse.ArgumentTypeError(f"must be a path, only archive and store may be on S3: {text!r}")
    return Path(text)


def path_or_address(text: str) -> Path | str:
    """Read a path, or the address of a scheduler."""
    return text if "://" in text else Path(text)


def positive(text: str) -> int:
    """Read a whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, not {text!r}")
    return int(text)
