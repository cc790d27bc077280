"""`datbatch completion`: scripts that complete commands with the Tab key, made from their description."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, get_args, get_type_hints

from datbatch.commands.command import Answer, add_command


def add(parsers: Any) -> None:
    """Describe the command."""
    words = "print a script that completes commands with the Tab key"
    made = add_command(parsers, "completion", completion, words, "datbatch completion bash")
    shells = ("bash", "zsh", "fish")
    made.add_argument("shell", choices=shells, help='for your shell: eval "$(datbatch completion bash)"')


def completion(options: argparse.Namespace) -> Answer:
    """Write the script that completes commands."""
    script = completion_script(options.parser, options.shell)
    return Answer(script, {"shell": options.shell, "script": script})


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Give the script that a shell sources to complete commands, options, choices and paths."""
    import shtab

    _complete_paths(parser, shtab.FILE)
    return str(shtab.complete(parser, shell))


def _complete_paths(parser: argparse.ArgumentParser, files: Any) -> None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete_paths(command, files)
        elif _gives_path(action.type):
            action.complete = files  # type: ignore[attr-defined]


def _gives_path(kind: Any) -> bool:
    """Tell from its annotation whether a function that reads an argument gives a path, alone or among others."""
    given = get_type_hints(kind).get("return") if callable(kind) else None
    return Path in (given, *get_args(given))
