"""The studies of the cohort: the paper's criteria as coded decisions (Nazari et al. 2022, "DAT-SPECT data").

(I1) for a clinically uncertain parkinsonian syndrome; (I2) acquired on a double-head system with parallel-hole
collimators; (I3) raw projections are available. Reading decides about I3, and its codes are those of reading errors.
"""

from __future__ import annotations

from dataclasses import dataclass

from datbatch.archive.labels import ATYPICAL
from datbatch.config import ArchiveConfig

NOT_INDICATED = "not-indicated"
SYSTEM_NOT_ELIGIBLE = "system-not-eligible"

EXCLUSIONS = {
    NOT_INDICATED: "not done for a clinically uncertain parkinsonian syndrome (I1)",
    SYSTEM_NOT_ELIGIBLE: "not acquired on a double-head system with parallel-hole collimators (I2)",
    ATYPICAL: "read jointly as atypical (vascular or structural)",
}
"""Meaning of each code of an exclusion."""

_INDICATED = ("cups", "clinically uncertain parkinsonian syndrome", "clinically uncertain parkinsonian syndromes")
_PARALLEL = ("PARA", "UNKN", "")


@dataclass(frozen=True)
class System:
    """What is known about the camera; 0 and empty mean unknown."""

    detectors: int = 0
    collimator: str = ""


def exclusion(config: ArchiveConfig, indication: str, system: System) -> str:
    """Give the code that excludes a study by I1 or I2, or an empty string.

    An unknown value does not exclude: exports of other workstations may lack the collimator.
    """
    if config.inclusion == "all":
        return ""
    if indication and indication.lower() not in _INDICATED:
        return NOT_INDICATED
    if system.collimator not in _PARALLEL or system.detectors not in (0, 2):
        return SYSTEM_NOT_ELIGIBLE
    return ""
