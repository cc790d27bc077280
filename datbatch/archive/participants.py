"""The participants' table: what is known about each study in addition to its files."""

from __future__ import annotations

import csv
import io
import math
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from datbatch.errors import ParticipantsTableError
from datbatch.location import Location, read
from datbatch.schema import READS

DEFAULT_NAMES = ("participants.csv", "participants.tsv")
KEYS = ("path", "study_instance_uid", "accession_number", "patient_id")
"""Columns that join a row to a study; the first one with a value is used."""
_VALUES = ("site", "sex", "age", "label", "indication", *READS)
_MAX_BYTES = 1 << 26
_MAX_SITE = 64
_SEXES = {"f": "F", "female": "F", "w": "F", "m": "M", "male": "M"}


@dataclass(frozen=True)
class Participant:
    """One row of the table."""

    key: tuple[str, str] = field(repr=False)
    """Column that joins it, and its value."""
    site: str = ""
    sex: str = ""
    age: float | None = None
    label: str = ""
    indication: str = ""
    reads: tuple[str, ...] = ("",) * len(READS)
    study_uid: str = field(default="", repr=False, compare=False)
    """StudyInstanceUID, for files that state none; it does not count when rows are compared."""
    patient_id: str = field(default="", repr=False, compare=False)
    """PatientID, likewise."""


@dataclass(frozen=True)
class ParticipantsTable:
    """All rows, ready to be joined."""

    rows: tuple[Participant, ...] = ()
    by_key: Mapping[tuple[str, str], tuple[int, ...]] = field(default_factory=dict, repr=False)

    def find(self, files: Sequence[str], identifiers: Mapping[str, str]) -> tuple[int, ...]:
        """Give the numbers of a study's rows.

        Parameters
        ----------
        files : sequence of str
            The study's files, relative to the archive. A row's path names a file, or a folder above it; of several
            such folders the innermost counts.
        identifiers : mapping
            Values of the other key columns, from the header.
        """
        found: set[int] = set()
        for place in files:
            while place and ("path", place) not in self.by_key:
                place = posixpath.dirname(place)
            found.update(self.by_key.get(("path", place), ()) if place else ())
        for column, value in identifiers.items():
            found.update(self.by_key.get((column, value), ()) if value else ())
        return tuple(sorted(found))


def read_participants(archive: Location, table: Location | None) -> ParticipantsTable:
    """Read the participants' table: the given one, else the archive's own, else none.

    Columns, in any order: one or more of `KEYS`; optional are site, sex, age, label, indication and the reads of
    `schema.READS`; others are ignored. A table that cannot be read or joined raises ParticipantsTableError.
    """
    if table is None:
        table = next((archive / name for name in DEFAULT_NAMES if (archive / name).is_file()), None)
        if table is None:
            return ParticipantsTable()
    text = _text(table)
    first = text.partition("\n")[0]
    delimiter = max("\t,;", key=first.count)
    try:
        records = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error:
        raise ParticipantsTableError("the table is not a valid CSV or TSV file") from None
    columns = [name.strip().lower() for name in records[0]] if records else []
    known = [name for name in columns if name in KEYS or name in _VALUES]
    if not set(columns) & set(KEYS):
        raise ParticipantsTableError(f"the table has none of the columns {', '.join(KEYS)}")
    if len(set(known)) < len(known):
        raise ParticipantsTableError("a column of the table occurs twice")
    rows: list[Participant] = []
    by_key: dict[tuple[str, str], tuple[int, ...]] = {}
    for record in records[1:]:
        if len(record) > len(columns) and any(cell.strip() for cell in record[len(columns) :]):
            raise ParticipantsTableError("a row of the table has more cells than there are columns")
        row = _participant(dict(zip(columns, map(str.strip, record), strict=False)), archive)
        if row is not None:
            by_key[row.key] = (*by_key.get(row.key, ()), len(rows))
            rows.append(row)
    return ParticipantsTable(tuple(rows), by_key)


def _text(table: Location) -> str:
    try:
        content, size = read(table, limit=_MAX_BYTES)
        if size > _MAX_BYTES:
            raise ParticipantsTableError(f"the table has more than {_MAX_BYTES} bytes")
        # As in reading a text file: a line ends with one character.
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        raise ParticipantsTableError(f"the table cannot be read ({type(error).__name__})") from None
    except UnicodeDecodeError:
        raise ParticipantsTableError("the table is not UTF-8 text", "Save the table as UTF-8.") from None


def _participant(cells: Mapping[str, str], archive: Location) -> Participant | None:
    key = next(((column, cells[column]) for column in KEYS if cells.get(column)), None)
    if key is None:
        return None
    if key[0] == "path":
        key = ("path", _relative(key[1], archive))
    return Participant(
        key,
        site=printable(cells.get("site", "")),
        sex=_SEXES.get(cells.get("sex", "").lower(), ""),
        age=_age(cells.get("age", "")),
        label=cells.get("label", "").lower(),
        indication=cells.get("indication", ""),
        reads=tuple(cells.get(name, "").lower() for name in READS),
        study_uid=cells.get("study_instance_uid", ""),
        patient_id=cells.get("patient_id", ""),
    )


def _relative(path: str, archive: Location) -> str:
    path = path.replace("\\", "/")
    root = str(archive.absolute()).replace("\\", "/")
    if path == root or path.startswith(f"{root}/"):
        path = path[len(root) :]
    return posixpath.normpath(path.strip("/") or ".")


def printable(text: str) -> str:
    """Keep the printable characters, 64 at most."""
    return "".join(letter for letter in text if letter.isprintable())[:_MAX_SITE].strip()


def _age(text: str) -> float | None:
    try:
        age = float(text)
    except ValueError:
        return None
    return age if math.isfinite(age) and 0.0 < age <= 120.0 else None
