"""Scripts that complete commands with the tabulator, made from the description of the commands."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

SHELLS = ("bash", "zsh", "fish")


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Give the script that a shell sources to complete commands, options, choices and paths.

    Parameters
    ----------
    parser : ArgumentParser
        All commands.
    shell : {"bash", "zsh", "fish"}
        Which shell.
    """
    import shtab

    _complete_paths(parser, shtab.FILE)
    return str(shtab.complete(parser, shell))


def _complete_paths(parser: argparse.ArgumentParser, files: Any) -> None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete_paths(command, files)
        elif action.type is Path or action.dest == "cluster":
            action.complete = files  # type: ignore[attr-defined]
