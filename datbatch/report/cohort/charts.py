"""Charts: training curves, histogram of putamen relevance, binding ratios, ROC curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from datbatch.report.cohort.classification import OUTCOME_NAMES, OUTCOMES
from datbatch.report.parts.figures import TEXT, name_axis

OUTCOME_STYLE = {
    "TN": ("#0072B2", ""),
    "TP": ("#D55E00", ""),
    "FN": ("#F0E442", "////"),
    "FP": ("#CC79A7", "...."),
}
"""Colours of Okabe and Ito, distinct for every kind of colour vision; hatches for print without colour."""
GUIDE = "0.35"


def draw_outcome_histogram(
    axes: Axes, relevance: npt.NDArray[np.float64], outcomes: Sequence[str], *, threshold: float
) -> None:
    """Draw the stacked histogram of the putamen's oriented relevance by outcome (the paper's Figure 5).

    Parameters
    ----------
    axes : Axes
        Where.
    relevance : ndarray, shape (study,), float64
        Oriented; NaN is left out.
    outcomes : sequence of str, shape (study,)
        TN, TP, FN, FP or empty.
    threshold : float
        Learned cut, drawn when finite.
    """
    marked = np.asarray(outcomes)
    groups = {name: relevance[(marked == name) & np.isfinite(relevance)] for name in OUTCOMES}
    values = np.concatenate(list(groups.values()))
    if len(values):
        # Zero is a border of bins, so that no bar mixes signs.
        width = max(float(np.ptp(np.append(values, 0.0))), 1e-12) / 24
        edges = width * np.arange(np.floor(min(values.min(), 0) / width), np.ceil(max(values.max(), 0) / width) + 1)
        if len(edges) < 2:
            edges = width * np.array([-1.0, 0.0, 1.0])
        base = np.zeros(len(edges) - 1)
        for name, group in groups.items():
            height, _ = np.histogram(group, edges)
            colour, hatch = OUTCOME_STYLE[name]
            axes.bar(
                edges[:-1],
                height,
                width=np.diff(edges),
                bottom=base,
                align="edge",
                color=colour,
                hatch=hatch,
                edgecolor="black",
                linewidth=0.5,
                label=f"{name} (n = {len(group)})",
            )
            base += height
        axes.set_ylim(0, 1.08 * base.max())
        axes.legend(
            frameon=False,
            fontsize=9,
            handlelength=1.2,
            columnspacing=1.0,
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=4,
        )
    else:
        axes.text(0.5, 0.5, "no test study", transform=axes.transAxes, ha="center")
    axes.axvline(0.0, color="black", linewidth=1.0)
    if np.isfinite(threshold):
        axes.axvline(threshold, color=GUIDE, linewidth=1.2, linestyle="--")
    axes.set_ylabel("Number of studies")
    axes.xaxis.set_major_locator(MaxNLocator(7))
    top = float(np.abs(values).max()) if len(values) else 0.0
    name_axis(axes.xaxis, "Mean relevance in the ipsilateral putamen (a.u.)", top, 10)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def outcome_words(outcomes: Sequence[str]) -> str:
    """Say how many studies have which outcome."""
    return ", ".join(f"{list(outcomes).count(name)} {OUTCOME_NAMES[name]}" for name in OUTCOMES)


def training_curves(history: Sequence[dict[str, Any]]) -> Figure:
    """Draw loss of both sets and accuracy of the validation set over the epochs.

    Parameters
    ----------
    history : sequence of dict
        Entries epoch, train_loss, validation_loss, validation_accuracy; a missing or null value leaves a gap.
    """

    def series(name: str) -> npt.NDArray[np.float64]:
        found = [entry.get(name) for entry in history]
        return np.array([np.nan if value is None else float(value) for value in found])

    epochs = np.array([float(entry.get("epoch", position + 1)) for position, entry in enumerate(history)])
    with rc_context(TEXT):
        figure = Figure(figsize=(7.6, 2.9), layout="constrained")
        losses, accuracy = figure.subplots(1, 2)
        losses.plot(epochs, series("train_loss"), color="#0072B2", label="training")
        losses.plot(epochs, series("validation_loss"), color="#D55E00", linestyle="--", label="validation")
        losses.set_ylabel("Cross-entropy loss")
        losses.set_ylim(bottom=0)
        losses.legend(frameon=False)
        accuracy.plot(epochs, 100 * series("validation_accuracy"), color="#D55E00", linestyle="--")
        accuracy.set_ylabel("Validation accuracy (%)")
        accuracy.set_ylim(0, 102)
        for axes in (losses, accuracy):
            axes.set_xlabel("Epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return figure


def roc_chart(curves: Sequence[tuple[str, npt.NDArray[np.float64], npt.NDArray[np.float64]]]) -> Figure:
    """Draw ROC curves.

    Parameters
    ----------
    curves : sequence of (name, false positive rate, true positive rate)
        At most three.
    """
    styles = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."))
    with rc_context(TEXT):
        figure = Figure(figsize=(4.6, 5.0), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8)
        for (name, false_alarms, hits), (colour, line) in zip(curves, styles, strict=False):
            axes.plot(false_alarms, hits, color=colour, linestyle=line, linewidth=1.8, label=name, clip_on=False)
        axes.set_xlabel("1 − specificity")
        axes.set_ylabel("Sensitivity")
        axes.set_aspect("equal")
        # Curves along the frame stay visible.
        axes.set_xlim(-0.02, 1.0)
        axes.set_ylim(0, 1.02)
        # Below the axes: in a perfect or a hopeless plot every corner is taken.
        axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=9)
        return figure
