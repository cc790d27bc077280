"""`datbatch verify` and `retry`: a store compared with its ledger, and mended from it.

Template and atlas are written again from where they came from; what is computed is computed again, to the same bytes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from datbatch import schema
from datbatch.archive.origin import Origin, manifest_path, origin_path, read_origin
from datbatch.classifier.folder import NORMAL_RANGE_FILE
from datbatch.cohort.cohort import Cohort
from datbatch.cohort.facts import LEDGER
from datbatch.cohort.fold import FINAL_STAGE
from datbatch.cohort.ledger import GranuleKey, Runs
from datbatch.cohort.lock import writes
from datbatch.cohort.record import RUNNING, outcome_of
from datbatch.cohort.store import Store, check_layout_of, key_path, linkage_path
from datbatch.cohort.verify import Damage, Verified, put_back, recorded_volumes, remove_orphans, verify_store
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
_OF_RUN = {schema.UPTAKE.name, schema.ATLAS.name, schema.TEMPLATE.name}


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
    """Compare everything with its record, with progress; nothing is written.

    Raises
    ------
    StoreOlderError
        When the store has an earlier layout.
    """
    check_layout_of(cohort, write=True)
    at_work = any(outcome_of(one) == RUNNING for one in Runs(cohort).read())
    progress = Progress("verify", recorded_volumes(cohort), "volumes", quiet=quiet)
    try:
        found = verify_store(cohort, at_work=at_work, progress=progress.advance)
    finally:
        progress.close()
    return found if found.damages or at_work else replace(found, damages=damages_beside(Store(cohort)))


@writes
def repair_cohort(
    cohort: Location,
    *,
    cluster: str | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> Repaired:
    """Put back what the ledger tells, compute the rest again, and remove what killed writers left.

    A part that cannot be mended, since its source is not at hand, does not keep the others from it.

    Raises
    ------
    CorruptStoreError
        When neither the ledger nor the store itself tells what the store is any more.
    """
    where: dict[str, Any] = {"cluster": cluster, "workers": workers, "quiet": quiet}
    found = verify_cohort(cohort, quiet=quiet)
    if found.shadow is None:
        raise CorruptStoreError(
            "the attributes of the store or the names of its studies are lost, both in the ledger and beside it",
            "Bring the store back from a backup.",
        )
    unmended: dict[str, str] = {}

    def attempt(command: str, function: Callable[[], Any]) -> None:
        try:
            function()
        except DatbatchError as error:
            unmended[command] = f"{error.reason}. {error.advice}"

    swept = remove_orphans(cohort, found.orphans)
    put_back(cohort, found.shadow, found.damages)
    opened, places = Cohort(cohort), {damage.array for damage in found.damages}
    if any(_by_run(place) for place in places):
        # A damaged shard cannot be rewritten study by study: the granule's task writes it whole.
        attempt(f"datbatch run ARCHIVE {cohort}", lambda: run_again(read_origin(cohort), cohort, fold=True, **where))
    if any(place.startswith(_NORMS) for place in places):
        attempt(f"datbatch norms {cohort}", partial(_compare_again, opened))
    for kind, function in (("explain", _explain), ("trust", _trust)):
        for model in sorted({model for place in places if (model := _model_of(place, kind))}):
            attempt(f"datbatch {kind} {cohort} --model {model}", partial(function, opened, model, **where))
    if not unmended:
        _mend_beside(opened, attempt, **where)
    return Repaired(found.damages, swept, unmended)


def _mend_beside(opened: Cohort, attempt: Callable[[str, Callable[[], Any]], None], **where: Any) -> None:
    """Write what stands beside the store again, where store or archive tell it."""
    store, cohort, again = opened.store, opened.path, f"datbatch verify {opened.path} --repair"
    files = {damage.array for damage in damages_beside(store)}
    if name_beside(store, key_path(cohort)) in files:
        attempt(again, partial(_refuse, "the key of the pseudonyms is damaged", "Bring it back from a backup."))
        return
    if files & {name_beside(store, find(cohort)) for find in (origin_path, manifest_path, linkage_path)}:
        attempt(f"datbatch run ARCHIVE {cohort}", lambda: run_again(read_origin(cohort), cohort, fold=True, **where))
    for name in sorted(files):
        if name.endswith(NORMAL_RANGE_FILE):
            attempt(f"datbatch norms {cohort}", partial(_compare_again, opened))
        elif not write_from_store(store, name) and name.count("/") == 2:
            folder = name.rpartition("/")[0]
            attempt(f"datbatch train {cohort}", partial(_refuse, f"{name} is damaged", f"Remove the folder {folder}."))


def _refuse(reason: str, remedy: str) -> None:
    raise CorruptStoreError(reason, remedy)


def _by_run(place: str) -> bool:
    """Tell whether it is `datbatch run` that fills or writes this."""
    return place in _OF_RUN or place.removeprefix(f"{LEDGER}/") in {stage.name for stage in IMAGING}


def _model_of(place: str, kind: str) -> str:
    """Name the model whose maps, or whose tests of them, are damaged; empty where none are."""
    match = re.fullmatch(rf"ledger/{kind}/(.+)" + (r"|relevance/([^/]+)(/map)?" if kind == "explain" else ""), place)
    return (match[1] or match[2]) if match else ""


def _config(cohort: Location) -> Config:
    try:
        return read_origin(cohort).config
    except StoreError:
        return Config()


def _compare_again(opened: Cohort) -> None:
    """Fit the normal range again, with the parameters of before."""
    parameters, config = opened.store.group_attributes(schema.NORMAL_RANGE)["parameters"], _config(opened.path)
    norms, split, path = NormsConfig(**parameters["norms"]), SplitConfig(**parameters["split"]), config.norms.recovery
    if norms.recovery:
        # The store knows the table by its digest alone.
        if not path or read_recovery(Path(path)).digest != norms.recovery:
            raise StoreError("the table of recovery factors is not at hand", "Name it in the file of --config.")
        norms = replace(norms, recovery=path)
    fit_norms(opened.path, replace(config, norms=norms, split=split), again=True)


def _explain(opened: Cohort, model: str, **where: Any) -> None:
    parameters = opened.store.model_attributes(model).get("parameters")
    if parameters is not None:
        config = replace(_config(opened.path), explain=ExplainConfig(**parameters))
        explain_cohort(opened.path, config, model=model, **where)


def _trust(opened: Cohort, model: str, **where: Any) -> None:
    told = opened.store.model_attributes(model).get("trust")
    if told is not None:
        config = replace(_config(opened.path), trust=TrustConfig(**json.loads(told)["parameters"]))
        try_maps(opened.path, config, model=model, **where)


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
    opened, count, gone = Cohort(cohort), 0, list[GranuleKey]()
    for stage, identity in opened.stages.items():
        for key in opened.ledger.keys(stage, identity["digest"]):
            rows = opened.ledger.read(key)
            told = [row.outcome for row in rows or () if row.outcome.stage != ARCHIVE]
            failed = [one for one in told if one.status == schema.FAILED and (not codes or one.code in codes)]
            # What is damaged tells nothing: it runs again, too.
            if failed or rows is None:
                count += len(failed) if stage == FINAL_STAGE else 0
                gone.append(key)
    # Until the next run the tables tell of what is forgotten.
    opened.store.begin(schema.IMAGING_COLUMNS if gone else ())
    opened.ledger.remove(gone)
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
