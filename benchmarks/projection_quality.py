"""How well faults of the projections are told from the projections alone: on simulated studies with known faults.

    python benchmarks/projection_quality.py --studies 64 --moved 24

prints Markdown tables: estimated against true motion and centre of rotation, detections and false alarms. The head
really stands elsewhere in front of the simulated camera after it moved; attenuation, scatter and blur follow.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from datbatch.archive import Acquisition
from datbatch.config import QualityConfig
from datbatch.imaging import ProjectionQuality, assess_projections
from datbatch.simulation import SimulatedStudy, Subject, acquire, draw_subject, site_named

SEED = 400
DRIFT_LEVELS = 13
"""Positions that stand for a slow drift."""
CONFIG = QualityConfig()
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """One study with one fault; `true` in mm (motion, offset) or as a fraction."""

    fault: str
    index: int
    true: float


@dataclass(frozen=True)
class Result:
    """What was found in it."""

    case: Case
    quality: ProjectionQuality
    expected_flags: tuple[str, ...]
    seconds: float


def subject_of(index: int, *, whole: bool) -> Subject:
    """Draw a subject; with `whole`, one whose head the field of view does not cut."""
    subject = draw_subject(index, SEED)
    return replace(subject, cut="none") if whole else subject


def as_acquisition(study: SimulatedStudy, projections: npt.NDArray[np.uint16]) -> Acquisition:
    """Give a simulated study as a reader would."""
    heads, views = study.site.convention.heads, study.site.convention.views_per_head
    return Acquisition(
        projections,
        study.angles_deg,
        study.pixel_size_mm,
        study.row_size_mm,
        np.full(heads * views, study.radius_mm),
        head=np.repeat(np.arange(heads, dtype=np.int32), views),
        moment=np.tile(np.arange(views, dtype=np.int32), heads),
    )


def path_of(case: Case, views: int, rng: np.random.Generator) -> FloatArray:
    """Draw how the head of a case moves, shape (moment, 3), RAS mm."""
    turn = rng.uniform(0, 2 * np.pi)
    directions = {"axial": (0.0, 0.0, 1.0), "across": (np.cos(turn), np.sin(turn), 0.0)}
    kind, direction = case.fault.split()
    time_passed = np.arange(views) / (views - 1)
    if kind == "drift":
        share = np.round(time_passed * (DRIFT_LEVELS - 1)) / (DRIFT_LEVELS - 1)
    else:
        share = (np.arange(views) >= rng.integers(round(0.1 * views), round(0.9 * views))).astype(np.float64)
    return case.true * share[:, None] * np.array(directions[direction])


def shifted(projections: npt.NDArray[np.uint16], bins: FloatArray, rng: np.random.Generator) -> npt.NDArray[np.uint16]:
    """Move each view's counts by a fraction of a bin to the right (or left): that share of them by a whole bin."""
    moving = rng.binomial(projections, np.abs(bins)[:, None, None]).astype(np.uint16)
    out = projections - moving
    for view, shift in enumerate(bins):
        out[view] += np.roll(moving[view], int(np.sign(shift)), axis=1)
    return out


def assess(case: Case) -> Result:
    """Make the study of a case and assess it."""
    rng = np.random.default_rng([SEED, case.index, int(10 * abs(case.true))])
    subject = subject_of(case.index, whole=case.fault not in ("none", "few counts"))
    if case.fault == "few counts":
        subject = replace(subject, expected_counts=case.true)
    views = site_named(subject.site).convention.views_per_head
    moves = case.fault.startswith(("step", "drift"))
    study = acquire(subject, path_mm=path_of(case, views, rng) if moves else None)
    projections = study.projections
    first_head = np.arange(len(projections)) < views
    if case.fault == "offset":
        projections = shifted(projections, np.full(len(projections), case.true / study.pixel_size_mm), rng)
    if case.fault == "offset of one head":
        projections = shifted(projections, np.where(first_head, case.true / study.pixel_size_mm, 0.0), rng)
    if case.fault == "counts jump":
        after = (np.arange(len(projections)) % views >= views // 2) & first_head
        kept = rng.binomial(projections, 1.0 / (1.0 + case.true)).astype(np.uint16)
        projections = np.where(after[:, None, None], kept, projections)
    acquisition = as_acquisition(study, projections)
    start = time.perf_counter()
    quality = assess_projections(acquisition, CONFIG)
    seconds = time.perf_counter() - start
    expected = [f"cut-{subject.cut}"] if subject.cut != "none" else []
    expected += ["low-counts"] if projections.sum() < CONFIG.minimum_counts else []
    return Result(case, quality, tuple(expected), seconds)


def cases(studies: int, moved: int) -> list[Case]:
    """List what is simulated; faults go to studies that the still ones do not hold."""
    found = [Case("none", index, 0.0) for index in range(studies)]
    found += [Case("few counts", index, 0.8e6) for index in range(studies)]
    first = studies
    for fault, sizes in (
        ("step axial", (3.0, 6.0, 10.0)),
        ("step across", (3.0, 6.0, 10.0)),
        ("drift axial", (6.0,)),
        ("drift across", (6.0,)),
        ("offset", (-2.0, 0.5, 1.5)),
        ("offset of one head", (1.5,)),
        ("counts jump", (0.2,)),
    ):
        for true in sizes:
            found += [Case(fault, index, true) for index in range(first, first + moved)]
            first += moved
    return found


def row(results: list[Result], flag: str, found: Callable[[ProjectionQuality], float]) -> str:
    """Give one line: the fault, how often it was flagged, and the errors of the estimate."""
    case = results[0].case
    values = np.array([found(result.quality) for result in results])
    errors = np.abs(values - case.true)
    flagged = sum(flag in result.quality.flags for result in results)
    return (
        f"| {case.fault} | {case.true:g} | {flagged} of {len(results)} | {np.median(values):.2f} |"
        f" {errors.mean():.2f} | {np.percentile(errors, 90):.2f} | {errors.max():.2f} |"
    )


def tables(results: list[Result]) -> Iterable[str]:
    """Give the tables as Markdown."""
    figures: dict[str, tuple[str, Callable[[ProjectionQuality], float]]] = {
        "step axial": ("motion", lambda q: q.motion_axial_mm),
        "step across": ("motion", lambda q: q.motion_transaxial_mm),
        "drift axial": ("motion", lambda q: q.motion_axial_mm),
        "drift across": ("motion", lambda q: q.motion_transaxial_mm),
        "offset": ("centre-of-rotation", lambda q: q.centre_of_rotation_mm),
        "offset of one head": ("centre-of-rotation", lambda q: q.centre_of_rotation_mm),
        "counts jump": ("count-jump", lambda q: q.count_jump),
    }
    yield "| fault | true (mm; jump as a fraction) | flagged | median found | mean error | 90 % | worst |"
    yield "|---|---|---|---|---|---|---|"
    kinds = dict.fromkeys((r.case.fault, r.case.true) for r in results if r.case.fault in figures)
    for fault, true in kinds:
        yield row([r for r in results if (r.case.fault, r.case.true) == (fault, true)], *figures[fault])
    yield ""
    yield "| still heads | studies | false flags | cuts, low counts found | largest motion | largest offset (mm) |"
    yield "|---|---|---|---|---|---|"
    for fault, name in (("none", "usual counts"), ("few counts", "0.8 million counts")):
        mine = [r for r in results if r.case.fault == fault]
        false = sum(bool(set(r.quality.flags) - set(r.expected_flags)) for r in mine)
        expected = sum(len(r.expected_flags) for r in mine)
        seen = sum(len(set(r.quality.flags) & set(r.expected_flags)) for r in mine)
        motion = max(r.quality.motion_mm for r in mine)
        offset = max(abs(r.quality.centre_of_rotation_mm) for r in mine)
        yield f"| {name} | {len(mine)} | {false} | {seen} of {expected} | {motion:.2f} | {offset:.2f} |"
    yield ""
    yield f"Median time of an assessment: {1000 * np.median([r.seconds for r in results]):.0f} ms."


def main() -> None:
    """Simulate, assess, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=64, help="studies without a fault")
    parser.add_argument("--moved", type=int, default=24, help="studies of each fault and size")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    with ProcessPoolExecutor(options.workers) as pool:
        results = list(pool.map(assess, cases(options.studies, options.moved)))
    print("\n".join(tables(results)))


if __name__ == "__main__":
    main()
