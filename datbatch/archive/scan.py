"""Make the manifest of an archive: find the studies, check, join and decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from datbatch.archive.inclusion import EXCLUSIONS, System, exclusion
from datbatch.archive.inspection import FileFacts, StudyCheck, StudyFiles, content_digest
from datbatch.archive.labels import ATYPICAL, truth
from datbatch.archive.manifest import Entry, Manifest
from datbatch.archive.participants import Participant, ParticipantsTable, read_participants
from datbatch.archive.pseudonyms import person_pseudonym, pseudonym, study_identifier
from datbatch.archive.sources import SOURCES
from datbatch.archive.walk import find_files
from datbatch.config import ArchiveConfig
from datbatch.errors import (
    INCLUDED,
    ContradictoryLabelError,
    DatbatchError,
    DuplicateStudyError,
    MissingFilesError,
    MissingLabelError,
    NotDicomError,
    NotProjectionsError,
    NotTomogramError,
    Outcome,
    StorageError,
    TruncatedError,
    UnreadableDicomError,
    UnsupportedGeometryError,
    WrongModalityError,
)
from datbatch.location import Location
from datbatch.schema import PROJECTIONS, READS

_DEFAULT = ArchiveConfig()
_SUFFIXES = (".dcm", ".ima", ".dicom")
_LEAST_INFORMATIVE_LAST = (
    TruncatedError.code,
    NotProjectionsError.code,
    NotTomogramError.code,
    UnreadableDicomError.code,
    NotDicomError.code,
    WrongModalityError.code,
)

Mapper = Callable[..., Iterable[Any]]
"""Like `map`: calls a picklable function on each item, gives the results in order."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Group:
    """Files that make up one study."""

    identifier: str
    """The text behind the pseudonym."""
    files: dict[str, FileFacts]
    beside: dict[str, FileFacts]
    """Files of the same study that are not read: copies and other objects."""
    check: StudyCheck = field(default_factory=StudyCheck)
    rows: tuple[int, ...] = ()

    @property
    def facts(self) -> FileFacts:
        return next(iter(self.files.values()))

    @property
    def usable(self) -> bool:
        return all(not facts.outcome.code for facts in self.files.values())


@dataclass
class _Count:
    """Progress over files, each counted once."""

    total: int
    show: Progress | None
    done: int = 0

    def add(self, files: int) -> None:
        self.done += files
        if self.show is not None and files:
            self.show(self.done, self.total)


def scan_archive(
    archive: Location,
    *,
    key: bytes,
    participants: Location | None = None,
    known: Sequence[str] = (),
    config: ArchiveConfig = _DEFAULT,
    source: str = PROJECTIONS,
    mapper: Mapper = map,
    progress: Progress | None = None,
) -> Manifest:
    """Find the studies of an archive and decide which belong to the cohort.

    Parameters
    ----------
    archive : Path or S3Location
        A folder with any subfolders; each StudyInstanceUID is one study.
    key : bytes
        Key of the pseudonyms.
    participants : Path or S3Location, optional
        Participants' table; by default the archive's own `participants.csv` or `.tsv`, if there is one.
    known : sequence of str
        Pseudonyms that a store already has, in its order; this order is kept.
    config : ArchiveConfig
        Photopeak and rules of inclusion.
    source : str
        What to look for: projections, or tomograms.
    mapper : callable
        Like `map`; it may use several processes.
    progress : callable, optional
        Called with the number of files that are done, and of all.

    Returns
    -------
    Manifest
        Known studies first, in their order, then new ones sorted by pseudonym.

    Raises
    ------
    ArchiveError, ParticipantsTableError
        When the archive, or the table, cannot be read.
    """
    table = read_participants(archive, participants)
    names, skipped = find_files(archive)
    count = _Count(len(names), progress)
    facts: dict[str, FileFacts] = {}
    for name, found in zip(names, mapper(SOURCES[source].inspect, [archive / name for name in names]), strict=True):
        # This is no fault of the file: a scan that continues would lose studies.
        if found.outcome.code == StorageError.code:
            raise found.outcome.error()
        facts[name] = found
        count.add(1 if found.outcome.code else 0)
    groups, left_over = _group(facts, table)
    skipped.update(left_over)
    groups = _check(groups, archive, config, source, mapper, count)
    count.add(count.total - count.done)
    joined = {row for group in groups for row in group.rows}
    entries = [replace(entry, source=source) for entry in _decide(groups, table, key, known, config)]
    found_files = len(names) + sum(skipped[code] for code in ("hidden", "special"))
    return Manifest(_ordered(entries, known), found_files, dict(sorted(skipped.items())), len(table.rows) - len(joined))


def _group(facts: dict[str, FileFacts], table: ParticipantsTable) -> tuple[list[_Group], Counter[str]]:
    """Put files of one study together; an unreadable file belongs to its row of the table, or is its own study."""
    skipped: Counter[str] = Counter()
    studies: dict[str, dict[str, FileFacts]] = {}
    for name, found in facts.items():
        if found.is_media_directory:
            skipped[found.outcome.code] += 1
        elif not found.has_mark and not name.lower().endswith(_SUFFIXES):
            skipped["other"] += 1
        else:
            identifier = study_identifier(found.study_uid) if found.study_uid else _unstated(name, found, table)
            studies.setdefault(identifier, {})[name] = found
    groups = [_one_group(identifier, files, skipped) for identifier, files in studies.items()]
    groups = [replace(group, rows=_rows(group, table)) for group in groups]
    return _without_strays(groups, skipped), skipped


def _unstated(name: str, found: FileFacts, table: ParticipantsTable) -> str:
    """Identify the study of a file that states none: by its row of the table, its values, or its name."""
    rows = [table.rows[number] for number in table.find((name,), {})]
    if found.values:
        stated = next((row.study_uid for row in rows if row.study_uid), "")
        return study_identifier(stated) if stated else f"values {found.values}"
    return f"files {rows[0].key[1] if rows else name}"


def _one_group(identifier: str, files: dict[str, FileFacts], skipped: Counter[str]) -> _Group:
    usable = {name: found for name, found in files.items() if not found.outcome.code}
    if not usable:
        ranked = sorted(files.items(), key=lambda item: (_rank(item[1].outcome.code), item[0]))
        return _Group(identifier, dict(ranked), {})
    beside = {name: found for name, found in files.items() if found.outcome.code}
    skipped.update(found.outcome.code for found in beside.values())
    seen: set[tuple[str, str]] = set()
    for name, found in list(usable.items()):
        if (found.sop_uid, found.digest) in seen:
            beside[name] = usable.pop(name)
            skipped["copy"] += 1
        seen.add((found.sop_uid, found.digest))
    return _Group(identifier, usable, beside)


def _rank(code: str) -> int:
    return _LEAST_INFORMATIVE_LAST.index(code) if code in _LEAST_INFORMATIVE_LAST else -1


def _rows(group: _Group, table: ParticipantsTable) -> tuple[int, ...]:
    facts = group.facts
    identifiers = {
        "study_instance_uid": facts.study_uid,
        "accession_number": facts.accession_number,
        "patient_id": facts.patient_id,
    }
    return table.find((*group.files, *group.beside), identifiers)


def _without_strays(groups: list[_Group], skipped: Counter[str]) -> list[_Group]:
    """Leave out unreadable files in the folder of a study whose projections are good."""
    good = {row for group in groups if group.usable for row in group.rows}
    kept = []
    for group in groups:
        if not group.usable and not group.facts.study_uid and set(group.rows) & good:
            skipped.update(found.outcome.code for found in group.files.values())
        else:
            kept.append(group)
    return kept


def _check(
    groups: list[_Group], archive: Location, config: ArchiveConfig, source: str, mapper: Mapper, count: _Count
) -> list[_Group]:
    usable = [group for group in groups if group.usable]
    work = [StudyFiles(tuple(archive / name for name in group.files), config) for group in usable]
    checked = []
    for group, check in zip(usable, mapper(SOURCES[source].check, work), strict=True):
        if check.outcome.code == StorageError.code:
            raise check.outcome.error()
        checked.append(replace(group, check=check))
        count.add(len(group.files))
    refused = [replace(group, check=StudyCheck(group.facts.outcome)) for group in groups if not group.usable]
    return checked + refused


def _decide(
    groups: list[_Group], table: ParticipantsTable, key: bytes, known: Sequence[str], config: ArchiveConfig
) -> list[Entry]:
    """Decide status, code and label of each study; of duplicates the first in the manifest's order is kept.

    With another order the next scan, in which all of them are known, could decide differently.
    """
    labelled = config.unlabelled == "refuse" and any(row.label or any(row.reads) for row in table.rows)
    names = {group.identifier: pseudonym(key, group.identifier) for group in groups}
    place = {name: number for number, name in enumerate(known)}
    ordered = sorted(groups, key=lambda g: (place.get(names[g.identifier], len(place)), names[g.identifier]))
    seen: set[str] = set()
    entries = []
    for group in ordered:
        rows = [table.rows[number] for number in group.rows]
        row = rows[0] if rows else Participant(("", ""))
        outcome, label = _verdict(group, rows, config, labelled, seen)
        sex = row.sex or (group.facts.sex if group.facts.sex in ("F", "M") else "")
        entries.append(
            Entry(
                names[group.identifier],
                tuple(sorted(group.files)),
                content_digest([found.digest for found in group.files.values()]),
                site=row.site,
                sex=sex,
                age=row.age if row.age is not None else group.facts.age_years,
                label=label,
                reads=row.reads,
                outcome=outcome,
                person=person_pseudonym(key, group.facts.patient_id or row.patient_id),
            )
        )
    return entries


def _verdict(
    group: _Group, rows: list[Participant], config: ArchiveConfig, labelled: bool, seen: set[str]
) -> tuple[Outcome, str]:
    """Give outcome and label."""
    row, check = rows[0] if rows else Participant(("", "")), group.check
    # Of an unreadable study only the collimator is used, and only where it may be the reason.
    converging = check.outcome.code == UnsupportedGeometryError.code
    system = System(collimator=group.facts.system.collimator) if converging else check.system
    excluded = exclusion(config, row.indication, system)
    if excluded:
        return Outcome.excluded(excluded, EXCLUSIONS[excluded]), ""
    if check.outcome.code:
        return check.outcome, ""
    if check.pixels in seen:
        return Outcome.failed(DuplicateStudyError("another study of the archive has the same projections")), ""
    seen.add(check.pixels)
    try:
        if any(replace(other, key=row.key) != row for other in rows):
            raise ContradictoryLabelError("two rows of the participants' table for this study disagree")
        label = truth(row.label, dict(zip(READS, row.reads, strict=True)))
    except DatbatchError as error:
        return Outcome.failed(error), ""
    if label == ATYPICAL:
        return Outcome.excluded(ATYPICAL, EXCLUSIONS[ATYPICAL]), ""
    if not label and labelled:
        neither = "the participants' table gives neither label nor reads"
        why = "the reads do not settle the label" if any(row.reads) else neither
        return Outcome.failed(MissingLabelError(why)), ""
    return INCLUDED, label


def _ordered(entries: list[Entry], known: Sequence[str]) -> tuple[Entry, ...]:
    by_name = {entry.pseudonym: entry for entry in entries}
    gone = Outcome.failed(MissingFilesError("the study's files are no longer in the archive"))
    before = [by_name.get(name, Entry(name, (), "", reads=("",) * len(READS), outcome=gone)) for name in known]
    new = sorted(by_name.keys() - set(known))
    return (*before, *(by_name[name] for name in new))
