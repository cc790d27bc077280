"""`datbatch template`: a group-wise template from a cohort's own normal studies, and the cohort normalised with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from datbatch import schema
from datbatch.archive import Entry
from datbatch.archive.origin import Origin, read_manifest, read_origin
from datbatch.cohort.cohort import Cohort
from datbatch.cohort.fold import OWN_TEMPLATE
from datbatch.cohort.lock import writes
from datbatch.cohort.record import CommandRecord
from datbatch.cohort.store import Store
from datbatch.config import Config, canonical_json, digest
from datbatch.errors import INCLUDED, DatbatchError, TrainingDataError
from datbatch.files import write_whole
from datbatch.imaging import Volume, write_template
from datbatch.imaging.template import GroupTemplate, Pose, PosedSum, Round, next_round, start_template
from datbatch.location import Location, beside
from datbatch.progress import Progress
from datbatch.stages.imaging import RunSummary
from datbatch.stages.repair import run_again
from datbatch.stages.stage import Where, Whole, settle
from datbatch.stages.template.task import (
    SHARD_STUDIES,
    PosesRecord,
    TemplateTask,
    register_shard,
    round_file,
    single_studies,
    sum_shard,
)
from datbatch.study.imaging import imaging_identities
from datbatch.study.space import configured_space, recorded, template_digest
from datbatch.workers import driver

BUILD_VERSION = 1
FEWEST_STUDIES = 3
"""Normal studies below which a mean is no template."""
GOOD_QUALITY = {"quality_coverage": 0.95, "quality_correlation": 0.90, "quality_outline_dice": 0.85}
"""Scores of the normalisation that a study needs: whole heads that look like the template."""
STATE_FILE = "state.json"
WORKSPACE_ENDING = ".building"


@dataclass(frozen=True)
class BuiltTemplate:
    """What building left."""

    path: Path
    digest: str
    """Of its content, as the stage `register` records it."""
    studies: int
    """Normal studies that it is the mean of."""
    normals: int
    """Normal studies of good quality that there are."""
    rounds: tuple[Round, ...]
    built: bool
    """False when the same template was there already."""


def template_path(cohort: Location) -> Path:
    """Give the file of a cohort's own template, beside the store."""
    return beside(cohort, "template.nii.gz")


@writes
def build_cohort_template(
    cohort: Location,
    *,
    output: Path,
    rounds: int,
    most: int,
    cluster: str | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> BuiltTemplate:
    """Build a group-wise template from the cohort's own normal studies (Nazari et al. 2022: "custom FP-CIT template").

    The start is the template that the cohort was made with, so that the result stays in MNI space; it is the shipped
    one where the cohort was made with an earlier result of this function. Studies are reconstructed again from the
    raw files. Resumable: rounds that are done are kept; a template that is there already is not built again.

    Parameters
    ----------
    cohort : Path
        Folder of the store; archive and parameters are those that it was made with.
    output : Path
        NIfTI file to write; the ledger says what it was made from.
    rounds : int
        How often all studies are registered to the mean.
    most : int
        Studies to take at most, spread over the sites.
    cluster, workers, quiet
        As for `run_imaging`.

    Raises
    ------
    TrainingDataError
        When fewer than three normal studies are good enough.
    StoreError
        When the record of the store's origin is missing.
    NormalisationError
        When no study can be registered.
    """
    opened, where = Cohort(cohort), Where(cluster, workers, quiet)
    return settle(OwnTemplate(opened, read_origin(cohort), output, where, rounds=rounds, most=most))


class OwnTemplate(Whole[BuiltTemplate]):
    """The mean of a cohort's own normal studies.

    Parameters
    ----------
    cohort : Cohort
        After a run.
    origin : Origin
        Archive and parameters that it was made with.
    output : Path
        NIfTI file to write.
    where : Where
        Where to register.
    rounds, most : int
        As for `build_cohort_template`.
    """

    command = "template"

    def __init__(self, cohort: Cohort, origin: Origin, output: Path, where: Where, *, rounds: int, most: int) -> None:
        super().__init__(cohort, recorded(origin.config))
        self._origin, self._output, self._where, self._rounds, self._most = origin, output, where, rounds, most
        self._told = cohort.store.told(OWN_TEMPLATE)
        self._start, self._used = _start(origin, output, self._told.get("start", ""))
        self._entries = {
            entry.pseudonym: entry
            for entry in read_manifest(cohort.path).entries
            # Of tomograms by others nobody knows how sharp they are: a template is of one reconstruction.
            if entry.outcome == INCLUDED and entry.source == schema.PROJECTIONS
        }
        self._normals = _normals(cohort.store, self._entries)

    def _key(self, start: str) -> str:
        return digest(
            {
                "version": BUILD_VERSION,
                "reconstruct": imaging_identities(self._used)[schema.RECONSTRUCT].digest,
                "register": {k: value for k, value in vars(self._used.register).items() if k != "template"},
                "normals": [[name, self._entries[name].content] for name in sorted(self._normals)],
                "rounds": self._rounds,
                "most": self._most,
                "start": start,
            }
        )

    def standing(self) -> BuiltTemplate | None:
        """Give the template that is there already, when it was made from the same."""
        told, output = self._told, self._output
        try:
            key = self._key(told.get("start", ""))
            if told.get("key") != key or told["digest"] != template_digest(str(output.absolute())):
                return None
        except DatbatchError:
            return None
        rounds = tuple(Round(**one) for one in told["rounds"])
        return BuiltTemplate(output, told["digest"], told["studies"], told["normals"], rounds, False)

    def make(self, record: CommandRecord) -> BuiltTemplate:
        """Choose the studies and do the rounds."""
        store, output, where = self.cohort.store, self._output, self._where
        chosen = choose_normals(store, self._normals, self._most)
        good = len(choose_normals(store, self._normals, len(self._normals)))
        if len(chosen) < FEWEST_STUDIES:
            raise TrainingDataError(
                f"{len(chosen)} normal studies are good enough for a template, it needs {FEWEST_STUDIES}",
                "Label more normal studies, or give a template in [register].",
            )
        key = self._key(self._start)
        workspace = output.absolute().with_name(f".{output.name}.{key}{WORKSPACE_ENDING}")
        entries = {index: self._entries[name] for index, name in enumerate(chosen)}
        build = _Build(workspace, self._origin.archive.absolute(), entries, self._used)
        progress = record.watch(Progress(self.command, self._rounds, "rounds", quiet=where.quiet))
        with driver.connect(where.cluster, workers=where.workers) as client:
            group = build.run(client, self._rounds, progress, quiet=where.quiet)
        write_template(group.template, output)
        value = template_digest(str(output.absolute()))
        made = BuiltTemplate(output, value, group.rounds[-1].studies, good, group.rounds, True)
        told = asdict(made) | {"key": key, "start": self._start, "members": chosen}
        # The name of a file is the user's: it does not enter the store.
        del told["path"]
        store.tell(OWN_TEMPLATE, told)
        store.consolidate()
        shutil.rmtree(workspace)
        return made


def normalise_with(
    cohort: Location,
    template: Path,
    *,
    cluster: str | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> RunSummary:
    """Run a cohort again with another template and all other parameters as they were."""
    origin = read_origin(cohort)
    register = replace(origin.config.register, template=str(template.absolute()))
    config = replace(origin.config, register=register)
    return run_again(origin, cohort, config=config, cluster=cluster, workers=workers, quiet=quiet)


def choose_normals(store: Store, normals: Iterable[str], most: int) -> list[str]:
    """Choose studies of good quality, taking from each site in turn; within a site in the order of pseudonyms.

    Pseudonyms are keyed hashes: their order has nothing to do with the patients.
    """
    wanted = set(normals)
    good = store.read_table("status") == schema.DONE
    for name, least in GOOD_QUALITY.items():
        good &= store.read_table(name) >= least
    sites: dict[str, list[str]] = {}
    for study, site, is_good in sorted(zip(store.studies, store.read_table("site"), good, strict=True)):
        if is_good and study in wanted:
            sites.setdefault(site, []).append(study)
    turns = zip_longest(*(sites[site] for site in sorted(sites)))
    return [study for turn in turns for study in turn if study is not None][:most]


def _normals(store: Store, entries: Mapping[str, Entry]) -> set[str]:
    """Name the normal studies; where a split is stored, those of the training set alone."""
    split = dict(zip(store.studies, store.read_table("split"), strict=True))
    normals = {name for name, entry in entries.items() if entry.label == schema.NEGATIVE and name in split}
    return {name for name in normals if split[name] == "train"} if any(split.values()) else normals


@dataclass(frozen=True)
class _Build:
    """Rounds on a cluster, with their state in a folder that driver and workers share."""

    workspace: Path
    archive: Location
    entries: Mapping[int, Entry]
    config: Config

    def run(self, client: Any, rounds: int, shown: Progress, *, quiet: bool) -> GroupTemplate:
        """Do the rounds that are not done yet."""
        group = self._read_state()
        shown.reach(len(group.rounds))
        while len(group.rounds) < rounds:
            number = len(group.rounds)
            group = next_round(
                group,
                list(self.entries),
                lambda _, studies, number=number: self._register(client, number, studies, quiet),  # type: ignore[misc]
                lambda poses, number=number: self._sum(client, number, poses),  # type: ignore[misc]
            )
            self._write_state(group)
            last = group.rounds[-1]
            moved = "" if last.movement_mm is None else f", moved by {last.movement_mm:.2f} mm"
            shown.advance(note=f"changed by {last.change:.4f}{moved}")
        shown.close()
        return group

    def _register(self, client: Any, number: int, studies: Sequence[int], quiet: bool) -> dict[int, Pose]:
        poses: dict[int, Pose] = {}
        progress = Progress(f"round {number + 1}", len(studies), quiet=quiet)

        def note(record: PosesRecord) -> None:
            poses.update(record.poses)
            progress.advance(len(record.poses) + record.failed, record.failed)

        self._run(client, register_shard, self._tasks(number, studies, {}), note)
        progress.close()
        return dict(sorted(poses.items()))

    def _sum(self, client: Any, number: int, poses: Mapping[int, Pose]) -> PosedSum:
        self._run(client, sum_shard, self._tasks(number, list(poses), poses), lambda _: None)
        total = PosedSum.nothing()
        # In the order of names, so that the sum does not depend on which task ended first.
        for path in sorted(self.workspace.glob(f"sum-{number}-*.npz")):
            with np.load(path, allow_pickle=False) as part:
                total += PosedSum(part["total"], part["count"])
            path.unlink()
        return total

    def _run(
        self, client: Any, function: Callable[[TemplateTask], Any], tasks: list[TemplateTask], note: Callable[..., None]
    ) -> None:
        driver.run_tasks(client, function, tasks, on_record=note, on_lost=single_studies)

    def _tasks(self, number: int, studies: Sequence[int], poses: Mapping[int, Pose]) -> list[TemplateTask]:
        tasks = []
        for first in range(0, len(studies), SHARD_STUDIES):
            members = studies[first : first + SHARD_STUDIES]
            entries = {index: self.entries[index] for index in members}
            own = {index: poses[index] for index in members if index in poses}
            tasks.append(TemplateTask(self.archive, self.workspace, number, entries, self.config, own))
        return tasks

    def _read_state(self) -> GroupTemplate:
        """Continue where an earlier call was interrupted, else begin."""
        state = _read_json(self.workspace / STATE_FILE)
        if not state:
            beginning = self.workspace.name.removesuffix(WORKSPACE_ENDING).rpartition(".")[0]
            for other in self.workspace.parent.glob(f"{beginning}.*{WORKSPACE_ENDING}"):
                shutil.rmtree(other)
            self.workspace.mkdir(parents=True)
            group = start_template(configured_space(self.config).template)
            self._write_state(group)
            return group
        for left in self.workspace.glob("*sum-*"):
            left.unlink()
        rounds = tuple(Round(**one) for one in state["rounds"])
        data = np.load(round_file(self.workspace, len(rounds)), allow_pickle=False)
        first, poses = ({int(k): np.array(v) for k, v in state[name].items()} for name in ("first", "poses"))
        return GroupTemplate(Volume(data, schema.grid_affine()), first, poses, rounds)

    def _write_state(self, group: GroupTemplate) -> None:
        np.save(round_file(self.workspace, len(group.rounds)), group.template.data)
        state = {
            "rounds": [asdict(one) for one in group.rounds],
            "first": {index: pose.tolist() for index, pose in group.first.items()},
            "poses": {index: pose.tolist() for index, pose in group.poses.items()},
        }
        write_whole(self.workspace / STATE_FILE, canonical_json(state).encode())


def _start(origin: Origin, output: Path, earlier: str) -> tuple[str, Config]:
    """Give the digest of the start and the parameters that name it.

    A template that was built from the shipped one, or is gone, is built anew from it, not from itself.
    """
    config = origin.config
    own = config.register.template == str(output.absolute())
    if own and (earlier == template_digest("") or not output.exists()):
        config = replace(config, register=replace(config.register, template=""))
    return template_digest(config.register.template), config


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
