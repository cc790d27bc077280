"""What an evaluation looks at: each study's truth, its set, its figures, and what one model says of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

import numpy as np

from datbatch.arrays import Bools, Floats, Ints, Texts
from datbatch.config import canonical_json


@dataclass(frozen=True)
class Cases:
    """The studies of a cohort and what a model says of them, arrays (study,) except `regional` and `reads`.

    What is not known is NaN, or empty text.
    """

    study: Texts
    """Pseudonyms."""
    label: Ints
    """0 (negative), 1 (positive), -1 without label."""
    split: Texts
    """train, validation, test or empty, when the model was trained."""
    site: Texts
    sex: Texts
    """As in the store."""
    age_years: Floats
    counts: Floats
    """Age at the examination; sum of all projections."""
    binding_ratio: Floats
    """Specific binding ratio of the ipsilateral putamen."""
    regional: Floats
    """Shape (study, figure). Regional figures that a tree may use."""
    regional_names: tuple[str, ...]
    """Their names."""
    z_score: Floats
    """Of `binding_ratio`, from the normal range; NaN throughout where there is none."""
    normal_split: Texts
    """The split when the normal range was fitted."""
    reads: Texts
    """Shape (study, read). Single reads, in the order of `schema.READS`."""
    log_odds: Floats
    """Of the positive class."""
    putamen_relevance: Floats
    """Oriented relevance of the hottest voxels of the ipsilateral putamen."""
    relevance_cut: float
    """Cut of it that was learned on validation data."""
    inconsistent: Bools
    """Map typical of the class that was not predicted."""

    def members(self, name: str) -> Bools:
        """Tell which labelled studies belong to a set."""
        return np.asarray((self.split == name) & (self.label >= 0))

    def digest(self) -> str:
        """Cover every value: an evaluation holds as long as this stays the same."""
        hashed = hashlib.sha256()
        for field in fields(self):
            values = np.asarray(getattr(self, field.name))
            if values.dtype.kind == "U":
                hashed.update(canonical_json([field.name, values.tolist()]).encode())
            else:
                # Zeros and NaNs of every kind are one.
                plain = np.where(np.isnan(values), np.nan, values + 0.0) if values.dtype.kind == "f" else values
                hashed.update(field.name.encode() + np.ascontiguousarray(plain).tobytes())
        return hashed.hexdigest()[:16]
