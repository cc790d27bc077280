"""The report: one HTML file that needs nothing else, and a folder of its figures and tables beside it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import xarray as xr

from datbatch.config import digest
from datbatch.errors import ConfigurationError
from datbatch.files import write_whole
from datbatch.progress import Progress
from datbatch.report.cohort.binding import binding_section, normal_range_section
from datbatch.report.cohort.cohort import (
    METHODS_FILE,
    REFERENCES_FILE,
    demographics_section,
    flow_section,
    headline,
    methods_paragraphs,
    methods_section,
    version_section,
)
from datbatch.report.cohort.contents import Contents, Explained, gather
from datbatch.report.cohort.evaluation import evaluation_section
from datbatch.report.cohort.performance import classification_section, training_section
from datbatch.report.cohort.quality import failure_section, site_section
from datbatch.report.cohort.relevance import mean_section, misclassified_section, putamen_section
from datbatch.report.cohort.trust import trust_section
from datbatch.report.parts.document import document
from datbatch.report.parts.exhibits import FIGURES, TABLES, Beside, Exhibits
from datbatch.report.parts.hypertext import Child, Html, element, join
from datbatch.report.parts.planes import Convention
from datbatch.report.parts.references import bibtex, cited

RECORD_FILE = "report.json"
"""Marks a folder as that of a report; a folder without it is left as it is."""


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
        The opened store. Volumes are read one study at a time.
    path : Path
        File to write; its folder is made. The page and the folder beside it are replaced as a whole or not at all.
    model : str, optional
        Name of the model to report; the one made last by default. A store without models is reported without
        classification.
    convention : {"radiological", "neurological"}
        Whether x < 0 is shown on the right or the left of pictures.

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
    """Refuse a folder that is not empty and has no report's record: it would be replaced."""
    if not folder.exists() or (folder / RECORD_FILE).is_file():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise ConfigurationError(
            "the folder that a report's figures and tables would go to holds something else",
            "Give another name by `--output`.",
        )


def _write_texts(contents: Contents, folder: Path) -> None:
    """Write the methods for a manuscript, and what the files belong to."""
    paragraphs = methods_paragraphs(contents)
    if paragraphs:
        text = "\n\n".join(("# Methods", *paragraphs, "# References")) + "\n"
        write_whole(folder / METHODS_FILE, text.encode())
        write_whole(folder / REFERENCES_FILE, bibtex(cited(paragraphs)).encode())
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
    """Say that the report is no medical result."""
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
    files = {
        FIGURES: "SVG, PNG at 300 dpi, CSV of what is drawn",
        TABLES: "CSV",
        METHODS_FILE: "methods for a manuscript",
        REFERENCES_FILE: "BibTeX",
        RECORD_FILE: "parameters, versions, digests",
    }
    named = [
        (", " * bool(place), element("a", f"{beside.link}/{name}", href=f"{beside.link}/{name}"), f" ({words})")
        for place, (name, words) in enumerate(files.items())
    ]
    words = "This page needs nothing else. Beside it lies a folder of its figures and tables: "
    return element("p", words, named, ".", class_="sans beside")


FIRST: tuple[tuple[str, str, Callable[[Contents, Exhibits], Iterator[Html]]], ...] = (
    ("flow", "Flow of studies", flow_section),
    ("demographics", "Demographics", demographics_section),
    ("sites", "Sites and quality", site_section),
    ("binding", "Striatal binding", binding_section),
    ("normal-range", "Normal range", normal_range_section),
)
OF_A_MODEL: tuple[tuple[str, str, Callable[[Contents, Explained, Exhibits], Iterator[Html]]], ...] = (
    ("classification", "Classification of the test set", classification_section),
    ("evaluation", "Evaluation", evaluation_section),
    ("training", "Training", training_section),
    ("relevance", "Mean images and relevance", mean_section),
    ("putamen", "Relevance of the ipsilateral putamen", putamen_section),
    ("misclassified", "Misclassified studies", misclassified_section),
    ("trust", "Trust in the maps", trust_section),
)
LAST = (
    ("failures", "Failures and exclusions", failure_section),
    ("methods", "Methods", methods_section),
    ("versions", "Versions", version_section),
)
"""The sections of the page in their order: name within the page, title, and what writes them."""


def _sections(contents: Contents, exhibits: Exhibits) -> list[tuple[str, str, Iterable[Child]]]:
    explained, words = contents.explained, "The store has no model yet: there is no classification and no relevance."
    middle: list[tuple[str, str, Iterable[Child]]] = [("classification", "Classification", [element("p", words)])]
    if explained is not None:
        middle = [(key, title, write(contents, explained, exhibits)) for key, title, write in OF_A_MODEL]
    first, last = ([(key, title, write(contents, exhibits)) for key, title, write in some] for some in (FIRST, LAST))
    return [*first, *middle, *last]


def render(
    contents: Contents, beside: Beside | None = None, *, on_section: Callable[[int, int], object] | None = None
) -> str:
    """Write the page as HTML, and the files beside it where they are wanted; the same contents give the same text.

    `on_section` is told after each section how many are written, and of how many.
    """
    title = "Dopamine-transporter SPECT: report of a cohort"
    # Sections are written in page order, so that tables and figures count up from the top.
    sections = []
    planned = _sections(contents, Exhibits(beside))
    for key, name, body in planned:
        heading = element("h2", name, id=f"{key}-title")
        written = element("section", heading, join(body), id=key, aria_labelledby=f"{key}-title")
        sections.append((key, name, written))
        if on_section is not None:
            on_section(len(sections), len(planned))
    subject = f"{contents.flow.studies} {'simulated ' * contents.simulated}studies"
    if contents.explained is not None:
        subject += f", model {contents.explained.model.name}"
    words = f"{subject}. Method: Nazari et al., Eur J Nucl Med Mol Imaging 2022;49:1176-1186."
    head = (element("h1", title), element("p", words, class_="lead"), notice(contents), _files_note(beside))
    links = (element("li", element("a", name, href=f"#{key}")) for key, name, _ in sections)
    menu = element("nav", element("ul", links), aria_label="Sections")
    body = element(
        "body",
        element("header", head, menu),
        element("main", headline(contents), (section for _, _, section in sections)),
        element("footer", notice(contents)),
    )
    return document(title, body)
