"""Sections on striatal binding, with their charts: ratios by label, definitions side by side, and the normal range."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from datbatch import schema
from datbatch.cohort.attributes import json_attribute
from datbatch.evaluation.estimates import Z_95
from datbatch.norms.warnings import WARNINGS
from datbatch.report.cohort.binding_tables import Band, BindingTable, definition_rows
from datbatch.report.cohort.contents import Contents
from datbatch.report.cohort.tables import PUTAMEN_SBR
from datbatch.report.parts.exhibits import Exhibits
from datbatch.report.parts.figures import GUIDE, TEXT
from datbatch.report.parts.hypertext import Html, element, marked, stacked
from datbatch.report.parts.wording import number, stacked_estimate, stacked_share

_NAMES = {name: name.replace("_", " ").capitalize() for name in schema.DEFINITIONS}
LABEL_STYLE = {schema.NEGATIVE: ("#0072B2", "o"), schema.POSITIVE: ("#D55E00", "^")}
NORMAL, MANY = "0.88", 200
"""Grey of normal ranges, and the number of points from which they are drawn small."""
Floats = npt.NDArray[np.float64]


def binding_section(contents: Contents, exhibits: Exhibits) -> Iterator[Html]:
    """Show the striatal binding ratios by label."""
    studies = contents.studies
    chosen = (studies["status"] == schema.DONE) & studies["label"].isin(schema.LABELS)
    done = studies[chosen]
    columns = [f"sbr_{region}" for region in schema.STRIATUM]
    if done.empty:
        yield element("p", "No processed study has a label.")
        return
    numbers = ", ".join(f"{int((done['label'] == label).sum())} {label}" for label in schema.LABELS)
    means = "; ".join(
        f"{region.replace('_', ' ')} "
        + " against ".join(number(done.loc[done["label"] == label, column].mean()) for label in schema.LABELS)
        for region, column in zip(schema.STRIATUM, columns, strict=True)
    )
    yield exhibits.figure(
        "binding_by_label",
        binding_ratios(done[columns].to_numpy(dtype=float), list(done["label"])),
        f"Specific binding ratios of four striatal regions by label ({numbers}). Means, negative against "
        f"positive: {means}.",
        "Specific binding ratio (SBR, hottest voxels) of the striatal regions by visual label; circles: negative, "
        f"triangles: positive, bars: median and quartiles. Means, negative against positive: {means}.",
        data=done[["study", "site", "label", *columns]],
    )
    if contents.binding is not None:
        yield _definitions(contents.binding, contents, exhibits)


def _spread(group: tuple[int, float, float]) -> Html:
    n, mean, sd = group
    return stacked(number(mean) + (f" ± {sd:.2f}" if np.isfinite(sd) else ""), f"(n = {n})")


def _definitions(table: BindingTable, contents: Contents, exhibits: Exhibits) -> Html:
    written = [
        (
            _NAMES[row.definition],
            row.region.replace("_", " "),
            *map(_spread, (row.negative, row.positive)),
            stacked_estimate(row.area),
            *(stacked_share(below, " %") for below in (row.below_negative, row.below_positive)),
        )
        for row in definition_rows(table, contents.studies)
    ]
    return exhibits.table(
        "definitions_of_binding",
        "Definitions of binding side by side (background: reference region): mean ± standard deviation by visual "
        "label of all labelled studies; area under the ROC curve of the ratio alone, with DeLong's 95 % interval "
        "where the classes overlap; studies below the 95 % normal range, of the negative ones that it was not fitted "
        "to (2.5 % are expected) and of the positive ones, with Wilson's 95 % interval.",
        ("Definition", "Region", "Negative", "Positive", "AUC", "Below range, negative", "Below range, positive"),
        written,
        text_columns=2,
        empty="No study has a binding ratio.",
    )


def normal_range_section(contents: Contents, exhibits: Exhibits) -> Iterator[Html]:
    """Show studies against the normal range, or say that there is none."""
    table = contents.binding
    if table is None or not table.has_range:
        yield element("p", marked("There is no normal range of these tables: call `datbatch norms`."))
        return
    studies = contents.studies
    done = (studies["status"] == schema.DONE).to_numpy()
    labels = np.where(done, studies["label"].to_numpy(dtype=str), "")

    def z(measure: str) -> np.ndarray:
        return table.z_score[:, schema.MEASURES.index(measure)]

    ratio = table.value[:, schema.MEASURES.index(schema.MAIN_MEASURE)]
    age = np.minimum(studies["age"].to_numpy(dtype=float), schema.AGE_CAP_YEARS)
    regions = [
        (r.replace("_", "\n").replace("lateral", "."), z(f"{schema.HOTTEST_VOXELS} {r}")) for r in schema.STRIATUM
    ]
    definitions = [(_NAMES[d].replace(" ", "\n"), z(f"{d} striatum_ipsilateral")) for d in schema.DEFINITIONS]
    band = table.band(schema.MAIN_MEASURE)
    summary = json_attribute(table.attributes, "summary")
    sites = ", ".join(f"{site or '(no site)'} {n}" for site, n in (summary.get("normals_by_site") or {}).items())
    normals = summary.get("normals", "–")
    shown = pd.DataFrame({"study": studies["study"], "site": studies["site"], "label": labels, "age_years": age})
    for name in (f"{d} {r}" for d in schema.DEFINITIONS for r in schema.STRIATAL):
        shown[f"z {name}"] = z(name)
    shown.insert(4, PUTAMEN_SBR, ratio)
    yield exhibits.figure(
        "normal_range",
        normal_range_chart(age, ratio, labels.tolist(), band, regions, definitions),
        f"Binding against the normal range of {normals} normal studies, over age and as z-scores by region and "
        "definition.",
        f"Normal range from {normals} normal studies of the training split ({sites}). a: SBR (hottest voxels) of the "
        "ipsilateral putamen over age; grey: expected value and 95 % range of a study at an average site. b: z-scores "
        "by region (hottest voxels). c: z-scores of the ipsilateral striatum by definition. Grey in b and c: z within "
        "±1.96; bars: median and quartiles. A study's own z-score takes its sex and site into account.",
        data=shown[done],
    )
    warned = [one.split() for one in table.warnings[done]]
    rows = [
        (element("code", code), meaning, sum(code in one for one in warned))
        for code, meaning in WARNINGS.items()
        if any(code in one for one in warned)
    ]
    if rows:
        yield exhibits.table(
            "normal_range_warnings",
            f"What limits the comparison with the normal range, of {int(done.sum())} studies.",
            ("Code", "Meaning", "Studies"),
            rows,
            text_columns=2,
        )


def strip_chart(
    axes: Axes, columns: Sequence[tuple[str, Floats]], labels: npt.NDArray[np.str_], *, named: bool = True
) -> None:
    """Draw each study's value by column and label, with median and quartiles of each group.

    A column is a name with a value for each study. NaN and studies of empty label are left out. `named` gives the
    groups an entry in the legend.
    """
    for column, (_, given) in enumerate(columns):
        for side, label in enumerate(schema.LABELS):
            values = given[labels == label]
            values = values[np.isfinite(values)]
            centre = column + (side - 0.5) * 0.42
            # Spread by rank, not by chance: the same studies give the same picture.
            spread = ((np.argsort(np.argsort(values, kind="stable")) * 0.618034) % 1 - 0.5) * 0.3
            words = f"{label} (n = {int((labels == label).sum())})" if named and column == 0 else None
            opacity = 1.0 if len(values) < MANY else 0.6
            axes.plot(centre + spread, values, alpha=opacity, label=words, **_points(label, len(values)))
            if len(values):
                low, middle, high = np.percentile(values, (25, 50, 75))
                axes.plot([centre - 0.19, centre + 0.19], [middle] * 2, color="black", linewidth=2)
                axes.plot([centre] * 2, [low, high], color="black", linewidth=1.2)
    axes.set_xticks(range(len(columns)), [name for name, _ in columns])
    axes.set_xlim(-0.5, len(columns) - 0.5)


def _points(label: str, number: int) -> dict[str, Any]:
    """Say how the points of a label look: a thousand of them must not become one blot."""
    colour, marker = LABEL_STYLE[label]
    size, edge = (4.5, 0.4) if number < MANY else (2.2, 0.0)
    return {
        "linestyle": "", "marker": marker, "markersize": size, "markerfacecolor": colour, "markeredgecolor": "white",
        "markeredgewidth": edge,
    }  # fmt: skip


def binding_ratios(ratios: Floats, labels: Sequence[str]) -> Figure:
    """Draw each study's binding ratios by label: shape (study, 4), of the first regions of `schema.REGIONS`."""
    with rc_context(TEXT):
        figure = Figure(figsize=(7.6, 3.6), layout="constrained")
        axes = figure.subplots()
        names = [name.replace("_", "\n").capitalize() for name in schema.STRIATUM]
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
    """Draw binding over age in its normal range `band`, and z-scores by region and by definition.

    Ages, ratios and labels are one for each study; for `regions` and `definitions` see `strip_chart`.
    """
    named = np.asarray(labels)
    with rc_context(TEXT):
        figure = Figure(figsize=(10.4, 3.9), layout="constrained")
        over_age, by_region, by_definition = figure.subplots(1, 3, width_ratios=(1.15, 1.25, 1.0))
        if band is not None:
            ages = np.linspace(*band.age_range, 50)
            middle = band.expected(ages)
            half = Z_95 * band.sd
            over_age.fill_between(ages, middle - half, middle + half, color=NORMAL, linewidth=0, label="normal range")
            over_age.plot(ages, middle, color=GUIDE, linewidth=1.2)
        for label in LABEL_STYLE:
            chosen = named == label
            words = f"{label} (n = {int((chosen & np.isfinite(age_years) & np.isfinite(ratio)).sum())})"
            over_age.plot(age_years[chosen], ratio[chosen], label=words, **_points(label, int(chosen.sum())))
        over_age.set(xlabel="Age (years)", ylabel="SBR, ipsilateral putamen")
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
            strip_chart(axes, columns, named, named=False)
            axes.set_ylabel("z-score")
            axes.set_title(title, loc="left", pad=34)
            axes.tick_params(axis="x", labelsize=8)
        return figure
