"""The normal range on simulated studies with known truth: do its intervals hold, and do sites agree afterwards.

    python benchmarks/norms.py build/cohort --studies 200

prints a Markdown table. The folder may be one that `benchmarks/cohort.py` made; what is missing is simulated and run.
All figures are of studies that the normal range was not fitted to.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import xarray
from scipy.stats import skew

from datbatch import __version__, schema
from datbatch.archive import read_linkage
from datbatch.cohort.store import linkage_path
from datbatch.cohort.views.query import open_cohort
from datbatch.config import Config, NormsConfig
from datbatch.evaluation.discrimination import area_under_curve
from datbatch.norms import fit_covariates, fit_harmonisation, measures
from datbatch.norms.measures import BINDING_RATIOS
from datbatch.simulation import read_truth, simulate_archive
from datbatch.stages.imaging import run_imaging
from datbatch.stages.norms import fit_norms

SEED = 200
GAINS, SHIFTS = (1.0, 1.3, 0.8, 1.1), (0.0, 0.2, -0.2, 0.1)
Row = tuple[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/cohort"))
    parser.add_argument("--studies", type=int, default=200)
    options = parser.parse_args()
    archive, store = options.folder / "archive", options.folder / "cohort.zarr"
    if not store.exists():
        simulate_archive(archive, options.studies, seed=SEED, defects=False, workers=os.cpu_count() or 1)
        run_imaging(archive, store, Config())
    summary = fit_norms(store, Config())
    truth = true_putamen(archive, store)
    print(f"datbatch {__version__}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}\n")
    print("| figure | value |\n|---|---|")
    rows = [
        ("normals of the fit", f"{summary.normals} ({dict(summary.normals_by_site)})"),
        *fitted(open_cohort(store)),
        *harmonised(open_cohort(store)),
        *planted(open_cohort(store)),
        *recovered(store, truth),
    ]
    for name, value in rows:
        print(f"| {name} | {value} |")


def fitted(cohort: xarray.DataTree) -> Iterator[Row]:
    """Coverage of the interval, and what z adds to the raw value."""
    group = cohort["normal_range"].to_dataset()
    new = (cohort.status.values == schema.DONE) & (group.split.values != "train")
    negative, positive = (new & (cohort.label.values == label) for label in schema.LABELS)
    for chosen, words in (([schema.MAIN_MEASURE], schema.MAIN_MEASURE), (list(schema.MEASURES), "all measures")):
        part = group.sel(measure=chosen)
        raw = raw_values(cohort)[:, [schema.MEASURES.index(name) for name in chosen]]
        known = np.isfinite(part.z_score.values) & negative[:, None]
        inside = (part.lower.values <= raw) & (raw <= part.upper.values)
        yield (
            f"normals inside the 95 % interval, {words} (n = {negative.sum()})",
            f"{100 * inside[known].mean():.1f} %",
        )
    at = schema.MEASURES.index(schema.MAIN_MEASURE)
    raw, z = raw_values(cohort)[:, at], group.z_score.values[:, at]
    labels = np.where(positive, 1, 0)[negative | positive]
    for name, score in (("raw", raw), ("z-score", z)):
        area = area_under_curve(labels, -score[negative | positive])
        yield f"area under the ROC curve, {name}", f"{area.value:.3f} (95 % CI {area.low:.3f} to {area.high:.3f})"
    z_normal = z[negative]
    yield "z of normals", f"mean {z_normal.mean():.2f}, sd {z_normal.std(ddof=1):.2f}"
    everyone = (cohort.status.values == schema.DONE) & (cohort.label.values == schema.NEGATIVE)
    ages, site = cohort.age.values[everyone], sites_of(cohort)[everyone]
    for name, value in (("as measured", raw[everyone]), ("of the logarithm", np.log(raw[everyone]))):
        yield f"skewness of the residuals of all normals, {name}", f"{skew(residual(value, ages, site)):.2f}"


def residual(value: npt.NDArray[np.float64], age: npt.NDArray[np.float64], site: npt.NDArray[np.str_]) -> np.ndarray:
    """Take age and site out of a value."""
    design = np.column_stack([site[:, None] == np.unique(site), age])
    return value - design @ np.linalg.lstsq(design.astype(float), value, rcond=None)[0]


def harmonised(cohort: xarray.DataTree) -> Iterator[Row]:
    """Spread of the sites' means, normals and patients apart."""
    group = cohort["normal_range"].to_dataset()
    new = (cohort.status.values == schema.DONE) & (group.split.values != "train")
    at = schema.MEASURES.index(schema.MAIN_MEASURE)
    raw, after = raw_values(cohort)[:, at], group.harmonised.values[:, at]
    for label in schema.LABELS:
        chosen = new & (cohort.label.values == label)
        site = sites_of(cohort)[chosen]
        for name, values in (("as measured", raw[chosen]), ("harmonised", after[chosen])):
            means = np.array([values[site == s].mean() for s in np.unique(site)])
            within = np.sqrt(np.mean([values[site == s].var(ddof=1) for s in np.unique(site) if (site == s).sum() > 1]))
            chance = within * np.sqrt(np.mean([1 / (site == s).sum() for s in np.unique(site)]))
            yield (
                f"sd between the means of {np.unique(site).size} sites, {label}, {name}",
                f"{means.std(ddof=1):.3f} (by chance {chance:.3f})",
            )
    labels = np.where(cohort.label.values == schema.POSITIVE, 1, 0)[new]
    for name, values in (("as measured", raw), ("harmonised", after)):
        here = values[new]
        gap = here[labels == 0].mean() - here[labels == 1].mean()
        yield f"difference of normals and patients, {name}", f"{gap:.3f}"


def planted(cohort: xarray.DataTree) -> Iterator[Row]:
    """Spread of the sites' means where each site's values were given a known gain and shift beforehand."""
    split = cohort["normal_range"].to_dataset().split.values.astype(object).astype(str)
    done, site = cohort.status.values == schema.DONE, sites_of(cohort)
    positive = cohort.label.values == schema.POSITIVE
    number = np.searchsorted(np.unique(site[done]), site)
    values = raw_values(cohort)[:, BINDING_RATIOS]
    values = values * np.array(GAINS)[number % len(GAINS), None] + np.array(SHIFTS)[number % len(SHIFTS), None]
    covariates, _ = fit_covariates(cohort.age.values, cohort.sex.values.astype(object), use_age=True, use_sex=True)
    columns, _ = covariates.columns(cohort.age.values, cohort.sex.values.astype(object))
    train, new = done & (split == "train"), done & (split != "train")
    fit = fit_harmonisation(values[train], columns[train], site[train], positive[train])
    after = fit.apply(values[new], columns[new], site[new])
    at = schema.MEASURES.index(schema.MAIN_MEASURE)
    for name, found in (("as planted", values[new][:, at]), ("harmonised", after[:, at])):
        by_label = [
            f"{label} {np.std([found[chosen & (site[new] == s)].mean() for s in np.unique(site[new])], ddof=1):.3f}"
            for label, chosen in zip(schema.LABELS, (~positive[new], positive[new]), strict=True)
        ]
        area = area_under_curve(positive[new].astype(np.int64), -found)
        yield (
            f"gains {GAINS} and shifts {SHIFTS} planted, {name}",
            f"sd between the means of sites: {', '.join(by_label)}; area under the ROC curve {area.value:.3f}",
        )


def recovered(store: Path, truth: npt.NDArray[np.float64]) -> Iterator[Row]:
    """Error against the true binding by site, with factors from the training studies as from a phantom."""
    cohort = open_cohort(store)
    group = cohort["normal_range"].to_dataset()
    at = schema.MEASURES.index(schema.MAIN_MEASURE)
    raw, site = raw_values(cohort)[:, at], sites_of(cohort)
    done = cohort.status.values == schema.DONE
    train = done & (group.split.values == "train")
    sites = np.unique(site[train])
    factors = {s: float(raw[train & (site == s)] @ truth[train & (site == s)]) for s in sites}
    factors = {s: value / float((truth[train & (site == s)] ** 2).sum()) for s, value in factors.items()}
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "recovery.csv"
        with table.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["site", "definition", "recovery"])
            writer.writerows([s, "hottest_voxels", factor] for s, factor in factors.items())
        fit_norms(store, Config(norms=NormsConfig(recovery=str(table))))
    corrected = open_cohort(store)["normal_range"].to_dataset().recovered.values[:, at]
    new = done & (group.split.values != "train")
    for s in sites:
        here = new & (site == s)
        before, after = (values[here] - truth[here] for values in (raw, corrected))
        yield (
            f"lower putamen against true binding, site {s}, recovery {factors[s]:.2f} (n = {here.sum()})",
            f"mean error {before.mean():+.2f} as measured, {after.mean():+.2f} recovered; "
            f"mean absolute {np.abs(before).mean():.2f}, {np.abs(after).mean():.2f}",
        )
    fit_norms(store, Config())


def sites_of(cohort: xarray.DataTree) -> npt.NDArray[np.str_]:
    return cohort.site.values.astype(object).astype(str)


def raw_values(cohort: xarray.DataTree) -> npt.NDArray[np.float64]:
    """Give the measures as they went into the normal range."""
    return measures(cohort.binding_ratio.values, cohort.asymmetry_index.values, cohort.putamen_to_caudate_ratio.values)


def true_putamen(archive: Path, store: Path) -> npt.NDArray[np.float64]:
    """Give each study's true binding of the lower putamen, in the store's order."""
    truth = {row["path"]: row for row in read_truth(archive)}
    files = read_linkage(linkage_path(store))
    rows = [truth[PurePosixPath(files[str(s)][0]).parent.as_posix()] for s in open_cohort(store).study.values]
    return np.array([min(float(row["putamen_left"]), float(row["putamen_right"])) for row in rows])


if __name__ == "__main__":
    main()
