"""`datbatch evaluate` and `trust`: how good a model is, and whether its maps can be trusted."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from datbatch import schema
from datbatch.commands.command import Answer, cluster_options, cohort_command, config_of, model_option, where
from datbatch.report.parts.wording import SHARES, estimate, share


def add(parsers: Any) -> None:
    """Describe the commands."""
    made = cohort_command(parsers, evaluate, "evaluate a model: figures of merit, comparators, calibration, repeats")
    model_option(made, "a trained model")
    made.add_argument("--blur", action="store_true", help="also with extra blur of 0 to 8 mm")
    words = "also train a model for each site, without its studies"
    made.add_argument("--leave-one-site-out", action="store_true", help=words)
    cluster_options(made, config=True)

    made = cohort_command(parsers, trust, "test whether a model's relevance maps can be trusted")
    model_option(made, "an explained model")
    made.add_argument("--studies", type=int, help="test studies at most (default: of the parameters, 20)")
    cluster_options(made, config=True)


def evaluate(options: argparse.Namespace) -> Answer:
    """Evaluate a model on its test set."""
    from datbatch.stages.evaluate import evaluate_cohort

    evaluated = evaluate_cohort(
        options.cohort, config_of(options), model=options.model, blur=options.blur,
        each_site=options.leave_one_site_out, **where(options)
    )  # fmt: skip
    lines = [*_lines(evaluated.model, evaluated.values), f"Next: datbatch report {options.cohort}"]
    return Answer("\n".join(lines), evaluated.values)


def _lines(model: str, found: Mapping[str, Any]) -> list[str]:
    """Write the main figures, one a line; all of them are in the report and in --json."""
    counts = found["network"]["confusion"]
    lines = [
        f"{model} on its test set: TN {counts['true_negative']}, TP {counts['true_positive']}, "
        f"FN {counts['false_negative']}, FP {counts['false_positive']}"
    ]
    lines += [f"  {words:<13} {share(found['network'][name])}" for name, words in SHARES.items()]
    lines.append(f"  {'AUC':<13} {estimate(found['area'])}")
    lines.append("comparators (same test studies, McNemar mid-p against the network)")
    for row in found["comparators"]:
        p = row["mcnemar"]["mid_p"]
        # A tree takes several lines.
        words = row["words"] if "\n" not in row["words"] else "pruned by cross-validation"
        lines.append(f"  {row['name']:<33} {share(row['metrics']['accuracy'])}  p {p:.3f}  {words}")
    temperature = found["temperature"]
    if temperature is not None:
        raw, better = found["raw"], found["calibrated"]
        lines.append(
            f"calibration: temperature {temperature:.2f} from {found['validation_studies']} validation studies; "
            f"expected error {raw['expected_error']:.3f} -> {better['expected_error']:.3f}, "
            f"Brier {raw['brier']:.3f} -> {better['brier']:.3f}"
        )
    flag, both = found["inconsistency"], found["relevance_and_binding"]
    if flag is not None:
        lines.append(f"inconsistent maps, of the misclassified  {share(flag['found'])}")
        lines.append(f"inconsistent maps, of the right ones     {share(flag['alarmed'])}")
    if both is not None:
        lines.append(f"relevance and SBR, Spearman {estimate(both['correlation']['spearman'])}")
    lines += _repeat_lines(found)
    lines += [
        f"{row['name']:<17} kappa {estimate(row['kappa'])}, standard error {_number(row['kappa']['standard_error'])}"
        for row in found["readers"]
    ]
    if found["blur"]:
        lines.append("extra blur (FWHM)")
        lines += [f"  {row['fwhm_mm']:>4g} mm  {_merit(row)}" for row in found["blur"]["rows"]]
    if found["each_site"]:
        lines.append("each site by a model that never saw it")
        lines += [f"  {row['site']:<12} {_merit(row)}" for row in found["each_site"]["rows"]]
        lines += [f"  {row['site']:<12} not possible: {row['reason']}" for row in found["each_site"]["missing"]]
    lines += [f"missing: {row['figure']} ({row['reason']})" for row in found["missing"]]
    return lines


def _merit(row: Mapping[str, Any]) -> str:
    return f"accuracy {share(row['metrics']['accuracy'])}  AUC {estimate(row['area'])}"


def _repeat_lines(found: Mapping[str, Any]) -> list[str]:
    lines = []
    if found["repeats"] is not None:
        spread = ", ".join(
            f"{row['figure']} {_number(row['mean'])} (SD {_number(row['sd'])})" for row in found["repeats"]["spread"]
        )
        lines.append(f"{len(found['repeats']['models'])} repeats over initial weights: {spread}")
        lines.append(f"ensemble: accuracy {share(found['repeats']['ensemble']['accuracy'])}")
    for row in found["certainty"]:
        members = len(row["certainty"]["members"])
        who = "the model alone, by its calibrated probability" if members == 1 else f"an ensemble of {members}"
        lines.append(
            f"certain calls by {who}: {share(row['uncertain'])} uncertain; accuracy {share(row['accuracy_certain'])} "
            f"of the certain ones, {share(row['accuracy_uncertain'])} of the uncertain ones"
        )
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def trust(options: argparse.Namespace) -> Answer:
    """Test whether relevance maps can be trusted."""
    from datbatch.stages.trust import try_maps

    config = config_of(options, schema.TRUST, ("studies",))
    found = try_maps(options.cohort, config, model=options.model, **where(options))
    text = f"{as_text(found.model, found.summary)}\nNext: datbatch report {options.cohort}"
    return Answer(text, asdict(found))


def as_text(model: str, summary: Mapping[str, Any]) -> str:
    """Write the figures for a terminal."""
    from datbatch.evaluation.trust import FEW, sentences

    counts = summary["studies"]
    total = sum(counts.values())
    lines = [
        f"relevance maps of {model}, tested on {total} test studies "
        f"({', '.join(f'{count} {label}' for label, count in counts.items())})"
    ]
    for name, figure, meaning in sentences(summary):
        lines += [f"{name}: {figure}", f"    {meaning}"]
    if total < FEW:
        lines.append(f"Fewer than {FEW} studies: the intervals are wide, and the means say little.")
    return "\n".join(lines)
