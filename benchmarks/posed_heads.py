"""Simulated studies, each with its true affine, in groups of what makes normalisation easy or hard."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from datbatch.imaging import Volume, reconstruct
from datbatch.simulation import Subject, acquire, draw_subject

Group = Literal[
    "whole, normal",
    "whole, reduced",
    "cut, top",
    "cut, base",
    "tilted",
    "low count",
    "small",
    "large",
    "end stage",
    "hot glands",
    "motion",
]
GROUPS: tuple[Group, ...] = get_args(Group)
"""The first two and `end stage` (hardly any striatal uptake, wide ventricles) differ in uptake; the others differ in
what their name says and are half normal, half reduced."""
SMALL_HEAD, LARGE_HEAD = 0.84, 1.15
"""Factor on the size of heads that are 0.96 of MNI space on average."""
STILL = 0.6
"""Share of each detector's views before the head moves."""


@dataclass(frozen=True)
class PosedHead:
    """One reconstructed study and where its head really is.

    Attributes
    ----------
    group : str
        One of `GROUPS`.
    volume : Volume
        As `datbatch run` would reconstruct it.
    template_to_study : ndarray, shape (4, 4)
        MNI mm to study mm, RAS.
    """

    group: Group
    volume: Volume
    template_to_study: npt.NDArray[np.float64]


def posed_head(group: Group, number: int, seed: int) -> PosedHead:
    """Simulate study `number` of a group; all sites take part."""
    rng = np.random.default_rng([seed, number, GROUPS.index(group)])
    wanted = {"whole, normal": False, "whole, reduced": True, "end stage": True}.get(group, number % 2 == 1)
    subject = _changed(next(itertools.islice(_subjects(wanted, seed, GROUPS.index(group)), number, None)), group, rng)
    if group == "motion":
        return _moved(subject, rng)
    study = acquire(subject)
    return PosedHead(group, reconstruct(study), study.truth.template_to_study)


def _subjects(positive: bool, seed: int, group: int) -> Iterator[Subject]:
    for index in itertools.count():
        subject = draw_subject(index, 1000 * seed + group)
        if (subject.severity > 0.2) == positive:
            yield replace(subject, cut="none")


def _changed(subject: Subject, group: Group, rng: np.random.Generator) -> Subject:
    """Make a subject a member of the group."""
    pose = subject.pose
    if group == "cut, top":
        return replace(subject, cut="top", cut_height_mm=float(rng.uniform(32.0, 55.0)))
    if group == "cut, base":
        return replace(subject, cut="base", cut_height_mm=float(rng.uniform(-42.0, -22.0)))
    if group == "tilted":
        pitch, roll, yaw = rng.choice([-1, 1], 3) * rng.uniform([15, 0, 0], [30, 15, 20])
        return replace(subject, pose=replace(pose, rotation_deg=(float(pitch), float(roll), float(yaw))))
    if group == "low count":
        return replace(subject, expected_counts=float(np.exp(rng.uniform(*np.log([0.3e6, 1e6])))))
    if group in ("small", "large"):
        factor = SMALL_HEAD if group == "small" else LARGE_HEAD
        x, y, z = (factor * size for size in pose.size)
        return replace(subject, pose=replace(pose, size=(x, y, z)))
    if group == "end stage":
        size = float(rng.uniform(1.5, 1.9))
        return replace(subject, severity=1.0, asymmetry=float(rng.uniform(0, 0.2)), ventricle_size=size)
    if group == "hot glands":
        return replace(subject, uptake=replace(subject.uptake, glands=float(rng.uniform(4, 8))))
    return subject


def _moved(subject: Subject, rng: np.random.Generator) -> PosedHead:
    """Let the head move by some 8 mm and 4 degrees while it is measured; the truth is the mean over the views."""
    shift, turn = rng.normal(0, 5.0, 3), rng.normal(0, 2.5, 3)
    x, y, z = (a + b for a, b in zip(subject.pose.centre_mm, shift, strict=True))
    pitch, roll, yaw = (a + b for a, b in zip(subject.pose.rotation_deg, turn, strict=True))
    before = acquire(subject)
    after = acquire(replace(subject, pose=replace(subject.pose, centre_mm=(x, y, z), rotation_deg=(pitch, roll, yaw))))
    views = before.site.convention.views_per_head
    late = np.arange(len(before.angles_deg)) % views >= round(STILL * views)
    projections = np.where(late[:, None, None], after.projections, before.projections)
    mean = STILL * before.truth.template_to_study + (1 - STILL) * after.truth.template_to_study
    return PosedHead("motion", reconstruct(replace(before, projections=projections)), mean)
