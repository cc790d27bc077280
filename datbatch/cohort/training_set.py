"""Which studies train: the one division of a cohort that the classifier and the normal range share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from datbatch import schema
from datbatch.classifier.split import assign_split, check_leaks
from datbatch.cohort.cohort import Cohort
from datbatch.cohort.ledger import Row
from datbatch.cohort.store import Store
from datbatch.config import SplitConfig
from datbatch.errors import DONE, CorruptStoreError, StoreError, TrainingDataError


class TrainingSet(NamedTuple):
    """A cohort's studies in the store's order, each with its part."""

    studies: list[str]
    rows: Mapping[str, Row]
    """Of the last imaging stage."""
    labels: npt.NDArray[Any]
    """Empty too where a study has no image."""
    split: npt.NDArray[np.str_]
    """`train`, `validation`, `test`, or empty for a study without label."""


def training_set(cohort: Cohort, config: SplitConfig) -> TrainingSet:
    """Divide the labelled studies that have an image.

    Raises
    ------
    StoreError
        When imaging is not finished.
    TrainingDataError
        When the labelled studies do not suffice.
    SplitLeakError
        When the same person or the same pixels would be in two sets.
    """
    studies, rows = quantified(cohort)
    store = cohort.store
    labels = store.read_table("label")
    # Only what has an image can train: the others count as unlabelled.
    labels[[rows[study].outcome != DONE for study in studies]] = ""
    if not (labels != "").any():
        raise TrainingDataError("no study of the store has both an image and a label")
    persons = known_persons(store) if config.keep_persons else np.full(len(studies), "", dtype=object)
    split = assign_split(
        store.read_table("sex"),
        labels,
        store.read_table("age"),
        config,
        persons=persons,
        sites=store.read_table("site"),
    )
    check_leaks(split, studies, persons=persons, pixels=[rows[s].sha256.get(schema.UPTAKE.name, "") for s in studies])
    return TrainingSet(studies, rows, labels, split)


def known_persons(store: Store) -> npt.NDArray[Any]:
    """Give the pseudonym of each study's person; empty texts where the store was made before it kept them."""
    if store.has_table("person"):
        return store.read_table("person")
    return np.full(len(store.studies), "", dtype=object)


def positive_share(reads: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Give the share of a study's single reads (study, read) that are positive; NaN without any.

    The joint read, which comes last, follows from the others.
    """
    single = reads[:, :-1]
    given = (single != "").sum(axis=1)
    positive = (single == schema.LABELS[1]).sum(axis=1)
    return np.where(given > 0, positive / np.maximum(given, 1), np.nan)


def quantified(cohort: Cohort) -> tuple[list[str], Mapping[str, Row]]:
    """Give the store's studies and their rows of the last imaging stage.

    Raises
    ------
    StoreError
        When imaging is not finished.
    CorruptStoreError
        When an object of the ledger is damaged.
    """
    digest, ledger, studies = cohort.digest_of("quantify"), cohort.ledger, cohort.store.studies
    keys = ledger.keys("quantify", digest) if digest else []
    rows = {row.study: row for row in ledger.rows(keys)}
    if not studies or any(study not in rows for study in studies):
        if damaged := ledger.damaged(keys):
            raise CorruptStoreError(f"{len(damaged)} objects of the ledger of quantify are damaged")
        raise StoreError(
            "the imaging stages of the store are not finished", "Call `datbatch run ARCHIVE COHORT` first."
        )
    return studies, rows
