"""The records of the commands that wrote to a store, one small JSON object each, kept in the store.

A record names no person, path or machine: what a command ran on, with which parameters and versions, and how far it is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from datbatch import location
from datbatch.cohort import seal
from datbatch.cohort.envelope import unwrap, wrap
from datbatch.location import Location

FOLDER = seal.RUNS


class Runs:
    """The records of one store.

    Parameters
    ----------
    store : Path or S3Location
        The store.
    """

    def __init__(self, store: Location) -> None:
        self._store = store

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write or replace a record, whole or not at all."""
        location.write(self._store / self._place(name), wrap(self._place(name), content))

    def read(self) -> list[dict[str, Any]]:
        """Read all records, the oldest first; what is no record is left out."""
        return [content for content in self._contents().values() if content is not None]

    def damaged(self) -> list[str]:
        """List the paths, in the store, of records that are not as they were written."""
        return [place for place, content in self._contents().items() if content is None]

    def remove(self, places: Collection[str]) -> None:
        """Remove records that cannot be read any more."""
        seal.unlist(self._store, places)
        for place in places:
            location.remove(self._store / place)

    def _contents(self) -> dict[str, dict[str, Any] | None]:
        names = location.names(self._store / FOLDER)
        places = [f"{FOLDER}/{name}" for name in names if re.fullmatch(r"\d[^/]*\.json", name)]
        return {place: self._content(place) for place in places}

    def _content(self, place: str) -> dict[str, Any] | None:
        try:
            content = unwrap(place, location.read(self._store / place)[0])
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    @staticmethod
    def _place(name: str) -> str:
        return f"{FOLDER}/{name}.json"
