"""The explorer's folder: page and scripts as they are, and the cohort's data beside them, one file for each column."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from datbatch import __version__, schema
from datbatch.archive.codes import explain_code
from datbatch.cohort.views.query import choose_model
from datbatch.cohort.views.results import ResultsReader
from datbatch.errors import ConfigurationError, CorruptStoreError
from datbatch.files import write_whole
from datbatch.progress import Progress
from datbatch.report.cohort.classification import read_model
from datbatch.report.explorer.columns import (
    FIRST_AXES,
    FIRST_COLOURS,
    FIRST_SHOWN,
    PROFILE,
    Column,
    cohort_columns,
    first_there,
    worth_a_look,
)
from datbatch.report.explorer.volumes import VOLUME_BYTES, study_volumes
from datbatch.report.parts.raster import GREY_COLOURS, HOT_IRON_COLOURS, OVERLAY_COLOURS
from datbatch.report.study.pictures import GREY_SHARE, OPAQUE, VISIBLE

PAGE, CODE, DATA, STUDIES = "index.html", "code", "data", "studies"
VOLUMES_AT_MOST = 10_000
"""Studies that get volumes by default: about a gigabyte."""
LOOK = {
    "uptake": HOT_IRON_COLOURS,
    "grey": GREY_COLOURS,
    "grey_share": GREY_SHARE,
    "relevance": OVERLAY_COLOURS,
    "visible": VISIBLE,
    "opaque": OPAQUE,
}
"""Colours and shares with which planes are drawn: those of a study's page."""
COLUMN_BYTES = 700
"""About the size of the figures of one study."""


@dataclass(frozen=True)
class Explorer:
    """What was written."""

    page: Path
    studies: int
    volumes: int
    """Studies whose planes can be looked at."""
    size_bytes: int
    failed: Mapping[str, str] = field(default_factory=dict)
    """Why the volumes of a study could not be read, by pseudonym: code of the error."""


def volumes_wanted(cohort: xr.DataTree, most: int | None = None) -> int:
    """Give how many studies will have volumes: of those processed to the end at most `most`, or `VOLUMES_AT_MOST`."""
    done = int((cohort.dataset["status"] == schema.DONE).sum())
    return min(done, VOLUMES_AT_MOST if most is None else most)


def size_beforehand(cohort: xr.DataTree, volumes: int | None = None) -> str:
    """Say how large the folder will be, about."""
    studies, wanted = cohort.dataset.sizes["study"], volumes_wanted(cohort, volumes)
    size = studies * COLUMN_BYTES + wanted * VOLUME_BYTES
    return f"explorer of {studies} studies, {wanted} of them with planes, about {max(1, round(size / 1e6))} MB"


def write_explorer(
    cohort: xr.DataTree, folder: Path, *, model: str | None = None, volumes: int | None = None, quiet: bool = False
) -> Explorer:
    """Write the explorer of a cohort; pages of single studies in `studies/` stay, and are linked to.

    Parameters
    ----------
    cohort : DataTree
        The opened store.
    folder : Path
        Folder to make; an earlier explorer in it is replaced.
    model : str, optional
        Whose results; those of the model made last by default.
    volumes : int, optional
        Studies that get volumes at most, those most worth a look first; `VOLUMES_AT_MOST` by default.

    Raises
    ------
    ConfigurationError
        When the folder holds other files.
    ModelError
        When the named model is not in the store.
    """
    chosen = choose_model(cohort, model)
    columns = {column.name: column for column in cohort_columns(cohort, read_model(cohort, chosen) if chosen else None)}
    status = columns["status"].values
    done = [int(row) for row in worth_a_look(columns) if status[row] == schema.DONE]
    about = {"model": chosen or "", "simulated": bool(cohort.attrs.get("simulated"))}
    with _Folder(folder) as writer:
        reader, failed, tops = ResultsReader(cohort, chosen), {}, {"uptake": [1.0], "relevance": [0.0]}
        drawn, pages = (np.full(len(status), "no", dtype=object) for _ in range(2))
        wanted = done[: volumes_wanted(cohort, volumes)]
        progress = Progress("explorer", len(wanted), quiet=quiet)
        for row in wanted:
            study = reader.study(row)
            try:
                content = study_volumes(reader[row])
            except CorruptStoreError as error:
                failed[study] = error.code
            else:
                writer.deliver(f"volumes/{study}", content)
                drawn[row] = "yes"
                for name, found in tops.items():
                    found += [content[name]["top"]] if content[name] else []
            progress.advance(failed=int(study in failed))
        progress.close()
        for row, study in enumerate(columns["study"].values):
            pages[row] = "yes" if (folder / STUDIES / f"{study}.html").is_file() else "no"
        files = [
            Column("planes", "Planes here", "Files", "category", drawn, "whether the study's planes can be shown here"),
            Column("page", "Page here", "Files", "category", pages, "whether the study has a page of its own here"),
        ]
        # One scale for all studies, so that they can be compared.
        scales = {name: float(np.percentile(found, 90)) for name, found in tops.items()}
        writer.cohort([*columns.values(), *files], {**about, "scales": scales})
    return Explorer(folder / PAGE, len(status), int((drawn == "yes").sum()), writer.size_bytes, failed)


def write_columns(columns: Sequence[Column], folder: Path) -> Explorer:
    """Write an explorer of given columns alone, without volumes; see `write_explorer`."""
    with _Folder(folder) as writer:
        writer.cohort(columns, {"model": "", "simulated": True, "scales": {"uptake": 1.0, "relevance": 1.0}})
    return Explorer(folder / PAGE, len(columns[0].values), 0, writer.size_bytes)


class _Folder:
    """Writes the data to a temporary folder, and moves them to their place together at the end."""

    def __init__(self, folder: Path) -> None:
        expected = {PAGE, CODE, DATA, STUDIES}
        if folder.exists() and (not folder.is_dir() or {entry.name for entry in folder.iterdir()} - expected):
            raise ConfigurationError("the folder for the explorer holds other files", "Give a new folder.")
        self._folder = folder.absolute()
        self._aside = self._folder.with_name(f".{self._folder.name}.{os.getpid()}.partial")
        self.size_bytes = 0

    def __enter__(self) -> _Folder:
        shutil.rmtree(self._aside, ignore_errors=True)
        (self._aside / "columns").mkdir(parents=True)
        (self._aside / "volumes").mkdir()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._publish()
        finally:
            shutil.rmtree(self._aside, ignore_errors=True)

    def _publish(self) -> None:
        web = resources.files("datbatch.report.explorer") / "web"
        for source in sorted(web.iterdir(), key=lambda file: file.name):
            place = PAGE if source.name == PAGE else f"{CODE}/{source.name}"
            content = source.read_bytes()
            write_whole(self._folder / place, content)
            self.size_bytes += len(content)
        data = self._folder / DATA
        replaced = self._aside.with_suffix(".replaced")
        if data.exists():
            data.rename(replaced)
        self._aside.rename(data)
        shutil.rmtree(replaced, ignore_errors=True)

    def deliver(self, name: str, content: Any) -> None:
        """Write what the page gets when it asks for `name`: a script, because pages on disk may fetch nothing else."""
        # JSON in ASCII is also JavaScript, whatever a text holds.
        script = f"deliver({json.dumps(name)}, {json.dumps(content, allow_nan=False)});\n".encode("ascii")
        (self._aside / f"{name}.js").write_bytes(script)
        self.size_bytes += len(script)

    def cohort(self, columns: Sequence[Column], about: Mapping[str, Any]) -> None:
        """Write all columns, and the file that says what there is."""
        for column in columns:
            self.deliver(f"columns/{column.name}", _packed(column))
        names = {column.name for column in columns}
        coded = (column for column in columns if column.kind == "tags" or column.name == "error_code")
        codes = {word for column in coded for value in set(column.values.tolist()) for word in str(value).split()}
        head = {
            **about,
            "version": __version__,
            "studies": len(columns[0].values),
            "columns": [_described(column) for column in columns],
            "shown": [name for name in FIRST_SHOWN if name in names],
            "axes": [first_there(wanted, columns) for wanted in FIRST_AXES],
            "colour": first_there(FIRST_COLOURS, columns),
            "profile": [dataclasses.asdict(region) for region in PROFILE],
            "codes": {code: explain_code(code) for code in sorted(codes)},
            "look": LOOK,
            "grid": {"shape": schema.SHAPE, "origin_mm": schema.ORIGIN_MM, "spacing_mm": schema.SPACING_MM},
        }
        self.deliver("cohort", head)


def _described(column: Column) -> dict[str, Any]:
    told = {name: getattr(column, name) for name in ("name", "title", "group", "kind", "units", "description")}
    return told | {"decimals": _decimals(column) if column.kind == "number" else None}


def _decimals(column: Column) -> int | None:
    """Give the decimals that show three figures of a column's typical value; None where powers of ten are better."""
    values = np.abs(column.values[np.isfinite(column.values) & (column.values != 0)])
    if not len(values) or (values == np.rint(values)).all():
        return 0
    typical = float(np.median(values))
    return max(0, 2 - int(np.floor(np.log10(typical)))) if typical >= 1e-3 else None


def _packed(column: Column) -> dict[str, Any]:
    """Pack a column: float32 or codes as base64 (little-endian), or a text with one line for each study."""
    if column.kind == "number":
        return {"numbers": _base64(column.values.astype("<f4"))}
    words = [" ".join(str(value).split()) for value in column.values]
    if column.kind == "text":
        return {"lines": "\n".join(words)}
    # Sorted, so that the order of the codes is that of the words; what is missing comes last.
    categories = sorted(set(words), key=lambda word: (word == "", word))
    code = {word: at for at, word in enumerate(categories)}
    width = 1 if len(categories) <= 256 else 2 if len(categories) <= 65536 else 4
    codes = np.array([code[word] for word in words], dtype=f"<u{width}")
    return {"codes": _base64(codes), "width": width, "categories": categories}


def _base64(values: np.ndarray[Any, Any]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")
