"""From ledger rows to table columns: the driver's part of the write protocol."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch.cohort import schema
from datbatch.cohort.ledger import Row
from datbatch.cohort.store import empty_column


def value_columns(
    variables: Iterable[schema.Variable], studies: Sequence[str], rows: Iterable[Row]
) -> dict[str, npt.NDArray[Any]]:
    """Arrange the values of rows as columns.

    Parameters
    ----------
    variables : iterable of Variable
        Which columns to make.
    studies : sequence of str
        Pseudonyms in the store's order.
    rows : iterable of Row
        In any order; values of the same study add up over its rows.

    Returns
    -------
    dict of str to ndarray, shape (study, ...)
        One column for every variable; the fill value where no row has a value.
    """
    wanted = {variable.name: variable for variable in variables}
    columns = {name: empty_column(variable, len(studies)) for name, variable in wanted.items()}
    position = {study: index for index, study in enumerate(studies)}
    for row in rows:
        for name in row.values.keys() & wanted.keys():
            value = row.values[name]
            if value is not None:
                # JSON has no NaN: null stands for it, also inside lists.
                columns[name][position[row.study]] = np.asarray(value, dtype=columns[name].dtype)
    return columns


def outcome_columns(studies: Sequence[str], final: Iterable[Row]) -> dict[str, npt.NDArray[Any]]:
    """Arrange status and error of each study; `pending` where no row of the last stage exists."""
    table = {variable.name: variable for variable in schema.STUDY_TABLE}
    names = ("status", "error_code", "error_stage", "error_reason")
    columns = {name: empty_column(table[name], len(studies)) for name in names}
    columns["status"][:] = schema.PENDING
    position = {study: index for index, study in enumerate(studies)}
    for row in final:
        for name, text in zip(names, (row.status, row.code, row.stage, row.reason), strict=True):
            columns[name][position[row.study]] = text
    return columns


def rows_by_study(rows: Iterable[Row]) -> Mapping[str, Row]:
    """Index rows by pseudonym."""
    return {row.study: row for row in rows}
