"""`datbatch verify` and `retry`: a store compared with its records, and mended from what else holds the same.

Metadata are put back from the seal, coordinates from the schema, columns from the ledger, the manifest and the models,
template and atlas from where they came from; what is computed is computed again, to the same bytes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from datbatch import schema
from datbatch.archive.origin import Origin, manifest_path, origin_path, read_manifest, read_origin
from datbatch.classifier.folder import NORMAL_RANGE_FILE, ModelFolder
from datbatch.cohort import seal
from datbatch.cohort.fold import FINAL_STAGE, manifest_columns
from datbatch.cohort.ledger import Ledger, Runs
from datbatch.cohort.lock import sole_writer, writes
from datbatch.cohort.record import RUNNING, outcome_of
from datbatch.cohort.store import Store, check_layout_of, key_path, linkage_path, models_path
from datbatch.cohort.verify import (
    Damage,
    Orphan,
    damage_of,
    find_orphans,
    recorded_volumes,
    remove_orphans,
    sealed_damages,
    verify_store,
)
from datbatch.config import Config, ExplainConfig, NormsConfig, SplitConfig, TrustConfig
from datbatch.errors import ARCHIVE, CorruptStoreError, DatbatchError, StoreError
from datbatch.location import Location
from datbatch.norms import read_recovery
from datbatch.progress import Progress
from datbatch.stages.beside import damages_beside, name_beside, write_from_store
from datbatch.stages.explain import explain_cohort
from datbatch.stages.imaging import RunSummary, run_imaging
from datbatch.stages.norms import fit_norms
from datbatch.stages.trust import try_maps
from datbatch.study.imaging import IMAGING

_NORMS = f"{schema.NORMAL_RANGE}/"
_OF_RUN = {schema.UPTAKE.name, schema.ATLAS.name, schema.TEMPLATE.name} | {
    variable.name for variable in schema.STUDY_TABLE if variable.source != "train"
}


@dataclass(frozen=True)
class Verified:
    """What `datbatch verify` found."""

    volumes: int
    """Volumes read."""
    damages: list[Damage]
    orphans: list[Orphan]
    """Files that belong to nothing; not looked for while a command is at work, nor in a store that cannot be read."""

    @property
    def readable(self) -> bool:
        """Whether volumes, ledger and tables were read: not where metadata or the names of studies are damaged."""
        return not any(damage.is_metadata or damage.array == "study" for damage in self.damages)


@dataclass(frozen=True)
class Repaired:
    """What `datbatch verify --repair` did."""

    damages: list[Damage]
    """What was damaged, also what could be read only once metadata were put back."""
    removed: int
    """Files that belonged to nothing."""
    unmended: dict[str, str]
    """Why something was not mended, by the command that would do it."""


def verify_cohort(cohort: Location, *, quiet: bool = False) -> Verified:
    """Compare everything with its record, and look for what belongs to nothing, with progress; nothing is written."""
    at_work = any(outcome_of(one) == RUNNING for one in Runs(cohort).read())
    sealed = [] if at_work else sealed_damages(cohort)
    found = Verified(0, sealed, [])
    if not found.readable:
        return found
    check_layout_of(cohort, write=False)
    progress = Progress("verify", recorded_volumes(cohort), "volumes", quiet=quiet)
    try:
        count, damages = verify_store(
            cohort, expected=_expected(cohort), tables=not at_work, sealed=sealed, progress=progress.advance
        )
    finally:
        progress.close()
    if not damages and not at_work:
        damages = damages_beside(Store(cohort))
    found = Verified(count, damages, [])
    return found if at_work or not found.readable else replace(found, orphans=find_orphans(cohort))


def _expected(cohort: Location) -> dict[str, Any]:
    """Give the columns that follow from the manifest and are not sealed: a sealed one tells more of the manifest."""
    try:
        sealed = seal.read_seal(cohort) or seal.Seal()
        columns = manifest_columns(read_manifest(cohort))
    except (StoreError, ValueError):
        # A store that was handed on: the manifest stays with whom it can lead to persons.
        return {}
    return {name: values for name, values in columns.items() if name not in sealed.values}


def repair_cohort(
    cohort: Location,
    *,
    cluster: str | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> Repaired:
    """Put back what is recorded elsewhere, compute the rest again, and remove what killed writers left.

    A part that cannot be mended, since its source is not at hand, does not keep the others from it.
    """
    with sole_writer(cohort):
        # Metadata first: what is damaged may be the layout that they tell.
        return _mend(cohort, _put_back(cohort), cluster=cluster, workers=workers, quiet=quiet)


@writes
def _mend(cohort: Location, damages: list[Damage], **where: Any) -> Repaired:
    quiet = where["quiet"]
    found = verify_cohort(cohort, quiet=quiet)
    damages += found.damages
    if any(damage.array == "study" for damage in found.damages):
        _name_studies(cohort)
        found = verify_cohort(cohort, quiet=quiet)
        damages += found.damages
    unmended: dict[str, str] = {}

    def attempt(command: str, function: Callable[[], Any]) -> None:
        try:
            function()
        except DatbatchError as error:
            unmended[command] = f"{error.reason}. {error.advice}"

    swept = remove_orphans(cohort, found.orphans)
    places = {damage.array for damage in found.damages}
    Ledger(cohort).remove(damage.key for damage in found.damages if damage.key is not None)
    Runs(cohort).remove({place for place in places if place.startswith(f"{seal.RUNS}/")})
    store = Store(cohort)
    places -= {place for place in places if store.write_coordinate(place)}
    if "split" in places:
        attempt(f"datbatch train {cohort}", partial(_divide, cohort))
    if found.damages:
        store.consolidate()
    if any(_by_run(place) for place in places):
        # A damaged shard cannot be rewritten study by study: the granule's task writes it whole.
        attempt(f"datbatch run ARCHIVE {cohort}", lambda: _run(cohort, read_origin(cohort), **where))
    if any(place.startswith(_NORMS) for place in places):
        attempt(f"datbatch norms {cohort}", partial(_compare_again, cohort))
    for kind, function in (("explain", _explain), ("trust", _trust)):
        for model in sorted({model for place in places if (model := _model_of(place, kind))}):
            attempt(f"datbatch {kind} {cohort} --model {model}", partial(function, cohort, model, **where))
    if not unmended:
        _mend_beside(Store(cohort), attempt, **where)
    return Repaired(list(dict.fromkeys(damages)), swept, unmended)


def _mend_beside(store: Store, attempt: Callable[[str, Callable[[], Any]], None], **where: Any) -> None:
    """Write what stands beside the store again, where store or archive tell it."""
    cohort, again = store.path, f"datbatch verify {store.path} --repair"
    files = {damage.array for damage in damages_beside(store)}
    if name_beside(store, key_path(cohort)) in files:
        attempt(again, partial(_refuse, "the key of the pseudonyms is damaged", "Bring it back from a backup."))
        return
    if files & {name_beside(store, find(cohort)) for find in (origin_path, manifest_path, linkage_path)}:
        attempt(f"datbatch run ARCHIVE {cohort}", lambda: _run(cohort, read_origin(cohort), **where))
    for name in sorted(files):
        if name.endswith(NORMAL_RANGE_FILE):
            attempt(f"datbatch norms {cohort}", partial(_compare_again, cohort))
        elif not write_from_store(store, name) and name.count("/") == 2:
            folder = name.rpartition("/")[0]
            attempt(f"datbatch train {cohort}", partial(_refuse, f"{name} is damaged", f"Remove the folder {folder}."))


def _refuse(reason: str, remedy: str) -> None:
    raise CorruptStoreError(reason, remedy)


def _by_run(place: str) -> bool:
    """Tell whether it is `datbatch run` that fills or writes this."""
    return place in _OF_RUN or place.removeprefix(f"{seal.LEDGER}/") in {stage.name for stage in IMAGING}


def _model_of(place: str, kind: str) -> str:
    """Name the model whose maps, or whose tests of them, are damaged; empty where none are."""
    match = re.match(r"(?:relevance|ledger/explain)/([^/]+)" if kind == "explain" else r"ledger/trust/(.+)", place)
    return match[1] if match else ""


def _put_back(cohort: Location) -> list[Damage]:
    """Write damaged metadata again, as the seal has them, and remove chunks that nobody wrote; names what that was."""
    try:
        sealed = seal.read_seal(cohort)
    except ValueError:
        return []
    if sealed is None:
        return []
    found = seal.differences(cohort, sealed)
    seal.put_back(cohort, sealed, found)
    if any(one.node == seal.ROOT for one in found):
        # The seal has the root's own metadata; consolidating adds the copies of all others.
        Store(cohort).consolidate()
    return [damage_of(one) for one in found if one.is_metadata or one.kind == "unrecorded"]


def _name_studies(cohort: Location) -> None:
    """Write the pseudonyms again: from the manifest, or, where it is not here, from the ledger."""
    store, candidates = Store(cohort), []
    with suppress(StoreError):
        candidates.append([entry.pseudonym for entry in read_manifest(cohort).entries])
    ledger, digest = Ledger(cohort), store.attributes.get("stages", {}).get(FINAL_STAGE, {}).get("digest", "")
    candidates.append([row.study for row in ledger.rows(ledger.keys(FINAL_STAGE, digest))])
    count = len(store.volumes())
    if not _write_as_sealed(store, "study", (names for names in candidates if len(names) == count)):
        raise CorruptStoreError(
            "the names of the studies are damaged, and neither manifest nor ledger has all of them",
            "Bring back the private files that belong to the store, then call `datbatch verify --repair` again.",
        )


def _divide(cohort: Location) -> None:
    """Write the split again: that of a model beside the store."""
    store, candidates = Store(cohort), []
    for model in sorted(store.models, key=lambda name: str(store.model_attributes(name).get("created")), reverse=True):
        with suppress(OSError, ValueError):
            split = ModelFolder(models_path(cohort) / model).split()
            candidates.append([split.get(study, "") for study in store.studies])
    if not _write_as_sealed(store, "split", candidates):
        raise CorruptStoreError("no model beside the store has the split that was stored", "Train to divide anew.")


def _write_as_sealed(store: Store, name: str, candidates: Iterable[Sequence[str]]) -> bool:
    """Write the first candidate that gives the bytes of the seal; where none does, it stays damaged."""
    sealed = seal.read_seal(store.path) or seal.Seal()
    for candidate in candidates:
        store.write_table({name: np.asarray(candidate, dtype=object)})
        if not any(one.node == name for one in seal.differences(store.path, sealed)):
            store.consolidate()
            return True
    seal.write_seal(store.path, sealed)
    return False


def _run(cohort: Location, origin: Origin, **where: Any) -> None:
    run_again(origin, cohort, fold=True, **where)


def _config(cohort: Location) -> Config:
    try:
        return read_origin(cohort).config
    except StoreError:
        return Config()


def _compare_again(cohort: Location) -> None:
    """Fit the normal range again, with the parameters of before."""
    parameters, config = Store(cohort).group_attributes(schema.NORMAL_RANGE)["parameters"], _config(cohort)
    norms, split, path = NormsConfig(**parameters["norms"]), SplitConfig(**parameters["split"]), config.norms.recovery
    if norms.recovery:
        # The store knows the table by its digest alone.
        if not path or read_recovery(Path(path)).digest != norms.recovery:
            raise StoreError("the table of recovery factors is not at hand", "Name it in the file of --config.")
        norms = replace(norms, recovery=path)
    fit_norms(cohort, replace(config, norms=norms, split=split), again=True)


def _explain(cohort: Location, model: str, **where: Any) -> None:
    parameters = Store(cohort).model_attributes(model).get("parameters")
    if parameters is not None:
        config = replace(_config(cohort), explain=ExplainConfig(**parameters))
        explain_cohort(cohort, config, model=model, **where)


def _trust(cohort: Location, model: str, **where: Any) -> None:
    told = Store(cohort).model_attributes(model).get("trust")
    if told is not None:
        config = replace(_config(cohort), trust=TrustConfig(**json.loads(told)["parameters"]))
        try_maps(cohort, config, model=model, **where)


@writes
def forget_failures(cohort: Location, codes: Collection[str] | None = None) -> int:
    """Forget the granules that hold failed studies, so that the next run computes them again.

    Parameters
    ----------
    cohort : Path
        Folder of the store.
    codes : collection of str, optional
        Only failures with these codes.

    Returns
    -------
    int
        How many failed studies will run again.
    """
    store, ledger = Store(cohort), Ledger(cohort)
    count = 0
    for stage, identity in store.attributes.get("stages", {}).items():
        for key in ledger.keys(stage, identity["digest"]):
            rows = ledger.read(key)
            told = [row.outcome for row in rows or () if row.outcome.stage != ARCHIVE]
            failed = [one for one in told if one.status == schema.FAILED and (not codes or one.code in codes)]
            # What is damaged tells nothing: it runs again, too.
            if failed or rows is None:
                count += len(failed) if stage == FINAL_STAGE else 0
                ledger.remove([key])
    return count


def run_again(
    origin: Origin, cohort: Location, *, config: Config | None = None, fold: bool = False, **where: Any
) -> RunSummary:
    """Run everything that a store was made from again; what is done stays.

    Parameters
    ----------
    origin : Origin
        Folders and parameters.
    cohort : Path
        Folder of the store.
    config : Config, optional
        Other parameters.
    fold : bool
        As for `run_imaging`.
    **where
        `cluster`, `workers` and `quiet` of `run_imaging`.
    """
    config = origin.config if config is None else config
    ran = [
        run_imaging(given.folder, cohort, config, participants=given.participants, fold=fold, source=source, **where)
        for source, given in origin.folders.items()
    ]
    # Each leaves the studies of the others as they are: the last one counts them all.
    seconds: Counter[str] = Counter()
    for one in ran:
        seconds.update(one.seconds)
    return replace(ran[-1], processed=sum(one.processed for one in ran), seconds=dict(seconds))
