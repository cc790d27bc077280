"""Section on what `datbatch evaluate` stored: calibration, groups, comparators, repeats, certain calls, sweeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from datbatch.report.cohort.contents import Contents, Explained
from datbatch.report.parts.exhibits import Exhibits
from datbatch.report.parts.figures import GUIDE, TEXT
from datbatch.report.parts.hypertext import Child, Html, element, marked, stacked
from datbatch.report.parts.wording import (
    SHARES,
    estimate,
    number,
    scientific,
    share,
    stacked_estimate,
    stacked_share,
)

_COLUMNS = ("accuracy", "sensitivity", "specificity")
STYLES = (("#0072B2", "o"), ("#D55E00", "^"))


def evaluation_section(_: Contents, explained: Explained, exhibits: Exhibits) -> Iterator[Html]:
    """Show the stored evaluation, or say that there is none."""
    found = explained.evaluation
    if not found:
        yield element("p", marked("The model was not evaluated: call `datbatch evaluate`."))
        return
    if explained.evaluation_stale:
        words = "The tables or the model have changed since: call datbatch evaluate again."
        yield element("p", element("strong", "Of earlier tables. "), words, class_="notice")
    yield _comparators(found, exhibits)
    yield from _calibration(found, exhibits)
    yield _groups(found, exhibits)
    yield from _relevance(found, exhibits)
    yield from _repeats(found, exhibits)
    yield from _sweeps(found, exhibits)
    if found["missing"]:
        rows = [(row["figure"], row["reason"]) for row in found["missing"]]
        yield exhibits.table("missing_figures", "Figures that there are not.", ("Figure", "Why"), rows, text_columns=2)


def _shares(metrics: Mapping[str, Any], names: Sequence[str] = _COLUMNS) -> list[Child]:
    return [stacked_share(metrics[name]) for name in names]


def _comparators(found: Mapping[str, Any], exhibits: Exhibits) -> Html:
    rows: list[Sequence[Child]] = [("Network", *_shares(found["network"]), stacked_estimate(found["area"]), "", "")]
    for row in found["comparators"]:
        words = element("pre", row["words"]) if "\n" in row["words"] else element("small", row["words"], class_="wide")
        test, difference = row["mcnemar"], row["area_difference"]
        counts = f"{test['first_only']} : {test['second_only']}"
        errors = stacked(counts, f"p = {test['mid_p']:.3f}", f"exact {test['exact_p']:.3f}")
        p = None if difference["p"] is None else f"p = {difference['p']:.3f}"
        areas = stacked_estimate(row["area"]), errors, stacked(stacked_estimate(difference["difference"]), p)
        rows.append(((row["name"], words), *_shares(row["metrics"]), *areas))
    caption = (
        "The network and conventional classifiers that learned on the same training set, on the same test studies; "
        "percent with Wilson's 95 % interval and counts, area under the ROC curve (AUC) with DeLong's. McNemar: "
        "studies that only the network has right to those that only the other has right, mid-p and exact p. "
        "Difference of AUC: network less other (DeLong)."
    )
    header = ("Classifier and rule", "Accuracy", "Sensitivity", "Specificity", "AUC", "McNemar", "Difference of AUC")
    return exhibits.table("comparators", caption, header, rows)


def _calibration(found: Mapping[str, Any], exhibits: Exhibits) -> Iterator[Html]:
    raw, calibrated, temperature = found["raw"], found["calibrated"], found["temperature"]
    if not raw["studies"]:
        return
    told = "none: too few validation studies" if temperature is None else f"{temperature:.2f}"
    words = (
        f"Temperature {told} (from {found['validation_studies']} validation studies). Expected calibration error "
        f"{raw['expected_error']:.3f} before and {calibrated['expected_error']:.3f} after, Brier score "
        f"{raw['brier']:.3f} and {calibrated['brier']:.3f}."
    )
    shown = [("as computed", raw["bins"])]
    if temperature is not None:
        shown.append(("calibrated", calibrated["bins"]))
    yield exhibits.figure(
        "reliability",
        reliability_chart(shown),
        f"Reliability diagram of the test set. {words}",
        f"Reliability diagram of the test set (n = {raw['studies']}): share of positive studies by predicted "
        f"probability, with Wilson's 95 % intervals; above: studies in each bin as computed. {words}",
        data=pd.DataFrame(
            {"probabilities": name, "predicted": one["predicted"], "studies": one["studies"], **one["positive"]}
            for name, bins in shown
            for one in bins
            if one["studies"]
        ),
    )


def _groups(found: Mapping[str, Any], exhibits: Exhibits) -> Html:
    rows = [(row["by"], row["name"], *_shares(row["metrics"])) for row in found["groups"]]
    caption = "The network by group of the test set: percent, Wilson's 95 % interval, counts."
    return exhibits.table(
        "groups", caption, ("By", "Group", "Accuracy", "Sensitivity", "Specificity"), rows, text_columns=2
    )


def _relevance(found: Mapping[str, Any], exhibits: Exhibits) -> Iterator[Html]:
    flag, both = found["inconsistency"], found["relevance_and_binding"]
    if flag is not None:
        yield element(
            "p",
            f"The flag of inconsistent maps finds {share(flag['found'])} of the misclassified test studies and "
            f"alarms in {share(flag['alarmed'])} of the others.",
        )
    if both is not None:
        rows = [
            (
                row["outcome"],
                row["studies"],
                *(_plain(row[name], scientific) for name in ("relevance_mean", "relevance_sd")),
                *(_plain(row[name], number) for name in ("binding_ratio_mean", "binding_ratio_sd")),
            )
            for row in both["rows"]
        ]
        correlation = both["correlation"]
        caption = (
            "Relevance and specific binding ratio of the ipsilateral putamen by outcome. "
            f"Pearson's r {estimate(correlation['pearson'])}, Spearman's rho {estimate(correlation['spearman'])} "
            f"({correlation['studies']} test studies)."
        )
        header = ("Outcome", "Studies", "Relevance, mean", "SD", "SBR, mean", "SD")
        yield exhibits.table("relevance_and_binding", caption, header, rows)


def _repeats(found: Mapping[str, Any], exhibits: Exhibits) -> Iterator[Html]:
    repeats = found["repeats"]
    if repeats is not None:
        rows: list[Sequence[Child]] = [
            (row["model"], *_shares(row["metrics"]), estimate(row["area"])) for row in repeats["models"]
        ]
        spread = {row["figure"]: row for row in repeats["spread"]}
        means = [
            f"{_plain(spread[name]['mean'], number, 3)} (SD {_plain(spread[name]['sd'], number, 3)})"
            for name in (*_COLUMNS, "area")
        ]
        rows.append((element("b", "mean over initial weights"), *means))
        rows.append(("ensemble", *_shares(repeats["ensemble"]), estimate(repeats["ensemble_area"])))
        caption = (
            "Repeats over initial weights: the same split and parameters. The ensemble takes the mean of the "
            f"calibrated probabilities; all call alike {share(repeats['unanimous'])} of the test studies."
        )
        header = ("Model", "Accuracy", "Sensitivity", "Specificity", "AUC")
        yield exhibits.table("repeats", caption, header, rows)
    if found["certainty"]:
        called = []
        for row in found["certainty"]:
            members = len(row["certainty"]["members"])
            shares = [share(row[name]) for name in ("uncertain", "accuracy_certain", "accuracy_uncertain")]
            called.append(("the model alone" if members == 1 else f"ensemble of {members}", *shares))
        wanted = found["certainty"][0]["certainty"]
        caption = (
            f"Certain and uncertain calls: the margin around one half was learned for "
            f"{100 * wanted['uncertain_share']:g} % uncertain studies on {wanted['studies']} validation studies. One "
            "model alone can only go by its calibrated probability; in an ensemble disagreement counts too."
        )
        titles = ("Called by", "Uncertain", "Accuracy of the certain", "Accuracy of the uncertain")
        yield exhibits.table("certain_calls", caption, titles, called)


def _sweeps(found: Mapping[str, Any], exhibits: Exhibits) -> Iterator[Html]:
    if found["blur"]:
        rows = found["blur"]["rows"]
        told = "; ".join(f"{row['fwhm_mm']:g} mm {share(row['metrics']['accuracy'])}" for row in rows)
        yield exhibits.figure(
            "blur",
            sweep_chart(rows),
            f"Accuracy and area under the curve with extra blur. Accuracy: {told}.",
            f"Extra Gaussian blur of the test set (FWHM); band: Wilson's 95 % interval. Accuracy: {told}.",
            data=pd.DataFrame(
                [{"fwhm_mm": row["fwhm_mm"], "auc": row["area"]["value"], **row["metrics"]["accuracy"]} for row in rows]
            ),
        )
    if found["each_site"]:
        sites, names = found["each_site"], tuple(SHARES)
        listed = [(row["site"], *_shares(row["metrics"], names), estimate(row["area"])) for row in sites["rows"]]
        listed += [(row["site"], row["reason"], *("",) * len(SHARES)) for row in sites["missing"]]
        if sites["together"]:
            listed.append(("together", *_shares(sites["together"], names), ""))
        caption = "Leave one site out: every site by a model of the same parameters that never saw it."
        header = ("Site", *(words[0].upper() + words[1:] for words in SHARES.values()), "AUC")
        yield exhibits.table("leave_one_site_out", caption, header, listed)


def _plain(value: float | None, write: Any, *digits: int) -> str:
    return "–" if value is None else str(write(value, *digits))


def reliability_chart(series: Sequence[tuple[str, Sequence[Mapping[str, Any]]]]) -> Figure:
    """Draw the share of positive studies against the mean probability of each bin.

    At most two series: a name, and bins as `calibration.ReliabilityBin` in JSON.
    """
    with rc_context(TEXT):
        figure = Figure(figsize=(4.6, 4.8), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
        for column, ((name, bins), (colour, marker)) in enumerate(zip(series, STYLES, strict=False)):
            filled = [one for one in bins if one["studies"]]
            p = np.array([one["predicted"] for one in filled])
            share = np.array([one["positive"]["value"] for one in filled])
            low, high = (np.array([one["positive"][end] for one in filled]) for end in ("low", "high"))
            reach = np.abs(np.stack([share - low, high - share]))
            axes.errorbar(
                p, share, reach, None, marker, color=colour, capsize=2, linewidth=1, label=name, clip_on=False
            )
            if column == 0:
                for one, at in zip(filled, p, strict=True):
                    axes.annotate(
                        str(one["studies"]), (at, 1.0), (0, 5), textcoords="offset points", ha="center", size=8,
                        color=GUIDE, annotation_clip=False,
                    )  # fmt: skip
        axes.set(
            xlabel="Mean predicted probability of reduced uptake", ylabel="Share of positive studies", aspect="equal",
            xlim=(0, 1), ylim=(0, 1),
        )  # fmt: skip
        axes.set_title("studies in each bin", size=8, color=GUIDE, pad=16)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=9, ncols=2)
        return figure


def sweep_chart(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw accuracy, with its interval, and the area under the curve against the extra blur, from rows as stored."""
    fwhm_mm = np.array([row["fwhm_mm"] for row in rows])
    shares = [row["metrics"]["accuracy"] for row in rows]
    value, low, high = (np.array([one[name] for one in shares], dtype=float) for name in ("value", "low", "high"))
    area = np.array([np.nan if row["area"]["value"] is None else row["area"]["value"] for row in rows])
    with rc_context(TEXT):
        figure = Figure(figsize=(4.6, 3.2), layout="constrained")
        axes = figure.subplots()
        axes.fill_between(fwhm_mm, low, high, color="#0072B2", alpha=0.15, linewidth=0)
        axes.plot(fwhm_mm, value, color="#0072B2", marker="o", label="accuracy")
        axes.plot(fwhm_mm, area, color="#D55E00", marker="^", linestyle="--", label="AUC")
        axes.set(xlabel="Additional blur, FWHM (mm)", ylabel="Accuracy; area under the ROC curve", ylim=(0, 1.02))
        axes.legend(loc="lower left", fontsize=9)
        return figure
