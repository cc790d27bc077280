"""The standard of truth: a given label, or the readers' consensus (Nazari et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping

from datbatch.errors import ContradictoryLabelError
from datbatch.schema import LABELS

ATYPICAL = "atypical"
"""A pattern of vascular or structural damage in the joint read; such studies are excluded."""


def reader_consensus(first: str, second: str, third: str) -> str:
    """Give one reader's consensus: two equal reads, else the third; empty where it is open.

    A third read that contradicts two equal ones raises ContradictoryLabelError.
    """
    if first and second and first != second:
        return third
    agreed = first or second
    if third and agreed and third != agreed:
        raise ContradictoryLabelError("a reader's third read contradicts the agreement of the first two")
    return agreed or third


def truth(label: str, reads: Mapping[str, str]) -> str:
    """Give a study's label, from the given label and the reads by the names of `schema.READS`.

    All are negative, positive, atypical (a label, or the joint read) or empty. The result is empty where neither label
    nor reads decide. Another value, or a contradiction, raises ContradictoryLabelError.
    """
    if label not in (*LABELS, ATYPICAL, ""):
        raise ContradictoryLabelError("the label is neither negative, positive, atypical nor empty")
    for name, read in reads.items():
        if read not in (*LABELS, "") and (name, read) != ("joint", ATYPICAL):
            raise ContradictoryLabelError(f"{name} has a value that a read cannot have")
    readers = [
        reader_consensus(*(reads.get(f"{reader}_{read}", "") for read in ("first", "second", "third")))
        for reader in ("reader1", "reader2")
    ]
    agreed = _agreed(readers, reads.get("joint", ""))
    if label and agreed and label != agreed:
        raise ContradictoryLabelError("the given label contradicts the readers' consensus")
    return label or agreed


def _agreed(readers: list[str], joint: str) -> str:
    stated = {consensus for consensus in readers if consensus}
    if joint == ATYPICAL or len(stated) != 1:
        return joint
    consensus = stated.pop()
    if joint and joint != consensus:
        raise ContradictoryLabelError("the joint read contradicts the agreement of both readers")
    return consensus
