"""The list of an archive's studies; its order never changes once a store has it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from datbatch.schema import PROJECTIONS

INCLUDED, FAILED, EXCLUDED = "included", "failed", "excluded"


@dataclass(frozen=True)
class Entry:
    """One study of an archive."""

    pseudonym: str
    files: tuple[str, ...] = field(repr=False)
    """Relative to the archive, with forward slashes; they may name a person and are never shown or stored."""
    content: str
    """SHA-256 of the files' bytes; it changes when a file is replaced."""
    site: str = ""
    sex: str = ""
    """F, M or empty."""
    age: float | None = None
    """Age at the examination in years."""
    label: str = ""
    """Standard of truth: negative, positive or empty."""
    reads: tuple[str, ...] = ()
    """Single reads in the order of `schema.READS`."""
    status: str = INCLUDED
    """included, failed or excluded."""
    code: str = ""
    """Stable code of why it failed or was excluded."""
    reason: str = ""
    """What was found, without identity."""
    person: str = ""
    """Pseudonym of the person: the same for all studies of one PatientID; empty where the header gives none."""
    source: str = PROJECTIONS
    """What it is read from: projections or tomogram."""


@dataclass(frozen=True)
class Manifest:
    """All studies of an archive, and the numbers of its other files."""

    entries: tuple[Entry, ...]
    files_found: int
    files_skipped: dict[str, int]
    """Files that belong to no study, by code: hidden, other, copy, special, or an error's code."""
    rows_without_files: int = 0
    """Rows of the participants' table without a study in the archive."""

    def to_dict(self) -> dict[str, Any]:
        """Give plain lists, numbers and texts, as JSON has them."""
        return {**vars(self), "entries": [_plain(entry) for entry in self.entries]}

    def to_json(self) -> bytearray:
        """Give the same as JSON text, entry by entry: as one object it would take several times the memory."""
        rest = {name: value for name, value in vars(self).items() if name != "entries"}
        text = bytearray(json.dumps(rest).encode()[:-1] + b', "entries": [')
        for number, entry in enumerate(self.entries):
            text += (b",\n" if number else b"\n") + json.dumps(_plain(entry)).encode()
        return text + b"]}"

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> Manifest:
        """Build a manifest from what `to_dict` gave, also after a way through JSON."""
        entries = (Entry(**{**e, "files": tuple(e["files"]), "reads": tuple(e["reads"])}) for e in given["entries"])
        return cls(**{**given, "entries": tuple(entries)})


def _plain(entry: Entry) -> dict[str, Any]:
    return {**vars(entry), "files": list(entry.files), "reads": list(entry.reads)}
