"""Tables of a cohort for statistics software: CSV or Parquet, with the dictionary of their columns beside them."""

from __future__ import annotations

import csv
import importlib.util
import io
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray

from datbatch import __version__, schema
from datbatch.cohort.views.query import choose_model, group_of, normal_range
from datbatch.cohort.views.results import patient_side, positions
from datbatch.errors import ConfigurationError
from datbatch.export.table_contents import LABELS, MODEL_TABLES, RANGE_TABLES, ROOT_TABLES, SIDED, Table, dictionary
from datbatch.files import write_whole

Kind = Literal["csv", "parquet"]
DICTIONARY = "dictionary.json"

_Group = tuple[tuple[Table, ...], xarray.Dataset, dict[str, npt.NDArray[np.bool_]], str]
"""Tables, the group that they come from, which studies have results by stage, and the model or nothing."""


def write_tables(
    cohort: xarray.DataTree,
    folder: Path,
    *,
    kind: Kind = "csv",
    model: str | None = None,
    studies: Sequence[str] | None = None,
) -> list[Path]:
    """Write all tables of a cohort, and the dictionary that explains each of their columns.

    Parameters
    ----------
    cohort : DataTree
        The opened store; no volume is read.
    folder : Path
        Where to write; each file is replaced as a whole or not at all.
    kind : {"csv", "parquet"}
        Form. In CSV (UTF-8, comma, point) a missing value is empty and a truth value `true` or `false`.
    model : str, optional
        Whose results; those of the model made last by default.
    studies : sequence of str, optional
        Pseudonyms; every study by default, also those that failed or were excluded.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    ConfigurationError
        When Parquet is asked for and pyarrow is not installed.
    ModelError
        When the named model is not in the store.
    """
    if kind == "parquet" and importlib.util.find_spec("pyarrow") is None:
        raise ConfigurationError(
            "Parquet needs the package pyarrow, which is not installed",
            "Install it (`pip install 'datbatch[parquet]'`), or write CSV.",
        )
    chosen = choose_model(cohort, model)
    rows = np.asarray(positions(cohort, studies, done=False), dtype=np.intp)
    root = cohort.dataset.isel(study=rows)
    present = _present(root)
    groups: list[_Group] = [(ROOT_TABLES, root, present, "")]
    left_out = []
    norms = normal_range(cohort)
    if norms is not None:
        groups.append((RANGE_TABLES, norms.isel(study=rows), present, ""))
    elif schema.NORMAL_RANGE in cohort.children:
        left_out.append("normal range: it was fitted to earlier tables; call `datbatch norms`")
    if chosen is not None:
        group = group_of(cohort, schema.relevance_group(chosen)).isel(study=rows)
        explained_here = {schema.EXPLAIN: np.isin(_texts_of(group["predicted"]), schema.LABELS)}
        groups.append((MODEL_TABLES, group, present | explained_here, chosen))
    written, explained = [], {}
    for tables, group, known, constant in groups:
        for table in tables:
            frame = build(table, group, root, known)
            if constant:
                frame.insert(1, "model", constant)
            path = folder / f"{table.name}.{kind}"
            written.append(write_whole(path, to_csv(frame) if kind == "csv" else _to_parquet(frame)))
            explained[path.name] = dictionary(table, list(frame.columns))
    about = {
        "software": f"datbatch {__version__}",
        "notice": "Research software, not a medical device.",
        "missing": "A missing value is empty.",
        "left_out": left_out,
        "tables": explained,
    }
    return [*written, write_whole(folder / DICTIONARY, (json.dumps(about, indent=1) + "\n").encode())]


def _present(root: xarray.Dataset) -> dict[str, npt.NDArray[np.bool_]]:
    """Tell by stage which studies have its results: integers and truth values have no value for missing."""
    views = np.asarray(root["views"].values) if "views" in root.variables else np.zeros(root.sizes["study"])
    return {schema.RECONSTRUCT: views > 0, schema.QUANTIFY: _texts_of(root["status"]) == schema.DONE}


def build(
    table: Table, group: xarray.Dataset, root: xarray.Dataset, present: Mapping[str, npt.NDArray[np.bool_]]
) -> pd.DataFrame:
    """Build one table: a row for each study and each cell of its dimensions.

    Its columns are study, the dimensions, patient_side where a row may have one, and the variables; a variable that
    the group does not hold becomes an empty column. `root` has the same studies; `present` says by stage which of them
    have its results.
    """
    if not table.stacked:
        return _cells(table.variables, group, root, present)
    parts = []
    for one in table.variables:
        part = _cells((one,), group, root, present).rename(columns={one.name: "value"})
        part.insert(1, "variable", one.name)
        parts.append(part)
    columns = ["study", "variable", *table.dims, "patient_side", "value"]
    return pd.concat(parts, ignore_index=True).reindex(columns=columns)


def _cells(
    variables: Sequence[schema.Variable],
    group: xarray.Dataset,
    root: xarray.Dataset,
    present: Mapping[str, npt.NDArray[np.bool_]],
) -> pd.DataFrame:
    dims = variables[0].dims[1:]
    cells: list[tuple[Any, ...]] = list(itertools.product(*(LABELS[dim] for dim in dims)))
    studies = root.sizes["study"]
    columns: dict[str, Any] = {"study": np.repeat(_texts_of(root["study"]), len(cells))}
    for place, dim in enumerate(dims):
        columns[dim] = [cell[place] for cell in cells] * studies
        if dim in SIDED:
            columns["patient_side"] = [
                patient_side(cell[place], bool(flip)) if known else ""
                for flip, known in zip(root["mirrored"].values, present[schema.QUANTIFY], strict=True)
                for cell in cells
            ]
    for one in variables:
        if one.name != "study":
            values = group[one.name].values.ravel() if one.name in group.variables else None
            columns[one.name] = _column(one, values, studies * len(cells), present.get(one.writer))
    return pd.DataFrame(columns)


def _column(
    variable: schema.Variable, values: npt.NDArray[Any] | None, rows: int, present: npt.NDArray[np.bool_] | None
) -> Any:
    """Give a column with its missing values marked; None stands for a variable that is not there."""
    if variable.dtype == "str":
        return np.full(rows, "", dtype=object) if values is None else _texts_of(values)
    if variable.dtype.startswith("float"):
        found = np.full(rows, np.nan) if values is None else values
        return np.minimum(found, schema.AGE_CAP_YEARS) if variable.name == "age" else found
    missing = np.full(rows, values is None)
    if values is not None and present is not None:
        missing = ~present
    filled = np.zeros(rows) if values is None else values
    # Unlike NumPy's, these types can mark a missing integer or truth value.
    if variable.dtype == "bool":
        return pd.arrays.BooleanArray(filled.astype(bool), missing)
    return pd.arrays.IntegerArray(filled.astype(np.int64), missing)


def _texts_of(values: Any) -> npt.NDArray[Any]:
    """Give texts as str objects; None becomes empty text."""
    return np.asarray(["" if one is None else str(one) for one in np.asarray(values).ravel()], dtype=object)


def to_csv(frame: pd.DataFrame, separator: str = ",", missing: str = "") -> bytes:
    """Write a table as text: shortest decimals that give the same number back, truth values in words."""
    told = {name: _texts(frame[name], missing) for name in map(str, frame.columns)}
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=separator, lineterminator="\n")
    writer.writerow(told)
    writer.writerows(zip(*told.values(), strict=True))
    return buffer.getvalue().encode()


def _texts(column: pd.Series, missing: str) -> list[str]:
    words: dict[Any, str] = {True: "true", False: "false"} if column.dtype == "boolean" else {}
    return [missing if pd.isna(one) or one == "" else words.get(one, str(one)) for one in column.tolist()]


def _to_parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()
