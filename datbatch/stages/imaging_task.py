"""The task of a worker for one granule of the imaging stages: files in, one shard and its ledger objects out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from datbatch import schema
from datbatch.archive import Entry
from datbatch.cohort.ledger import GranuleKey, Ledger, Row
from datbatch.cohort.store import Store
from datbatch.config import Config
from datbatch.errors import DONE, INCLUDED, Outcome, StorageError, WorkerLostError
from datbatch.location import Location
from datbatch.study.imaged import ImagedStudy
from datbatch.workers.losable import LOST, call_losable, keep_memory


@dataclass(frozen=True)
class ImagingTask:
    """One granule of `datbatch run`. Paths stay out of its representation: a library may log it."""

    store: Location = field(repr=False)
    archive: Location = field(repr=False)
    granule: int
    entries: tuple[Entry, ...] = field(repr=False)
    keys: Mapping[str, GranuleKey] = field(repr=False)
    config: Config = field(repr=False)
    """As `recorded`: template and atlas by digest, they stand in the store."""
    lost: frozenset[str] = frozenset()
    """Pseudonyms of the studies that ended their worker."""
    attempts: int = 0
    tomograms: Location | None = field(default=None, repr=False)
    """Folder of the imported tomograms; None where there are none."""

    def files(self, entry: Entry) -> tuple[Location, ...]:
        """Give the files of a study."""
        imported = self.tomograms if entry.source == schema.TOMOGRAM else None
        folder = self.archive if imported is None else imported
        return tuple(folder / name for name in entry.files)


@dataclass(frozen=True)
class GranuleRecord:
    """What the driver hears of a granule."""

    granule: int
    done: int
    failed: int
    """Studies of the manifest's included ones that failed in a stage."""
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class StudyTask:
    """One study of a granule, for a process that can be lost. Paths stay out of its representation."""

    study: str
    """Pseudonym."""
    files: tuple[Location, ...] = field(repr=False)
    store: Location = field(repr=False)
    config: Config = field(repr=False)
    known: Mapping[str, Row] = field(repr=False)
    """Rows of the stages that are done."""
    source: str = schema.PROJECTIONS
    """What the files hold."""


NUMERICS = "datbatch.study.imaging"
"""Module that the process of the studies loads, and the worker does not need: a quarter of a second, and 80 MB."""


def image_one(task: StudyTask) -> ImagedStudy:
    """Image one study with the template and the atlas of its store; the projections, megabytes, are not handed on."""
    from datbatch.study.imaging import image_study
    from datbatch.study.space import store_space

    space = store_space(task.store, task.config)
    imaged = image_study(task.study, task.files, task.config, task.known, space, task.source)
    return replace(imaged, acquisition=None)


def image_granule(task: ImagingTask) -> GranuleRecord:
    """Take the studies of a granule through the imaging stages, write one shard, then the ledger objects.

    Deterministic: a duplicate of the task writes the same bytes.
    """
    keep_memory()
    store, ledger = Store(task.store), Ledger(task.store)
    kept = {stage: ledger.read(key) for stage, key in task.keys.items()}
    known = {stage: {row.study: row for row in rows} for stage, rows in kept.items() if rows is not None}
    # Uptake comes out of the last stage: without its rows every volume is made again, so none of them is kept.
    rows: dict[str, list[Row]] = {stage: [] for stage in task.keys}
    shard = store.shard(schema.UPTAKE.name, task.granule, len(task.entries))
    seconds: Counter[str] = Counter()
    for index, entry in enumerate(task.entries):
        imaged = _image_entry(entry, task, {s: r[entry.pseudonym] for s, r in known.items() if s != "quantify"})
        if imaged.rows["quantify"].outcome.code == StorageError.code:
            # Not the study's fault: the granule is left to be done again.
            raise imaged.rows["quantify"].outcome.error()
        seconds.update(imaged.seconds)
        for stage, row in imaged.rows.items():
            rows[stage].append(row)
        if imaged.uptake is not None and (sha256 := shard.add(index, imaged.uptake)):
            rows["quantify"][-1] = replace(rows["quantify"][-1], sha256={schema.UPTAKE.name: sha256})
    shard.write()
    for stage, key in task.keys.items():
        ledger.commit(key, rows[stage])
    included = [r for r, e in zip(rows["quantify"], task.entries, strict=True) if e.outcome == INCLUDED]
    done = sum(row.outcome == DONE for row in included)
    return GranuleRecord(task.granule, done, len(included) - done, dict(seconds))


def image_first_study(task: ImagingTask) -> str:
    """Image only the first study of a task, writing nothing: shows whether it takes its worker along."""
    return _image_entry(task.entries[0], task, {}).rows["quantify"].outcome.status


def single_studies(task: ImagingTask) -> list[ImagingTask]:
    """Split a task into tasks of one included study each."""
    return [replace(task, entries=(entry,)) for entry in task.entries if entry.outcome == INCLUDED]


def _image_entry(entry: Entry, task: ImagingTask, known: Mapping[str, Row]) -> ImagedStudy:
    if entry.outcome != INCLUDED:
        outcome = entry.outcome
    elif entry.pseudonym in task.lost:
        outcome = Outcome.failed(WorkerLostError("the study ended its worker process again and again"), "worker")
    else:
        study = StudyTask(entry.pseudonym, task.files(entry), task.store, task.config, known, entry.source)
        try:
            return call_losable(image_one, study, task.config.limits, NUMERICS)
        except LOST as error:
            outcome = Outcome.failed(error, "worker")
    return ImagedStudy(dict.fromkeys(task.keys, Row(entry.pseudonym, outcome)))
