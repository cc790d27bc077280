"""`datbatch run`: from an archive to a cohort store, on whatever cluster, resumable at any moment."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from datbatch import __version__, schema
from datbatch.archive import Manifest, key_check, load_or_create_key, write_linkage
from datbatch.archive.origin import Given, Origin, earlier_folders, keep_others, write_origin
from datbatch.archive.scanning import scan_losable
from datbatch.cohort.cohort import Cohort
from datbatch.cohort.facts import VALUES
from datbatch.cohort.fold import ARCHIVE_OUTCOMES, FOLDED, manifest_columns, stamp_of
from datbatch.cohort.ledger import Ledger
from datbatch.cohort.lock import writes
from datbatch.cohort.shadow import fold_imaging_tables
from datbatch.cohort.store import Store, check_layout_of, key_path, linkage_path
from datbatch.config import Config, canonical_json
from datbatch.errors import INCLUDED, ArchiveError, StoreError, WorkerLostError
from datbatch.location import Location
from datbatch.progress import Progress
from datbatch.stages.imaging_task import (
    GranuleRecord,
    ImagingTask,
    image_first_study,
    image_granule,
    single_studies,
)
from datbatch.stages.norms import mark_norms
from datbatch.stages.planning import ImagingPlan, plan_run, stage_lines
from datbatch.stages.stage import Plan, Stage, Where, complete
from datbatch.study.space import configured_space, recorded, write_space
from datbatch.workers import driver
from datbatch.workers.losable import return_memory

ATTEMPTS = 3
"""Times that a granule whose worker was lost is tried again before its run ends with an error."""
COMMANDS = {schema.PROJECTIONS: "run", schema.TOMOGRAM: "import"}
"""Name of the command by what it reads."""
KEY_CHECK = "key_check"
"""Attribute of the store: which key its pseudonyms were made with (`archive.pseudonyms.key_check`)."""


@dataclass(frozen=True)
class RunSummary:
    """What a run did."""

    studies: int
    done: int
    failed: int
    excluded: int
    processed: int
    """Included studies that were computed in this run."""
    failures: Mapping[str, int]
    """Studies by error code, excluded ones among them."""
    seconds: Mapping[str, float]
    """Wall time of the processed studies, summed, by step."""


def prepare(
    archive: Location,
    cohort: Location,
    config: Config,
    *,
    participants: Location | None,
    quiet: bool,
    source: str = schema.PROJECTIONS,
) -> Manifest:
    """Scan an archive into the manifest, in the order of the store where there is one.

    Studies of the store that this archive does not have, or not from this source, stay as they are.

    Raises
    ------
    ArchiveError
        When the archive cannot be read or holds no study.
    TemplateError, AtlasError, GridMismatchError
        When the parameters name a template or an atlas that is of no use.
    """
    configured_space(config)
    check_layout_of(cohort, write=True)
    known = Store(cohort).studies if Store.exists(cohort) else []
    if not archive.is_dir():
        raise ArchiveError("there is no such folder")
    if known and not key_path(cohort).exists():
        raise StoreError(
            "the key that the store's pseudonyms were made with is not here: every study would get another name",
            "Bring back the private files that belong to the store, from the machine that it was made on.",
        )
    # Made last of all checks: a mistyped path must not leave a key behind.
    key = load_or_create_key(key_path(cohort))
    if known and Store(cohort).attributes.get(KEY_CHECK, key_check(key)) != key_check(key):
        raise StoreError(
            "the key beside the store is not the one that its pseudonyms were made with: every study would get another "
            "name and be there twice",
            "Bring back the key that belongs to the store, from a backup or the machine that it was made on.",
        )
    progress = Progress("scan", 0, "files", quiet=quiet)
    manifest = scan_losable(
        archive,
        cohort,
        config,
        key=key,
        participants=participants,
        known=known,
        source=source,
        progress=progress.reach,
    )
    progress.close()
    if not manifest.entries:
        raise ArchiveError("the archive holds no study", "Give the folder that holds the studies' files.")
    return keep_others(manifest, cohort, source)


@writes
def run_imaging(
    archive: Location,
    cohort: Location,
    config: Config,
    *,
    participants: Location | None = None,
    cluster: str | None = None,
    workers: int | None = None,
    quiet: bool = False,
    fold: bool = False,
    source: str = schema.PROJECTIONS,
) -> RunSummary:
    """Read, reconstruct, normalise, scale, quantify and mirror every study of an archive into a cohort store.

    Tomograms that were reconstructed elsewhere enter at their normalisation.

    Ends early and safely on `KeyboardInterrupt`: what is done stays, and the tables say so.

    Parameters
    ----------
    archive : Path
        Folder of the studies' files.
    cohort : Path
        Folder of the store; made where there is none.
    config : Config
        All parameters.
    participants : Path, optional
        Table of labels or reads, site, sex and age; `participants.csv` or `.tsv` of the archive by default.
    cluster : str, optional
        Address of a Dask scheduler; a local cluster by default.
    workers : int, optional
        Worker processes of the local cluster.
    quiet : bool
        Whether to show no progress.
    fold : bool
        Whether to write tables, template and atlas again even where nothing changed.
    source : str
        What to read: projections, or tomograms.
    """
    started = time.monotonic()
    manifest = prepare(archive, cohort, config, participants=participants, quiet=quiet, source=source)
    if not Store.exists(cohort):
        Store.create(cohort, granule_studies=config.store.granule_studies)
    origin = Origin({**earlier_folders(cohort), source: Given(archive, participants)}, config)
    stage = Imaging(Cohort(cohort), manifest, origin, source, fold=fold, quiet=quiet)
    complete(stage, recorded(config), Where(cluster, workers, quiet), started=started)
    return stage.summary


class Imaging(Stage[ImagingTask, GranuleRecord]):
    """The stages from files to uptake; one task of a granule fills all three.

    Parameters
    ----------
    cohort : Cohort
        The store, which may still be empty.
    manifest : Manifest
        The studies in the store's order.
    origin : Origin
        Folders and parameters.
    source : str
        What is read now: projections, or tomograms.
    fold : bool
        Whether to write tables, template and atlas even where nothing changed.
    quiet : bool
        Whether to show no plan.
    """

    activity = "imaging"

    def __init__(
        self, cohort: Cohort, manifest: Manifest, origin: Origin, source: str, *, fold: bool, quiet: bool
    ) -> None:
        super().__init__(cohort)
        self.command = COMMANDS[source]
        self._manifest, self._origin, self._source = manifest, origin, source
        self._fold, self._quiet = fold, quiet
        self._space, self._config = configured_space(origin.config), recorded(origin.config)
        self._plan = plan_run(manifest, cohort.path, self._config)
        digests = [identity.digest for identity in self._plan.identities.values()]
        self._stamp = stamp_of(manifest, digests, self._config.quality)
        _require_folders(self._plan, origin)
        write_origin(cohort.path, origin, manifest)
        self._done = _Sum()

    def plan(self) -> Plan[ImagingTask]:
        """Find the granules that lack a stage."""
        # Paths of tomograms stand in the task where there are any.
        archive, folder = self._origin.archive.absolute(), self._origin.tomograms
        tomograms = None if folder is None else folder.absolute()
        pending, identities = self._plan.pending, self._plan.identities
        return Plan(
            digests={name: identity.digest for name, identity in identities.items()},
            names={name: {granule.keys[name].name for granule in self._plan.granules} for name in identities},
            pending=[
                ImagingTask(
                    self.cohort.path.absolute(), archive, g.number, g.entries, g.keys, self._config, tomograms=tomograms
                )
                for g in pending
            ],
            studies=sum(entry.outcome == INCLUDED for g in pending for entry in g.entries),
        )

    def facts(self) -> dict[str, Any]:
        """Name the manifest and what is to be done."""
        return {
            "manifest_sha256": self._stamp,
            "studies": len(self._manifest.entries),
            "planned": {stage.name: {"to_run": stage.studies, "kept": stage.done} for stage in self._plan.stages},
        }

    def is_folded(self) -> bool:
        """Tell whether the tables follow from this manifest: a finished run of any size is resumed in seconds."""
        return not self._fold and self.cohort.store.attributes.get(FOLDED) == self._stamp

    @property
    def tables(self) -> tuple[str, ...]:
        """Name the columns that follow from imaging."""
        return schema.IMAGING_COLUMNS

    def begin(self) -> None:
        """Bring the store to the manifest's size, and say what its stages are from now on."""
        _start(self.cohort.store, self._manifest, self._plan, self._config, self._source)
        write_space(self.cohort.store, self._space, again=self._fold)
        return_memory()
        if self._plan.pending and not self._quiet:
            print("\n".join(stage_lines(self._plan.stages)), file=sys.stderr, flush=True)

    @staticmethod
    def run(task: ImagingTask) -> GranuleRecord:
        """Image one granule."""
        return image_granule(task)

    def note(self, record: GranuleRecord, progress: Progress) -> None:
        """Count the studies of a granule, and where their time went."""
        self._done.add(record)
        progress.advance(record.done + record.failed, record.failed, _by_step(self._done), record.seconds)

    def on_lost(self, client: Any, task: ImagingTask) -> list[ImagingTask]:
        """Find the studies that end their worker, so that the others are saved."""
        return [triage(client, task)]

    def found(self, records: Sequence[GranuleRecord]) -> dict[str, Any]:
        """Count what became of the studies."""
        summary = self.summary
        return {
            "processed": summary.processed,
            "done": summary.done,
            "failed": summary.failed,
            "excluded": summary.excluded,
            "failures": summary.failures,
        }

    def fold(self, *, complete: bool) -> None:
        """Write the tables."""
        return_memory()
        stamp = self._stamp if complete else ""
        fold_imaging(self.cohort.store, self.cohort.ledger, self._manifest, stamp=stamp)

    @property
    def summary(self) -> RunSummary:
        """What the run did, and what the store holds."""
        return _summary(self.cohort.store, self._done)


def _require_folders(plan: ImagingPlan, origin: Origin) -> None:
    """Refuse to compute studies again whose folder is not there: good results would be replaced by failures."""
    for source in {entry.source for g in plan.pending for entry in g.entries if entry.outcome == INCLUDED}:
        given = origin.folders.get(source)
        if given is None or not given.folder.is_dir():
            raise ArchiveError(
                f"some studies must be computed again, and the folder that `datbatch {COMMANDS[source]}` took them "
                "from is not there",
                "Bring it back, or put the new studies into a store of their own.",
            )


@dataclass
class _Sum:
    """Sums over the granules of this run."""

    processed: int = 0
    seconds: Counter[str] = field(default_factory=Counter)

    def add(self, record: GranuleRecord) -> None:
        self.processed += record.done + record.failed
        self.seconds.update(record.seconds)


def _by_step(done: _Sum) -> str:
    """Say where the time of a study goes."""
    if not done.processed:
        return ""
    return "s a study: " + " ".join(f"{step} {s / done.processed:.2f}" for step, s in done.seconds.items())


def fold_imaging(store: Store, ledger: Ledger, manifest: Manifest, *, stamp: str) -> None:
    """Write what the ledger holds into the tables.

    `stamp` says what they follow from; empty while granules are pending.
    """
    told = [[e.pseudonym, *e.outcome] for e in manifest.entries if e.outcome != INCLUDED]
    store.tell(ARCHIVE_OUTCOMES, {VALUES: told})
    fold_imaging_tables(store, ledger, store.attributes, told)
    store.set_attributes({"simulated": _is_simulated(store), FOLDED: stamp})
    mark_norms(store)
    store.consolidate()


def _is_simulated(store: Store) -> bool:
    """Tell whether all studies are simulated, as far as they name their scanner; a tomogram without one may be real."""
    named = zip(*(store.read_table(name) for name in ("scanner", "source", "status")), strict=True)
    scanners = {
        scanner for scanner, source, status in named if scanner or (source == schema.TOMOGRAM and status == schema.DONE)
    }
    return bool(scanners) and all(schema.SIMULATED in scanner for scanner in scanners)


def _start(store: Store, manifest: Manifest, plan: ImagingPlan, config: Config, source: str) -> None:
    store.grow([entry.pseudonym for entry in manifest.entries])
    write_linkage(linkage_path(store.path), manifest)
    store.write_table(manifest_columns(manifest))
    store.set_attributes(
        {
            "config": canonical_json(config.to_stored_dict()),
            "datbatch_version": __version__,
            "files": canonical_json(_files(store, manifest, source)),
            "stages": {name: identity.to_dict() for name, identity in plan.identities.items()},
            FOLDED: "",
            KEY_CHECK: key_check(load_or_create_key(key_path(store.path))),
        }
    )
    for model in store.models:
        # Its relevance explains uptake that is about to be replaced.
        stale = store.model_attributes(model)["quantify"] != plan.identities["quantify"].digest
        store.set_attributes({"stale": stale}, f"relevance/{model}")


def _files(store: Store, manifest: Manifest, source: str) -> dict[str, Any]:
    """Count the files that were found for each source, and all of them."""
    before = json.loads(store.attributes.get("files", "{}"))
    by_source = before.pop("by_source", {schema.PROJECTIONS: before} if before else {})
    by_source |= {source: {"found": manifest.files_found, "skipped": manifest.files_skipped}}
    skipped: Counter[str] = Counter()
    for one in by_source.values():
        skipped.update(one["skipped"])
    found = sum(one["found"] for one in by_source.values())
    only_projections = by_source.keys() == {schema.PROJECTIONS}
    return {"found": found, "skipped": dict(skipped)} | ({} if only_projections else {"by_source": by_source})


def triage(client: Any, task: ImagingTask) -> ImagingTask:
    """Find the studies of a granule that end their worker, one by one, so that the others are saved."""
    if task.attempts >= ATTEMPTS:
        raise WorkerLostError(f"granule {task.granule} lost its worker {task.attempts} times, by no single study")
    lost = {
        single.entries[0].pseudonym
        for single in single_studies(task)
        if not driver.survives(client, image_first_study, single)
    }
    return replace(task, lost=task.lost | lost, attempts=task.attempts + 1)


def _summary(store: Store, done: _Sum) -> RunSummary:
    status = Counter(store.read_table("status"))
    codes = Counter(code for code in store.read_table("error_code") if code)
    return RunSummary(
        studies=sum(status.values()),
        done=status[schema.DONE],
        failed=status[schema.FAILED],
        excluded=status[schema.EXCLUDED],
        processed=done.processed,
        failures=dict(codes),
        seconds=dict(done.seconds),
    )
