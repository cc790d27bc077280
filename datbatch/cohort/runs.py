"""The records of the commands that wrote to a store, one small JSON object each, kept in the store.

A record names no person, path or machine: what a command ran on, with which parameters and versions, and how far it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datbatch.config import canonical_json
from datbatch.files import write_whole

FOLDER = "runs"


class Runs:
    """The records of one store.

    Parameters
    ----------
    store : Path
        Folder of the store.
    """

    def __init__(self, store: Path) -> None:
        self._folder = store / FOLDER

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write or replace a record, whole or not at all."""
        write_whole(self._folder / f"{name}.json", canonical_json(content).encode())

    def read(self) -> list[dict[str, Any]]:
        """Read all records, the oldest first; what is no record is left out."""
        found = []
        for path in sorted(self._folder.glob("[0-9]*.json")):
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if isinstance(content, dict):
                found.append(content)
        return found
