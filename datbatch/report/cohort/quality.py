"""Sections on sites: numbers, quality, flags, and what failed or was left out where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from datbatch import schema
from datbatch.archive.codes import explain_code
from datbatch.report.cohort.contents import Contents
from datbatch.report.cohort.tables import by_site, codes_by_site
from datbatch.report.parts.exhibits import Exhibits
from datbatch.report.parts.hypertext import Child, Html, element, stacked
from datbatch.report.parts.wording import number

LISTED_FAILURES = 1000
"""Rows of the table of failures; the store has all."""


def site_section(contents: Contents, exhibits: Exhibits) -> Iterator[Html]:
    """Show numbers, binding and quality by site, and what was flagged there."""
    numbers: list[tuple[Child, ...]] = []
    quality: list[tuple[Child, ...]] = []
    for row in by_site(contents.studies):
        name = stacked(row.site or "(no site)", ", ".join(row.scanners) or None)
        failed = stacked(row.failed, f"{row.failed / row.studies:.0%}")
        sbr = (number(row.sbr_negative), number(row.sbr_positive))
        numbers.append((name, row.studies, row.excluded, failed, row.done, row.positive, *sbr))
        scores = (number(row.correlation, 3), number(row.outline_dice, 3), number(row.coverage, 3))
        quality.append((row.site or "(no site)", row.done, number(row.counts_median / 1e6), *scores))
    yield exhibits.table(
        "sites",
        "Studies by site. SBR: mean specific binding ratio (hottest voxels) of the ipsilateral putamen in negative and "
        "positive studies.",
        (
            "Site and scanners",
            "Found",
            "Excluded",
            "Failed",
            "Processed",
            "of these positive",
            "SBR, negative",
            "SBR, positive",
        ),
        numbers,
    )
    yield exhibits.table(
        "quality_by_site",
        "Quality by site, of the processed studies. Counts: median of the sum of all projections, in millions. "
        "Normalisation: mean correlation with the template, overlap of outlines (Dice), and share of the brain in the "
        "field of view.",
        ("Site", "Processed", "Counts (million)", "Correlation", "Dice", "Coverage"),
        quality,
    )
    caption = (
        "Processed studies with a flag of quality, by site; a study may have several. Flags were raised by the limits "
        "of the section quality of the parameters; flagged studies stay in all figures."
    )
    flagged = codes_by_site(
        contents.studies[contents.studies["status"] == schema.DONE], ("flags", "quantification_flags")
    )
    if flagged:
        yield _codes(contents, exhibits, "flags_by_site", caption, flagged)
    else:
        yield element("p", "No processed study has a flag of quality.")


def _codes(
    contents: Contents, exhibits: Exhibits, name: str, caption: str, counted: Mapping[str, Counter[str]]
) -> Html:
    """Cross codes with sites; every code with its meaning."""
    sites = sorted(set(contents.studies["site"]), key=lambda site: (site == "", site))
    rows: list[tuple[Child, ...]] = [
        (
            (element("code", code), element("small", explain_code(code)[0], class_="wide")),
            *(found[site] for site in sites),
            found.total(),
        )
        for code, found in counted.items()
    ]
    return exhibits.table(name, caption, ("Code", *(site or "(no site)" for site in sites), "All"), rows)


def failure_section(contents: Contents, exhibits: Exhibits) -> Iterator[Html]:
    """Count by site and list what failed or was excluded, by pseudonym."""
    left = contents.studies[contents.studies["status"].isin((schema.FAILED, schema.EXCLUDED))]
    if not left.empty:
        caption = "Studies that failed or were excluded, by reason and site."
        yield _codes(contents, exhibits, "failures_by_site", caption, codes_by_site(left, ("error_code",)))
    ordered = left.sort_values(["status", "error_code", "site", "study"], ascending=[False, True, True, True])
    columns = ["study", "site", "status", "error_code", "error_stage", "error_reason"]
    rows = [
        (element("code", study), site or "–", status, element("code", code or "–"), stage or "–", reason or "–")
        for study, site, status, code, stage, reason in ordered[columns].head(LISTED_FAILURES).to_numpy().tolist()
    ]
    more = f" The first {LISTED_FAILURES} of {len(ordered)} are listed." if len(ordered) > LISTED_FAILURES else ""
    listed = exhibits.table(
        "failed_and_excluded",
        "Studies that failed or were excluded. The file beside the store that links pseudonyms to files is the "
        f"operator's alone.{more}",
        ("Study", "Site", "Status", "Code", "Stage", "Reason"),
        rows,
        data=ordered[columns],
        text_columns=6,
        empty="No study failed or was excluded.",
    )
    if len(rows) > 40:
        yield element("details", element("summary", f"All {len(ordered)} studies"), listed)
    else:
        yield listed
