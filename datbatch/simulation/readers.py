"""Two readers who read every study twice, as in Nazari et al. 2022 (doi 10.1007/s00259-021-05569-9).

A reader sees the loss of binding with a random error and calls a study positive above a threshold. Where two readings
of a reader differ, the reader reads a third time; where the two readers' majorities differ, they read together.
"""

from __future__ import annotations

import numpy as np

from datbatch.schema import NEGATIVE, POSITIVE, READS
from datbatch.simulation.population import EVIDENCE_THRESHOLD, READERS, Subject, evidence, stream, true_label

PERCEPTION_ERROR = 0.040
"""Standard deviation of the error of one reading; half of it is that of a reader's constant error in a study."""
READER_BIAS = (-0.006, 0.006)
"""Reader 1 calls slightly fewer studies positive than reader 2."""
JOINT_ERROR = 0.010
ATYPICAL = "atypical"


def draw_reads(subject: Subject) -> dict[str, str]:
    """Give the subject's reads by the names of `schema.READS`; a reading that did not take place is empty.

    The readers disagree about atypical patterns (structural damage); only the joint session calls them atypical.
    """
    rng = stream(subject.seed, subject.index, READERS)
    label, seen = true_label(subject), evidence(subject)
    opinion = rng.normal(0, PERCEPTION_ERROR / 2, 2) + READER_BIAS
    errors = rng.normal(0, PERCEPTION_ERROR, (2, 3))
    joint_error = rng.normal(0, JOINT_ERROR)
    perceived = seen + opinion[:, None] + errors
    if label == ATYPICAL:
        split = 0.1 if rng.random() < 0.5 else -0.1
        perceived = EVIDENCE_THRESHOLD + np.array([[split], [-split]]) + errors
    reads = dict.fromkeys(READS, "")
    for reader, values in zip((1, 2), perceived, strict=True):
        first, second, third = (_call(value) for value in values)
        reads |= {f"reader{reader}_first": first, f"reader{reader}_second": second}
        if first != second:
            reads[f"reader{reader}_third"] = third
    if majority(reads, 1) != majority(reads, 2):
        reads["joint"] = ATYPICAL if label == ATYPICAL else _call(seen + joint_error)
    return reads


def majority(reads: dict[str, str], reader: int) -> str:
    """Give the majority of the readings of reader 1 or 2."""
    first, second, third = (reads[f"reader{reader}_{name}"] for name in ("first", "second", "third"))
    return first if first == second else third


def consensus(reads: dict[str, str]) -> str:
    """Give the standard of truth: the majority of both readers, or where they differ the joint session."""
    first, second = majority(reads, 1), majority(reads, 2)
    return first if first == second else reads["joint"]


def _call(perceived: float) -> str:
    return POSITIVE if perceived >= EVIDENCE_THRESHOLD else NEGATIVE
