"""What a run would do and why: which stages, which granules, because of which change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from datbatch.archive import Entry, Manifest
from datbatch.archive.geometry.tomogram import VERSION as TOMOGRAM_VERSION
from datbatch.cohort.fold import limits_of
from datbatch.cohort.ledger import GranuleKey, Ledger
from datbatch.cohort.store import Store
from datbatch.config import Config, QualityConfig, digest
from datbatch.errors import INCLUDED
from datbatch.imaging import WITHOUT_FIGURE
from datbatch.location import Location
from datbatch.schema import TOMOGRAM
from datbatch.study.imaging import StageIdentity, imaging_identities


@dataclass(frozen=True)
class PlannedGranule:
    """One granule and the ledger key of each imaging stage."""

    number: int
    entries: tuple[Entry, ...]
    keys: Mapping[str, GranuleKey]
    missing: tuple[str, ...]
    """Stages that are not done."""


@dataclass(frozen=True)
class PlannedStage:
    """What a run would do for one stage."""

    name: str
    studies: int
    """Included studies that the stage would run on."""
    done: int
    """Included studies whose results are kept."""
    reason: str


@dataclass(frozen=True)
class ImagingPlan:
    """What `datbatch run` would do."""

    identities: Mapping[str, StageIdentity]
    granules: tuple[PlannedGranule, ...]
    stages: tuple[PlannedStage, ...]

    @property
    def pending(self) -> tuple[PlannedGranule, ...]:
        """Granules with anything to do."""
        return tuple(granule for granule in self.granules if granule.missing)


def plan_imaging(
    manifest: Manifest, config: Config, *, granule_studies: int, ledger: Ledger, recorded: Mapping[str, Any]
) -> ImagingPlan:
    """Compare what is wanted with what the ledger says is done.

    Parameters
    ----------
    manifest : Manifest
        The studies in the store's order.
    config : Config
        The wanted parameters.
    granule_studies : int
        Studies of one granule.
    ledger : Ledger
        Of the store.
    recorded : mapping
        The store's record of the stages it holds: name to `StageIdentity.to_dict()`.
    """
    identities = imaging_identities(config)
    done = {name: ledger.names(name, identity.digest) for name, identity in identities.items()}
    granules = []
    for number, first in enumerate(range(0, len(manifest.entries), granule_studies)):
        entries = manifest.entries[first : first + granule_studies]
        keys = granule_keys(identities, number, entries)
        missing = tuple(name for name, key in keys.items() if key.name not in done[name])
        granules.append(PlannedGranule(number, tuple(entries), keys, missing))
    stages = tuple(_stage(name, identities[name], granules, recorded) for name in identities)
    return ImagingPlan(identities, tuple(granules), stages)


def granule_keys(
    identities: Mapping[str, StageIdentity], number: int, entries: Sequence[Entry]
) -> dict[str, GranuleKey]:
    """Give the ledger key of each stage for a granule; a new, replaced or newly excluded study changes it."""
    members = digest([_identity(entry) for entry in entries])[:8]
    return {name: GranuleKey(name, identity.digest, number, members) for name, identity in identities.items()}


def _identity(entry: Entry) -> list[Any]:
    """Give what a study's results follow from besides the parameters."""
    read_by = [entry.source, TOMOGRAM_VERSION] if entry.source == TOMOGRAM else []
    return [entry.pseudonym, entry.content, entry.outcome.status, entry.outcome.code, *read_by]


def _stage(
    name: str, identity: StageIdentity, granules: Sequence[PlannedGranule], recorded: Mapping[str, Any]
) -> PlannedStage:
    todo = sum(_included(granule) for granule in granules if name in granule.missing)
    done = sum(_included(granule) for granule in granules if name not in granule.missing)
    return PlannedStage(name, todo, done, _reason(identity, recorded.get(name), todo))


def _included(granule: PlannedGranule) -> int:
    return sum(entry.outcome == INCLUDED for entry in granule.entries)


def _reason(identity: StageIdentity, before: Mapping[str, Any] | None, todo: int) -> str:
    if before is None:
        return "not run before"
    if before["digest"] == identity.digest:
        return f"{todo} studies are new, changed or not finished" if todo else "up to date"
    changes = changed_keys(before["parameters"], identity.parameters)
    if before["version"] != identity.version:
        changes.append(f"code version {before['version']} -> {identity.version}")
    changes += [f"{name} changes" for name, value in identity.upstream.items() if before["upstream"].get(name) != value]
    return "; ".join(changes)


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Describe the keys of two parameter sets that differ."""
    return [
        f"{key}: {before.get(key)} -> {after.get(key)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def plan_run(manifest: Manifest, cohort: Location, config: Config) -> ImagingPlan:
    """Say what a run would do, without doing it."""
    recorded: Mapping[str, Any] = {}
    granule_studies, changes = config.store.granule_studies, list[str]()
    if Store.exists(cohort):
        store = Store(cohort)
        recorded, granule_studies = store.attributes.get("stages", {}), store.granule_studies
        changes = changed_keys(*(_limits_of_figures(one) for one in (limits_of(store.attributes), config.quality)))
    plan = plan_imaging(manifest, config, granule_studies=granule_studies, ledger=Ledger(cohort), recorded=recorded)
    if not (recorded and changes):
        return plan
    first, *others = plan.stages
    told = replace(first, reason=f"{first.reason}; flags alone change: {', '.join(changes)}")
    return replace(plan, stages=(told, *others))


def _limits_of_figures(limits: QualityConfig) -> dict[str, float]:
    return {name: value for name, value in vars(limits).items() if name not in WITHOUT_FIGURE}


def stage_lines(stages: Iterable[PlannedStage]) -> list[str]:
    """Describe what each stage has to do, and why, as lines of a table."""
    return [
        f"{'stage':<12} {'to run':>7} {'kept':>7}  why",
        *(f"{stage.name:<12} {stage.studies:>7} {stage.done:>7}  {stage.reason}" for stage in stages),
    ]
