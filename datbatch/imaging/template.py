"""The template in MNI space: the one that ships with the package, a user's own, and how to build another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datbatch import schema
from datbatch.arrays import Floats, Floats32
from datbatch.errors import NormalisationError, TemplateError
from datbatch.imaging.atlas import analytic_atlas
from datbatch.imaging.nifti import read_nifti, write_nifti
from datbatch.imaging.quantify import scale_to_reference
from datbatch.imaging.registration.register import register_affine
from datbatch.imaging.resample import inverse, resample
from datbatch.imaging.volume import Volume

Pose = Floats
"""Template mm to study mm, shape (4, 4)."""
_SHIPPED = "data/template.nii.gz"
_HIGHEST_INTEGER = 4095
"""Greatest stored integer: finer steps than the template's own noise, and a small file."""
LEAST_COVERAGE = 0.95
"""Share of the brain that a template must cover: the rest cannot guide the registration."""


@lru_cache(maxsize=1)
def load_template() -> Volume:
    """Load the template that ships with the package: the mean of simulated normal studies on the store's grid.

    Its shape is `schema.SHAPE`; 1 is the level of the reference region; read-only.
    """
    with resources.as_file(resources.files("datbatch.imaging").joinpath(_SHIPPED)) as path:
        return read_template(path)


def read_template(path: Path) -> Volume:
    """Read a template from a NIfTI file, on its own grid; `TemplateError` as in `read_nifti`."""
    data, affine = read_nifti(path, np.float32, TemplateError)
    data.setflags(write=False)
    return Volume(data, affine)


def template_on_grid(template: Volume) -> Volume:
    """Bring a user's own template to the store's grid by trilinear interpolation; one that is on it stays as it is.

    The result has the shape `schema.SHAPE`, is 0 outside the template's field of view, and read-only. A
    `TemplateError` refuses a template that covers less than 95 % of the brain, or is empty there.
    """
    grid, brain = schema.grid_affine(), analytic_atlas().mask(schema.WHOLE_BRAIN)
    to_index = inverse(template.affine) @ grid
    index = np.argwhere(brain) @ to_index[:3, :3].T + to_index[:3, 3]
    covered = float(((index >= 0) & (index <= np.array(template.data.shape) - 1)).all(axis=1).mean())
    if covered < LEAST_COVERAGE:
        raise TemplateError(f"the template covers {covered:.0%} of the brain in MNI space")
    data = template.data
    if data.shape != schema.SHAPE or not np.allclose(template.affine, grid, atol=1e-6):
        data = resample(template, np.eye(4), grid, schema.SHAPE)
    if not data[brain].max() > max(float(data[brain].min()), 0.0):
        raise TemplateError("the template has no uptake in the brain")
    data.setflags(write=False)
    return Volume(data, grid)


def write_template(template: Volume, path: Path) -> None:
    """Write a template as NIfTI of 16-bit integers (`.nii.gz` or `.nii`); equal templates give equal bytes."""
    slope = float(template.data.max()) / _HIGHEST_INTEGER
    write_nifti(path, np.rint(template.data / slope).astype(np.int16), template.affine, slope)


@dataclass(frozen=True)
class Round:
    """How far one round of building a template went: small figures in the last one mean that it has converged."""

    number: int
    studies: int
    """Studies that could be registered."""
    change: float
    """Root-mean-square change of the template, in units of the reference level."""
    movement_mm: float | None
    """Mean distance that the brains' points moved since the round before; None in the first."""


@dataclass(frozen=True)
class GroupTemplate:
    """A template that is being built."""

    template: Volume
    """As it is now."""
    first: Mapping[int, Pose]
    """Shape (4, 4). Pose of each study against the start, by the study's index; empty before the first round."""
    poses: Mapping[int, Pose]
    """Shape (4, 4). Poses of the last round."""
    rounds: tuple[Round, ...] = ()
    """Done so far."""


def start_template(start: Volume) -> GroupTemplate:
    """Begin with a template in MNI space that covers the store's grid: a normal study, or an earlier template."""
    grid = schema.grid_affine()
    return GroupTemplate(Volume(_scaled(resample(start, np.eye(4), grid, schema.SHAPE)), grid), {}, {})


def next_round(
    group: GroupTemplate,
    studies: Sequence[int],
    register: Callable[[Volume, Sequence[int]], Mapping[int, Pose]],
    average: Callable[[Mapping[int, Pose]], PosedSum],
) -> GroupTemplate:
    """Register all studies to the template and replace it by their mean.

    The mean movement of all studies since they were registered to the start is taken out, so that the mean cannot
    drift away from MNI space, nor grow or shrink. The mean over the studies is much more accurate than one
    registration of the template to the start.

    Parameters
    ----------
    group : GroupTemplate
        Result of the round before.
    studies : sequence of int
        Indices of the studies.
    register : callable
        Registers studies to a template; leaves out those where it fails.
    average : callable
        Sums the studies in these poses.

    Raises
    ------
    NormalisationError
        When no study could be registered.
    """
    poses = dict(register(group.template, list(group.first) or studies))
    if not poses:
        raise NormalisationError("no study could be registered to the template", "Give normal studies of whole heads.")
    first = group.first or poses
    if group.first:
        drift = np.mean([inverse(first[index]) @ pose for index, pose in poses.items()], axis=0)
        poses = {index: pose @ inverse(drift) for index, pose in poses.items()}
    posed = average(poses)
    mean = _scaled((posed.total / np.maximum(posed.count, 1)).astype(np.float32))
    change = float(np.sqrt(np.mean((mean - group.template.data) ** 2, dtype=np.float64)))
    done = Round(len(group.rounds) + 1, len(poses), change, _movement_mm(group.poses, poses))
    return GroupTemplate(Volume(mean, group.template.affine), first, poses, (*group.rounds, done))


@dataclass(frozen=True)
class PosedSum:
    """Sum of studies in the template's space."""

    total: Floats
    """Shape `schema.SHAPE`. Of the studies, each scaled to its reference level."""
    count: npt.NDArray[np.int32]
    """Shape `schema.SHAPE`. Studies that saw the voxel; one outside a study's field of view doesn't count."""

    @classmethod
    def nothing(cls) -> PosedSum:
        """Give the sum of no study."""
        return cls(np.zeros(schema.SHAPE), np.zeros(schema.SHAPE, np.int32))

    def plus(self, volume: Volume, pose: Pose) -> PosedSum:
        """Add one study."""
        study = resample(volume, pose, schema.grid_affine(), schema.SHAPE)
        return PosedSum(self.total + _scaled(study), self.count + (study != 0).astype(np.int32))

    def __add__(self, other: PosedSum) -> PosedSum:
        return PosedSum(self.total + other.total, self.count + other.count)


def build_template(
    volumes: Sequence[Volume], start: Volume, rounds: int = 3, progress: Callable[[Round], None] | None = None
) -> Volume:
    """Build a template from normal studies in memory: each round registers all to the mean of the round before.

    Parameters
    ----------
    volumes : sequence of Volume
        Reconstructed normal studies.
    start : Volume
        First template, in MNI space and covering the store's grid: a normal study, or an earlier template.
    rounds : int
        How often all are registered.
    progress : callable, optional
        Called after each round.

    Returns
    -------
    Volume
        On the store's grid, scaled to the reference region.

    Raises
    ------
    NormalisationError
        When no study could be registered.
    """

    def register(template: Volume, studies: Sequence[int]) -> dict[int, Pose]:
        results = {i: register_affine(volumes[i], template) for i in studies}
        return {index: found.template_to_study for index, found in results.items() if not found.failed}

    def average(poses: Mapping[int, Pose]) -> PosedSum:
        total = PosedSum.nothing()
        for index, pose in poses.items():
            total = total.plus(volumes[index], pose)
        return total

    group = start_template(start)
    for _ in range(rounds):
        group = next_round(group, range(len(volumes)), register, average)
        if progress is not None:
            progress(group.rounds[-1])
    return group.template


def _movement_mm(before: Mapping[int, Pose], after: Mapping[int, Pose]) -> float | None:
    """Give the mean distance that the points of the brain moved, over points and studies of both rounds."""
    both = before.keys() & after.keys()
    if not both:
        return None
    brain = analytic_atlas().mask(schema.WHOLE_BRAIN)[::5, ::5, ::5]
    points = 5 * schema.SPACING_MM * np.argwhere(brain) + np.array(schema.ORIGIN_MM)
    steps = [after[index] - before[index] for index in sorted(both)]
    return float(np.mean([np.linalg.norm(points @ s[:3, :3].T + s[:3, 3], axis=1).mean() for s in steps]))


def _scaled(data: Floats32) -> Floats32:
    return scale_to_reference(data, analytic_atlas().mask(schema.REFERENCE) & (data != 0))
