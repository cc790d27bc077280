"""The tasks of a worker while a template is built: register a few normal studies, or sum them in their poses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from datbatch import schema
from datbatch.archive import Entry, read_study
from datbatch.config import Config
from datbatch.errors import DatbatchError
from datbatch.imaging import Volume, reconstruct, register_affine
from datbatch.imaging.template import Pose, PosedSum
from datbatch.location import Location
from datbatch.workers.losable import call_losable

SHARD_STUDIES = 8
"""Studies of one task: its sum is one file, however many studies there are."""


@dataclass(frozen=True)
class TemplateTask:
    """A few normal studies in one round. Paths stay out of its representation: a library may log it."""

    archive: Location = field(repr=False)
    workspace: Path = field(repr=False)
    """Folder that driver and workers share."""
    round: int
    entries: dict[int, Entry] = field(repr=False)
    """Studies by index."""
    config: Config = field(repr=False)
    poses: dict[int, Pose] = field(repr=False, default_factory=dict)
    """Where the studies lie; needed to sum them."""


@dataclass(frozen=True)
class PosesRecord:
    """What the driver hears of studies that were registered."""

    poses: dict[int, Pose] = field(repr=False)
    failed: int


def register_shard(task: TemplateTask) -> PosesRecord:
    """Register studies to the template of the round; those where it fails are left out."""
    template = read_round(task.workspace, task.round)
    poses = {}
    for index, volume in _volumes(task):
        try:
            found = register_affine(volume, template, task.config.register)
        except DatbatchError:
            continue
        if not found.failed:
            poses[index] = found.template_to_study
    return PosesRecord(poses, len(task.entries) - len(poses))


def sum_shard(task: TemplateTask) -> int:
    """Sum studies in their poses into a file of the workspace; gives how many."""
    posed = PosedSum.nothing()
    count = 0
    for index, volume in _volumes(task):
        posed = posed.plus(volume, task.poses[index])
        count += 1
    target = task.workspace / f"sum-{task.round}-{min(task.entries):06d}.npz"
    unfinished = target.with_name(f".{target.name}.partial")
    with unfinished.open("wb") as stream:
        np.savez(stream, total=posed.total, count=posed.count)
    unfinished.rename(target)
    return count


def single_studies(task: TemplateTask) -> list[TemplateTask]:
    """Split a task whose worker was lost; a study that loses it alone is left out."""
    if len(task.entries) == 1:
        return []
    return [replace(task, entries={index: entry}) for index, entry in task.entries.items()]


def round_file(workspace: Path, number: int) -> Path:
    """Give the file of the template that a round registers to."""
    return workspace / f"round-{number}.npy"


@lru_cache(maxsize=1)
def read_round(workspace: Path, number: int) -> Volume:
    """Read the template that a round registers to; a workspace is named by what it holds."""
    return Volume(np.load(round_file(workspace, number), allow_pickle=False), schema.grid_affine())


def _volumes(task: TemplateTask) -> Iterator[tuple[int, Volume]]:
    """Reconstruct one study after the other; what cannot be read any more is left out."""
    for index, entry in task.entries.items():
        files = tuple(task.archive / name for name in entry.files)
        try:
            volume = call_losable(reconstruct_one, (files, task.config), task.config.limits)
        except DatbatchError:
            continue
        yield index, volume


def reconstruct_one(study: tuple[Sequence[Location], Config]) -> Volume:
    """Reconstruct one study from its files, in a process that can be lost."""
    files, config = study
    return reconstruct(read_study(files, config=config.archive), config.reconstruct)
