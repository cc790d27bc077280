"""Sections on striatal binding: ratios by label, definitions side by side, and the normal range."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from datbatch import schema
from datbatch.cohort.attributes import json_attribute
from datbatch.evaluation.estimates import Proportion
from datbatch.norms.warnings import WARNINGS
from datbatch.report.cohort.binding_charts import binding_ratios, normal_range_chart
from datbatch.report.cohort.binding_tables import BindingTable, DefinitionRow, definition_rows
from datbatch.report.cohort.contents import Contents
from datbatch.report.parts.exhibits import Exhibits
from datbatch.report.parts.hypertext import Child, Html, element, join
from datbatch.report.parts.wording import number

_PUTAMEN = "hottest_voxels putamen_ipsilateral"
_NAMES = {"hottest_voxels": "Hottest voxels", "fixed_regions": "Fixed regions", "large_volume": "Large volume"}


def binding_section(contents: Contents, exhibits: Exhibits) -> Iterator[Html]:
    """Show the striatal binding ratios by label."""
    studies = contents.studies
    chosen = (studies["status"] == schema.DONE) & studies["label"].isin(schema.LABELS)
    done = studies[chosen]
    columns = [f"sbr_{region}" for region in schema.REGIONS[:4]]
    if done.empty:
        yield element("p", "No processed study has a label.")
        return
    numbers = ", ".join(f"{int((done['label'] == label).sum())} {label}" for label in schema.LABELS)
    means = "; ".join(
        f"{region.replace('_', ' ')} {number(done.loc[done['label'] == 'negative', column].mean())} against "
        f"{number(done.loc[done['label'] == 'positive', column].mean())}"
        for region, column in zip(schema.REGIONS[:4], columns, strict=True)
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
    words = number(mean) + (f" ± {sd:.2f}" if np.isfinite(sd) else "")
    return join((words, element("small", f"(n = {n})")))


def _share(found: Proportion) -> Child:
    if not found.trials:
        return "–"
    return join(
        (
            f"{100 * found.value:.1f} %",
            element("small", f"{100 * found.low:.1f} to {100 * found.high:.1f}"),
            element("small", f"{found.successes}/{found.trials}"),
        )
    )


def _area(row: DefinitionRow) -> Child:
    if row.area is None:
        return "–"
    if not row.area.standard_error > 0:
        return f"{row.area.value:.3f}"
    return join((f"{row.area.value:.3f}", element("small", f"{row.area.low:.3f} to {row.area.high:.3f}")))


def _definitions(table: BindingTable, contents: Contents, exhibits: Exhibits) -> Html:
    rows = definition_rows(table, contents.studies)
    written = [
        (
            _NAMES[row.definition],
            row.region.replace("_", " "),
            _spread(row.negative),
            _spread(row.positive),
            _area(row),
            _share(row.below_negative),
            _share(row.below_positive),
        )
        for row in rows
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
        yield element("p", "No normal range was fitted, or of earlier tables: ", element("code", "datbatch norms"), ".")
        return
    studies = contents.studies
    done = (studies["status"] == schema.DONE).to_numpy()
    labels = np.where(done, studies["label"].to_numpy(dtype=str), "")

    def z(measure: str) -> np.ndarray:
        return table.z_score[:, schema.MEASURES.index(measure)]

    ratio = table.value[:, schema.MEASURES.index(_PUTAMEN)]
    age = np.minimum(studies["age"].to_numpy(dtype=float), schema.AGE_CAP_YEARS)
    regions = [(r.replace("_", "\n").replace("lateral", "."), z(f"hottest_voxels {r}")) for r in schema.STRIATAL[:4]]
    definitions = [(_NAMES[d].replace(" ", "\n"), z(f"{d} striatum_ipsilateral")) for d in schema.DEFINITIONS]
    band = table.band(_PUTAMEN)
    summary = json_attribute(table.attributes, "summary")
    sites = ", ".join(f"{site or '(no site)'} {n}" for site, n in (summary.get("normals_by_site") or {}).items())
    normals = summary.get("normals", "–")
    shown = pd.DataFrame({"study": studies["study"], "site": studies["site"], "label": labels, "age_years": age})
    for name in (f"{d} {r}" for d in schema.DEFINITIONS for r in schema.STRIATAL):
        shown[f"z {name}"] = z(name)
    shown.insert(4, "sbr_putamen_ipsilateral", ratio)
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
