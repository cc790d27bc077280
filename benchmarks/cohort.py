"""The whole method on simulated studies with known truth: how good is each step, and how fast.

    python benchmarks/cohort.py build/cohort --studies 200

prints a Markdown table. Everything is measured on files that the pipeline read as it would read a hospital's; the
truth stands beside the archive and is read here alone. Resumable: a second call computes only the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray
from landmarks import error_mm, landmarks
from scipy.ndimage import distance_transform_edt

from datbatch import __version__, schema
from datbatch.archive import read_linkage, read_study
from datbatch.cohort.store import linkage_path
from datbatch.cohort.views.query import open_cohort
from datbatch.config import Config, TrainConfig
from datbatch.evaluation.confusion import classification_metrics
from datbatch.evaluation.discrimination import area_under_curve
from datbatch.imaging import analytic_atlas, quantify, reconstruct, resample
from datbatch.simulation import read_truth, simulate_archive
from datbatch.stages.explain import explain_cohort
from datbatch.stages.imaging import run_imaging
from datbatch.stages.train import train_model

SEED = 200
NEAR_MM = 4.0
"""A voxel this close to putamen or caudate (two voxels) counts as next to the striatum."""
ASYMMETRY = 0.15
Row = tuple[str, str]


@dataclass(frozen=True)
class Study:
    """One study's truth beside its place in the store."""

    index: int
    files: tuple[Path, ...]
    truth: dict[str, str]

    @property
    def template_to_study(self) -> npt.NDArray[np.float64]:
        return np.array([[float(self.truth[f"template_to_study_{r}{c}"]) for c in range(4)] for r in range(4)])

    @property
    def asymmetry(self) -> float:
        """(left - right) / mean of the true putaminal binding."""
        left, right = (float(self.truth[f"putamen_{side}"]) for side in ("left", "right"))
        return 2 * (left - right) / (left + right)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/cohort"))
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=36)
    options = parser.parse_args()
    archive, store = options.folder / "archive", options.folder / "cohort.zarr"
    config = Config(train=TrainConfig(preset="compact", schedule="cosine", epochs=options.epochs))
    seconds: dict[str, float] = {}

    def timed(name: str, call: Any) -> Any:
        start = time.perf_counter()
        result = call()
        seconds[name] = time.perf_counter() - start
        return result

    workers = os.cpu_count() or 1
    timed("simulate", lambda: simulate_archive(archive, options.studies, seed=SEED, defects=False, workers=workers))
    ran = timed("run", lambda: run_imaging(archive, store, config))
    trained = timed("train", lambda: train_model(store, config))
    explained = timed("explain", lambda: explain_cohort(store, config, model=trained.model))
    if ran.processed:
        figures = {
            "workers": workers, "wall": seconds, "steps": dict(ran.seconds), "imaged": ran.processed,
            "explained": explained.processed, "trained_epochs": options.epochs if trained.trained else 0,
        }  # fmt: skip
        (options.folder / "seconds.json").write_text(json.dumps(figures))
    measured = json.loads((options.folder / "seconds.json").read_text())
    cohort = open_cohort(store)
    studies = [study for study in matched(archive, store, cohort) if cohort.status.values[study.index] == schema.DONE]
    print(f"datbatch {__version__}, Python {platform.python_version()}, {workers} cores, {time.strftime('%Y-%m-%d')}\n")
    print("| figure | value |\n|---|---|")
    for rows in (
        outcome(cohort),
        normalisation(cohort, studies),
        binding(cohort, studies),
        sides(cohort, studies),
        classification(cohort, trained.model),
        relevance(cohort, trained.model),
        speed(measured),
    ):
        for name, value in rows:
            print(f"| {name} | {value} |")


def matched(archive: Path, store: Path, cohort: xarray.DataTree) -> Iterator[Study]:
    """Bring truth and store together through the linkage table."""
    truth = {row["path"]: row for row in read_truth(archive)}
    position = {study: index for index, study in enumerate(cohort.study.values)}
    for study, files in read_linkage(linkage_path(store)).items():
        folder = PurePosixPath(files[0]).parent.as_posix()
        yield Study(position[study], tuple(archive / name for name in files), truth[folder])


def outcome(cohort: xarray.DataTree) -> Iterator[Row]:
    status, codes = cohort.status.values, cohort.error_code.values
    yield "studies", str(status.size)
    failed = [str(code) for code, state in zip(codes, status, strict=True) if state == schema.FAILED]
    yield "failed", f"{len(failed)}" + (f" ({', '.join(sorted(set(failed)))})" if failed else "")
    excluded = [str(code) for code, state in zip(codes, status, strict=True) if state == schema.EXCLUDED]
    yield "excluded", f"{len(excluded)}" + (f" ({', '.join(sorted(set(excluded)))})" if excluded else "")


def normalisation(cohort: xarray.DataTree, studies: list[Study]) -> Iterator[Row]:
    found = cohort.template_to_study.values
    for name, points in landmarks().items():
        for cut in (False, True):
            errors = [
                error_mm(found[s.index], s.template_to_study, points)
                for s in studies
                if (s.truth["cut"] != "none") == cut
            ]
            if errors:
                view = "cut field of view" if cut else "whole head"
                yield (
                    f"normalisation error, {name} points, {view} (n = {len(errors)})",
                    f"mean {np.mean(errors):.2f} mm, 95th percentile {np.percentile(errors, 95):.2f} mm",
                )


def binding(cohort: xarray.DataTree, studies: list[Study]) -> Iterator[Row]:
    """Compare SBR with SBR through the true affine, and with the true binding."""
    config = Config()
    measured = cohort.specific_binding_ratio.values
    errors, pairs = [], []
    for study in studies:
        volume = reconstruct(read_study(study.files), config.reconstruct)
        normalised = resample(volume, study.template_to_study, schema.grid_affine(), schema.SHAPE)
        reference = quantify(normalised, config.quantify)
        # Both sides in the patient's own frame: the two may disagree about which side is the lower one.
        here = by_side(measured[study.index, :2], bool(cohort.mirrored.values[study.index]))
        there = by_side(reference.specific_binding_ratio[:2], reference.mirrored)
        errors += list(np.abs(here - there))
        pairs += [(h, float(study.truth[f"putamen_{s}"])) for h, s in zip(here, ("left", "right"), strict=True)]
    yield "putamen SBR against SBR through the true affine", f"mean absolute error {np.mean(errors):.3f}"
    values, true = np.array(pairs).T
    slope = np.polyfit(true, values, 1)[0]
    yield (
        "putamen SBR against true binding",
        f"Pearson r {np.corrcoef(values, true)[0, 1]:.3f}, slope {slope:.2f} (blur, no attenuation correction)",
    )


def by_side(ratios: npt.NDArray[np.float64], mirrored: bool) -> npt.NDArray[np.float64]:
    return ratios[::-1] if mirrored else ratios


def sides(cohort: xarray.DataTree, studies: list[Study]) -> Iterator[Row]:
    mirrored = cohort.mirrored.values
    for least, words in ((0.0, "all"), (ASYMMETRY, f"true asymmetry over {100 * ASYMMETRY:.0f} %")):
        chosen = [study for study in studies if abs(study.asymmetry) > least]
        right = sum(bool(mirrored[study.index]) == (study.asymmetry > 0) for study in chosen)
        yield f"lower putamen taken to the left, {words}", f"{right} of {len(chosen)}"
    wrong = [abs(study.asymmetry) for study in studies if bool(mirrored[study.index]) != (study.asymmetry > 0)]
    yield "largest true asymmetry taken to the wrong side", f"{100 * max(wrong, default=0.0):.0f} %"


def classification(cohort: xarray.DataTree, model: str) -> Iterator[Row]:
    group = cohort[f"relevance/{model}"].to_dataset()
    test = group.split.values == "test"
    labels = np.array([schema.LABELS.index(label) for label in cohort.label.values[test]])
    predicted = np.array([schema.LABELS.index(label) for label in group.predicted.values[test]])
    metrics = classification_metrics(labels, predicted)
    for name in ("accuracy", "sensitivity", "specificity"):
        share = getattr(metrics, name)
        yield (
            f"{name}, test set (n = {test.sum()})",
            f"{100 * share.value:.1f} % (95 % CI {100 * share.low:.1f} to {100 * share.high:.1f})",
        )
    area = area_under_curve(labels, group.log_odds.values[test])
    yield "area under the ROC curve, test set", f"{area.value:.3f} (95 % CI {area.low:.3f} to {area.high:.3f})"


def relevance(cohort: xarray.DataTree, model: str) -> Iterator[Row]:
    """Say how often the voxel of the largest magnitude lies in or next to putamen or caudate."""
    regional = cohort[f"relevance/{model}"].to_dataset().regional.sel(region="whole_brain")
    done = np.flatnonzero(cohort.status.values == schema.DONE)
    distance = distance_transform_edt(~analytic_atlas().masks[:4].any(axis=0), sampling=schema.SPACING_MM)
    near = inside = 0
    for index in done:
        row = {str(name): float(value) for name, value in zip(schema.STATISTICS, regional.values[index], strict=True)}
        side = "maximum" if abs(row["maximum"]) >= abs(row["minimum"]) else "minimum"
        voxel = tuple(
            round((row[f"{side}_{axis}"] - schema.ORIGIN_MM[i]) / schema.SPACING_MM) for i, axis in enumerate("xyz")
        )
        inside += distance[voxel] == 0
        near += distance[voxel] <= NEAR_MM
    yield "most relevant voxel of the brain in the striatum", f"{inside} of {len(done)}"
    yield f"most relevant voxel in the striatum or within {NEAR_MM:.0f} mm", f"{near} of {len(done)}"


def speed(measured: dict[str, Any]) -> Iterator[Row]:
    for step, total in measured["steps"].items():
        yield f"{step}, seconds a study and core", f"{total / measured['imaged']:.3f}"
    wall, imaged = measured["wall"], measured["imaged"]
    yield "`datbatch run`, whole, seconds a study and core", f"{wall['run'] * measured['workers'] / imaged:.2f}"
    if measured["trained_epochs"]:
        yield "`datbatch train`, compact, seconds an epoch", f"{wall['train'] / measured['trained_epochs']:.1f}"
    if measured["explained"]:
        yield "`datbatch explain`, compact, seconds a study", f"{wall['explain'] / measured['explained']:.2f}"


if __name__ == "__main__":
    main()
