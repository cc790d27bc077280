"""Charts of striatal binding: by region and label, over age, and as z-scores by definition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from datbatch import schema
from datbatch.evaluation.estimates import Z_95
from datbatch.report.cohort.binding_tables import Band
from datbatch.report.cohort.charts import GUIDE
from datbatch.report.parts.figures import TEXT

LABEL_STYLE = {schema.NEGATIVE: ("#0072B2", "o"), schema.POSITIVE: ("#D55E00", "^")}
NORMAL = "0.88"
Floats = npt.NDArray[np.float64]


def strip_chart(
    axes: Axes, columns: Sequence[tuple[str, Floats]], labels: npt.NDArray[np.str_], *, named: bool = True
) -> None:
    """Draw each study's value by column and label, with median and quartiles of each group.

    Parameters
    ----------
    axes : Axes
        Where.
    columns : sequence of (name, values)
        Values are one for each study; NaN is left out.
    labels : ndarray, shape (study,), str
        negative, positive or empty; the empty ones are left out.
    named : bool
        Whether the groups get an entry in the legend.
    """
    for column, (_, given) in enumerate(columns):
        for side, label in enumerate(schema.LABELS):
            values = given[labels == label]
            values = values[np.isfinite(values)]
            colour, marker = LABEL_STYLE[label]
            centre = column + (side - 0.5) * 0.42
            # Spread by rank, not by chance: the same studies give the same picture.
            spread = ((np.argsort(np.argsort(values, kind="stable")) * 0.618034) % 1 - 0.5) * 0.3
            axes.plot(
                centre + spread,
                values,
                marker,
                # A thousand points must not become one blot.
                markersize=4.5 if len(values) < 200 else 2.2,
                markerfacecolor=colour,
                markeredgecolor="white",
                markeredgewidth=0.4 if len(values) < 200 else 0.0,
                alpha=1.0 if len(values) < 200 else 0.6,
                label=f"{label} (n = {int((labels == label).sum())})" if named and column == 0 else None,
            )
            if len(values):
                low, middle, high = np.percentile(values, (25, 50, 75))
                axes.plot([centre - 0.19, centre + 0.19], [middle] * 2, color="black", linewidth=2)
                axes.plot([centre] * 2, [low, high], color="black", linewidth=1.2)
    axes.set_xticks(range(len(columns)), [name for name, _ in columns])
    axes.set_xlim(-0.5, len(columns) - 0.5)


def binding_ratios(ratios: Floats, labels: Sequence[str]) -> Figure:
    """Draw each study's striatal binding ratios by label.

    Parameters
    ----------
    ratios : ndarray, shape (study, 4), float64
        Putamen ipsilateral and contralateral, caudate ipsilateral and contralateral (the first of
        `schema.REGIONS`).
    labels : sequence of str, shape (study,)
        negative, positive or empty; the empty ones are left out.
    """
    with rc_context(TEXT):
        figure = Figure(figsize=(7.6, 3.6), layout="constrained")
        axes = figure.subplots()
        names = [name.replace("_", "\n").capitalize() for name in schema.REGIONS[:4]]
        strip_chart(axes, list(zip(names, ratios.T, strict=True)), np.asarray(labels))
        axes.set_ylabel("Specific binding ratio")
        axes.axhline(0, color=GUIDE, linewidth=0.8)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, handletextpad=0.2)
        return figure


def normal_range_chart(
    age_years: Floats,
    ratio: Floats,
    labels: Sequence[str],
    band: Band | None,
    regions: Sequence[tuple[str, Floats]],
    definitions: Sequence[tuple[str, Floats]],
) -> Figure:
    """Draw binding over age in its normal range, and z-scores by region and by definition.

    Parameters
    ----------
    age_years, ratio : ndarray, shape (study,), float64
        Of the first chart.
    labels : sequence of str, shape (study,)
        negative, positive or empty; the empty ones are left out.
    band : Band or None
        Normal range of `ratio`.
    regions, definitions : sequence of (name, ndarray of float64, shape (study,))
        z-scores of the second and third chart.
    """
    marked = np.asarray(labels)
    with rc_context(TEXT):
        figure = Figure(figsize=(10.4, 3.9), layout="constrained")
        over_age, by_region, by_definition = figure.subplots(1, 3, width_ratios=(1.15, 1.25, 1.0))
        if band is not None:
            ages = np.linspace(*band.age_range, 50)
            middle = band.expected(ages)
            half = Z_95 * band.sd
            over_age.fill_between(ages, middle - half, middle + half, color=NORMAL, linewidth=0, label="normal range")
            over_age.plot(ages, middle, color=GUIDE, linewidth=1.2)
        for label, (colour, marker) in LABEL_STYLE.items():
            chosen = marked == label
            over_age.plot(
                age_years[chosen], ratio[chosen], marker, markersize=4.5 if chosen.sum() < 200 else 2.2,
                markerfacecolor=colour, markeredgecolor="white", markeredgewidth=0.4 if chosen.sum() < 200 else 0.0,
                label=f"{label} (n = {int((chosen & np.isfinite(age_years) & np.isfinite(ratio)).sum())})",
            )  # fmt: skip
        over_age.set_xlabel("Age (years)")
        over_age.set_ylabel("SBR, ipsilateral putamen")
        over_age.set_ylim(bottom=min(0.0, float(np.nanmin(ratio)) if np.isfinite(ratio).any() else 0.0))
        over_age.legend(
            loc="lower left", bbox_to_anchor=(-0.05, 1.0), fontsize=8, ncols=2, borderpad=0, handletextpad=0.3,
            columnspacing=0.8,
        )  # fmt: skip
        over_age.set_title("a  Binding over age", loc="left", pad=34)
        for axes, columns, title in (
            (by_region, regions, "b  z-scores by region"),
            (by_definition, definitions, "c  z-scores by definition"),
        ):
            axes.axhspan(-Z_95, Z_95, color=NORMAL, linewidth=0)
            axes.axhline(0, color=GUIDE, linewidth=0.8)
            strip_chart(axes, columns, marked, named=False)
            axes.set_ylabel("z-score")
            axes.set_title(title, loc="left", pad=34)
            axes.tick_params(axis="x", labelsize=8)
        return figure
