"""The list of an archive's studies; its order never changes once a store has it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from datbatch.errors import ARCHIVE, INCLUDED, Outcome
from datbatch.schema import PROJECTIONS


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
    outcome: Outcome = INCLUDED
    """Of the scan: included, failed or excluded."""
    person: str = ""
    """Pseudonym of the person: the same for all studies of one PatientID; empty where the header gives none."""
    source: str = PROJECTIONS
    """What it is read from: projections or tomogram."""

    def to_dict(self) -> dict[str, Any]:
        """Give what the manifest's file says of the study; the stage of its outcome is always the same."""
        status, code, _, reason = self.outcome
        told = {name: value for name, value in vars(self).items() if name not in ("outcome", "person", "source")}
        return {**told, "status": status, "code": code, "reason": reason, "person": self.person, "source": self.source}

    @classmethod
    def from_dict(cls, status: str, code: str, reason: str, files: list[str], reads: list[str], **rest: Any) -> Entry:
        """Build an entry from what `to_dict` gave, also after a way through JSON."""
        outcome = Outcome(status, code, ARCHIVE if code else "", reason)
        return cls(files=tuple(files), reads=tuple(reads), outcome=outcome, **rest)


@dataclass(frozen=True)
class Manifest:
    """All studies of an archive, and the numbers of its other files."""

    entries: tuple[Entry, ...]
    files_found: int
    files_skipped: dict[str, int]
    """Files that belong to no study, by code: hidden, other, copy, special, or an error's code."""
    rows_without_files: int = 0
    """Rows of the participants' table without a study in the archive."""

    def to_json(self) -> bytearray:
        """Give it as JSON text, entry by entry: as one object it would take several times the memory."""
        rest = {name: value for name, value in vars(self).items() if name != "entries"}
        text = bytearray(json.dumps(rest).encode()[:-1] + b', "entries": [')
        for number, entry in enumerate(self.entries):
            text += (b",\n" if number else b"\n") + json.dumps(entry.to_dict()).encode()
        return text + b"]}"

    @classmethod
    def from_json(cls, text: str | bytes | bytearray) -> Manifest:
        """Build a manifest from what `to_json` gave."""
        given = json.loads(text)
        return cls(**{**given, "entries": tuple(Entry.from_dict(**one) for one in given["entries"])})
