"""The report: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import xarray as xr

from datbatch.files import write_whole
from datbatch.report import (
    cohort_sections,
    evaluation_sections,
    performance_sections,
    relevance_sections,
    trust_sections,
)
from datbatch.report.contents import Contents, gather
from datbatch.report.document import document
from datbatch.report.hypertext import Child, Html, element, join
from datbatch.report.planes import Convention
from datbatch.report.wording import Numbering


def write_report(
    cohort: xr.DataTree, path: Path, *, model: str | None = None, convention: Convention = "radiological"
) -> Path:
    """Write the report of a cohort as one self-contained HTML file.

    Parameters
    ----------
    cohort : DataTree
        The store, as `xarray.open_datatree(store, engine="zarr")` gives it. Volumes are read one study at a
        time.
    path : Path
        File to write; its folder is made. It is replaced as a whole or not at all.
    model : str, optional
        Name of the model to report; the one made last by default. A store without models is reported without
        classification.
    convention : {"radiological", "neurological"}
        Whether x < 0 is shown on the right or the left of pictures.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ModelError
        When the named model is not in the store.
    """
    return write_whole(path, render(gather(cohort, model, convention)).encode())


def notice(contents: Contents) -> Html:
    """Say what the report is not."""
    simulated = " Simulated studies." if contents.simulated else ""
    return element(
        "div",
        element("strong", "Research software, not a medical device." + simulated),
        "No figure here describes a patient or transfers to real studies. " if contents.simulated else None,
        "The figures must not be used for the diagnosis or treatment of a patient.",
        class_="notice",
        role="note",
    )


def _sections(contents: Contents) -> list[tuple[str, str, Iterable[Child]]]:
    numbered = Numbering()
    found: list[tuple[str, str, Iterable[Child]]] = [
        ("flow", "Flow of studies", cohort_sections.flow_section(contents, numbered)),
        ("demographics", "Demographics", cohort_sections.demographics_section(contents, numbered)),
        ("sites", "Sites and quality", cohort_sections.site_section(contents, numbered)),
        ("binding", "Striatal binding", cohort_sections.binding_section(contents, numbered)),
    ]
    explained = contents.explained
    if explained is None:
        words = "The store has no model yet: there is no classification and no relevance to show."
        found.append(("classification", "Classification", [element("p", words)]))
    else:
        found += [
            (
                "classification",
                "Classification of the test set",
                performance_sections.classification_section(contents, explained, numbered),
            ),
            ("evaluation", "Evaluation", evaluation_sections.evaluation_section(explained, numbered)),
            ("training", "Training", performance_sections.training_section(explained, numbered)),
            (
                "relevance",
                "Mean images and relevance",
                relevance_sections.mean_section(contents, explained, numbered),
            ),
            (
                "putamen",
                "Relevance of the ipsilateral putamen",
                relevance_sections.putamen_section(contents, explained, numbered),
            ),
            (
                "misclassified",
                "Misclassified studies",
                relevance_sections.misclassified_section(contents, explained, numbered),
            ),
            ("trust", "Trust in the maps", trust_sections.trust_section(explained, numbered)),
        ]
    found += [
        ("failures", "Failures and exclusions", cohort_sections.failure_section(contents, numbered)),
        ("methods", "Methods", cohort_sections.methods_section(contents)),
        ("versions", "Versions", cohort_sections.version_section(contents, numbered)),
    ]
    return found


def render(contents: Contents) -> str:
    """Write the page.

    Parameters
    ----------
    contents : Contents
        From `contents.gather`.

    Returns
    -------
    str
        HTML; the same contents give the same text.
    """
    title = "Dopamine-transporter SPECT: report of a cohort"
    # Sections are written in page order, so that tables and figures count up from the top.
    sections = [
        (
            key,
            name,
            element(
                "section",
                element("h2", name, id=f"{key}-title"),
                join(body),
                id=key,
                aria_labelledby=f"{key}-title",
            ),
        )
        for key, name, body in _sections(contents)
    ]
    explained = contents.explained
    subject = f"{contents.flow.studies} studies"
    if contents.simulated:
        subject = f"{contents.flow.studies} simulated studies"
    if explained is not None:
        subject += f", model {explained.model.name}"
    menu = element(
        "nav",
        element("ul", (element("li", element("a", name, href=f"#{key}")) for key, name, _ in sections)),
        aria_label="Sections",
    )
    body = element(
        "body",
        element(
            "header",
            element("h1", title),
            element(
                "p",
                f"{subject}. Method: Nazari et al., Eur J Nucl Med Mol Imaging 2022;49:1176-1186.",
                class_="lead",
            ),
            notice(contents),
            menu,
        ),
        element("main", cohort_sections.headline(contents), (section for _, _, section in sections)),
        element("footer", notice(contents)),
    )
    return document(title, body)
