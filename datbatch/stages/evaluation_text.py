"""An evaluation in words, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SHARES = {
    "accuracy": "accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "positive_predictive_value": "PPV",
    "negative_predictive_value": "NPV",
}


def evaluation_lines(model: str, found: Mapping[str, Any]) -> list[str]:
    """Write the main figures, one a line; all of them are in the report and in --json.

    Parameters
    ----------
    model : str
        Its name.
    found : mapping
        From `evaluation_run.read_evaluation`.
    """
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
    if found["inconsistency"] is not None:
        lines.append(f"inconsistent maps, of the misclassified  {share(found['inconsistency']['found'])}")
        lines.append(f"inconsistent maps, of the right ones     {share(found['inconsistency']['alarmed'])}")
    if found["relevance_and_binding"] is not None:
        lines.append(
            f"relevance and SBR, Spearman {estimate(found['relevance_and_binding']['correlation']['spearman'])}"
        )
    lines += _repeat_lines(found)
    lines += [
        f"{row['name']:<17} kappa {estimate(row['kappa'])}, standard error {_number(row['kappa']['standard_error'])}"
        for row in found["readers"]
    ]
    if found["blur"]:
        lines.append("extra blur (FWHM)")
        lines += [
            f"  {row['fwhm_mm']:>4g} mm  accuracy {share(row['metrics']['accuracy'])}  AUC {estimate(row['area'])}"
            for row in found["blur"]["rows"]
        ]
    if found["each_site"]:
        lines.append("each site by a model that never saw it")
        lines += [
            f"  {row['site']:<12} accuracy {share(row['metrics']['accuracy'])}  AUC {estimate(row['area'])}"
            for row in found["each_site"]["rows"]
        ]
        lines += [f"  {row['site']:<12} not possible: {row['reason']}" for row in found["each_site"]["missing"]]
    lines += [f"missing: {row['figure']} ({row['reason']})" for row in found["missing"]]
    return lines


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


def share(given: Mapping[str, Any]) -> str:
    """Write a proportion in percent with its interval and counts."""
    if not given["trials"]:
        return "- (no study)"
    limits = f"{100 * given['low']:.1f} to {100 * given['high']:.1f}"
    return f"{100 * given['value']:.1f} % ({limits}; {given['successes']}/{given['trials']})"


def estimate(given: Mapping[str, Any]) -> str:
    """Write an estimate with its interval."""
    if given["value"] is None:
        return "-"
    if not given["standard_error"]:
        return f"{given['value']:.3f} (no interval)"
    return f"{given['value']:.3f} ({given['low']:.3f} to {given['high']:.3f})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
