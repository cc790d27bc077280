"""Left is left: which side of a study is the lower one, over many header styles and many asymmetric patients.

    python benchmarks/sides.py --studies 1000

Every study is simulated, written as DICOM in a style drawn for it, read back and taken through the pipeline as a
hospital's would be. Its truth is known three ways:

- the signal, binding ratio times volume: what an image of 10 mm resolution can show of a structure 10 mm thick;
- the binding ratio alone, blind to how thick this person's left and right putamen are, which no image of this
  resolution can tell from their concentration;
- a mark that cannot be missed, for the geometry alone: the whole striatum of one side without any binding.

The first two are asked of studies whose truth differs by more than 15 % between the sides. Beside it stands what the
rule of Nazari et al. 2022, the plain comparison of the two ratios, makes of the same ratios; datbatch compares them in
proportion to what its template of normal studies has on each side, and names a side (`lower_side`) only where counting
noise does not explain the difference. A reading is the difference of the two over their mean, after that proportion.

A second table shows that noise: each count of a study falls into one of two halves by chance, both go through the
pipeline, and half the difference of what is read in them has the standard deviation of the whole study's noise.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import count
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datbatch import __version__, schema
from datbatch.archive import read_study
from datbatch.config import Config
from datbatch.imaging import load_template, normal_side_ratio, quantify, reconstruct, register_affine, resample
from datbatch.imaging.quantify import SIDE_NOISE
from datbatch.simulation import Convention, Site, Subject, acquire, draw_subject, site_named, write_study
from datbatch.simulation.phantom import SIDES, Side, striatum
from datbatch.simulation.population import anatomy, striatal_binding
from datbatch.simulation.shapes import filled
from datbatch.study.imaging import image_study

SEED = 52
ASYMMETRY = 0.15
STARTS_DEG = (0.0, 180.0), (180.0, 0.0), (90.0, 270.0), (270.0, 90.0), (44.93, 224.93), (315.0, 135.0)


@dataclass(frozen=True)
class Result:
    """What was true of one study, as (left - right) / mean, and what was read."""

    style: Convention
    binding: float
    signal: float
    marked: bool
    code: str
    lower_is_right: bool
    named: str
    """Which side was named as the lower one, if any."""
    read: float
    """Magnitude of the asymmetry that was read."""
    plainly_lower_is_right: bool
    """What the plain comparison of the two ratios says."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000, help="with a true asymmetry over 15 % by either measure")
    parser.add_argument("--marked", type=int, default=100, help="studies with one side empty")
    parser.add_argument("--halved", type=int, default=60, help="studies whose counts are divided, for the noise")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    jobs = [(index, False) for index in chosen(options.studies)] + [(index, True) for index in range(options.marked)]
    print(f"datbatch {__version__}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}, seed {SEED}\n")
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        results = list(pool.map(measure, jobs, chunksize=4))
        report(results)
        report_noise(list(pool.map(halved, range(options.halved), chunksize=4)))


def report(results: Sequence[Result]) -> None:
    """Print how often the wrong side was read, in Markdown."""
    print(
        "| studies | n | wrong side named | no side named | mirrored to the wrong side | by the plain rule "
        "| largest true asymmetry mirrored wrong | largest reading that was wrong |"
    )
    print("|---|---|---|---|---|---|---|---|")
    plain = [result for result in results if not result.marked]
    for name, rows, truth in (
        ("one striatum empty", [r for r in results if r.marked], lambda r: r.signal),
        ("true signal differs by over 15 %", [r for r in plain if abs(r.signal) > ASYMMETRY], lambda r: r.signal),
        ("true binding differs by over 15 %", [r for r in plain if abs(r.binding) > ASYMMETRY], lambda r: r.binding),
    ):
        read = [r for r in rows if not r.code]
        wrong = [r for r in read if r.lower_is_right != (truth(r) > 0)]
        plainly = sum(r.plainly_lower_is_right != (truth(r) > 0) for r in read)
        unnamed = sum(r.named == schema.UNCERTAIN for r in read)
        misnamed = sum(r.named == ("left" if truth(r) > 0 else "right") for r in read)
        worst = max((abs(truth(r)) for r in wrong), default=0.0), max((r.read for r in wrong), default=0.0)
        print(
            f"| {name} | {len(read)} | {misnamed} | {unnamed} | {len(wrong)} | {plainly} "
            f"| {100 * worst[0]:.0f} % | {100 * worst[1]:.1f} % |"
        )
    styles = {result.style for result in results}
    failed = sorted({result.code for result in results if result.code})
    print(f"\n{len(styles)} header styles; failed studies: {', '.join(failed) or 'none'}")


def chosen(studies: int) -> Iterator[int]:
    """Give the first studies of the population that are asymmetric by either measure."""
    found = 0
    for index in count():
        if found == studies:
            return
        subject = draw_subject(index, SEED)
        if subject.atypical == "none" and max(map(abs, true_asymmetries(subject))) > ASYMMETRY:
            found += 1
            yield index


def true_asymmetries(subject: Subject) -> tuple[float, float]:
    """Give (left - right) / mean of the putamina's binding, and of binding times volume."""
    binding = striatal_binding(subject)
    ratios = [binding[side].putamen(side) for side in SIDES]
    signals = [ratio * putaminal_volume(subject, side) for ratio, side in zip(ratios, SIDES, strict=True)]
    (left, right), (more, less) = ratios, signals
    return 2 * (left - right) / (left + right), 2 * (more - less) / (more + less)


def putaminal_volume(subject: Subject, side: Side) -> float:
    """Give the volume of a person's putamen in millilitres, on a grid of 2 mm in MNI space."""
    step = 2.0
    putamen, _ = striatum(anatomy(subject), side)
    reach = np.arange(-putamen.reach_mm - step, putamen.reach_mm + step, step)
    points = np.stack(np.meshgrid(reach, reach, reach, indexing="ij"), axis=-1) + putamen.centre_mm
    return float(filled(putamen, points, step).sum()) * step**3 / 1000.0


def measure(job: tuple[int, bool]) -> Result:
    """Simulate one study, write it in the style drawn for it, and take it through the pipeline."""
    index, marked = job
    subject = draw_subject(index, SEED)
    if marked:
        subject = replace(subject, severity=0.0, atypical="hemisphere")
    binding, signal = true_asymmetries(subject)
    site = styled(site_named(subject.site), index)
    with tempfile.TemporaryDirectory() as folder:
        path = write_study(Path(folder), acquire(subject, site))
        imaged = image_study("study", [path], Config())
    row = imaged.rows["quantify"]
    if row.outcome.code:
        return Result(site.convention, binding, signal, marked, row.outcome.code, False, "", 0.0, False)
    mirrored = bool(row.values["mirrored"])
    ratios = row.values["specific_binding_ratio"]
    left, right = (ratios[schema.REGIONS.index(f"putamen_{side}")] for side in schema.SIDES[:: -1 if mirrored else 1])
    normal = normal_side_ratio(load_template().data, Config().quantify) * left
    read = 2 * abs(right - normal) / (right + normal)
    named = str(row.values["lower_side"])
    return Result(site.convention, binding, signal, marked, "", mirrored, named, read, right < left)


def report_noise(halves: Sequence[tuple[str, float, float]]) -> None:
    """Print the noise of the difference of the sides by site, in Markdown."""
    print("\n| site | n | counts | SD of right less left from counting | times the root of the counts |")
    print("|---|---|---|---|---|")
    for name in ("all", *sorted({site for site, _, _ in halves})):
        counts, errors = np.array([half[1:] for half in halves if name in ("all", half[0])]).T
        spread, scaled = np.sqrt(np.mean(errors**2)), np.sqrt(np.mean(errors**2 * counts))
        print(f"| {name} | {len(counts)} | {np.mean(counts) / 1e6:.1f} million | {spread:.3f} | {scaled:.0f} |")
    print(f"\nIn use: {SIDE_NOISE:.0f}")


def halved(index: int) -> tuple[str, float, float]:
    """Give a study's site, its counts, and half the difference of the sides between its halves."""
    subject, config = draw_subject(index, SEED + 1), Config()
    with tempfile.TemporaryDirectory() as folder:
        acquisition = read_study([write_study(Path(folder), acquire(subject, site_named(subject.site)))])
    whole = reconstruct(acquisition, config.reconstruct)
    affine = register_affine(whole, load_template(), config.register).template_to_study
    counted = np.asarray(acquisition.projections)
    half = np.random.default_rng([SEED, index]).binomial(counted.astype(np.int64), 0.5).astype(counted.dtype)

    def difference(projections: npt.NDArray[np.float32]) -> float:
        volume = reconstruct(replace(acquisition, projections=projections), config.reconstruct)
        found = quantify(resample(volume, affine, schema.grid_affine(), schema.SHAPE), config.quantify)
        lower, upper = found.specific_binding_ratio[: len(schema.SIDES)]
        return float(lower - upper if found.mirrored else upper - lower)

    return subject.site, acquisition.counts, (difference(half) - difference(counted - half)) / 2


def styled(site: Site, index: int) -> Site:
    """Give the site another way of writing its headers."""
    rng = np.random.default_rng([SEED, index, 99])
    return replace(
        site,
        convention=replace(
            site.convention,
            direction=("CC", "CW")[rng.integers(2)],
            start_angles_deg=STARTS_DEG[rng.integers(len(STARTS_DEG))],
            interleaved=bool(rng.integers(2)),
            start_per_detector=bool(rng.integers(2)),
            windows=(("photopeak",), ("photopeak", "scatter"), ("scatter", "photopeak"))[rng.integers(3)],
            energy_unit_kev=(1.0, 0.01)[rng.integers(2)],
            radius_in=("detector", "rotation", "zero")[rng.integers(3)],
            orientation=bool(rng.integers(2)),
        ),
    )


if __name__ == "__main__":
    main()
