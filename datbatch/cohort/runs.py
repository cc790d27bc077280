"""The records of the commands that wrote to a store, one small JSON object each, kept in the store.

A record names no person, path or machine: what a command ran on, with which parameters and versions, and how far it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from datbatch import location
from datbatch.config import canonical_json
from datbatch.location import Location

FOLDER = "runs"


class Runs:
    """The records of one store.

    Parameters
    ----------
    store : Path or S3Location
        The store.
    """

    def __init__(self, store: Location) -> None:
        self._folder = store / FOLDER

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write or replace a record, whole or not at all."""
        location.write(self._folder / f"{name}.json", canonical_json(content).encode())

    def read(self) -> list[dict[str, Any]]:
        """Read all records, the oldest first; what is no record is left out."""
        found = []
        for name in location.names(self._folder):
            if not re.fullmatch(r"\d[^/]*\.json", name):
                continue
            try:
                content = json.loads(location.read(self._folder / name)[0])
            except (OSError, ValueError):
                continue
            if isinstance(content, dict):
                found.append(content)
        return found
