"""How far readers agree, with themselves and with each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datbatch.arrays import Texts
from datbatch.evaluation.agreement import cohen_kappa
from datbatch.evaluation.estimates import Estimate, Proportion, wilson
from datbatch.schema import LABELS, READS

BETWEEN = "between readers"


@dataclass(frozen=True)
class ReaderAgreement:
    """Agreement of two readings of the same studies."""

    name: str
    agreeing: Proportion
    kappa: Estimate


def reader_agreement(reads: Texts) -> tuple[ReaderAgreement, ...]:
    """Compare the sessions of each reader, and the intra-reader consensus of both (Nazari et al. 2022).

    A reader's consensus is what both sessions agree on, else the third session. `reads` (study, read) are in the
    order of `schema.READS`; a read that is neither negative nor positive leaves the study out. The comparison
    between readers comes first, then those within each; a comparison without studies is left out.
    """

    def read(name: str) -> Texts:
        return np.asarray(reads[:, READS.index(name)]).astype(np.str_)

    def sessions(reader: str) -> tuple[Texts, Texts]:
        return read(f"{reader}_first"), read(f"{reader}_second")

    def consensus(reader: str) -> Texts:
        first, second = sessions(reader)
        return np.where(first == second, first, read(f"{reader}_third"))

    pairs = [(BETWEEN, (consensus("reader1"), consensus("reader2")))]
    pairs += [(f"within reader {number}", sessions(f"reader{number}")) for number in (1, 2)]
    found = []
    for name, (one, other) in pairs:
        both = np.isin(one, LABELS) & np.isin(other, LABELS)
        if both.any():
            agreeing = wilson(int((one[both] == other[both]).sum()), int(both.sum()))
            found.append(ReaderAgreement(name, agreeing, cohen_kappa(one[both], other[both])))
    return tuple(found)
