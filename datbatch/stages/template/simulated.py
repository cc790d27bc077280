"""The template that ships with the package, built anew from simulated normal studies."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from datbatch import schema
from datbatch.archive import Acquisition
from datbatch.imaging import Volume, build_template, reconstruct, resample, write_template
from datbatch.imaging.template import Round
from datbatch.progress import Progress
from datbatch.simulation import SimulatedStudy, acquire, canonical_normal, draw_subject

SEED = 7
"""Of the subjects; no other archive of the project uses it."""


def build_simulated_template(output: Path, studies: int, *, rounds: int, workers: int, quiet: bool) -> list[Round]:
    """Simulate normal studies, reconstruct them, and average them group-wise into a template in MNI space.

    Parameters
    ----------
    output : Path
        NIfTI file to write.
    studies : int
        How many normal studies to average.
    rounds : int
        How often all are registered to the mean.
    workers : int
        Processes that simulate.
    quiet : bool
        Whether to show no progress.

    Returns
    -------
    list of Round
        How far each round went.
    """
    progress = Progress("simulate", studies, quiet=quiet)
    volumes = []
    # A fresh interpreter each: a fork of a process with threads can hang.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for volume in pool.map(_normal_volume, range(studies)):
            volumes.append(volume)
            progress.advance()
    progress.close()
    centred = _volume(canonical_normal())
    start = resample(centred, np.eye(4), schema.grid_affine(), schema.SHAPE)
    shown = Progress("template", rounds, "rounds", quiet=quiet)
    done: list[Round] = []

    def note(one: Round) -> None:
        done.append(one)
        shown.advance(note=f"changed by {one.change:.4f}")

    template = build_template(volumes, Volume(start, schema.grid_affine()), rounds, note)
    shown.close()
    write_template(template, output)
    return done


def _normal_volume(index: int) -> Volume:
    subject = replace(draw_subject(index, SEED), severity=0.0, asymmetry=0.0, atypical="none", cut="none")
    return _volume(acquire(subject))


def _volume(study: SimulatedStudy) -> Volume:
    radius = np.full(len(study.angles_deg), study.radius_mm)
    acquisition = Acquisition(study.projections, study.angles_deg, study.pixel_size_mm, study.row_size_mm, radius)
    return reconstruct(acquisition)
