"""The numbered tables and figures of a report, each with files of its own beside the page."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from datbatch import schema
from datbatch.files import write_whole
from datbatch.imaging.nifti import write_nifti
from datbatch.report.parts.figures import to_png, to_print_png, to_svg
from datbatch.report.parts.hypertext import Child, Html, element, inline_png, join, table

FIGURES, TABLES, VOLUMES = "figures", "tables", "volumes"
_TAG = re.compile(r"<[^>]*>")


@dataclass(frozen=True)
class Beside:
    """Where the files of a report go."""

    folder: Path
    link: str
    """Name of the folder in the links of the page."""


class Exhibits:
    """Counts tables and figures in the order in which they are written, and writes each as files, too.

    Without `beside` it makes only the parts of the page.
    """

    def __init__(self, beside: Beside | None = None) -> None:
        self.beside = beside
        self._next = {"Table": 0, "Figure": 0}
        self._volumes: set[str] = set()

    def figure(
        self,
        name: str,
        drawn: Figure,
        alternative: str,
        caption: Child,
        *,
        data: Mapping[str, pd.DataFrame] | pd.DataFrame | None = None,
        volumes: Sequence[str] = (),
        shown: Html | None = None,
    ) -> Html:
        """Put a figure into the page, and write it as SVG and PNG with the data behind it.

        Parameters
        ----------
        name : str
            Of its files, after its number.
        drawn, alternative, caption : Figure, str, str or Html
            The picture, the same in words, and what stands below it.
        data : DataFrame, or mapping of str to DataFrame
            What is drawn, as CSV; the names of several files end in the keys.
        volumes : sequence of str
            Names of volumes that `volume` wrote and that the figure shows slices of.
        shown : Html, optional
            What the page shows in place of the picture.
        """
        label, stem = self._count("Figure", name)
        picture = inline_png(to_png(drawn), alternative) if shown is None else shown
        # The layout is final now: the files need not compute it again.
        drawn.set_layout_engine("none")
        links: list[tuple[str, str]] = []
        if self.beside is not None:
            for suffix, content in (("svg", to_svg(drawn)), ("png", to_print_png(drawn))):
                links.append((suffix.upper(), self._write(f"{FIGURES}/{stem}.{suffix}", content)))
            tables = data if isinstance(data, Mapping) else {} if data is None else {"": data}
            for part, frame in tables.items():
                named = f"{FIGURES}/{stem}{'_' * bool(part)}{part}.csv"
                links.append((f"CSV {part}".strip(), self._write(named, csv_bytes(frame))))
            links += [(f"NIfTI {one}", f"{self.beside.link}/{VOLUMES}/{one}.nii.gz") for one in volumes]
        words = join((element("b", f"{label}."), " ", caption, _files(label, links)))
        return element("figure", picture, element("figcaption", words))

    def table(
        self,
        name: str,
        caption: Child,
        header: Sequence[Child],
        rows: Iterable[Sequence[Child]],
        *,
        data: pd.DataFrame | None = None,
        **options: Any,
    ) -> Html:
        """Put a table into the page (see `hypertext.table`), and write it as CSV, to a file of its number and name.

        The file holds `data`, the values before they were rounded and put into words; without it what the page shows.
        """
        label, stem = self._count("Table", name)
        listed = [tuple(row) for row in rows]
        links: list[tuple[str, str]] = []
        if self.beside is not None:
            given = csv_bytes(data) if data is not None else _shown_as_csv(header, listed)
            links.append(("CSV", self._write(f"{TABLES}/{stem}.csv", given)))
        words = join((element("b", f"{label}."), " ", caption, _files(label, links)))
        return table(words, header, listed, label=label, **options)

    def volume(self, name: str, data: npt.NDArray[Any], description: str) -> str:
        """Write a volume of the store's grid as NIfTI, once; give its name back."""
        if self.beside is not None and name not in self._volumes:
            self._volumes.add(name)
            stored = data.astype(np.uint8 if data.dtype == bool else np.float32)
            path = self.beside.folder / VOLUMES / f"{name}.nii.gz"
            write_nifti(path, stored, schema.grid_affine(), description=description)
        return name

    def _count(self, kind: Literal["Table", "Figure"], name: str) -> tuple[str, str]:
        self._next[kind] += 1
        return f"{kind} {self._next[kind]}", f"{kind.lower()}_{self._next[kind]:02d}_{name}"

    def _write(self, name: str, content: bytes) -> str:
        assert self.beside is not None
        write_whole(self.beside.folder / name, content)
        return f"{self.beside.link}/{name}"


def _files(label: str, links: Sequence[tuple[str, str]]) -> Html | None:
    if not links:
        return None
    anchors = [element("a", name, href=target, aria_label=f"{label} as {name}") for name, target in links]
    return join((" ", element("span", "Files: ", join(part for one in anchors for part in (one, " ")), class_="files")))


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """Write a table as CSV, UTF-8, seven significant digits; what is missing stays empty."""
    return frame.to_csv(index=False, float_format="%.7g", lineterminator="\n").encode()


def _shown_as_csv(header: Sequence[Child], rows: Sequence[Sequence[Child]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in (header, *rows):
        writer.writerow([plain(cell) for cell in row])
    return text.getvalue().encode()


def plain(cell: Child) -> str:
    """Give the words of a cell without its markup."""
    return " ".join(html.unescape(_TAG.sub(" ", join((cell,)))).split())
