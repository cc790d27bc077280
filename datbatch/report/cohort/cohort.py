"""Sections that need no model: headline, flow, demographics, readers, methods, versions."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from datbatch import schema
from datbatch.archive.codes import explain_code
from datbatch.cohort.attributes import json_attribute
from datbatch.config import digest
from datbatch.evaluation.estimates import wilson
from datbatch.report.cohort import flow as diagram
from datbatch.report.cohort.classification import NEAR_MM, performances, reader_agreement
from datbatch.report.cohort.contents import Contents
from datbatch.report.cohort.methods import (
    classifier_text,
    evaluation_text,
    imaging_text,
    imported_text,
    norms_text,
    run_config,
    trust_text,
)
from datbatch.report.cohort.tables import SET_NAMES, SUBGROUPS, AgeCell, demographics
from datbatch.report.parts.exhibits import Exhibits
from datbatch.report.parts.hypertext import Child, Html, element, stacked
from datbatch.report.parts.references import REFERENCES, cited, numbered
from datbatch.report.parts.wording import interval, number, percent

METHODS_FILE, REFERENCES_FILE = "methods.md", "references.bib"


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
        _tile("Failed", sum(flow.failed.values()), f"for {codes} reason{'' if codes == 1 else 's'}" if codes else None),
        _tile("Positive, of those with a label", percent(positive), interval(positive)),
    ]
    if contents.explained is not None:
        metrics = performances(contents.studies, contents.explained.model)[0].metrics
        shares = {
            "Accuracy, test set": metrics.accuracy,
            "Sensitivity": metrics.sensitivity,
            "Specificity": metrics.specificity,
        }
        tiles += [_tile(name, percent(share), interval(share)) for name, share in shares.items()]
        _, near = contents.explained.peaks_near_striatum()
        words = "Most relevant voxel in or next to the striatum"
        tiles.append(_tile(words, percent(near), f"within {NEAR_MM:g} mm; {interval(near)}"))
    return element("dl", tiles, class_="tiles")


def flow_section(contents: Contents, exhibits: Exhibits) -> Iterator[Html]:
    """Show which way files and studies went, and what each code means."""
    flow = contents.flow
    outcomes = () if contents.explained is None else contents.explained.outcomes
    drawn = diagram.diagram(flow, outcomes)
    yield exhibits.figure(
        "flow_of_studies",
        diagram.draw(drawn),
        drawn.words,
        "Flow of studies from the archive to the sets and the network's calls (after STARD 2015). I1 to I3 are the "
        "inclusion criteria of Nazari et al. 2022.",
        data=diagram.counts(flow, outcomes),
        shown=diagram.inline_svg(drawn),
    )
    rows = [
        (element("code", code), kind, *explain_code(code), n)
        for kind, counts in (("excluded", flow.excluded), ("failed", flow.failed))
        for code, n in counts.items()
    ]
    yield exhibits.table(
        "reasons",
        "Why studies left: what each code means and what can be done.",
        ("Code", "Kind", "Meaning", "Remedy", "Studies"),
        rows,
        text_columns=4,
        empty="No study was excluded or failed.",
    )
    if flow.files_skipped:
        files = [(element("code", code), explain_code(code)[0], n) for code, n in flow.files_skipped.items()]
        yield exhibits.table(
            "files_skipped",
            "Files that were skipped while the archive was scanned.",
            ("Code", "Meaning", "Files"),
            files,
            text_columns=2,
        )


def _age(cell: AgeCell) -> Html:
    # Of one study there is no spread; of none with a known age no mean.
    spread = number(cell.mean_years, 1) + (f" ± {cell.sd_years:.1f}" if cell.known > 1 else "")
    missing = f", age of {cell.n - cell.known} unknown" if cell.known < cell.n else ""
    return stacked(spread, f"(n = {cell.n}{missing})")


def demographics_section(contents: Contents, exhibits: Exhibits) -> Iterator[Html]:
    """Show the paper's Table 1 and how the readers agree."""
    found = demographics(contents.studies)
    rows = [(stacked(SET_NAMES[row.name], f"(n = {row.n})"), *map(_age, row.cells)) for row in found]
    numbers = [
        (row.name, label, sex, cell.n, cell.known, cell.mean_years, cell.sd_years)
        for row in found
        for (label, sex), cell in zip(SUBGROUPS, row.cells, strict=True)
    ]
    yield exhibits.table(
        "demographics",
        "Demographics in the whole sample and in the split: age in years (mean ± standard deviation) by visual label "
        "and sex, of the processed studies with a label. Table 1 of the paper.",
        ("Set", "Negative, females", "Negative, males", "Positive, females", "Positive, males"),
        rows,
        data=pd.DataFrame(numbers, columns=["set", "label", "sex", "n", "age_known", "age_mean", "age_sd"]),
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


def methods_paragraphs(contents: Contents) -> tuple[str, ...]:
    """Give the methods with the run's parameters, with keys of works; nothing where the parameters are not known."""
    config = run_config(contents.config)
    if config is None:
        return ()
    paragraphs: list[str] = []
    if contents.simulated:
        paragraphs.append("The studies were simulated: synthetic anatomy, uptake, readers and acquisition physics.")
    paragraphs += imaging_text(config)
    if contents.flow.imported:
        paragraphs.append(imported_text(contents.flow.imported))
    if contents.binding is not None and contents.binding.has_range:
        summary = json_attribute(contents.binding.attributes, "summary")
        if summary.get("normals"):
            paragraphs.append(norms_text(config, int(summary["normals"])))
    explained = contents.explained
    if explained is not None:
        card = explained.model.card
        # A model may have been trained with other parameters than the store's latest run.
        trained = run_config({**contents.config, **card["config"]}) if card.get("config") else config
        paragraphs += classifier_text(trained or config, card)
        paragraphs += evaluation_text(explained.evaluation)
        tried = json_attribute(explained.model.attributes, schema.TRUST)
        if tried:
            paragraphs.append(trust_text(tried["parameters"], sum(tried["summary"]["studies"].values())))
    version = contents.attributes.get("datbatch_version", "")
    paragraphs.append(f"All was computed by datbatch {version}; parameters' digest {digest(contents.config)}.")
    return tuple(paragraphs)


def methods_section(contents: Contents, exhibits: Exhibits) -> Iterator[Html]:
    """Write the methods with the run's parameters, ready for a paper, and link to the files of the same."""
    paragraphs = methods_paragraphs(contents)
    if not paragraphs:
        yield element("p", "The store does not record the parameters of the run in a form that this version reads.")
        return
    if exhibits.beside is not None:
        files = [element("a", name, href=f"{exhibits.beside.link}/{name}") for name in (METHODS_FILE, REFERENCES_FILE)]
        yield element("p", "The same for a manuscript: ", files[0], " (Markdown), ", files[1], " (BibTeX).")
    keys = cited(paragraphs)
    for paragraph in paragraphs:
        yield element("p", numbered(paragraph, keys))
    yield element("h3", "References")
    yield element("ol", (element("li", REFERENCES[key].text()) for key in keys))


def version_section(contents: Contents, exhibits: Exhibits) -> Iterator[Html]:
    """Say what computed the results."""
    rows: dict[str, Child] = {"datbatch that wrote the store": contents.attributes.get("datbatch_version", "–")}
    if contents.config:
        rows["Digest of the run's parameters"] = element("code", digest(contents.config))
    if contents.explained is not None:
        model = contents.explained.model
        rows |= {
            "Model": element("code", model.name),
            "Model made": model.attributes.get("created", "–"),
            "Preset": model.card.get("preset", "–"),
            "Weights (SHA-256)": element("code", model.card.get("weights_sha256") or "–"),
            "Digest of the training data": element("code", model.card.get("data_digest") or "–"),
        }
        rows |= {f"{name}, at training": str(one) for name, one in sorted((model.card.get("versions") or {}).items())}
    yield exhibits.table("versions", "Versions and digests.", ("What", "Value"), rows.items(), text_columns=2)
