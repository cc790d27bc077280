"""Two readers who look at every study twice, as in Nazari et al. 2022 (doi 10.1007/s00259-021-05569-9).

A reader perceives the evidence with an error of his own and calls a study positive above his threshold. Where his two
readings differ he reads a third time; where the two readers' majorities differ they read together.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datbatch.schema import NEGATIVE, POSITIVE, READS
from datbatch.simulation.population import EVIDENCE_THRESHOLD, READERS, Subject, evidence, stream, true_label

PERCEPTION_ERROR = 0.040
"""Standard deviation of what one reading adds to the evidence; also that of a reader's lasting opinion of a study."""
READER_BIAS = (-0.006, 0.006)
"""Reader 1 calls a little less positive than reader 2."""
JOINT_ERROR = 0.010
ATYPICAL = "atypical"


def draw_reads(subject: Subject) -> dict[str, str]:
    """Give the subject's reads, keyed by the names of `schema.READS`; readings that did not take place are empty.

    Atypical patterns (structural damage) split the readers, and only the joint session calls them atypical.
    """
    rng = stream(subject.seed, subject.index, READERS)
    label = true_label(subject)
    seen = evidence(subject)
    opinion = rng.normal(0, PERCEPTION_ERROR / 2, 2) + READER_BIAS
    errors = rng.normal(0, PERCEPTION_ERROR, (2, 3))
    joint_error = rng.normal(0, JOINT_ERROR)
    reads = dict.fromkeys(READS, "")
    majorities = []
    if label == ATYPICAL:
        split = 0.1 if rng.random() < 0.5 else -0.1
        perceived = EVIDENCE_THRESHOLD + np.array([[split], [-split]]) + errors
    else:
        perceived = seen + opinion[:, None] + errors
    for reader in range(2):
        majorities.append(_read_twice(reads, f"reader{reader + 1}", perceived[reader]))
    if majorities[0] != majorities[1]:
        reads["joint"] = ATYPICAL if label == ATYPICAL else _call(seen + joint_error)
    return reads


def majority(reads: dict[str, str], reader: int) -> str:
    """Give the intra-reader consensus of reader 1 or 2."""
    first, second, third = (reads[f"reader{reader}_{name}"] for name in ("first", "second", "third"))
    return first if first == second else third


def consensus(reads: dict[str, str]) -> str:
    """Give the standard of truth: what both readers' majorities say, or else the joint session."""
    first, second = majority(reads, 1), majority(reads, 2)
    return first if first == second else reads["joint"]


def _read_twice(reads: dict[str, str], reader: str, perceived: npt.NDArray[np.float64]) -> str:
    first, second, third = (_call(value) for value in perceived)
    reads[f"{reader}_first"], reads[f"{reader}_second"] = first, second
    if first == second:
        return first
    reads[f"{reader}_third"] = third
    return third


def _call(perceived: float) -> str:
    return POSITIVE if perceived >= EVIDENCE_THRESHOLD else NEGATIVE
