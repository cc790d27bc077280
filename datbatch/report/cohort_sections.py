"""Sections that need no model: headline, flow, demographics, readers, sites, failures, methods, versions."""

from __future__ import annotations

from collections.abc import Iterator

from datbatch.archive.codes import explain_code
from datbatch.cohort import schema
from datbatch.config import digest
from datbatch.evaluation.estimates import wilson
from datbatch.report import flow as diagram
from datbatch.report.charts import binding_ratios
from datbatch.report.classification import NEAR_MM, peaks_near_striatum, performances, reader_agreement
from datbatch.report.contents import Contents
from datbatch.report.hypertext import Child, Html, element, join, picture, table
from datbatch.report.methods import REFERENCES, classifier_text, imaging_text, run_config
from datbatch.report.tables import SET_NAMES, AgeCell, by_site, demographics
from datbatch.report.wording import Numbering, interval, number, percent

LISTED_FAILURES = 1000
"""Rows of the table of failures; the store has all."""


def _tile(name: str, value: Child, note: Child = None) -> Html:
    return element("div", element("dt", name), element("dd", value, element("small", note) if note else None))


def headline(contents: Contents) -> Html:
    """Give the numbers that one would tell first."""
    flow = contents.flow
    codes = len(flow.failed)
    labels = contents.studies.loc[contents.studies["status"] == schema.DONE, "label"]
    positive = wilson(int((labels == schema.POSITIVE).sum()), int(labels.isin(schema.LABELS).sum()))
    tiles = [
        _tile("Studies found", flow.studies, f"{sum(flow.excluded.values())} excluded"),
        _tile("Processed", flow.done, f"{flow.pending} not processed yet" if flow.pending else "to the end"),
        _tile(
            "Failed",
            sum(flow.failed.values()),
            f"for {codes} reason{'' if codes == 1 else 's'}" if codes else None,
        ),
        _tile("Positive, of those with a label", percent(positive), interval(positive)),
    ]
    if contents.explained is not None:
        metrics = performances(contents.studies, contents.explained.model)[0].metrics
        for name, share in (
            ("Accuracy, test set", metrics.accuracy),
            ("Sensitivity", metrics.sensitivity),
            ("Specificity", metrics.specificity),
        ):
            tiles.append(_tile(name, percent(share), interval(share)))
        images = contents.explained.images
        tested = sum(map(bool, contents.explained.outcomes)) - images.unreadable
        near = peaks_near_striatum(images.peak_distance_mm, tested)[1]
        tiles.append(
            _tile(
                "Most relevant voxel in or next to the striatum",
                percent(near),
                f"within {NEAR_MM:g} mm; {interval(near)}",
            )
        )
    return element("dl", tiles, class_="tiles")


def flow_section(contents: Contents, numbered: Numbering) -> Iterator[Html]:
    """Show which way files and studies went, and what each code means."""
    flow = contents.flow
    yield element(
        "figure",
        diagram.draw(flow),
        element(
            "figcaption",
            numbered("Figure"),
            "Flow of studies from the archive to the sets. I1 to I3 are the paper's inclusion criteria.",
        ),
    )
    rows = [
        (element("code", code), kind, *explain_code(code), n)
        for kind, counts in (("excluded", flow.excluded), ("failed", flow.failed))
        for code, n in counts.items()
    ]
    yield table(
        join((numbered("Table"), "Why studies left: what each code means and what can be done.")),
        ("Code", "Kind", "Meaning", "Remedy", "Studies"),
        rows,
        text_columns=4,
        empty="No study was excluded or failed.",
    )
    if flow.files_skipped:
        files = [(element("code", code), explain_code(code)[0], n) for code, n in flow.files_skipped.items()]
        yield table(
            join((numbered("Table"), "Files that were skipped while the archive was scanned.")),
            ("Code", "Meaning", "Files"),
            files,
            text_columns=2,
        )


def _age(cell: AgeCell) -> Html:
    if not cell.n:
        return join(("–", element("small", "(n = 0)")))
    # Of one study there is no spread; of none with a known age no mean.
    spread = number(cell.mean_years, 1) + (f" ± {cell.sd_years:.1f}" if cell.known > 1 else "")
    missing = f", age of {cell.n - cell.known} unknown" if cell.known < cell.n else ""
    return join((spread, element("small", f"(n = {cell.n}{missing})")))


def demographics_section(contents: Contents, numbered: Numbering) -> Iterator[Html]:
    """Show the paper's Table 1 and how the readers agree."""
    rows = [
        (join((SET_NAMES[row.name], element("small", f"(n = {row.n})"))), *map(_age, row.cells))
        for row in demographics(contents.studies)
    ]
    yield table(
        join(
            (
                numbered("Table"),
                "Age in years (mean ± standard deviation) by visual label and sex, of the processed "
                "studies with a label; as Table 1 of the paper.",
            )
        ),
        ("", "Negative, females", "Negative, males", "Positive, females", "Positive, males"),
        rows,
    )
    labelled = contents.studies[
        (contents.studies["status"] == schema.DONE) & contents.studies["label"].isin(schema.LABELS)
    ]
    sexless = int((~labelled["sex"].isin(("F", "M"))).sum())
    if sexless:
        yield element("p", f"The sex of {sexless} labelled studies is not known; they count in the set's n only.")
    agreement = reader_agreement(contents.studies)
    if agreement is not None:
        kappa = agreement.kappa
        yield element(
            "p",
            f"The intra-reader consensus of both readers agrees in {percent(agreement.agreeing)} of the "
            f"studies that both read ({interval(agreement.agreeing)}), Cohen's kappa "
            f"{number(kappa.value, 3)} (standard error {number(kappa.standard_error, 3)}); in the paper "
            "97.6 % (1275/1306), 0.952 (0.008).",
        )


def site_section(contents: Contents, numbered: Numbering) -> Iterator[Html]:
    """Show numbers, failures, binding and quality by site."""
    rows = []
    for row in by_site(contents.studies):
        name = join((row.site or "(no site)", element("small", ", ".join(row.scanners)) if row.scanners else None))
        rate = f"{row.failed / row.studies:.0%}"
        rows.append(
            (
                name,
                row.studies,
                row.excluded,
                join((str(row.failed), element("small", rate))),
                row.done,
                row.positive,
                number(row.sbr_negative),
                number(row.sbr_positive),
                number(row.counts_median / 1e6),
                number(row.correlation, 3),
                number(row.outline_dice, 3),
                number(row.coverage, 3),
            )
        )
    yield table(
        join(
            (
                numbered("Table"),
                "Sites. SBR: mean specific binding ratio of the ipsilateral putamen in negative and "
                "positive studies; counts: median of the sum of all projections, in millions; quality of "
                "normalisation: mean correlation with the template, overlap of outlines (Dice), share of "
                "the brain in the field of view.",
            )
        ),
        (
            "Site and scanners",
            "Found",
            "Excluded",
            "Failed",
            "Processed",
            "of these positive",
            "SBR, negative",
            "SBR, positive",
            "Counts (M)",
            "Correlation",
            "Dice",
            "Coverage",
        ),
        rows,
    )


def binding_section(contents: Contents, numbered: Numbering) -> Iterator[Html]:
    """Show the striatal binding ratios by label."""
    studies = contents.studies
    done = studies[(studies["status"] == schema.DONE) & studies["label"].isin(schema.LABELS)]
    columns = [f"sbr_{region}" for region in schema.REGIONS[:4]]
    numbers = ", ".join(f"{int((done['label'] == label).sum())} {label}" for label in schema.LABELS)
    if done.empty:
        yield element("p", "No processed study has a label.")
        return
    means = "; ".join(
        f"{region.replace('_', ' ')} {number(done.loc[done['label'] == 'negative', column].mean())} against "
        f"{number(done.loc[done['label'] == 'positive', column].mean())}"
        for region, column in zip(schema.REGIONS[:4], columns, strict=True)
    )
    yield picture(
        binding_ratios(done[columns].to_numpy(dtype=float), list(done["label"])),
        f"Specific binding ratios of four striatal regions by label ({numbers}). Means, negative against "
        f"positive: {means}.",
        join(
            (
                numbered("Figure"),
                "Specific binding ratio (hottest voxels) of the striatal regions by visual label; circles "
                f"negative, triangles positive, bars the means. Negative against positive: {means}.",
            )
        ),
    )


def failure_section(contents: Contents, numbered: Numbering) -> Iterator[Html]:
    """List every study that failed or was excluded, by pseudonym."""
    left = contents.studies[contents.studies["status"].isin((schema.FAILED, schema.EXCLUDED))]
    ordered = left.sort_values(["status", "error_code", "site", "study"], ascending=[False, True, True, True])
    columns = ["study", "site", "status", "error_code", "error_stage", "error_reason"]
    rows = [
        (
            element("code", study),
            site or "–",
            status,
            element("code", code or "–"),
            stage or "–",
            reason or "–",
        )
        for study, site, status, code, stage, reason in ordered[columns].head(LISTED_FAILURES).to_numpy().tolist()
    ]
    more = f" The first {LISTED_FAILURES} of {len(ordered)} are listed." if len(ordered) > LISTED_FAILURES else ""
    listed = table(
        join(
            (
                numbered("Table"),
                "Studies that failed or were excluded. The file beside the store that links pseudonyms to "
                f"files is the operator's alone.{more}",
            )
        ),
        ("Study", "Site", "Status", "Code", "Stage", "Reason"),
        rows,
        text_columns=6,
        empty="No study failed or was excluded.",
    )
    if len(rows) > 40:
        yield element("details", element("summary", f"All {len(ordered)} studies"), listed)
    else:
        yield listed


def methods_section(contents: Contents) -> Iterator[Html]:
    """Write the methods with the run's parameters, ready for a paper."""
    config = run_config(contents.config)
    if config is None:
        yield element("p", "The store does not record the parameters of the run in a form that this version reads.")
        return
    if contents.simulated:
        yield element("p", "The studies were simulated: synthetic anatomy, uptake, readers and acquisition physics.")
    paragraphs = list(imaging_text(config))
    if contents.explained is not None:
        card = contents.explained.model.card
        # A model may have been trained with other parameters than the store's latest run.
        trained = run_config({**contents.config, **card["config"]}) if card.get("config") else config
        paragraphs += classifier_text(trained or config, card)
    for paragraph in paragraphs:
        yield element("p", paragraph)
    yield element("h3", "References")
    yield element("ol", (element("li", reference) for reference in REFERENCES))


def version_section(contents: Contents, numbered: Numbering) -> Iterator[Html]:
    """Say what computed the results."""
    rows: list[tuple[Child, ...]] = [
        ("datbatch that wrote the store", contents.attributes.get("datbatch_version", "–"))
    ]
    if contents.config:
        rows.append(("Digest of the run's parameters", element("code", digest(contents.config))))
    if contents.explained is not None:
        model = contents.explained.model
        rows += [
            ("Model", element("code", model.name)),
            ("Model made", model.attributes.get("created", "–")),
            ("Preset", model.card.get("preset", "–")),
            ("Weights (SHA-256)", element("code", model.card.get("weights_sha256") or "–")),
            ("Digest of the training data", element("code", model.card.get("data_digest") or "–")),
        ]
        versions = model.card.get("versions") or {}
        rows += [(f"{name}, at training", str(versions[name])) for name in sorted(versions)]
    yield table(join((numbered("Table"), "Versions and digests.")), ("What", "Value"), rows, text_columns=2)
