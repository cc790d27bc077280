"""Charts of an evaluation: reliability diagram, figures against extra blur."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from datbatch.report.cohort.charts import GUIDE
from datbatch.report.parts.figures import TEXT

STYLES = (("#0072B2", "o"), ("#D55E00", "^"))


def reliability_chart(series: Sequence[tuple[str, Sequence[Mapping[str, Any]]]]) -> Figure:
    """Draw the share of positive studies against the mean probability of each bin.

    Parameters
    ----------
    series : sequence of (name, bins)
        Bins are `calibration.ReliabilityBin` as JSON; at most two series.
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
                p, share, reach, fmt=marker, color=colour, capsize=2, linewidth=1.0, label=name, clip_on=False
            )
            if column == 0:
                for one, at in zip(filled, p, strict=True):
                    axes.annotate(
                        str(one["studies"]), (at, 1.0), (0, 5), textcoords="offset points", ha="center", size=8,
                        color=GUIDE, annotation_clip=False,
                    )  # fmt: skip
        axes.set_xlabel("Mean predicted probability of reduced uptake")
        axes.set_ylabel("Share of positive studies")
        axes.set_aspect("equal")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_title("studies in each bin", size=8, color=GUIDE, pad=16)
        axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=9, ncols=2)
        return figure


def sweep_chart(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw accuracy, with its interval, and the area under the curve against the extra blur.

    Parameters
    ----------
    rows : sequence of mapping
        fwhm_mm, metrics, area; as stored.
    """
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
        axes.set_xlabel("Additional blur, FWHM (mm)")
        axes.set_ylabel("Accuracy; area under the ROC curve")
        axes.set_ylim(0, 1.02)
        axes.legend(frameon=False, loc="lower left", fontsize=9)
        return figure
