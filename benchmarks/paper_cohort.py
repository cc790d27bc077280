"""The paper's cohort, simulated: 1,306 studies with readers, its split, repeats, evaluation, relevance, all figures.

    python benchmarks/paper_cohort.py build/paper_cohort

prints a Markdown table beside the paper's own (Nazari et al. 2022, doi:10.1007/s00259-021-05569-9). Hours on two cores;
resumable: called again it goes on where it was stopped and computes nothing twice. The simulated population was
calibrated so that the readers agree as the paper's do; nothing was tuned on what the classifier makes of it.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from datbatch import __version__, schema
from datbatch.cohort.views.query import open_cohort
from datbatch.config import Config, TrainConfig
from datbatch.evaluation.trust import sentences
from datbatch.report import write_report
from datbatch.report.parts.wording import SHARES, estimate, share
from datbatch.simulation import simulate_archive
from datbatch.stages.evaluate import evaluate_cohort
from datbatch.stages.explain import explain_cohort
from datbatch.stages.imaging import run_imaging
from datbatch.stages.norms import fit_norms
from datbatch.stages.train import train_model
from datbatch.stages.trust import try_maps

STUDIES = 1306
SEED = 2022
PAPER = {
    "accuracy": "95.8",
    "sensitivity": "92.8",
    "specificity": "98.7",
    "positive_predictive_value": "98.5",
    "negative_predictive_value": "93.7",
}
PAPER_RELEVANCE = {
    "accuracy": "96.9",
    "sensitivity": "97.8",
    "specificity": "96.0",
    "positive_predictive_value": "95.7",
    "negative_predictive_value": "98.0",
}
Row = tuple[str, str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/paper_cohort"))
    parser.add_argument("--studies", type=int, default=STUDIES)
    parser.add_argument("--repeats", type=int, default=3, help="networks that differ in their initial weights")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--preset", choices=["paper", "compact"], default="compact", help="paper: on an accelerator")
    options = parser.parse_args()
    archive, store = options.folder / "archive", options.folder / "cohort.zarr"
    config = Config(train=TrainConfig(preset=options.preset, schedule="cosine", epochs=options.epochs))
    simulate_archive(archive, options.studies, seed=SEED, defects=False, workers=os.cpu_count() or 1)
    ran = run_imaging(archive, store, config)
    fit_norms(store, config)
    models = []
    for seed in range(1, options.repeats + 1):
        repeat = replace(config, train=replace(config.train, seed=seed))
        models.append(train_model(store, repeat).model)
        explain_cohort(store, repeat, model=models[-1])
    evaluated = evaluate_cohort(store, config, model=models[0], blur=True)
    tried = try_maps(store, config, model=models[0])
    page = write_report(open_cohort(store), options.folder / "report.html", model=models[0])
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "no accelerator"
    print(
        f"datbatch {__version__}, torch {torch.__version__}, Python {platform.python_version()}, {os.cpu_count()} "
        f"cores, {accelerator}, {time.strftime('%Y-%m-%d')}; {options.repeats} repeats of {options.epochs} epochs of "
        f"{options.preset}; {page}\n"
    )
    print("| figure | simulated | paper |\n|---|---|---|")
    found = evaluated.values
    for rows in (cohort_rows(found, ran.excluded), network_rows(found), relevance_rows(found), repeat_rows(found)):
        for row in rows:
            print("| {} | {} | {} |".format(*row))
    print("\n| trust in the maps | |\n|---|---|")
    for name, figure, _ in sentences(tried.summary):
        print(f"| {name} | {figure} |")


def cohort_rows(found: Mapping[str, Any], excluded: int) -> Iterator[Row]:
    yield "excluded as atypical", str(excluded), "10"
    sets = " / ".join(
        f"{sum(found['sets'][name].values())} ({found['sets'][name][schema.POSITIVE]})"
        for name in ("train", "validation", "test")
    )
    yield "training / validation / test studies (positive)", sets, "864 (413) / 144 (69) / 288 (138)"
    for row in found["readers"]:
        kappa = row["kappa"]
        paper = "0.952 (0.008)" if row["name"] == "between readers" else ""
        yield f"kappa, {row['name']} (standard error)", f"{kappa['value']:.3f} ({kappa['standard_error']:.3f})", paper


def network_rows(found: Mapping[str, Any]) -> Iterator[Row]:
    counts = found["network"]["confusion"]
    words = {"TN": "true_negative", "TP": "true_positive", "FN": "false_negative", "FP": "false_positive"}
    yield (
        "network: " + ", ".join(words),
        ", ".join(str(counts[name]) for name in words.values()),
        "148, 128, 10, 2",
    )
    for name, word in SHARES.items():
        yield f"network: {word}", share(found["network"][name]), f"{PAPER[name]} %"
    yield "network: area under the ROC curve", estimate(found["area"]), ""
    yield (
        "expected calibration error, before and after temperature",
        f"{found['raw']['expected_error']:.3f}, {found['calibrated']['expected_error']:.3f}",
        "",
    )
    for row in found["comparators"]:
        if row["name"] != "Putamen relevance":
            accuracy, p = share(row["metrics"]["accuracy"]), row["mcnemar"]["mid_p"]
            yield f"{row['name']}: accuracy, McNemar against the network", f"{accuracy}, p = {p:.2f}", "similar"
    for row in found["groups"]:
        if row["by"] == "site":
            yield f"network, site {row['name']}: accuracy", share(row["metrics"]["accuracy"]), ""
    for row in found["blur"]["rows"]:
        if row["fwhm_mm"]:
            yield f"network, {row['fwhm_mm']:g} mm of extra blur: accuracy", share(row["metrics"]["accuracy"]), ""


def relevance_rows(found: Mapping[str, Any]) -> Iterator[Row]:
    for row in found["comparators"]:
        if row["name"] == "Putamen relevance":
            at_zero = row["words"].endswith("zero")
            for name, word in SHARES.items():
                paper = f"{PAPER_RELEVANCE[name]} %" if at_zero else ""
                yield f"putamen relevance, {row['words']}: {word}", share(row["metrics"][name]), paper
    if found["inconsistency"] is not None:
        yield "misclassified studies with an inconsistent map", share(found["inconsistency"]["found"]), "7 of 10 FN"
        yield "right ones with an inconsistent map", share(found["inconsistency"]["alarmed"]), ""
    if found["relevance_and_binding"] is not None:
        correlation = found["relevance_and_binding"]["correlation"]["spearman"]
        yield "putamen relevance against putamen SBR, Spearman", estimate(correlation), ""


def repeat_rows(found: Mapping[str, Any]) -> Iterator[Row]:
    if found["repeats"] is not None:
        for row in found["repeats"]["spread"]:
            spread = f"{row['mean']:.3f} (SD {row['sd']:.3f})"
            yield f"{len(found['repeats']['models'])} initial weights: {row['figure']}", spread, "similar"
        yield "ensemble: accuracy", share(found["repeats"]["ensemble"]["accuracy"]), ""
    for row in found["certainty"]:
        members = len(row["certainty"]["members"])
        who = "one network" if members == 1 else f"ensemble of {members}"
        figures = f"{share(row['accuracy_certain'])}; uncertain {share(row['uncertain'])}"
        yield f"{who}: accuracy of the certain calls", figures, ""


if __name__ == "__main__":
    main()
