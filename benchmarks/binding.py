"""Binding by every definition and background against the simulated truth, by site.

    python benchmarks/binding.py --studies 200

prints Markdown tables. Studies are written as DICOM, read, reconstructed, normalised and quantified as a hospital's;
the same reconstruction is also quantified through the true affine. `--attenuation chang` repeats everything with
attenuation correction, where this version of datbatch offers it.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch import schema
from datbatch.archive import read_study
from datbatch.config import Config, ReconstructConfig
from datbatch.imaging import (
    Quantification,
    analytic_atlas,
    load_template,
    quantify,
    reconstruct,
    register_affine,
    resample,
)
from datbatch.simulation import simulate_study, write_study

SEED = 600
BAR = 0.04
"""Mean absolute error of the paper's ratio against the same through the true affine."""
REGIONS_SHOWN = ("putamen", "striatum")


@dataclass(frozen=True)
class Measured:
    """One study's ratios in the patient's own frame beside the truth.

    Attributes
    ----------
    ratios, ratios_true_affine : ndarray, shape (definition, background, structure, side), float64
        Left, then right; through the fitted and through the true affine.
    truth : ndarray, shape (structure, side), float64
        True binding; that of the striatum is the mean over the volumes of putamen and caudate.
    """

    site: str
    label: str
    cut: bool
    flags: tuple[str, ...]
    ratios: npt.NDArray[np.float64]
    ratios_true_affine: npt.NDArray[np.float64]
    truth: npt.NDArray[np.float64]
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--attenuation", action="append", help="also with this correction (chang)")
    options = parser.parse_args()
    offered = {field.name for field in dataclasses.fields(ReconstructConfig)}
    corrections: list[str | None] = [None, *(options.attenuation or [])]
    for attenuation in corrections:
        if attenuation is not None and "attenuation" not in offered:
            print(f"\nattenuation correction ({attenuation}): not offered by this version, skipped")
            continue
        settings = {} if attenuation is None else {"reconstruct": {"attenuation": attenuation}}
        work = partial(measure, seed=options.seed, settings=settings)
        with ProcessPoolExecutor(options.workers) as pool:
            found = [m for m in pool.map(work, range(options.studies), chunksize=4) if m is not None]
        print(f"\n## {'No attenuation correction' if attenuation is None else f'Attenuation: {attenuation}'}\n")
        show(found, options.studies)


def measure(index: int, seed: int, settings: dict[str, Any]) -> Measured | None:
    """Take one simulated study through the pipeline; None where normalisation failed."""
    study, config = simulate_study(index, seed=seed), Config.from_dict(settings)
    with tempfile.TemporaryDirectory() as folder:
        acquisition = read_study([write_study(Path(folder), study)], config=config.archive)
    volume = reconstruct(acquisition, config.reconstruct)
    registration = register_affine(volume, load_template(), config.register)
    if registration.failed:
        return None
    results = []
    for affine in (registration.template_to_study, study.truth.template_to_study):
        normalised = resample(volume, affine, schema.grid_affine(), schema.SHAPE)
        start = time.perf_counter()
        results.append(quantify(normalised, config.quantify))
        seconds = time.perf_counter() - start
    fitted, true = results
    return Measured(
        site=study.site.name,
        label=study.truth.label,
        cut=study.truth.cut != "none",
        flags=fitted.flags,
        ratios=by_patient_side(fitted),
        ratios_true_affine=by_patient_side(true),
        truth=true_binding(study.truth.binding),
        seconds=seconds,
    )


def by_patient_side(result: Quantification) -> npt.NDArray[np.float64]:
    shape = (len(schema.DEFINITIONS), len(schema.BACKGROUNDS), len(schema.STRUCTURES), 2)
    ratios = result.binding.binding_ratio.reshape(shape)
    return ratios[..., ::-1] if result.mirrored else ratios


def true_binding(binding: Any) -> npt.NDArray[np.float64]:
    volumes = [
        analytic_atlas().masks[schema.REGIONS.index(f"{name}_ipsilateral")].sum() for name in ("putamen", "caudate")
    ]
    parts = np.array(
        [[binding[s].putamen(s) for s in ("left", "right")], [binding[s].caudate for s in ("left", "right")]]
    )
    return np.vstack([parts, np.average(parts, axis=0, weights=volumes)])


def asymmetry(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Give 100 (right - left) / mean in percent, NaN where a side is not positive."""
    left, right = values[..., 0], values[..., 1]
    return np.asarray(200 * (right - left) / np.where((left > 0) & (right > 0), left + right, np.nan))


def show(found: list[Measured], studies: int) -> None:
    typical = [m for m in found if m.label != "atypical"]
    sites = np.array([m.site for m in typical])
    normal = np.array([m.label == "negative" for m in typical])
    ratios, truth = np.array([m.ratios for m in typical]), np.array([m.truth for m in typical])
    exact = np.array([m.ratios_true_affine for m in typical])
    print(
        f"{len(found)} of {studies} studies normalised, {len(found) - len(typical)} atypical left out below; ", end=""
    )
    print(f"`quantify` {np.median([m.seconds for m in found]):.3f} s a study\n")
    show_tables(sites, normal, ratios, exact, truth)
    show_flags(found)


def show_tables(
    sites: npt.NDArray[np.str_],
    normal: npt.NDArray[np.bool_],
    ratios: npt.NDArray[np.float64],
    exact: npt.NDArray[np.float64],
    truth: npt.NDArray[np.float64],
) -> None:
    header = (
        "region",
        "definition",
        "background",
        "site",
        "bias",
        "slope",
        "r",
        "error against true affine",
        "CV, normals",
    )
    print(line(header) + "\n" + line(["---"] * len(header)))
    for region, (i, definition), (j, background) in product(
        REGIONS_SHOWN, enumerate(schema.DEFINITIONS), enumerate(schema.BACKGROUNDS)
    ):
        k = schema.STRUCTURES.index(region)
        for site in ("all", *sorted(set(sites))):
            if site != "all" and background != "reference":
                continue
            chosen = np.full(len(sites), True) if site == "all" else sites == site
            cells = list(figures(ratios[chosen, i, j, k], exact[chosen, i, j, k], truth[chosen, k], normal[chosen]))
            if cells:
                print(line([region, definition, background, site, *cells]))
    error = np.abs(ratios[:, 0, 0, 0] - exact[:, 0, 0, 0]).mean()
    print(f"\nPaper's putamen SBR against SBR through the true affine: mean absolute error {error:.3f} (bar {BAR})")
    print(
        "\n"
        + line(("asymmetry of the striatum", "studies with a value", "slope", "r", "right side lower, true > 15 %"))
    )
    print(line(["---"] * 5))
    true = asymmetry(truth[:, 2])
    for i, definition in enumerate(schema.DEFINITIONS):
        here = asymmetry(ratios[:, i, 0, 2])
        known = np.isfinite(here)
        clear = known & (np.abs(true) > 15)
        agree = f"{(np.sign(here[clear]) == np.sign(true[clear])).sum()} of {clear.sum()}"
        print(line([definition, f"{known.sum()} of {known.size}", *fit(true[known], here[known]), agree]))


def figures(
    found: npt.NDArray[np.float64],
    exact: npt.NDArray[np.float64],
    truth: npt.NDArray[np.float64],
    normal: npt.NDArray[np.bool_],
) -> Iterator[str]:
    """Give bias, slope, correlation, error against the true affine, and variation among normals, of both sides."""
    known = np.isfinite(found) & np.isfinite(exact)
    if not known.any():
        return
    yield f"{(found - truth)[known].mean():+.2f}"
    yield from fit(truth[known], found[known])
    yield f"{np.abs(found - exact)[known].mean():.3f}"
    healthy = found[known & normal[:, None]]
    yield f"{100 * healthy.std() / healthy.mean():.0f} %"


def fit(truth: npt.NDArray[np.float64], found: npt.NDArray[np.float64]) -> Iterator[str]:
    yield f"{np.polyfit(truth, found, 1)[0]:.2f}"
    yield f"{np.corrcoef(truth, found)[0, 1]:.3f}"


def show_flags(found: list[Measured]) -> None:
    print("\n" + line(("flag", "whole heads", "cut field of view", "atypical")) + "\n" + line(["---"] * 4))
    groups = (
        [m for m in found if not m.cut and m.label != "atypical"],
        [m for m in found if m.cut and m.label != "atypical"],
        [m for m in found if m.label == "atypical"],
    )
    for code in schema.QUANTIFICATION_FLAGS:
        print(line([f"`{code}`", *(f"{sum(code in m.flags for m in group)} of {len(group)}" for group in groups)]))


def line(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
