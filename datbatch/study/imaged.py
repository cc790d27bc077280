"""What imaging leaves of one study. A worker loads this, and none of the numerics that its studies' process needs."""

from __future__ import annotations

from dataclasses import dataclass, field

from datbatch.archive import Acquisition, StudyFacts
from datbatch.arrays import Floats32
from datbatch.cohort.ledger import Row


@dataclass(frozen=True)
class ImagedStudy:
    """One study through the imaging stages."""

    rows: dict[str, Row]
    """Outcome by stage."""
    uptake: Floats32 | None = None
    """Shape (x, y, z). Volume for the store; None where a stage failed."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by step."""
    facts: StudyFacts | None = None
    """What the header says of the study; None where it could not be read."""
    acquisition: Acquisition | None = None
    """The projections; None where they could not be read."""
