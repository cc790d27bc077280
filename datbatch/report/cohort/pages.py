"""The report: one HTML file that needs nothing else, and a folder of its figures and tables beside it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import xarray as xr

from datbatch.config import digest
from datbatch.errors import ConfigurationError
from datbatch.files import write_whole
from datbatch.progress import Progress
from datbatch.report.cohort import binding as binding_sections
from datbatch.report.cohort import cohort as cohort_sections
from datbatch.report.cohort import evaluation as evaluation_sections
from datbatch.report.cohort import performance as performance_sections
from datbatch.report.cohort import quality as quality_sections
from datbatch.report.cohort import relevance as relevance_sections
from datbatch.report.cohort import trust as trust_sections
from datbatch.report.cohort.contents import Contents, gather
from datbatch.report.parts.document import document
from datbatch.report.parts.exhibits import FIGURES, TABLES, Beside, Exhibits
from datbatch.report.parts.hypertext import Child, Html, element, join
from datbatch.report.parts.planes import Convention
from datbatch.report.parts.references import bibtex, cited

RECORD_FILE = "report.json"
"""Says what a folder of files belongs to; a folder without it is not the report's and is left alone."""


def write_report(
    cohort: xr.DataTree,
    path: Path,
    *,
    model: str | None = None,
    convention: Convention = "radiological",
    quiet: bool = True,
) -> Path:
    """Write the report of a cohort: one self-contained HTML file, and a folder of figures and tables beside it.

    The folder is named like the page without its suffix. It holds `figures/` (SVG, PNG for print, and CSV of what is
    drawn), `tables/` (CSV), `volumes/` (NIfTI in MNI space), `methods.md` and `references.bib`, and `report.json`.

    Parameters
    ----------
    cohort : DataTree
        The store, as `xarray.open_datatree(store, engine="zarr")` gives it. Volumes are read one study at a
        time.
    path : Path
        File to write; its folder is made. The page and the folder beside it are replaced as a whole or not at all.
    model : str, optional
        Name of the model to report; the one made last by default. A store without models is reported without
        classification.
    convention : {"radiological", "neurological"}
        Whether x < 0 is shown on the right or the left of pictures.
    quiet : bool
        Whether to show no progress.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ModelError
        When the named model is not in the store.
    ConfigurationError
        When the folder beside the page is there and holds something else.
    """
    folder = report_folder(path)
    check_report_folder(folder)
    progress = Progress("report", 0, "parts", quiet=quiet)
    contents = gather(cohort, model, convention)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=path.parent) as temporary:
        fresh = Path(temporary) / "fresh"
        page = render(contents, Beside(fresh, folder.name), on_section=progress.reach).encode()
        progress.close()
        _write_texts(contents, fresh)
        if folder.exists():
            folder.replace(Path(temporary) / "old")
        fresh.replace(folder)
        try:
            return write_whole(path, page)
        except BaseException:
            # The old page belongs to the old folder.
            folder.replace(fresh)
            if (Path(temporary) / "old").exists():
                (Path(temporary) / "old").replace(folder)
            raise


def report_folder(path: Path) -> Path:
    """Give the folder of files that belongs to a page."""
    return path.with_suffix("") if path.suffix else path.with_name(f"{path.name}.files")


def check_report_folder(folder: Path) -> None:
    """Refuse a folder that holds something else than a report: it would be replaced.

    Raises
    ------
    ConfigurationError
        When it is there, not empty, and without a report's record.
    """
    if not folder.exists() or (folder / RECORD_FILE).is_file():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise ConfigurationError(
            "the folder that a report's figures and tables would go to holds something else",
            "Give another name by `--output`.",
        )


def _write_texts(contents: Contents, folder: Path) -> None:
    """Write the methods for a manuscript, and what the files belong to."""
    paragraphs = cohort_sections.methods_paragraphs(contents)
    if paragraphs:
        keys = cited(paragraphs)
        text = "\n\n".join(("# Methods", *paragraphs, "# References")) + "\n"
        write_whole(folder / cohort_sections.METHODS_FILE, text.encode())
        write_whole(folder / cohort_sections.REFERENCES_FILE, bibtex(keys).encode())
    model = None if contents.explained is None else contents.explained.model
    record = {
        "research_use": "Research software, not a medical device.",
        "simulated": contents.simulated,
        "datbatch_version": contents.attributes.get("datbatch_version", ""),
        "parameters": contents.config,
        "parameters_digest": digest(contents.config),
        "model": None if model is None else model.name,
        "weights_sha256": None if model is None else model.card.get("weights_sha256"),
        "data_digest": None if model is None else model.card.get("data_digest"),
        "convention": contents.convention,
    }
    write_whole(folder / RECORD_FILE, (json.dumps(record, indent=2, sort_keys=True) + "\n").encode())


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


def _files_note(beside: Beside | None) -> Html | None:
    """Say where the figures are for print."""
    if beside is None:
        return None
    named = [
        join((element("a", f"{beside.link}/{name}", href=f"{beside.link}/{name}"), f" ({words})"))
        for name, words in (
            (FIGURES, "SVG, PNG at 300 dpi, CSV of what is drawn"),
            (TABLES, "CSV"),
            (cohort_sections.METHODS_FILE, "methods for a manuscript"),
            (cohort_sections.REFERENCES_FILE, "BibTeX"),
            (RECORD_FILE, "parameters, versions, digests"),
        )
    ]
    return element(
        "p",
        "This page needs nothing else. Beside it lies a folder of its figures and tables: ",
        *(part for one in named[:-1] for part in (one, ", ")),
        named[-1],
        ".",
        class_="sans beside",
    )


def _sections(contents: Contents, beside: Beside | None) -> list[tuple[str, str, Iterable[Child]]]:
    exhibits = Exhibits(beside)
    found: list[tuple[str, str, Iterable[Child]]] = [
        ("flow", "Flow of studies", cohort_sections.flow_section(contents, exhibits)),
        ("demographics", "Demographics", cohort_sections.demographics_section(contents, exhibits)),
        ("sites", "Sites and quality", quality_sections.site_section(contents, exhibits)),
        ("binding", "Striatal binding", binding_sections.binding_section(contents, exhibits)),
        ("normal-range", "Normal range", binding_sections.normal_range_section(contents, exhibits)),
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
                performance_sections.classification_section(contents, explained, exhibits),
            ),
            ("evaluation", "Evaluation", evaluation_sections.evaluation_section(explained, exhibits)),
            ("training", "Training", performance_sections.training_section(explained, exhibits)),
            ("relevance", "Mean images and relevance", relevance_sections.mean_section(contents, explained, exhibits)),
            (
                "putamen",
                "Relevance of the ipsilateral putamen",
                relevance_sections.putamen_section(contents, explained, exhibits),
            ),
            (
                "misclassified",
                "Misclassified studies",
                relevance_sections.misclassified_section(contents, explained, exhibits),
            ),
            ("trust", "Trust in the maps", trust_sections.trust_section(explained, exhibits)),
        ]
    found += [
        ("failures", "Failures and exclusions", quality_sections.failure_section(contents, exhibits)),
        ("methods", "Methods", cohort_sections.methods_section(contents, "" if beside is None else beside.link)),
        ("versions", "Versions", cohort_sections.version_section(contents, exhibits)),
    ]
    return found


def render(
    contents: Contents, beside: Beside | None = None, *, on_section: Callable[[int, int], object] | None = None
) -> str:
    """Write the page.

    Parameters
    ----------
    contents : Contents
        From `contents.gather`.
    beside : Beside, optional
        Where the files of figures and tables are written; without it the page stands alone.
    on_section : callable, optional
        Is told after each section how many are written, and of how many.

    Returns
    -------
    str
        HTML; the same contents give the same text.
    """
    title = "Dopamine-transporter SPECT: report of a cohort"
    # Sections are written in page order, so that tables and figures count up from the top.
    sections = []
    planned = _sections(contents, beside)
    for key, name, body in planned:
        heading = element("h2", name, id=f"{key}-title")
        written = element("section", heading, join(body), id=key, aria_labelledby=f"{key}-title")
        sections.append((key, name, written))
        if on_section is not None:
            on_section(len(sections), len(planned))
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
                "p", f"{subject}. Method: Nazari et al., Eur J Nucl Med Mol Imaging 2022;49:1176-1186.", class_="lead"
            ),
            notice(contents),
            _files_note(beside),
            menu,
        ),
        element("main", cohort_sections.headline(contents), (section for _, _, section in sections)),
        element("footer", notice(contents)),
    )
    return document(title, body)
