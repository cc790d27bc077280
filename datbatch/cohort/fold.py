"""From ledger rows to table columns: the driver's part of the write protocol."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch import __version__, schema
from datbatch.archive import Manifest
from datbatch.classifier.split import encode_labels
from datbatch.cohort.layout import empty_column
from datbatch.cohort.ledger import Row
from datbatch.config import QualityConfig, canonical_json
from datbatch.errors import Outcome
from datbatch.imaging import with_limits
from datbatch.relevance.orientation import inconsistent, learn_orientation, orienting_studies

FOLDED = "folded"
"""Attribute of the store: digest of what its tables follow from; empty or missing while they are not complete."""

FINAL_STAGE = schema.QUANTIFY
_PUTAMEN = schema.REGIONS.index("putamen_ipsilateral")
_HOTTEST = schema.STATISTICS.index("hottest_mean")
ARCHIVE_OUTCOMES = "archive_outcomes"
"""Name of the fact that says which studies failed or were excluded before any stage."""
OWN_TEMPLATE = "own_template"
"""Name of the fact that says what the cohort's own template was made from."""
OF_NO_ARRAY = (ARCHIVE_OUTCOMES, OWN_TEMPLATE)
"""Facts that no group and no array shows."""


class Columns:
    """Table columns that are filled row by row, so that rows need not be held together.

    Parameters
    ----------
    variables : iterable of Variable
        Which columns to make.
    studies : sequence of str
        Pseudonyms in the store's order.
    """

    def __init__(self, variables: Iterable[schema.Variable], studies: Sequence[str]) -> None:
        self._position = {study: index for index, study in enumerate(studies)}
        self.arrays = {variable.name: empty_column(variable, len(studies)) for variable in variables}

    def add_values(self, row: Row) -> None:
        """Fill in what a row holds for these columns; values of the same study add up over its rows."""
        index = self._position.get(row.study)
        for name in row.values.keys() & self.arrays.keys():
            value = row.values[name]
            if value is not None and index is not None:
                # JSON has no NaN: null stands for it, also inside lists.
                self.arrays[name][index] = np.asarray(value, dtype=self.arrays[name].dtype)

    def add_outcome(self, study: str, outcome: Outcome) -> None:
        """Fill in status and error of a study."""
        index = self._position.get(study)
        if index is not None:
            for name, text in zip(schema.OUTCOME, outcome, strict=True):
                # One object for each text, however many studies have it.
                self.arrays[name][index] = sys.intern(text)


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
    columns = Columns(variables, studies)
    for row in rows:
        columns.add_values(row)
    return columns.arrays


def limits_of(attributes: Mapping[str, Any]) -> QualityConfig:
    """Give the limits of flags that a store's attributes record."""
    return QualityConfig(**json.loads(attributes.get("config", "{}")).get("quality", {}))


def fold_stage(
    stage: str, rows: Iterable[Row], studies: Sequence[str], limits: QualityConfig, outcomes: Columns
) -> dict[str, npt.NDArray[Any]]:
    """Arrange the rows of an imaging stage as its columns of the table of studies.

    The flags of limits are added here; `outcomes` are filled from the last stage.
    """
    columns = Columns([variable for variable in schema.STUDY_TABLE if variable.writer == stage], studies)
    for row in rows:
        flagged = "flags" in columns.arrays and row.values
        columns.add_values(replace(row, values=with_limits(row.values, limits)) if flagged else row)
        if stage == FINAL_STAGE:
            outcomes.add_outcome(row.study, row.outcome)
    return columns.arrays


def explained_columns(
    studies: Sequence[str],
    rows: Iterable[Row],
    split: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    usual: Mapping[str, Any] | None,
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Arrange what a model says of each study, and learn from it what a sign of its relevance means.

    Parameters
    ----------
    studies : sequence of str
        Pseudonyms in the store's order.
    rows : iterable of Row
        Of the stage that explains.
    split : ndarray of str, shape (study,)
        The model's set of each study.
    labels : ndarray of str, shape (study,)
        negative, positive or empty.
    usual : mapping, optional
        The orientation that holds as long as too few studies are explained: the one of training.

    Returns
    -------
    columns : dict of str to ndarray, shape (study, ...)
        All columns of the model's table.
    orientation : dict
        As `relevance.Orientation`.
    """
    columns = value_columns(schema.RELEVANCE_TABLE, studies, rows)
    columns["split"] = split
    putamen = columns["regional"][:, _PUTAMEN, _HOTTEST]
    truth = encode_labels(labels)
    watched = orienting_studies(np.where(np.isfinite(putamen), split, ""), truth)
    both = np.unique(truth[watched]).size == len(schema.LABELS)
    learned = asdict(learn_orientation(putamen[watched], truth[watched])) if both else dict(usual or {})
    if learned:
        oriented, calls = learned["sign"] * putamen, encode_labels(columns["predicted"])
        columns["inconsistent"] = (columns["predicted"] != "") & inconsistent(oriented, calls, learned["threshold"])
    return columns, learned


def pending_outcomes(studies: Sequence[str]) -> Columns:
    """Make the columns of status and error, in which every study is still pending."""
    columns = Columns([variable for variable in schema.STUDY_TABLE if variable.name in schema.OUTCOME], studies)
    columns.arrays["status"][:] = schema.PENDING
    return columns


def stamp_of(
    manifest: Manifest, stages: Iterable[str], limits: QualityConfig | None, version: str = __version__
) -> str:
    """Give a digest of all that the tables follow from, once all granules are done.

    Parameters
    ----------
    manifest : Manifest
        The studies and all that the archive says of them.
    stages : iterable of str
        Digests of the imaging stages, in order.
    limits : QualityConfig or None
        Those of flags; None before layout 3 of the store, where the digests covered them.
    version : str
        Of datbatch that writes the tables.
    """
    # Not by way of JSON, which takes seconds for an archive of a hundred thousand.
    content = hashlib.sha256(f"{version} {manifest.files_found} {sorted(manifest.files_skipped.items())}".encode())
    for told in (*stages, "" if limits is None else canonical_json(vars(limits))):
        content.update(told.encode())
    for entry in manifest.entries:
        content.update(repr(list(entry.to_dict().values())).encode("utf-8", "surrogateescape"))
    return content.hexdigest()


def manifest_columns(manifest: Manifest) -> dict[str, npt.NDArray[Any]]:
    """Give the columns of the table that follow from the manifest."""
    entries = manifest.entries
    return {
        "source": np.asarray([e.source for e in entries], dtype=object),
        "person": np.asarray([e.person for e in entries], dtype=object),
        "site": np.asarray([e.site for e in entries], dtype=object),
        "sex": np.asarray([e.sex for e in entries], dtype=object),
        "age": np.asarray([np.nan if e.age is None else e.age for e in entries], dtype=np.float64),
        "label": np.asarray([e.label for e in entries], dtype=object),
        "reads": np.asarray([list(e.reads) for e in entries], dtype=object),
    }
